"""Measure this package and a peer alternately in one run, and report the results."""
