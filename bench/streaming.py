"""The command `python -m bench.streaming`: see `bench/utterances/streaming.py`."""

import sys

from bench.utterances.streaming import main

if __name__ == "__main__":
    sys.exit(main())
