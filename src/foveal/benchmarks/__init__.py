"""Real data that anyone can make or load on one machine, to measure by."""
