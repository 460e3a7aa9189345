"""`fastvits merge`: the manifests of shards into one."""

import argparse
import sys
from pathlib import Path

from .arguments import InputError, OneLineParser, one_line

EPILOG = """examples:
  fastvits synthesize sentences.csv --output-dir corpus --shard 1/2
  fastvits synthesize sentences.csv --output-dir corpus --shard 2/2
  fastvits merge corpus

Exit status: 0 if every row is there, 1 if some could not be spoken or the shards make no whole.
"""


def add_to(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "merge",
        help="put the manifests of shards together",
        description="Check that the shards of a folder have finished, that nothing is missing and nothing there twice, "
        "and put their manifests into one.",
        epilog=EPILOG,
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="what the shards had as --output-dir")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Merge, and list the rows that failed."""
    from ..corpus import IncompleteCorpus, merge

    if not options.folder.is_dir():
        raise InputError(f"{options.folder} is no folder")
    try:
        report = merge(options.folder)
    except IncompleteCorpus as error:
        for problem in error.problems:
            print(f"fastvits: {one_line(problem)}", file=sys.stderr)
        print("fastvits: error: nothing was merged", file=sys.stderr)
        return 1
    for failure in report.failures:
        print(f"fastvits: {one_line(str(failure))}", file=sys.stderr)
    print(f"shards:  {report.shards}")
    print(f"items:   {report.items}")
    print(f"kept:    {report.kept} (of an earlier manifest)")
    print(f"failed:  {len(report.failures)}")
    return 1 if report.failures else 0
