"""Contact sheets of a dataset, with its annotations drawn."""
