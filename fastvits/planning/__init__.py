"""What a model would run, and which tiles it should: `explain` and `tune`."""
