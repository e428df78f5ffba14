"""From config to run: read a config, adapt it to the machine, check it and run it."""
