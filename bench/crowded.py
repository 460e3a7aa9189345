"""The command `python -m bench.crowded`: see `bench/processes/crowded.py`."""

import sys

from bench.processes.crowded import main

if __name__ == "__main__":
    sys.exit(main())
