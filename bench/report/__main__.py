"""Render what was measured: BENCHMARKS.md, the plots, and the figures in README.md.

    python -m bench.report [--check]

All of it follows from `bench/results/*.jsonl`: of each thing measured on a device, the latest row counts, and of what
is compared with one another only the rows of the latest run. BENCHMARKS.md has every device, README.md the CPU and the
GPU that were measured last. Between the markers in README.md nothing is written by hand, and outside of them no figure
is. `--check` writes nothing and exits with 1 where a file is not what the results say.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

from bench.report.pages import outdated, rendered, write
from bench.report.results import Results


def main(arguments: Sequence[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Write the report, or check it."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is outdated")
    options = parser.parse_args(arguments)
    files = rendered(Results())
    if options.check:
        wrong = outdated(files)
        for path in wrong:
            say(f"{path} does not follow from the results: run python -m bench.report")
        return 1 if wrong else 0
    write(files)
    say(f"wrote {len(files)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
