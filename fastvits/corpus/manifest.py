"""Manifests: the texts of a corpus, from a file or a stream, row by row."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["COLUMNS", "MANIFEST_FORMATS", "Failure", "is_broken", "read_manifest"]

MANIFEST_FORMATS = ("jsonl", "csv", "lines")
COLUMNS = ("id", "text", "speaker", "speaker_id", "seed", "rate", "speaking_rate")
"""What a row may say; `rate` and `speaking_rate` are the same, and other columns are ignored."""

_LONGEST_FIELD = 2**31 - 1
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
        manifest_format: "jsonl" (an object a line), "csv" (a header line first; commas, semicolons or tabs), or "lines"
        (a text a
            line); None goes by the name: `.jsonl` and `.ndjson`, `.csv` and `.tsv`, else lines. Empty lines are left
            out.

    Raises:
        OSError: the file cannot be read.
        ValueError: an unknown format, or a CSV without a column `text` or with two of one name.
    """
    if manifest_format not in (None, *MANIFEST_FORMATS):
        raise ValueError(f"unknown manifest format {manifest_format!r}: use {', '.join(MANIFEST_FORMATS)}")
    if manifest_format is None:
        suffix = Path(source).suffix.lower() if isinstance(source, str | os.PathLike) else ""
        manifest_format = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv"}.get(suffix, "lines")
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(open(source, "rb")) if isinstance(source, str | os.PathLike) else source
        # Bytes that are no UTF-8 spoil their row and not the file.
        newline = "" if manifest_format == "csv" else None
        text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline=newline)
        if isinstance(source, str | os.PathLike):
            stack.callback(text.close)
        else:
            stack.callback(text.detach)
        rows = _csv_rows(text) if manifest_format == "csv" else _line_rows(text, manifest_format == "jsonl")
        yield from rows


def _line_rows(stream: Iterable[str], as_json: bool) -> Iterator[dict[str, Any] | Failure]:
    for number, line in enumerate(stream, 1):
        line = line.strip()
        if not line:
            continue
        if is_broken(line):
            yield Failure(number, None, "is not UTF-8")
        elif not as_json:
            yield {"text": line, "row": number}
        else:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Failure(number, None, f"is no JSON: {error}")
                continue
            if isinstance(row, dict):
                yield {**row, "row": number}
            else:
                yield Failure(number, None, f"must be a JSON object, not {type(row).__name__}")


def _csv_rows(stream: io.TextIOWrapper) -> Iterator[dict[str, Any] | Failure]:
    first = stream.readline()
    delimiter = max(",;\t|", key=first.count)
    header = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter), [])]
    if "text" not in header:
        raise ValueError(f"the CSV has no column 'text'; its header names {', '.join(header) or 'nothing'}")
    repeated = sorted({name for name in header if name in COLUMNS and header.count(name) > 1})
    if repeated:
        raise ValueError(f"the CSV has more than one column {', '.join(map(repr, repeated))}")
    reader = csv.reader(stream, delimiter=delimiter)
    number = 0
    while True:
        number += 1
        try:
            values = _next_row(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Failure(number, None, f"cannot be read: {error}")
            continue
        if not any(value.strip() for value in values):
            number -= 1
        elif len(values) != len(header):
            yield Failure(number, None, f"has {len(values)} columns, but the header has {len(header)}")
        elif any(map(is_broken, values)):
            yield Failure(number, None, "is not UTF-8")
        else:
            yield {**dict(zip(header, values, strict=True)), "row": number}


def _next_row(reader: Iterator[list[str]]) -> list[str]:
    """The next row, its fields of any length: the limit is the csv module's, for the whole process."""
    with _csv_limit:
        before = csv.field_size_limit(_LONGEST_FIELD)
        try:
            return next(reader)
        finally:
            csv.field_size_limit(before)


def is_broken(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
