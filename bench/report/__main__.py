"""Render what was measured: BENCHMARKS.md, a page for each device, the plots, and the figures in README.md.

    python -m bench.report [--check] [--add DIR]

All of it follows from `bench/results/*.jsonl`: of each thing measured on a device, the latest row counts, and of what
is compared with one another only the rows of the latest run. BENCHMARKS.md has a table for every device, and
`docs/benchmarks/` a page; README.md has the CPU and the GPU that were measured last. Between the markers in README.md
nothing is written by hand, and outside of them no figure is.

`--add` adds the rows of a folder of `bench.gpu_evidence` to the results first. `--check` writes nothing and exits with
1 where a file is not what the results say.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import harness
from bench.report.pages import outdated, rendered, write
from bench.report.results import Results

KEPT = ("end_to_end", "ops", "peaks", "accuracy")
"""The files of `bench.gpu_evidence` whose rows belong to the results."""


def add(folder: Path) -> list[str]:
    """Add the rows of a folder to `bench/results/`; a line for each file.

    Raises ValueError, and adds nothing, where the folder has no rows, a row is of a tree with changes, or a run is
    among the results already.
    """
    found = {name: rows for name in KEPT if (rows := harness.read(folder / f"{name}.jsonl"))}
    if not found:
        raise ValueError(f"{folder} has no rows; files that belong here are {', '.join(f'{n}.jsonl' for n in KEPT)}")
    for name, rows in found.items():
        harness.refuse_changed(rows)
        known = {row["run"] for row in harness.read(harness.RESULTS / f"{name}.jsonl")}
        if again := sorted({row["run"] for row in rows} & known):
            raise ValueError(f"run {again[0]} is there already, in {name}.jsonl")
    for name, rows in found.items():
        harness.append(harness.RESULTS / f"{name}.jsonl", rows)
    return [f"{len(rows)} rows of {name}" for name, rows in found.items()]


def main(arguments: Sequence[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Write the report, or check it."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is outdated")
    parser.add_argument("--add", type=Path, metavar="DIR", help="add the rows of a folder of bench.gpu_evidence first")
    options = parser.parse_args(arguments)
    if options.add is not None:
        try:
            for line in add(options.add):
                say(f"added {line}")
        except ValueError as error:
            parser.error(str(error))
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
