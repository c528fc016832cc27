"""Clustering features: k-means and what precedes it."""
