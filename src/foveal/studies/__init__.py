"""Studies: a grid of runs, measured alike, and what the paper's question finds in it."""
