"""The command `python -m bench.compiling`: see `bench/gpu/compiling.py`."""

import sys

from bench.gpu.compiling import main

if __name__ == "__main__":
    sys.exit(main())
