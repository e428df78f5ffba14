"""Measurements for maintainers: structure, speed and recipes."""
