"""`python -m fastvits` is the command `fastvits`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
