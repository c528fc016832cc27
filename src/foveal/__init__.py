"""foveal: learn visual features from images that nobody labelled."""
__version__ = "0.1.0"
