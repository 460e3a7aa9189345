"""The command `python -m bench.startup`: see `bench/processes/startup.py`."""

import sys

from bench.processes.startup import main

if __name__ == "__main__":
    sys.exit(main())
