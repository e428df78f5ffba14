"""Figures of a backbone's feature maps, and heatmaps of where each class comes from."""
