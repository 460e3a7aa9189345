"""The output folder of a corpus: audio files, and a manifest that names those that are whole.

A shard of a corpus has a manifest of its own in the folder's `shards`, and another file there once it has finished,
which says what it should have done.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..audio.files import write_audio
from ..storage import PARTIAL_PREFIX, replacing, write_json
from .items import Item
from .shards import Shard

__all__ = ["MANIFEST_NAME", "SHARDS", "FolderInUse", "OutputFolder", "is_whole", "locked", "shard_files"]

MANIFEST_NAME = "manifest.jsonl"
SHARDS = "shards"
MERGED_PREFIX = ".merged-"
"""What the folder of shards is called when it has been merged, until it is gone."""


class FolderInUse(OSError):
    """Another run is writing to the folder, or to the same shard of it."""


class OutputFolder:
    """The folder of a run, its manifest, and a lock that ends with the process."""

    def __init__(self, folder: str | os.PathLike[str], shard: Shard | None = None) -> None:
        self.path = Path(folder)
        self.shard = shard
        self.mark = "" if shard is None else f"{shard.name}-"
        self.path.mkdir(parents=True, exist_ok=True)
        self.manifest = self.path / MANIFEST_NAME
        if shard is not None:
            self.manifest = self.path / SHARDS / f"{shard.name}.jsonl"
        self.keys: dict[str, str] = {}  # what there is, by id
        self.inherited: dict[str, tuple[str, bytes]] = {}  # and what there is for a shard without being its own
        self.needs_compaction = False

    def __enter__(self) -> OutputFolder:
        self._locks = [locked(self.path, shared=self.shard is not None)]
        try:
            if self.shard is None:
                if shard_files(self.path):
                    raise ValueError(
                        f"{self.path} holds shards that are not merged: go on with them, or merge them first"
                    )
            else:
                self.manifest.parent.mkdir(exist_ok=True)
                self._locks.append(locked(self.manifest.parent, f".lock-{self.shard.name}"))
                for other in shard_files(self.path):
                    if other.count != self.shard.count:
                        raise ValueError(
                            f"{self.path} holds shards of {other.count}, not of {self.shard.count}: go on with "
                            "those, or merge them first"
                        )
                self._finished().unlink(missing_ok=True)
            self._enter()
        except BaseException:
            self._unlock()
            raise
        return self

    def _enter(self) -> None:
        for leftover in self.path.glob(f"{PARTIAL_PREFIX}{self.mark}*"):
            leftover.unlink(missing_ok=True)
        if self.shard is None:
            for leftover in self.path.glob(f"{MERGED_PREFIX}*"):
                shutil.rmtree(leftover, ignore_errors=True)
        else:
            for line in read_lines(self.path / MANIFEST_NAME, self.path):
                if line is not None and self.shard.takes(line[1]):
                    self.inherited[line[1]] = line[2], line[0]
        self._read()
        self._file = open(self.manifest, "ab")  # noqa: SIM115 - closed in __exit__

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._file.close()
        if self.needs_compaction:
            self._compact()
        self._unlock()

    def _unlock(self) -> None:
        for lock in self._locks:
            lock.close()

    def _finished(self) -> Path:
        return self.manifest.with_suffix(".json")

    def _read(self) -> None:
        """Learn what is there already; take torn and repeated lines out of the manifest."""
        for line in read_lines(self.manifest, self.path):
            self.needs_compaction |= line is None or line[1] in self.keys
            if line is not None:
                self.keys[line[1]] = line[2]
        if self.needs_compaction:
            self._compact()

    def _compact(self, ids: set[str] | None = None) -> None:
        """Write the manifest anew: the last line of each item alone, and of these items alone where they are given."""
        last = {line[1]: number for number, line in enumerate(read_lines(self.manifest, self.path)) if line is not None}
        with replacing(self.manifest, self.mark) as temporary, open(temporary, "wb") as file:
            for number, line in enumerate(read_lines(self.manifest, self.path)):
                if line is not None and last[line[1]] == number and (ids is None or line[1] in ids):
                    file.write(line[0])
        sync_folder(self.manifest.parent)
        self.needs_compaction = False

    def has(self, item: Item) -> bool:
        """Whether the item is there as it would be spoken now."""
        if self.keys.get(item.id) == item.key:
            return True
        key, line = self.inherited.get(item.id, ("", b""))
        if key != item.key:
            return False
        self._append(item, line)
        return True

    def add(self, item: Item, audio: np.ndarray, sampling_rate: int, format: str, spans: list[Any] | None) -> None:
        """Keep the audio of an item: first its file, then its line."""
        name = f"{item.id}.{format}"
        with replacing(self.path / name, self.mark) as temporary:
            write_audio(temporary, audio, sampling_rate, format)
            size = temporary.stat().st_size
        sync_folder(self.path)
        row: dict[str, Any] = {
            "id": item.id,
            "file": name,
            "text": item.text,
            "speaker": item.speaker,
            "seed": item.seed,
            "speaking_rate": item.rate,
            "sampling_rate": sampling_rate,
            "samples": len(audio),
            "seconds": round(len(audio) / sampling_rate, 6),
            "bytes": size,
            "key": item.key,
        }
        if spans is not None:
            row["timestamps"] = spans
        self._append(item, (json.dumps(row, ensure_ascii=False) + "\n").encode())

    def _append(self, item: Item, line: bytes) -> None:
        self.needs_compaction |= item.id in self.keys
        self.keys[item.id] = item.key
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self, ids: set[str], **facts: Any) -> None:
        """Of a shard: keep the lines of these items alone, and say that it has done all that it should."""
        assert self.shard is not None
        self._file.close()
        self._compact(ids)
        write_json(self._finished(), {"number": self.shard.number, "count": self.shard.count, **facts})


def locked(folder: Path, name: str = ".lock", *, shared: bool = False) -> Any:
    """A lock on a folder, held until it is closed or the process ends; `FolderInUse` where another run has it."""
    lock = open(folder / name, "ab")  # noqa: SIM115 - held as long as the folder
    try:
        import fcntl

        fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except ImportError:
        pass  # not on this system: two runs at a time are the user's to avoid
    except OSError as error:
        lock.close()
        raise FolderInUse(f"another run is writing to {folder}") from error
    return lock


def is_whole(row: dict[str, Any], folder: Path) -> bool:
    """Whether a line's file is there, as long as it was written; raises KeyError and TypeError for what is no line."""
    try:
        return (folder / row["file"]).stat().st_size == row["bytes"]
    except OSError:
        return False


def read_lines(manifest: Path, folder: Path) -> Iterator[tuple[bytes, str, str] | None]:
    """(line, id, key) of every line of a manifest; None for one that is torn or whose file is not there."""
    if not manifest.exists():
        return
    with open(manifest, "rb") as file:
        for line in file:
            try:
                row = json.loads(line)
                found = line, str(row["id"]), str(row["key"])
                whole = line.endswith(b"\n") and is_whole(row, folder)
            except (ValueError, KeyError, TypeError):
                whole = False
            yield found if whole else None


def shard_files(folder: Path) -> list[Shard]:
    """The shards that have a manifest in a folder."""
    found = []
    for path in sorted((folder / SHARDS).glob("*.jsonl")):
        name = re.fullmatch(r"([0-9]{5})-of-([0-9]{5})", path.stem)
        if name is not None:
            found.append(Shard(int(name[1]), int(name[2])))
    return found


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
