"""From what the user points at to pixels: sources, the scan, order, the loader."""
