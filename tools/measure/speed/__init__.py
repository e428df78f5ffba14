"""Measuring: ours beside a peer in one run, and what is made of the numbers."""
