"""Which recordings there are: folders and manifests of clips with their texts.

Understood are LJSpeech's folder (`metadata.csv`, `wavs/`), VCTK's (`txt/SPEAKER/`, `wav48/SPEAKER/`), the folder that
`fastvits synthesize` writes (`manifest.jsonl`), and manifests of one's own: JSON objects line by line, or CSV with a
header line, with columns `file` (or `audio`, `path`, `audio_file`, `file_name`), `text` and, if you like, `id` and
`speaker`. Paths are relative to the manifest.
"""

import csv
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["LAYOUTS", "Clip", "Problem", "read_clips"]

LAYOUTS = ("ljspeech", "vctk", "jsonl", "csv")
"""Layouts of data; `jsonl` is also what `fastvits synthesize` writes."""

_FILE_COLUMNS = ("file", "audio", "path", "audio_file", "file_name")
_AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".opus")


@dataclass(frozen=True)
class Clip:
    """A recording and what is said in it."""

    id: str
    file: Path
    text: str
    speaker: str | None = None


@dataclass(frozen=True)
class Problem:
    """A clip that cannot be used, and why."""

    id: str
    kind: str  # of a few, by which a report counts
    message: str

    def __str__(self) -> str:
        return f"{self.id}: {self.message}"


def read_clips(source: str | os.PathLike[str], layout: str | None = None) -> Iterator[Clip | Problem]:
    """The clips of a folder or a manifest; a row that cannot be read is a `Problem`.

    Args:
        source: a folder or a file.
        layout: one of `LAYOUTS`; None finds out.

    Raises:
        OSError: there is no such folder or file.
        ValueError: an unknown layout, none that can be recognised, or a manifest without the columns it needs.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"data {path} does not exist")
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}: use {', '.join(LAYOUTS)}")
    layout = _layout_of(path) if layout is None else layout
    if layout == "ljspeech":
        return _ljspeech(path / "metadata.csv" if path.is_dir() else path)
    if layout == "vctk":
        return _vctk(path)
    if path.is_dir():
        path = path / f"manifest.{layout}"
    if not path.is_file():
        raise FileNotFoundError(f"manifest {path} does not exist")
    return _manifest(path, _json_rows(path) if layout == "jsonl" else _csv_rows(path))


def _layout_of(path: Path) -> str:
    if path.is_dir():
        for name, layout in (("manifest.jsonl", "jsonl"), ("metadata.csv", "ljspeech"), ("manifest.csv", "csv")):
            if (path / name).is_file():
                return layout
        if (path / "txt").is_dir():
            return "vctk"
        raise ValueError(
            f"{path} holds no data that is understood: neither manifest.jsonl nor manifest.csv, nor metadata.csv with "
            "wavs/ (LJSpeech), nor txt/ with wav48/ (VCTK)"
        )
    if path.name == "metadata.csv" and (path.parent / "wavs").is_dir():
        return "ljspeech"
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return "jsonl"
    if suffix in (".csv", ".tsv"):
        return "csv"
    raise ValueError(f"{path} is no manifest: its name must end in .jsonl, .ndjson, .csv or .tsv, or say its layout")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not empty, with their numbers from 1; bytes that are no UTF-8 stay visible as surrogates."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line.rstrip("\r\n")


def _broken(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _ljspeech(metadata: Path) -> Iterator[Clip | Problem]:
    """`id|text` or `id|text|normalised text`, the last of which counts; the audio in `wavs/`."""
    if not metadata.is_file():
        raise FileNotFoundError(f"{metadata} does not exist")
    for number, line in _lines(metadata):
        fields = line.split("|")
        name = fields[0].strip()
        if _broken(line):
            yield Problem(f"line {number}", "unreadable row", "is not UTF-8")
        elif len(fields) not in (2, 3) or not name:
            yield Problem(
                f"line {number}", "unreadable row", f"has {len(fields)} fields, and 2 or 3 are needed: id|text|text"
            )
        else:
            yield Clip(name, _found(metadata.parent / "wavs" / name), fields[-1].strip())


def _found(stem: Path) -> Path:
    """The audio file of that name, or of that stem with a suffix; a `.wav` that may not be there where none is."""
    if stem.suffix.lower() in _AUDIO_SUFFIXES:
        return stem
    files = [stem.with_name(stem.name + suffix) for suffix in _AUDIO_SUFFIXES]
    return next((file for file in files if file.is_file()), files[0])


def _vctk(folder: Path) -> Iterator[Clip | Problem]:
    """`txt/SPEAKER/ID.txt`, and the audio in `wav48/SPEAKER/ID.wav` or `wav48_silence_trimmed/SPEAKER/ID_mic1.flac`."""
    audio = [folder / name for name in ("wav48_silence_trimmed", "wav48", "wav") if (folder / name).is_dir()]
    if not audio:
        raise ValueError(f"{folder} has texts as VCTK has them, but no wav48_silence_trimmed, wav48 or wav")
    for text in sorted((folder / "txt").glob("*/*.txt")):
        speaker, name = text.parent.name, text.stem
        candidates = [_found(place / speaker / f"{name}{mic}") for place in audio for mic in ("", "_mic1", "_mic2")]
        file = next((candidate for candidate in candidates if candidate.is_file()), candidates[0])
        try:
            yield Clip(name, file, text.read_text("utf-8").strip(), speaker)
        except UnicodeDecodeError:
            yield Problem(name, "unreadable row", f"{text} is not UTF-8")


def _json_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    for number, line in _lines(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"is no JSON: {error}"
            continue
        yield number, row if isinstance(row, dict) else f"must be a JSON object, got {type(row).__name__}"


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        first = file.readline()
        delimiter = max(",;\t|", key=first.count)
        header = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter), [])]
        if "text" not in header or not set(header) & set(_FILE_COLUMNS):
            raise ValueError(
                f"{path} needs the columns text and one of {', '.join(_FILE_COLUMNS)}; its header names "
                f"{', '.join(header) or 'nothing'}"
            )
        for number, values in enumerate(csv.reader(file, delimiter=delimiter), 2):
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(header):
                yield number, f"has {len(values)} columns, but the header has {len(header)}"
            else:
                yield number, dict(zip(header, values, strict=True))


def _manifest(path: Path, rows: Iterator[tuple[int, Mapping[str, Any] | str]]) -> Iterator[Clip | Problem]:
    for number, row in rows:
        where = f"line {number}"
        if isinstance(row, str):
            yield Problem(where, "unreadable row", row)
            continue
        file = next((row[name] for name in _FILE_COLUMNS if row.get(name)), None)
        text, speaker = row.get("text"), row.get("speaker")
        identifier = str(row["id"]) if row.get("id") not in (None, "") else Path(str(file)).stem
        if not isinstance(file, str):
            yield Problem(where, "unreadable row", f"names no file in {', '.join(_FILE_COLUMNS)}")
        elif not isinstance(text, str):
            yield Problem(identifier, "unreadable row", "has no text")
        elif _broken(text) or _broken(file):
            yield Problem(identifier, "unreadable row", "is not UTF-8")
        else:
            named = None if speaker is None or not str(speaker).strip() else str(speaker).strip()
            yield Clip(identifier, path.parent / file, text.strip(), named)
