"""Reading a config and planning what a run makes of it."""
