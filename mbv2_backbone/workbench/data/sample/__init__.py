"""The sample dataset, whose images are drawn by code."""
