"""The command `python -m bench.fuzz_checkpoints`: see `bench/checkpoints/fuzz.py`."""

import faulthandler
import sys

from bench.checkpoints.fuzz import main

if __name__ == "__main__":
    faulthandler.enable()  # torch and protobuf are written in C++: what ends the process there is told at least
    sys.exit(main())
