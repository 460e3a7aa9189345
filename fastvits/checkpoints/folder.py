"""What every converter makes, a voice in memory, and how it becomes a folder: whole, or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..configuration import VitsConfig, with_mark
from ..storage import InvalidJSON, json_text, read_json

DISCRIMINATOR_FILE = "discriminator.safetensors"

# Characters of an error's text.
_LONGEST = 900

# What readers run into where a file holds something else than its kind has. RecursionError is a RuntimeError.
_STUMBLES = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, StopIteration, TypeError)


@dataclasses.dataclass
class ConvertedVoice:
    """A voice of another program in this project's terms.

    Attributes:
        family: what it was taken for, in a few words: "Piper voice", "Coqui checkpoint".
        state: the tensors of model.safetensors.
        config: the fields of config.json.
        vocabulary: token -> id.
        tokenizer: the fields of tokenizer_config.json.
        discriminator: the tensors of the discriminator, where the checkpoint has them and they were asked for.
        copied: files that go into the folder as they are, by their name there.
    """

    family: str
    state: dict[str, Tensor]
    config: dict[str, Any]
    vocabulary: dict[str, int]
    tokenizer: dict[str, Any]
    discriminator: dict[str, Tensor] | None = None
    copied: dict[str, Path] = dataclasses.field(default_factory=dict)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write config.json, model.safetensors, vocab.json, tokenizer_config.json and what else there is.

        Everything is written into a temporary folder beside `folder` first, so that an error leaves nothing behind.
        Files of these names in `folder` are then replaced.

        Raises:
            OSError: it cannot be written.
        """
        from safetensors.torch import save_file

        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"{folder} is a file; a voice is converted into a folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
            temporary = Path(name)
            VitsConfig.from_dict(self.config)  # checks it
            for file, content in (
                ("config.json", with_mark(self.config)),
                ("vocab.json", self.vocabulary),
                ("tokenizer_config.json", self.tokenizer),
            ):
                (temporary / file).write_text(json_text(content, ensure_ascii=False, sort_keys=False), encoding="utf-8")
            for file, tensors in (("model.safetensors", self.state), (DISCRIMINATOR_FILE, self.discriminator)):
                if tensors is not None:
                    save_file(_owned(tensors), temporary / file, metadata={"format": "pt"})
                    shutil.copymode(temporary / "config.json", temporary / file)  # else only the owner may read it
            for file, path in self.copied.items():
                shutil.copyfile(path, temporary / file)
            folder.mkdir(exist_ok=True)
            for path in sorted(temporary.iterdir()):
                os.replace(path, folder / path.name)
        return folder


def _owned(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, each with a storage of its own, as safetensors wants them."""
    owned: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage()
        shared = storage.data_ptr() in seen or storage.nbytes() != tensor.nbytes
        seen.add(storage.data_ptr())
        owned[name] = tensor.clone() if shared else tensor
    return owned


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever a damaged file makes a reader stumble over into a ValueError of one sentence that names the file.

    ValueError, OSError and ImportError pass as they are: they say already what was wrong.
    """
    try:
        yield
    except _STUMBLES as error:
        said = " ".join(str(error).split()) or "no details"
        raise ValueError(f"{path} is damaged, or no checkpoint of the kind that it seems to be ({said})") from error


@contextlib.contextmanager
def in_one_sentence() -> Iterator[None]:
    """Has errors about a file, which quote what is in it, fit one line, and be no longer than somebody reads.

    Of the ValueErrors and OSErrors that other libraries make of their own, only the text is kept.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        said = " ".join(str(error).split())
        if len(said) > _LONGEST:
            said = f"{said[: _LONGEST * 2 // 3]} … {said[-_LONGEST // 3 :]}"
        if said and said == str(error) and not isinstance(error, UnicodeError):
            raise
        kinds = (InvalidJSON, FileNotFoundError, OSError, ValueError)
        kind = next(kind for kind in kinds if isinstance(error, kind))
        raise kind(said or f"the file cannot be read ({type(error).__name__})") from error


def read_object(path: Path, what: str) -> dict[str, Any]:
    """The object of a JSON file.

    Args:
        path: the file.
        what: what messages call it, "the JSON file of a Piper voice".

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is not JSON, or holds no object.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}, {what}")
    return read_json(path)
