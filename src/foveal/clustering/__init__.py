"""Clustering of features: whitening, k-means, what the assignments look like."""
