"""Write a config for the user's own dataset."""
