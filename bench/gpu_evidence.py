"""The command `python -m bench.gpu_evidence`: see `bench/gpu/evidence.py`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The checkout need not be installed.
sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "kernels")) if path not in sys.path]

from bench.gpu.evidence import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
