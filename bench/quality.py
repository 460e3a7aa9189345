"""The command `python -m bench.quality`: see `bench/utterances/quality.py`."""

import sys

from bench.utterances.quality import main

if __name__ == "__main__":
    sys.exit(main())
