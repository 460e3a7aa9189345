"""Which device a tensor stands for, and what kind of processor this is.

Meta tensors have shapes and no memory. To plan ahead what would run on some device, run on meta tensors inside
`assume(device)`: the choice of implementations and of tiles then takes them for tensors of that device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_assumed: ContextVar[torch.device | None] = ContextVar("fastvits_assumed_device", default=None)


@contextmanager
def assume(device: torch.device) -> Iterator[None]:
    """Take meta tensors for tensors on `device` inside the block, in this thread or task."""
    token = _assumed.set(device)
    try:
        yield
    finally:
        _assumed.reset(token)


def stands_for(device: torch.device) -> torch.device:
    """`device` itself, or what is assumed for the meta device."""
    return (_assumed.get() or device) if device.type == "meta" else device


def device_of(*tensors: Tensor | None) -> torch.device:
    """What the device of the first tensor stands for; at least one must not be None."""
    return stands_for(next(tensor.device for tensor in tensors if tensor is not None))


def has_matrix_units() -> bool:
    """Whether this processor multiplies matrices of 8 bits and bfloat16 in units of their own (AMX: Intel Xeon from
    Sapphire Rapids), some eight times as fast as its vector units multiply float32."""
    return torch.cpu._is_amx_tile_supported()
