"""fastvits inside other people's tools: each file for one of them, which is imported there and nowhere else."""
