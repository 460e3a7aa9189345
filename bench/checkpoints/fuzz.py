"""Damaged checkpoints of every family: `python -m bench.fuzz_checkpoints [--count N] [--seed N]`.

A small voice of each family is written, one of its files damaged, and the whole converted. That may succeed, where what
was changed says nothing, or end in one sentence, a ValueError or an OSError. Told is every other exception, every
message of several lines, and whatever is left behind; and every folder that is not whole, or that is not read then.
Exit status 1 where there is one. A damage is made of the seed and its number alone: `--first N` begins at one of them.
"""

from __future__ import annotations

import argparse
import collections
import random
import resource
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from tests.support.mutations import outcome, write_sources

# A damaged file must not ask for more memory than this; a small voice needs a few megabytes.
MEMORY = 12 << 30


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 where something went wrong."""
    parser = argparse.ArgumentParser(description="Convert damaged checkpoints.")
    parser.add_argument("--count", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="what the damages are made of (default: 0)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the number of the first (default: 0)")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    limit = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, limit))
    counted: collections.Counter[tuple[str, str]] = collections.Counter()
    faults = 0
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as name:
        sources = write_sources(Path(name))
        (Path(name) / "out").mkdir()
        families = list(sources)
        for number in range(options.first, options.first + options.count):
            family = families[number % len(families)]
            chance = random.Random(f"{options.seed} {number}")
            kind, said = outcome(sources[family], Path(name) / "out" / "voice", chance)
            counted[family, kind] += 1
            if kind == "fault":
                faults += 1
                print(f"number {number}, {family}: {said}", flush=True)
    for (family, kind), count in sorted(counted.items()):
        print(f"{family:10} {kind:20} {count:6}")
    print(f"{options.count} damaged files, {faults} faults, {time.process_time() - begun:.0f} s of CPU")
    return int(faults > 0)
