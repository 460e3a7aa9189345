"""The command `python -m bench.accuracy`: see `bench/ops/accuracy.py`."""

import sys

from bench.ops.accuracy import main

if __name__ == "__main__":
    sys.exit(main())
