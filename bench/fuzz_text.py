"""The command `python -m bench.fuzz_text`: see `bench/text/fuzz.py`."""

import faulthandler
import sys

from bench.text.fuzz import main

if __name__ == "__main__":
    faulthandler.enable()  # espeak-ng is written in C: what ends the process there is told at least
    sys.exit(main())
