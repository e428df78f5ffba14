"""Writing a config for a set of the user's own."""
