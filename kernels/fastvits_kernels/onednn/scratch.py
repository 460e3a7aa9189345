"""Memory that an op needs while it runs, kept for the next one.

The C library gives large blocks back to the system when they are freed, and the next one is handed out page by page, as
it is touched: for a block of 1.7 MB that takes longer than the product of matrices written there (0.5 ms of 0.8 ms).
"""

import math
import threading
from collections.abc import Sequence

import torch
from torch import Tensor

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
        return torch.empty(shape, dtype=dtype)
    # What inference mode allocates cannot be written outside of it.
    key = (use, torch.is_inference_mode_enabled())
    block = _kept.blocks.get(key)
    if block is None or block.numel() < size:
        block = _kept.blocks[key] = torch.empty(size, dtype=torch.uint8)
    return block[:size].view(dtype).view(shape)
