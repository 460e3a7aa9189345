"""Audio files and their encodings."""
