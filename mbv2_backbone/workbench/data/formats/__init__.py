"""Dataset formats: each format's reader and writer in one file."""
