"""Regions of a picture found again in another picture of the same scene."""
