"""How a stage of a call is run: backends, buckets, graphs, warming up. Knows no model."""
