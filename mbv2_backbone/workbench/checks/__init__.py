"""Checks of a config, its dataset and its images before and while a run uses them."""
