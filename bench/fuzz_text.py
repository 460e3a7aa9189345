"""The command `python -m bench.fuzz_text`: see `bench/text/fuzz.py`."""

import sys

from bench.text.fuzz import main

if __name__ == "__main__":
    sys.exit(main())
