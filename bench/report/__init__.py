"""The report: BENCHMARKS.md, the plots, and the figures in README.md, all from `bench/results/`."""
