"""The manifests of shards into one, once it is sure that nothing is missing and nothing is there twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

from ..storage import PARTIAL_PREFIX, read_json, replacing
from .folder import MANIFEST_NAME, MERGED_PREFIX, SHARDS, locked, read_lines, shard_files, sync_folder
from .manifest import Failure
from .shards import Shard

__all__ = ["IncompleteCorpus", "MergeReport", "merge"]


class IncompleteCorpus(ValueError):
    """Shards do not make a whole.

    Attributes:
        problems: what is missing, or there twice, a sentence each.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass
class MergeReport:
    """What was merged.

    Attributes:
        shards: how many.
        rows: rows of the input manifest.
        items: lines that they gave to the manifest.
        kept: lines that the manifest had before and that no shard has replaced.
        failures: rows that could not be spoken.
    """

    shards: int = 0
    rows: int = 0
    items: int = 0
    kept: int = 0
    failures: list[Failure] = field(default_factory=list)


def merge(output_dir: str | os.PathLike[str]) -> MergeReport:
    """Check the shards of a folder and put their manifests into `manifest.jsonl`; theirs are removed.

    Every shard has to have finished, with the same voice and controls, over the same rows; each of its rows is in its
    manifest, with its file as long as it was written, or among those that it reported as failed. Killed at any moment,
    it can be started again.

    Raises:
        IncompleteCorpus: something is missing or there twice; nothing is changed.
        ValueError: the folder holds no shards.
        OSError: a shard is being written to, or the folder cannot be.
    """
    folder = Path(output_dir)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder")
    lock = locked(folder)
    try:
        for leftover in folder.glob(f"{MERGED_PREFIX}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        found = shard_files(folder)
        if not found:
            raise ValueError(f"{folder} holds no shards")
        report, problems = _check(folder, found)
        if problems:
            raise IncompleteCorpus(problems)
        for leftover in folder.glob(f"{PARTIAL_PREFIX}*"):
            leftover.unlink(missing_ok=True)
        _write(folder, found, report)
        return report
    finally:
        lock.close()


def _check(folder: Path, found: list[Shard]) -> tuple[MergeReport, list[str]]:
    counts = {shard.count for shard in found}
    if len(counts) > 1:
        return MergeReport(), [f"there are shards of {' and of '.join(map(str, sorted(counts)))}"]
    (count,) = counts
    report, problems = MergeReport(shards=count), []
    told: dict[int, dict[str, Any]] = {}
    owners: dict[str, int] = {}
    for number in range(1, count + 1):
        shard = Shard(number, count)
        path = folder / SHARDS / f"{shard.name}.json"
        if shard not in found or not path.exists():
            problems.append(f"shard {shard} has not {'finished' if shard in found else 'begun'}")
            continue
        facts = told[number] = read_json(path)
        report.failures += [Failure(**failure) for failure in facts["failures"]]
        problems += _check_lines(folder, shard, facts, owners)
    report.rows = max((facts["rows"] for facts in told.values()), default=0)
    for name, what in (("settings", "with other voices or controls"), ("names", "over other rows")):
        values = [facts[name] for facts in told.values()]
        usual = max(set(values), key=values.count, default=None)
        others = [f"{number}/{count}" for number, facts in told.items() if facts[name] != usual]
        if others:
            problems.append(f"{', '.join(others)} ran {what} than most shards")
    dealt = sum(facts["dealt"] for facts in told.values())
    if not problems and dealt != report.rows:
        problems.append(f"{dealt} rows were dealt, and the manifest has {report.rows}")
    report.items = len(owners)
    return report, problems


def _check_lines(folder: Path, shard: Shard, facts: dict[str, Any], owners: dict[str, int]) -> Iterator[str]:
    """What is wrong with the lines of a shard; `owners` learns its ids."""
    lines = torn = 0
    for line in read_lines(folder / SHARDS / f"{shard.name}.jsonl", folder):
        if line is None:
            torn += 1
            continue
        identifier, lines = line[1], lines + 1
        if identifier in owners:
            yield f"{identifier} is there twice, in shards {owners[identifier]} and {shard.number}"
        elif not shard.takes(identifier):
            yield f"{identifier} stands in shard {shard}, to which it does not fall"
        owners[identifier] = shard.number
    expected = facts["dealt"] - len(facts["failures"])
    if torn:
        yield f"shard {shard} names {torn} files that are not there or not whole: run it again"
    elif lines != expected:
        yield f"shard {shard} has {lines} items, and should have {expected}: run it again"


def _write(folder: Path, found: list[Shard], report: MergeReport) -> None:
    """Write the manifest, then have the shards go in one step: in between, merging again does the same."""
    written: set[str] = set()
    manifest = folder / MANIFEST_NAME
    with replacing(manifest) as temporary, open(temporary, "wb") as file:
        for shard in found:
            for line in read_lines(folder / SHARDS / f"{shard.name}.jsonl", folder):
                if line is not None:
                    written.add(line[1])
                    file.write(line[0])
        for line in read_lines(manifest, folder):
            if line is not None and line[1] not in written:
                report.kept += 1
                file.write(line[0])
    merged = folder / f"{MERGED_PREFIX}{token_hex(8)}"
    os.replace(folder / SHARDS, merged)
    sync_folder(folder)
    shutil.rmtree(merged, ignore_errors=True)
