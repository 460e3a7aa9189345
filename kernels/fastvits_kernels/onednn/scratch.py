"""Memory that an op needs while it runs, kept for the next one: the C library may hand out a new block page by page, as
it is touched (`dispatch/heap.py`, which is for what leaves an op)."""

import math
import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from ..dispatch.heap import mapped

_LARGEST = 32 << 20
"""Bytes of a block beyond which it is not kept."""


class _Kept(threading.local):
    """A thread's blocks by their use."""

    def __init__(self) -> None:
        self.blocks: dict[tuple[str, bool], Tensor] = {}


_kept = _Kept()


def scratch(use: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Uninitialised memory `shape` on the CPU, the caller's until it or another asks for the same `use` in this thread.

    It must not leave the op.
    """
    size = math.prod(shape) * dtype.itemsize
    if size > _LARGEST:
        return torch.empty(shape, dtype=dtype, device="cpu")
    # What inference mode allocates cannot be written outside of it.
    key = (use, torch.is_inference_mode_enabled())
    block = _kept.blocks.get(key)
    if block is None or block.numel() < size:
        block = None
        _kept.blocks.pop(key, None)  # before there is another one
        with mapped():
            block = _kept.blocks[key] = torch.empty(size, dtype=torch.uint8, device="cpu")
    return block[:size].view(dtype).view(shape)
