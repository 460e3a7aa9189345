"""Manifests: the texts of a corpus, from a file or a stream, row by row."""

from __future__ import annotations

import collections
import contextlib
import csv
import io
import itertools
import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["COLUMNS", "MANIFEST_FORMATS", "Failure", "is_broken", "read_manifest"]

MANIFEST_FORMATS = ("jsonl", "json", "csv", "ljspeech", "lines")
COLUMNS = ("id", "text", "speaker", "speaker_id", "seed", "rate", "speaking_rate")
"""What a row may say; `rate` and `speaking_rate` are the same, and other columns are ignored."""

_BY_SUFFIX = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv"}
# What the first line of a table with vertical bars may say where it is a header and no row of LJSpeech's.
_HEADER_WORDS = frozenset(
    [
        "audio",
        "audio_file",
        "file",
        "file_name",
        "filename",
        "id",
        "name",
        "normalized",
        "normalized_text",
        "path",
        "sentence",
        "speaker",
        "text",
        "transcript",
        "transcription",
        "wav",
    ]
)
_MAX_FIELD = 2**31 - 1
_csv_limit = threading.Lock()


@dataclass(frozen=True)
class Failure:
    """A row that could not be spoken: its number from 1, its id where it has one, and why."""

    row: int
    id: str | None
    message: str

    def __str__(self) -> str:
        return f"row {self.row}{f' ({self.id})' if self.id else ''}: {self.message}"


def read_manifest(
    source: str | os.PathLike[str] | BinaryIO, manifest_format: str | None = None
) -> Iterator[dict[str, Any] | Failure]:
    """The rows of a manifest, one dictionary each; a row that cannot be read is a `Failure`.

    Args:
        source: a file, or an open binary stream.
        manifest_format: "jsonl" (an object a line), "json" (a list of objects or of texts), "csv" (a header line first;
            commas, semicolons, tabs or vertical bars; without a header, `id|text` or `id|text|normalized text` as in
            LJSpeech), "ljspeech" (that alone, quotes being text), or "lines" (a text a line). None goes by the name:
            `.jsonl` and `.ndjson`, `.json`, `.csv` and `.tsv`, else lines. Empty lines are left out.

    Raises:
        OSError: the file cannot be read.
        ValueError: an unknown format, a CSV without a column `text` or with two of one name, or JSON that is no list.
    """
    if manifest_format not in (None, *MANIFEST_FORMATS):
        raise ValueError(f"unknown manifest format {manifest_format!r}: use {', '.join(MANIFEST_FORMATS)}")
    if manifest_format is None:
        suffix = Path(source).suffix.lower() if isinstance(source, str | os.PathLike) else ""
        manifest_format = _BY_SUFFIX.get(suffix, "lines")
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(open(source, "rb")) if isinstance(source, str | os.PathLike) else source
        # Bytes that are no UTF-8 spoil their row and not the file.
        newline = "" if manifest_format == "csv" else None
        text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline=newline)
        if isinstance(source, str | os.PathLike):
            stack.callback(text.close)
        else:
            stack.callback(text.detach)
        yield from _READERS[manifest_format](text)


def _text_rows(stream: Iterable[str]) -> Iterator[dict[str, Any] | Failure]:
    """Every line that is not empty is a text."""
    for number, line in enumerate(stream, 1):
        line = line.strip()
        if line:
            yield Failure(number, None, "is not UTF-8") if is_broken(line) else {"text": line, "row": number}


def _json_line_rows(stream: Iterable[str]) -> Iterator[dict[str, Any] | Failure]:
    """Every line that is not empty is a JSON object."""
    for number, line in enumerate(stream, 1):
        line = line.strip()
        if not line:
            continue
        if is_broken(line):
            yield Failure(number, None, "is not UTF-8")
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Failure(number, None, f"is no JSON: {error}")
            continue
        yield _object_row(row, number)


def _object_row(row: Any, number: int) -> dict[str, Any] | Failure:
    if isinstance(row, dict):
        return {**row, "row": number}
    return Failure(number, None, f"must be a JSON object, got {type(row).__name__}")


def _json_list_rows(stream: io.TextIOWrapper) -> Iterator[dict[str, Any] | Failure]:
    """A JSON list of objects or of texts."""
    advice = "a .json manifest is one list; objects line by line belong into a .jsonl file"
    try:
        rows = json.loads(stream.read())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the manifest is no JSON ({error}): {advice}") from None
    if not isinstance(rows, list):
        raise ValueError(f"the manifest holds no JSON list but a {type(rows).__name__}: {advice}")
    for number, row in enumerate(rows, 1):
        yield _object_row({"text": row} if isinstance(row, str) else row, number)


