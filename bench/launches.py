"""The command `python -m bench.launches`: see `bench/gpu/launches.py`."""

import sys

from bench.gpu.launches import main

if __name__ == "__main__":
    sys.exit(main())
