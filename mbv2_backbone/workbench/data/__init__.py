"""Datasets: found in a folder, checked, converted, shown, downloaded."""
