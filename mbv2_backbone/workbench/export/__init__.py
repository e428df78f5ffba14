"""Exporting a model to other runtimes, and proving that it predicts the same."""
