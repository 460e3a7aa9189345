"""How a stage of a call is run: backends, padded sizes, graphs, warming up. Knows no model."""
