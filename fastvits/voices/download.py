"""Voices fetched onto this machine: Piper's into the cache, checked; those of the hub into the hub's own cache."""

from __future__ import annotations

import hashlib
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from ..storage import read_json, replacing
from .catalogue import (
    CatalogueFile,
    CatalogueVoice,
    mms_repository,
    open_url,
    piper_catalogue,
    piper_voice,
    piper_voices_url,
)
from .folders import downloaded_voice

__all__ = ["Downloaded", "download"]

_BLOCK = 1 << 20
_HUB_PATTERNS = ("*.json", "*.safetensors", "*.bin", "*.txt", "README.md")

Progress = Callable[[str, int, int], None]
"""Told the name of a file, how many of its bytes are there, and how many there will be."""


@dataclass(frozen=True)
class Downloaded:
    """A voice that is on this machine now.

    Attributes:
        voice: what `--voice` and `Speaker` take.
        path: where it lies.
        licence: what its files say of its licence; None where they say nothing.
        fetched: the bytes that were fetched now, 0 where everything was there; None of the hub, whose client knows.
    """

    voice: str
    path: Path
    licence: str | None
    fetched: int | None


def download(name: str, *, force: bool = False, progress: Progress | None = None) -> Downloaded:
    """Fetch a voice, and check it.

    Args:
        name: a name of Piper's catalogue, such as "en_US-lessac-medium"; the code of a language of MMS, such as "deu";
            or the id of a repository on the hub.
        force: fetch again what is there.
        progress: told how far each file of a Piper voice is. (The hub's client shows its own.)

    Raises:
        ValueError: no such voice.
        OSError: something cannot be fetched, is not what its checksum says, or cannot be written.
    """
    repository = name if "/" in name else mms_repository(name)
    if repository is not None:
        return _from_hub(repository, force)
    return _from_piper(piper_voice(piper_catalogue(), name), force, progress)


def _from_piper(voice: CatalogueVoice, force: bool, progress: Progress | None) -> Downloaded:
    model = downloaded_voice(voice.key)
    names = {file.name for file in voice.files}
    missing = {model.name, model.name + ".json"} - names
    if missing:
        raise OSError(f"the catalogue names no file {' and '.join(sorted(missing))} for {voice.key}")
    folder = model.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot keep voices in {folder} ({error.strerror}); set FASTVITS_CACHE to another") from None
    fetched = 0
    # The model comes last: where it is, the rest is there too.
    for file in sorted(voice.files, key=lambda file: file.name == model.name):
        path = folder / file.name
        if force or not path.is_file() or path.stat().st_size != file.bytes or _md5(path) != file.md5:
            _fetch(file, path, progress)
            fetched += file.bytes
    return Downloaded(voice.key, model, _licence_of_card(folder / "MODEL_CARD"), fetched)


def _fetch(file: CatalogueFile, path: Path, progress: Progress | None) -> None:
    """A file of the catalogue, which appears when it is whole and right."""
    url = piper_voices_url() + urllib.parse.quote(file.path)
    digest, size = hashlib.md5(usedforsecurity=False), 0
    with open_url(url) as stream, replacing(path) as temporary, open(temporary, "wb") as target:
        while True:
            try:
                block = stream.read(_BLOCK)
            except (OSError, HTTPException) as error:
                raise OSError(f"{url} broke off after {size} of {file.bytes} bytes: {error}") from None
            if not block:
                break
            size += len(block)
            if size > file.bytes:
                break
            digest.update(block)
            target.write(block)
            if progress is not None:
                progress(file.name, size, file.bytes)
        if size != file.bytes:
            relation = "more than" if size > file.bytes else f"{size} of"
            raise OSError(f"{url} has {relation} the {file.bytes} bytes that the catalogue tells: it was not kept")
        if digest.hexdigest() != file.md5:
            raise OSError(f"{url} is not what the catalogue's checksum says: it was not kept")


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _licence_of_card(path: Path) -> str | None:
    """What a model card says behind "License:"."""
    if not path.is_file():
        return None
    match = re.search(r"^\W*licen[cs]e\W*:\W*(\S.*)$", path.read_text("utf-8", errors="replace"), re.I | re.M)
    return match[1].strip() if match else None


def _from_hub(repository: str, force: bool) -> Downloaded:
    from ..hub import snapshot

    folder = snapshot(repository, allow_patterns=_HUB_PATTERNS, force_download=force)
    if read_json(folder / "config.json").get("model_type") != "vits":
        raise ValueError(f"{repository} is no voice: its config.json names another kind of model")
    return Downloaded(repository, folder, _licence_of_card(folder / "README.md"), None)
