"""The command `python -m bench.compile_report`: see `bench/gpu/compile_report.py`."""

import sys

from bench.gpu.compile_report import main

if __name__ == "__main__":
    sys.exit(main())
