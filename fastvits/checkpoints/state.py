"""Parameters of the original VITS as the tensors of `VitsModel`, checked against the model itself.

The model of a configuration is built on the meta device, where it has names and shapes but no memory: it says what has
to be there. Weight norm may be in a file in either spelling or folded into the weight; a decoder's is folded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..configuration import VitsConfig
from ..models.vits import VitsModel
from ..weights.files import StoredTensor, Table, respell
from ..weights.parts import absent_parts, on_meta_device
from .names import our_name

_SHOWN = 8


def model_state(
    parameters: Mapping[str, Tensor], config: Mapping[str, Any], *, whole_name: str = "the voice"
) -> dict[str, Tensor]:
    """The tensors of model.safetensors, sorted by name.

    Args:
        parameters: those of the original VITS, by its names. The parts that only training needs may be missing, each as
            a whole.
        config: the fields of config.json.
        whole_name: what messages call the whole.

    Raises:
        ValueError: a parameter has no place in the model of `config`, is missing, or has another shape there; or has
            values that are not finite.
    """
    plain = any(name.startswith("dp.conv_1.") for name in parameters)
    table: Table = {}
    for original, tensor in parameters.items():
        name = our_name(original, plain_durations=plain)
        if name is None:
            raise ValueError(f"{whole_name} has a parameter {original} that has no place in the model")
        if name.endswith("_proj.weight") and ".attention." in name:
            if tensor.ndim != 3 or tensor.shape[2] != 1:
                raise ValueError(f"{original} has the shape {list(tensor.shape)}; expected a kernel of one step")
            tensor = tensor[:, :, 0]  # a convolution of kernel size 1 is a linear layer
        table[name] = stored(tensor)
    return fitted(table, VitsConfig.from_dict(dict(config)), whole_name=whole_name)


def stored(tensor: Tensor) -> StoredTensor:
    """A tensor in memory as an entry of a table of stored ones."""
    floating = tensor.dtype if tensor.is_floating_point() else None
    return StoredTensor(tuple(tensor.shape), floating, str(tensor.dtype).removeprefix("torch."), lambda: tensor)


def fitted(table: Table, config: VitsConfig, *, whole_name: str) -> dict[str, Tensor]:
    """`table`, of our names but any spelling of weight norm, as the state dict that the model of `config` loads."""
    model = on_meta_device(VitsModel, config, absent_parts(config, table))
    return fit(table, {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}, whole_name=whole_name)


def fit(table: Table, expected: Mapping[str, tuple[int, ...]], *, whole_name: str) -> dict[str, Tensor]:
    """`table` under the names and with the shapes that are `expected`, sorted by name."""
    table = respell(table, expected)
    for problem, names in (
        ("lacks", sorted(expected.keys() - table.keys())),
        ("has, besides what the model knows,", sorted(table.keys() - expected.keys())),
    ):
        if names:
            raise ValueError(f"{whole_name} {problem} {enumeration(names)}")
    state = {}
    for name in sorted(expected):
        entry = table[name]
        if entry.shape != expected[name]:
            raise ValueError(f"{name} has the shape {list(entry.shape)}; expected {list(expected[name])}")
        if entry.dtype is None:
            raise ValueError(f"{name} holds {entry.dtype_name}; expected floating-point numbers")
        tensor = entry.read().to(entry.dtype).contiguous()
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name} has values that are not finite")
        state[name] = tensor
    return state


def enumeration(names: Iterable[str]) -> str:
    """The names, of many only the first ones and how many more there are."""
    names = list(names)
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
