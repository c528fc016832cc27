"""One run: the loop, its optimisers, checkpoints and monitors."""
