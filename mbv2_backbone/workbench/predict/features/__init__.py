"""Pictures of what a backbone computes: its taps, and where a class comes from."""
