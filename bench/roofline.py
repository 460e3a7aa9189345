"""The command `python -m bench.roofline`: see `bench/ops/roofline.py`."""

import sys

from bench.ops.roofline import main

if __name__ == "__main__":
    sys.exit(main())
