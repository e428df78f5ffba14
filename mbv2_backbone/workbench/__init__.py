"""What the tools do with a config: read it, fit it to the machine, check it, run it."""
