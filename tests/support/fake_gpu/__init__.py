"""What stands in for a GPU where there is none: its tensors, its recorder of graphs, and Triton's driver for it."""