def _ljspeech_rows(lines: Iterable[str]) -> Iterator[dict[str, Any] | Failure]:
    """`id|text`, or `id|text|normalized text`, of which the last is spoken; quotes are text."""
    for number, line in enumerate(lines, 1):
        fields = [field.strip() for field in line.rstrip("\r\n").split("|")]
        if not any(fields):
            continue
        if is_broken(line):
            yield Failure(number, None, "is not UTF-8")
        elif len(fields) not in (2, 3):
            yield Failure(number, None, f"has {len(fields)} columns, but id|text or id|text|normalized text has 2 or 3")
        else:
            yield {"id": fields[0], "text": fields[-1] or fields[1], "row": number}


def _csv_rows(stream: io.TextIOWrapper) -> Iterator[dict[str, Any] | Failure]:
    first = stream.readline()
    if _is_ljspeech(first):
        yield from _ljspeech_rows(itertools.chain([first], stream))
        return
    delimiter = max(",;\t|", key=first.count)
    header = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter), [])]
    if "text" not in header:
        raise ValueError(f"the CSV has no column 'text'; its header names {', '.join(header) or 'nothing'}")
    repeated = sorted({name for name in header if name in COLUMNS and header.count(name) > 1})
    if repeated:
        raise ValueError(f"the CSV has more than one column {', '.join(map(repr, repeated))}")
    number = 0
    for values in _records(stream, delimiter):
        number += 1
        if isinstance(values, csv.Error):
            yield Failure(number, None, f"cannot be read: {values}")
        elif not any(value.strip() for value in values):
            number -= 1
        elif len(values) != len(header):
            yield Failure(number, None, f"has {len(values)} columns, but the header has {len(header)}")
        elif any(map(is_broken, values)):
            yield Failure(number, None, "is not UTF-8")
        else:
            yield {**dict(zip(header, values, strict=True)), "row": number}


def _is_ljspeech(line: str) -> bool:
    """Whether a table's first line is a row of LJSpeech's, and no header."""
    fields = [field.strip().strip('"').lower() for field in line.split("|")]
    columns = {name.strip().strip('"').lower() for name in re.split(r"[,;\t]", line)}
    return len(fields) in (2, 3) and not _HEADER_WORDS.intersection(fields) and "text" not in columns


def _records(stream: Iterable[str], delimiter: str) -> Iterator[list[str] | csv.Error]:
    """The records of a CSV; an error for a line whose quote is never closed, and then the lines below it.

    A field between quotes may hold line breaks, so a quote that is not closed would swallow every row below. A record
    of several lines is therefore read strictly: nothing but a delimiter may follow a closing quote, and the file may
    not end inside. Where that fails, its first line is at fault.
    """
    lines = _Lines(iter(stream))
    while True:
        lines.taken = []
        try:
            values = _parsed(lines, delimiter, strict=False)
        except csv.Error as error:
            yield error
            continue
        if values is None:
            return
        if lines.at_end or (len(lines.taken) > 1 and not _is_strict(lines.taken, delimiter)):
            lines.give_back(lines.taken[1:])
            yield csv.Error("its quote is never closed")
        else:
            yield values


class _Lines(Iterator[str]):
    """The lines of a stream, some of which can be given back; `taken` are those since it was last emptied."""

    def __init__(self, source: Iterator[str]) -> None:
        self._source = source
        self._waiting: collections.deque[str] = collections.deque()
        self.taken: list[str] = []
        self.at_end = False
        """Whether more was asked for than there is."""

    def __next__(self) -> str:
        line = self._waiting.popleft() if self._waiting else next(self._source, None)
        self.at_end = line is None
        if line is None:
            raise StopIteration
        self.taken.append(line)
        return line

    def give_back(self, lines: list[str]) -> None:
        """Have these lines come again, before all others."""
        self._waiting.extendleft(reversed(lines))


def _is_strict(lines: list[str], delimiter: str) -> bool:
    try:
        _parsed(iter(lines), delimiter, strict=True)
    except csv.Error:
        return False
    return True


def _parsed(lines: Iterator[str], delimiter: str, *, strict: bool) -> list[str] | None:
    """The next record, its fields of any length: the limit is the csv module's, for the whole process. None at the
    end."""
    with _csv_limit:
        before = csv.field_size_limit(_MAX_FIELD)
        try:
            return next(csv.reader(lines, delimiter=delimiter, strict=strict), None)
        finally:
            csv.field_size_limit(before)


_READERS: dict[str, Callable[[io.TextIOWrapper], Iterator[dict[str, Any] | Failure]]] = {
    "jsonl": _json_line_rows,
    "json": _json_list_rows,
    "csv": _csv_rows,
    "ljspeech": _ljspeech_rows,
    "lines": _text_rows,
}


def is_broken(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
