"""Predicting on files."""
