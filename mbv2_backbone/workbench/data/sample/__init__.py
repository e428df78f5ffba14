"""The sample dataset, which is drawn."""
