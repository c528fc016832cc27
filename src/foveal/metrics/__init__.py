"""Pure functions from features, scores and labels to numbers."""
