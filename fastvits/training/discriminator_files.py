"""Discriminators in and out of files: our own, the original's `D_*.pth`, and those inside coqui's and Piper's
checkpoints."""

import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..storage import replacing
from ..weights.files import newer_spelling
from .discriminator import VitsDiscriminator

__all__ = ["DISCRIMINATOR_FILE", "load_discriminator", "save_discriminator"]

DISCRIMINATOR_FILE = "discriminator.safetensors"

_PREFIXES = ("model_d.", "disc.", "module.")
_FIRST = re.compile(r"(?:discriminators|nets)\.(\d+)\.(.+)")


def save_discriminator(discriminator: VitsDiscriminator, folder: str | os.PathLike[str]) -> Path:
    """Write `discriminator.safetensors` into a folder, whole or not at all."""
    from safetensors.torch import save_file

    file = Path(folder) / DISCRIMINATOR_FILE
    with replacing(file) as temporary:
        state = {name: tensor.detach().contiguous() for name, tensor in discriminator.state_dict().items()}
        save_file(state, temporary, metadata={"format": "pt"})
    return file


def load_discriminator(source: str | os.PathLike[str]) -> VitsDiscriminator:
    """A discriminator from a folder with `discriminator.safetensors`, from such a file, or from a PyTorch file: the
    original code's `D_*.pth`, a coqui checkpoint, or a Piper `.ckpt`.

    Nothing in a PyTorch file is run.

    Raises:
        OSError: there is no such file, or it is damaged.
        ValueError: it holds no discriminator of the published shape; what is wrong is named.
    """
    path = Path(source)
    path = path / DISCRIMINATOR_FILE if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"discriminator {path} does not exist")
    found = {name: tensor for name, tensor in map(_renamed, _tensors(path).items()) if name}
    discriminator = VitsDiscriminator()
    expected = discriminator.state_dict()
    missing = [name for name in expected if name not in found]
    shapes = [name for name in expected if name in found and found[name].numel() != expected[name].numel()]
    unknown = [name for name in found if name not in expected]
    if not found:
        raise ValueError(f"{path} holds no discriminator")
    if missing or shapes or unknown:
        wrong = [*missing, *shapes, *unknown]
        raise ValueError(
            f"{path} holds another discriminator than the published one: {len(wrong)} tensors are missing, of another "
            f"shape or unknown, such as {wrong[0]}"
        )
    discriminator.load_state_dict({name: found[name].float().reshape(expected[name].shape) for name in expected})
    return discriminator


def _renamed(item: tuple[str, Tensor]) -> tuple[str, Tensor]:
    """A tensor under our name; "" for one that is no discriminator's."""
    name, tensor = item
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    match = _FIRST.fullmatch(name)
    return ("" if match is None else newer_spelling(f"discriminators.{match[1]}.{match[2]}")), tensor


def _tensors(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise OSError(f"{path} is damaged or no safetensors file: {error}") from None
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(f"{path} holds more than tensors: refused, and nothing in it was run") from None
    except (RuntimeError, EOFError, ValueError) as error:
        raise OSError(f"{path} is damaged or no PyTorch file: {str(error).splitlines()[0]}") from None
    for name in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} is no table of names and tensors")
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}
