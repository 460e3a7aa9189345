"""Voices that can be fetched: Piper's catalogue, and the languages of MMS.

Piper's catalogue is one JSON file that names, for every voice, its files with their sizes and MD5 checksums; it lies
beside the voices at `PIPER_VOICES`, or where `FASTVITS_PIPER_VOICES` says. The voices of MMS are repositories of the
hub, `facebook/mms-tts-` and the code of a language.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

__all__ = [
    "MMS_PREFIX",
    "PIPER_VOICES",
    "CatalogueFile",
    "CatalogueVoice",
    "mms_languages",
    "mms_repository",
    "open_url",
    "piper_catalogue",
    "piper_voice",
    "piper_voices_url",
]

PIPER_VOICES = "https://huggingface.co/rhasspy/piper-voices/resolve/main/"
MMS_PREFIX = "facebook/mms-tts-"

_CATALOGUE_FILE = "voices.json"
_MAX_CATALOGUE_BYTES = 64 << 20
_SECONDS_OF_SILENCE = 30.0
# ISO 639-3, and behind it a script or a dialect: "deu", "azj-script_latin".
_MMS_CODE = re.compile(r"[a-z]{3}(?:-(?:script|dialect)_[a-z0-9-]+)?")
_KEY = re.compile(r"[\w.+-]+")


@dataclass(frozen=True)
class CatalogueFile:
    """A file of a voice: its path in the catalogue, its size in bytes, and its MD5 in hexadecimal digits."""

    path: str
    bytes: int
    md5: str

    @property
    def name(self) -> str:
        """What the file is called, without folders."""
        return PurePosixPath(self.path).name


@dataclass(frozen=True)
class CatalogueVoice:
    """A voice of Piper's catalogue.

    Attributes:
        key: its name, such as "en_US-lessac-medium".
        aliases: older names.
        language: the code of its language, such as "en_US".
        language_name: what the language is called in English.
        quality: x_low, low, medium or high.
        speakers: how many there are.
        files: the model, its JSON, and a model card.
    """

    key: str
    aliases: tuple[str, ...]
    language: str
    language_name: str
    quality: str
    speakers: int
    files: tuple[CatalogueFile, ...]

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(file.bytes for file in self.files)


def piper_voices_url() -> str:
    """Where Piper's voices are: `FASTVITS_PIPER_VOICES`, or `PIPER_VOICES`; it ends with a slash."""
    chosen = os.environ.get("FASTVITS_PIPER_VOICES") or PIPER_VOICES
    return chosen if chosen.endswith("/") else chosen + "/"


def open_url(url: str) -> BinaryIO:
    """What an address holds, to be read; OSError, in one sentence, where it cannot be had."""
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme not in ("http", "https"):
        raise OSError(f"{url} cannot be fetched: its scheme is {scheme or 'missing'}, and must be http or https")
    request = urllib.request.Request(url, headers={"User-Agent": "fastvits"})
    try:
        return cast(BinaryIO, urllib.request.urlopen(request, timeout=_SECONDS_OF_SILENCE))
    except urllib.error.HTTPError as error:
        raise OSError(f"{url} cannot be fetched: the server says {error.code} {error.reason}") from None
    except (urllib.error.URLError, HTTPException, ValueError) as error:
        raise OSError(f"{url} cannot be fetched: {getattr(error, 'reason', error)}") from None


def piper_catalogue() -> dict[str, CatalogueVoice]:
    """Piper's voices by their names, fetched now.

    Raises OSError where the catalogue cannot be fetched or is none.
    """
    url = piper_voices_url() + _CATALOGUE_FILE
    with open_url(url) as stream:
        try:
            content = stream.read(_MAX_CATALOGUE_BYTES + 1)
        except (OSError, HTTPException) as error:
            raise OSError(f"{url} cannot be fetched: {error}") from None
    if len(content) > _MAX_CATALOGUE_BYTES:
        raise OSError(f"{url} is no catalogue of voices: it has more than {_MAX_CATALOGUE_BYTES >> 20} MB")
    try:
        voices = json.loads(content)
        return {key: _voice(key, entry) for key, entry in sorted(voices.items())}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OSError(f"{url} is no catalogue of voices: {type(error).__name__}: {error}") from None


def _voice(key: str, entry: dict[str, Any]) -> CatalogueVoice:
    if _KEY.fullmatch(key) is None or key.startswith("."):
        raise ValueError(f"{key!r} is no name of a voice")
    language = entry["language"]
    files = []
    for path, facts in entry["files"].items():
        file = CatalogueFile(str(path), int(facts["size_bytes"]), str(facts["md5_digest"]).lower())
        parts = PurePosixPath(file.path).parts
        if file.path.startswith("/") or ".." in parts or "\\" in file.path or not file.name:
            raise ValueError(f"{path!r} is no path of a file")
        if re.fullmatch(r"[0-9a-f]{32}", file.md5) is None or file.bytes < 0:
            raise ValueError(f"{path!r} has no checksum")
        files.append(file)
    return CatalogueVoice(
        key=key,
        aliases=tuple(map(str, entry.get("aliases", ()))),
        language=str(language["code"]),
        language_name=str(language.get("name_english", language["code"])),
        quality=str(entry.get("quality", "?")),
        speakers=int(entry.get("num_speakers", 1)),
        files=tuple(files),
    )


def piper_voice(catalogue: dict[str, CatalogueVoice], name: str) -> CatalogueVoice:
    """The voice of a name or an older name; ValueError that tells similar names where there is none."""
    if name in catalogue:
        return catalogue[name]
    for voice in catalogue.values():
        if name in voice.aliases:
            return voice
    names = [*catalogue, *(alias for voice in catalogue.values() for alias in voice.aliases)]
    similar = difflib.get_close_matches(name, names, 3, 0.5)
    hint = f"did you mean {', '.join(similar)}?" if similar else "`fastvits voices --all` lists them"
    raise ValueError(f"there is no voice {name!r} in Piper's catalogue: {hint}")


def mms_repository(name: str) -> str | None:
    """The hub's repository of an MMS voice, from the code of a language such as "deu"; None for what is no code."""
    return MMS_PREFIX + name if _MMS_CODE.fullmatch(name) is not None else None


def mms_languages() -> Iterator[str]:
    """The codes of the languages that MMS has voices of, as the hub lists them now.

    Raises OSError where the hub cannot be reached.
    """
    from huggingface_hub import HfApi

    author, prefix = MMS_PREFIX.split("/")
    try:
        for model in HfApi().list_models(author=author, search=prefix):
            if model.id.startswith(MMS_PREFIX):
                yield model.id.removeprefix(MMS_PREFIX)
    except Exception as error:  # whatever the hub's client and the HTTP library below it raise
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise OSError(f"the voices of MMS cannot be listed: {reason}") from error
