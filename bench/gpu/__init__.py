"""What concerns a GPU: evidence from a real one, and without one what would be launched and compiled."""
