"""Memory that an op needs while it runs, kept for the next one.

The C library gives large blocks back to the system when they are freed, and the next one is handed out page by page, as
it is touched: for a block of 1.7 MB that takes longer than the product of matrices written there (0.5 ms of 0.8 ms).
Hence `scratch`, and `keep_freed_memory` for what leaves an op.
"""

import math
import threading
from collections.abc import Sequence
from functools import lru_cache

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
        return torch.empty(shape, dtype=dtype, device="cpu")
    # What inference mode allocates cannot be written outside of it.
    key = (use, torch.is_inference_mode_enabled())
    block = _kept.blocks.get(key)
    if block is None or block.numel() < size:
        keep_freed_memory()
        block = _kept.blocks[key] = torch.empty(size, dtype=torch.uint8, device="cpu")
    return block[:size].view(dtype).view(shape)


@lru_cache
def keep_freed_memory() -> None:
    """Let glibc keep up to 64 MB of what is freed at the end of its heap, instead of giving it back after every call.

    It learns from blocks that are mapped on their own: when one is freed, blocks of its size come from the heap from
    then on, and twice that size may stay there (`mallopt(3)`, `M_MMAP_THRESHOLD`). So one of the largest size that it
    learns from is made and freed, untouched. With 10 s of speech the heap was emptied and filled again in each call, at
    7 to 10 % of its time. With another C library nothing changes.
    """
    torch.empty((32 << 20) - (64 << 10), dtype=torch.uint8, device="cpu")
