"""Training measured: a step beside the same step in plain modules, and a run that is long enough to see it learn."""
