"""What the tokenizer returns: a dictionary of token ids and masks that moves to a device in one call."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np
import torch

from .sources import TokenSource

__all__ = ["TENSOR_TYPES", "BatchEncoding", "tensor_type_name"]

logger = logging.getLogger("fastvits")

#: The array libraries that values can be turned into.
TENSOR_TYPES = ("pt", "np")


def tensor_type_name(tensor_type: str | None) -> str | None:
    """`tensor_type` if it is "pt", "np" or None; ValueError otherwise."""
    if tensor_type is None:
        return None
    if isinstance(tensor_type, str):
        for name in TENSOR_TYPES:
            if tensor_type == name:  # also true for an enum whose members are strings
                return name
    raise ValueError(f"return_tensors must be 'pt', 'np' or None, got {tensor_type!r}")


class BatchEncoding(MutableMapping[str, Any]):
    """Token ids and masks by name, as `transformers.BatchEncoding` holds them.

    Values are read like those of a dictionary (`encoding["input_ids"]`) or as attributes (`encoding.input_ids`), and a
    slice cuts every value (`encoding[0:2]` is a plain dict). It unpacks into a model: `model(**encoding)`.

    Args:
        data: names and values; None means empty.
        tensor_type: "pt" turns the values into `torch.Tensor`s, "np" into `numpy.ndarray`s, None leaves them.
        prepend_batch_axis: add an axis of size 1 in front while converting.

    Attributes:
        sources: one an item, the texts that its ids were made of (one, two for a pair); None for an item given as ids,
            and None altogether where nothing is known. It is no value: it is neither unpacked nor compared. `to`,
            `copy`, pickling and `tokenizer.pad` keep it; a slice is a plain dict and has none.

    Raises:
        TypeError: `data` is no mapping.
        ValueError: an unknown `tensor_type`, or values that make no tensor.
    """

    data: dict[str, Any]
    sources: tuple[tuple[TokenSource, ...] | None, ...] | None

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        tensor_type: str | None = None,
        prepend_batch_axis: bool = False,
    ) -> None:
        if data is not None and not isinstance(data, Mapping):
            raise TypeError(f"BatchEncoding takes a mapping of names to values, got {type(data).__name__}")
        self.data = dict(data or {})
        self.sources = data.sources if isinstance(data, BatchEncoding) else None
        self.convert_to_tensors(tensor_type, prepend_batch_axis)

    @property
    def is_fast(self) -> bool:
        """Always False: there is no tokenizer in Rust behind it, and so no offsets."""
        return False

    def __getitem__(self, key: str | slice) -> Any:
        if isinstance(key, str):
            return self.data[key]
        if isinstance(key, slice):
            return {name: value[key] for name, value in self.data.items()}
        raise KeyError(f"a BatchEncoding is read by a name such as 'input_ids' or by a slice, not by {key!r}")

    def __setitem__(self, key: str, value: Any) -> None:
        self.data[key] = value

    def __delitem__(self, key: str) -> None:
        del self.data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)

    def __getattr__(self, name: str) -> Any:
        # Unpickling and copying ask for attributes before `data` exists.
        if name == "sources":
            return None  # of an encoding that an earlier version pickled
        if name != "data" and name in self.__dict__.get("data", {}):
            return self.data[name]
        raise AttributeError(f"{type(self).__name__} has no attribute and no value {name!r}")

    def __repr__(self) -> str:
        return repr(self.data)

    def copy(self) -> BatchEncoding:
        """A second encoding that shares the values."""
        return BatchEncoding(self)

    def convert_to_tensors(self, tensor_type: str | None = None, prepend_batch_axis: bool = False) -> BatchEncoding:
        """Turn every value into a tensor, in place; whole numbers become int64.

        Args:
            tensor_type: "pt", "np", or None, which changes nothing.
            prepend_batch_axis: add an axis of size 1 in front.

        Raises:
            ValueError: rows of unequal length (with "pt"), or values that are no numbers. With "np", rows of unequal
                length give an array of arrays.
        """
        name = tensor_type_name(tensor_type)
        if name is None:
            return self
        convert = _as_torch if name == "pt" else _as_numpy
        self.data.update(
            {key: convert(key, [value] if prepend_batch_axis else value) for key, value in self.data.items()}
        )
        return self

    def to(self, device: str | torch.device | int, *, non_blocking: bool = False) -> BatchEncoding:
        """Move every tensor to `device`, in place, and return self. Values that are no tensors stay as they are.

        Args:
            device: a device, its name, or the index of an accelerator. A dtype is refused with a warning, as
                transformers does: ids and masks stay whole numbers.
            non_blocking: let the copy overlap with the host where memory is pinned.
        """
        if isinstance(device, torch.dtype):
            logger.warning("BatchEncoding.to moves to a device and casts to no dtype: %s changes nothing.", device)
            return self
        for key, value in self.data.items():
            if isinstance(value, torch.Tensor):
                self.data[key] = value.to(device, non_blocking=non_blocking)
        return self


def _as_torch(name: str, value: Any) -> torch.Tensor:
    """`value` as a tensor; empty rows give int64, not torch's default float32."""
    if isinstance(value, torch.Tensor):
        return value
    try:
        if isinstance(value, np.ndarray):
            return torch.from_numpy(value)
        if isinstance(value, list) and value and all(isinstance(row, (torch.Tensor, np.ndarray)) for row in value):
            return torch.stack([torch.as_tensor(row) for row in value])
        tensor = torch.tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name!r} makes no tensor: its rows differ in length (padding=True makes them equal) or hold other "
            "things than numbers"
        ) from error
    return tensor.long() if tensor.numel() == 0 and tensor.is_floating_point() else tensor


def _as_numpy(name: str, value: Any) -> np.ndarray:
    """`value` as an array; rows of unequal length become an array of arrays, empty rows int64."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, (list, tuple)) and any(isinstance(row, (list, tuple)) for row in value):
        rows = [np.asarray(row, dtype=np.int64 if len(row) == 0 else None) for row in value]
        if len({row.shape for row in rows}) > 1:
            ragged = np.empty(len(rows), dtype=object)
            ragged[:] = rows
            return ragged
        return np.stack(rows)
    array = np.asarray(value)
    return array.astype(np.int64) if array.size == 0 and array.dtype.kind == "f" else array
