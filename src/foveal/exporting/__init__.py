"""Backbones for use elsewhere, verified before success is reported."""
