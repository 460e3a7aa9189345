"""Token ids in the forms that callers have them in: lists, arrays, tensors, and mappings with such columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .tokenizer_arguments import all_ids, describe, is_sequence

__all__ = ["as_list", "check_ids", "columns_of", "flat_ids", "tensor_type_of"]


def as_list(value: Any) -> Any:
    """Tensors and arrays, inside lists as well, as lists."""
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (list, tuple)) and any(isinstance(row, (torch.Tensor, np.ndarray)) for row in value):
        return [as_list(row) for row in value]
    return value


def flat_ids(ids: Any) -> list[int]:
    """A list, array or tensor of whole numbers as a list of int; TypeError for anything else."""
    values = as_list(ids)
    if not isinstance(values, (list, tuple)) or not all_ids(values):
        raise TypeError(f"ids must be whole numbers, got {describe(values)}")
    return [int(index) for index in values]


def check_ids(ids: Sequence[Any], batched: bool) -> None:
    """TypeError unless `ids` is a list of whole numbers, or where `batched` a list of such lists."""
    for row in ids if batched else [ids]:
        if not isinstance(row, (list, tuple)) or not all_ids(row):
            raise TypeError(f"input_ids must be whole numbers, got {describe(row)}")


def columns_of(encoded_inputs: Any) -> dict[str, Any]:
    """A mapping, or a list of mappings, as a dict of columns that has `input_ids`."""
    wanted = "an encoding, a dict with input_ids, or a list of such dicts"
    if isinstance(encoded_inputs, Mapping):
        columns = dict(encoded_inputs)
    elif is_sequence(encoded_inputs) and all(isinstance(item, Mapping) for item in encoded_inputs):
        if len(encoded_inputs) == 0:
            raise ValueError(f"there is nothing to pad: give {wanted}")
        names = list(encoded_inputs[0])
        if any(set(item) != set(names) for item in encoded_inputs):
            raise ValueError("all encodings to pad together must have the same names")
        columns = {name: [item[name] for item in encoded_inputs] for name in names}
    else:
        raise TypeError(f"pad takes {wanted}, got {describe(encoded_inputs)}")
    if "input_ids" not in columns:
        raise ValueError(f"pad needs input_ids, but was given {list(columns)}")
    return columns


def tensor_type_of(value: Any) -> str | None:
    if is_sequence(value) and len(value) > 0:
        value = value[0]
    if isinstance(value, torch.Tensor):
        return "pt"
    return "np" if isinstance(value, np.ndarray) else None
