"""The command `python -m bench.run`: see `bench/ops/run.py`."""

import sys

from bench.ops.run import main

if __name__ == "__main__":
    sys.exit(main())
