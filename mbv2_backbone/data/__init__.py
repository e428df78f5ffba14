"""Sample set, dataset fetch and dataset checks."""
