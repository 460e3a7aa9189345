"""The command `python -m bench.heard_text`: see `bench/text/heard.py`."""

import sys

from bench.text.heard import main

if __name__ == "__main__":
    sys.exit(main())
