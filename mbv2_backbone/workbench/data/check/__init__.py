"""Checks of a dataset, and statistics of its contents."""
