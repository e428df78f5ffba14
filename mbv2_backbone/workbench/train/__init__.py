"""Training loops, and what makes a run survive interruptions and faults."""
