"""Weights in the form that an implementation wants, derived once and never stale.

Ops take weights as views of parameters (`[K, C_in, C_out]` of a published `[C_out, C_in, K]`). An implementation that
wants another layout or precision asks `packed(weight, form, build)`: the result is kept until the weight's storage
dies, moves or is written to (its version counter tells), and is rebuilt then. Writing through `tensor.data` bypasses
the version counter and is not seen.
"""

import threading
from collections.abc import Callable, Hashable
from typing import TypeVar

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

Packed = TypeVar("Packed")

_lock = threading.Lock()
_kept: dict[Hashable, tuple[StorageWeakRef, tuple[int, int], object]] = {}
_SWEEP_EVERY = 64
"""Builds after which what dead weights have left is dropped: a model that is gone may leave 100 MB."""
_built = 0


def packed(weight: Tensor, form: Hashable, build: Callable[[], Packed]) -> Packed:
    """`build()` for this weight and form, or what it returned before if the weight has not changed since.

    Nothing is kept for tensors without storage or version (meta, fake, made in inference mode), nor while tracing.
    """
    global _built
    if weight.is_meta or weight.is_inference() or torch.compiler.is_compiling():
        return build()
    storage = weight.untyped_storage()
    key = (storage._cdata, weight.storage_offset(), weight.shape, weight.stride(), weight.dtype, form)
    state = (weight._version, weight.data_ptr())
    found = _kept.get(key)
    # The weak reference keeps the storage's address from being taken by another one.
    if found is not None and found[1] == state and not found[0].expired():
        return found[2]  # type: ignore[return-value]
    result = build()
    with _lock:
        _kept[key] = (StorageWeakRef(storage), state, result)
        _built += 1
        if _built % _SWEEP_EVERY == 0:
            for dead in [k for k, (reference, _, _) in _kept.items() if reference.expired()]:
                del _kept[dead]
    return result


def contiguous(weight: Tensor) -> Tensor:
    """`weight` where it is contiguous already, else its packed contiguous copy: kernels read `C_out` in long pieces."""
    return weight if weight.is_contiguous() else packed(weight, "contiguous", weight.contiguous)
