"""PyTorch's files of other programs, read without running anything that is in them."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..storage import first_line

# Torch stores its files without compressing them: what unpacks into much more is no checkpoint.
_MAX_EXPANSION = 20


class Opaque:
    """Stands for an object of a class that is not let in: it takes what is given to it, and does nothing.

    Checkpoints of training hold such objects beside their weights, paths for one.
    """

    def __new__(cls, *arguments: Any, **keywords: Any) -> Opaque:
        """An object without content."""
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Nothing is kept."""


def load(path: Path) -> Mapping[Any, Any]:
    """The mapping in a PyTorch file; instances of classes that torch's safe loader does not know are `Opaque`.

    Raises:
        FileNotFoundError: it is not there.
        OSError: it is truncated or corrupt.
        ValueError: it is no PyTorch file, holds no mapping, or unpacks into far more than its size.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    unknown: list[str] = []
    if zipfile.is_zipfile(path):
        _check_size(path)
        try:
            unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        except (RuntimeError, ValueError, OSError, EOFError, LookupError, pickle.UnpicklingError) as error:
            raise OSError(f"{path} is truncated, corrupt, or no PyTorch file ({first_line(error)})") from None
    stand_ins: list[Any] = [(type(f"Opaque{i}", (Opaque,), {}), name) for i, name in enumerate(unknown)]
    try:
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f", {found[1]}" if found else ""
        raise ValueError(
            f"{path} is corrupt, or holds what is not read for safety{what}: nothing in it was run"
        ) from None
    except (
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
    ) as error:
        raise OSError(f"{path} is truncated, corrupt, or no PyTorch file ({first_line(error)})") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds no table of weights but a {type(content).__name__}")
    return content


def _check_size(path: Path) -> None:
    """Refuses an archive that unpacks into far more than its own size."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, LookupError, OverflowError) as error:
        raise OSError(f"{path} is truncated, corrupt, or no PyTorch file ({first_line(error)})") from None
    if unpacked > _MAX_EXPANSION * path.stat().st_size:
        raise ValueError(f"{path} of {path.stat().st_size} bytes would unpack into {unpacked}; no checkpoint does")


def tensors(table: Any, path: Path, what: str) -> dict[str, Tensor]:
    """The tensors of a state dict.

    Args:
        table: what the file has in its place.
        path: the file.
        what: what messages call the table.

    Raises:
        ValueError: it is no mapping from names to tensors, or a tensor claims more numbers than it has.
    """
    if not isinstance(table, Mapping) or not table:
        raise ValueError(f"{path} has no {what}")
    result = {}
    for name, tensor in table.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ValueError(f"{path} has {name!r} among {what}, which is no tensor with a name")
        if tensor.is_sparse or tensor.is_quantized or tensor.untyped_storage().nbytes() < tensor.nbytes:
            raise ValueError(f"{path} holds {name} in a form that is not read; expected an ordinary tensor")
        result[name] = tensor
    return result
