"""What keeps a training going: loops, resuming, saving, signals, broken steps."""
