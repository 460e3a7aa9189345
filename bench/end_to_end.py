"""The command `python -m bench.end_to_end`: see `bench/utterances/end_to_end.py`."""

import sys

from bench.utterances.end_to_end import main

if __name__ == "__main__":
    sys.exit(main())
