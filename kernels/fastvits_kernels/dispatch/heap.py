"""Where glibc takes large blocks of memory from; with another C library nothing here has an effect.

Mapped on their own, they go back to the system when they are freed, and the next one is handed out page by page, as it
is touched: for a block of 1.7 MB that takes longer than the product of matrices written there (0.5 ms of 0.8 ms). From
the heap they come at once, but what is freed below a block that stays is a hole. So what a call makes and drops is from
the heap, and what stays is `mapped`.

That is a setting of the whole process (`mallopt(3)`). Whoever makes settings for malloc in the environment is left
alone.
"""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""`M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD` of malloc.h."""
_LARGE, _LARGEST = 128 << 10, 32 << 20
"""Bytes from which on glibc maps blocks in a new process, and from which on it does at last."""
_SETTINGS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_")


@lru_cache
def _mallopt() -> Callable[[int, int], int] | None:
    if "malloc" in os.environ.get("GLIBC_TUNABLES", "") or any(name in os.environ for name in _SETTINGS):
        return None
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - others have a mallopt that means something else
        return library.mallopt
    except (OSError, TypeError, AttributeError):
        return None


@lru_cache
def keep_freed_memory() -> None:
    """Let up to 64 MB of what is freed at the heap's end stay there, and blocks of up to 32 MB come from the heap.

    With 10 s of speech the heap was emptied and filled again in each call, at 7 to 10 % of its time.
    """
    mallopt = _mallopt()
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, 2 * _LARGEST)


@contextmanager
def mapped() -> Iterator[None]:
    """A block whose large blocks of memory are mapped on their own: for those that stay."""
    keep_freed_memory()
    mallopt = _mallopt()
    if mallopt is None:
        yield
        return
    mallopt(_MMAP_THRESHOLD, _LARGE)
    try:
        yield
    finally:
        mallopt(_MMAP_THRESHOLD, _LARGEST)
