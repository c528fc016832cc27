"""Frozen features, measured: one file per protocol."""
