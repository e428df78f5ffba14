"""Compare recipes: train over seeds, make tables and plots, extract initial weights."""
