"""Whole utterances beside the peers: how fast, how soon the first piece comes, and how they sound."""
