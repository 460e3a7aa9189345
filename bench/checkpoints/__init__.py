"""Checkpoints of other programs, damaged."""
