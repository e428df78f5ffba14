"""The comparison of recipes: training over seeds, and tables and plots of what came out."""
