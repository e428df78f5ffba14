"""The comparison of recipes: training over seeds, tables and plots, weights to start from."""
