"""How Triton's kernels are built, given their tiles, and compiled ahead."""
