"""The command `python -m bench.emulate`: see `bench/gpu/emulate.py`."""

import sys

from bench.gpu.emulate import main

if __name__ == "__main__":
    sys.exit(main())
