"""An agent that acts on frozen features."""
