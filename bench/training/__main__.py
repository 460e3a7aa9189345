"""The command `python -m bench.training`: see `bench/training/steps.py`."""

import sys

from bench.training.steps import main

if __name__ == "__main__":
    sys.exit(main())
