"""The output folder of a corpus: audio files, and a manifest that names those that are whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..audio.files import write_audio
from ..storage import PARTIAL_PREFIX, replacing
from .items import Item

__all__ = ["MANIFEST_NAME", "OutputFolder"]

MANIFEST_NAME = "manifest.jsonl"


class OutputFolder:
    """The folder of a run, its manifest, and a lock that ends with the process."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder)
        self.path.mkdir(parents=True, exist_ok=True)
        self.manifest = self.path / MANIFEST_NAME
        self.keys: dict[str, str] = {}  # what there is, by id
        self.needs_compaction = False

    def __enter__(self) -> OutputFolder:
        self._lock = open(self.path / ".lock", "ab")
        try:
            import fcntl

            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass  # not on this system: two runs at a time are the user's to avoid
        except OSError as error:
            self._lock.close()
            raise OSError(f"another run is writing to {self.path}") from error
        for leftover in self.path.glob(PARTIAL_PREFIX + "*"):
            leftover.unlink(missing_ok=True)
        self._read()
        self._file = open(self.manifest, "ab")
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._file.close()
        if self.needs_compaction:
            self._compact()
        self._lock.close()

    def _lines(self) -> Iterator[tuple[bytes, str, str] | None]:
        """(line, id, key) of every line of the manifest; None for one that is torn or whose file is not there."""
        if not self.manifest.exists():
            return
        with open(self.manifest, "rb") as file:
            for line in file:
                try:
                    row = json.loads(line)
                    found = line, str(row["id"]), str(row["key"])
                    whole = line.endswith(b"\n") and (self.path / row["file"]).stat().st_size == row["bytes"]
                except (ValueError, KeyError, TypeError, OSError):
                    whole = False
                yield found if whole else None

    def _read(self) -> None:
        """Learn what is there already; take torn and repeated lines out of the manifest."""
        for line in self._lines():
            self.needs_compaction |= line is None or line[1] in self.keys
            if line is not None:
                self.keys[line[1]] = line[2]
        if self.needs_compaction:
            self._compact()

    def _compact(self) -> None:
        """Write the manifest anew, the last line of each item alone."""
        last = {line[1]: number for number, line in enumerate(self._lines()) if line is not None}
        with replacing(self.manifest) as temporary, open(temporary, "wb") as file:
            for number, line in enumerate(self._lines()):
                if line is not None and last[line[1]] == number:
                    file.write(line[0])
        self._sync_folder()
        self.needs_compaction = False

    def _sync_folder(self) -> None:
        if os.name != "posix":
            return
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def has(self, item: Item) -> bool:
        """Whether the item is there as it would be spoken now."""
        return self.keys.get(item.id) == item.key

    def add(self, item: Item, audio: np.ndarray, sampling_rate: int, format: str, spans: list[Any] | None) -> None:
        """Keep the audio of an item: first its file, then its line."""
        name = f"{item.id}.{format}"
        with replacing(self.path / name) as temporary:
            write_audio(temporary, audio, sampling_rate, format)
            size = temporary.stat().st_size
        self._sync_folder()
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
        self.needs_compaction |= item.id in self.keys
        self.keys[item.id] = item.key
        self._file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
        self._file.flush()
        os.fsync(self._file.fileno())
