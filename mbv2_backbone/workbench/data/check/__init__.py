"""Checks of a dataset, and statistics of what it holds."""
