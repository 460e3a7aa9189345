"""Voices behind HTTP and Wyoming: one scheduler that owns the models, and the protocols that people's clients speak."""
