"""The command `python -m bench.scaling`: see `bench/processes/scaling.py`."""

import sys

from bench.processes.scaling import main

if __name__ == "__main__":
    sys.exit(main())
