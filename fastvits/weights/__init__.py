"""Tensors in and out of files: a model of any class loaded from, and saved to, a folder or the hub."""
