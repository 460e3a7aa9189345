"""Weights in the form that an implementation wants, derived once and never stale.

Ops take weights as views of parameters (`[K, C_in, C_out]` of a published `[C_out, C_in, K]`). An implementation that
wants another layout or precision asks `packed(weight, form, build)`. The result is kept for as long as the weight is
what it was, which a `Mark` tells: the same storage, not freed in between, the same version counter, and the same
contents. Contents are looked at because counters are not enough: a write through `tensor.data`, a NumPy array or
another process counts nothing, and compiled code (inductor) writes one tensor after another into one buffer without
counting either.

Looking costs one pass over the weight, at the speed of memory (measured on one thread: 107 MB of the standard
configuration in 11 to 15 ms, 1 to 2 % of a call that speaks three seconds; comparing with a copy, 25 ms and the memory
of the copy). On other devices than CPUs the host would have to wait for each answer, so that there only storage and
version are compared, and what `tensor.data` is written through is not seen: assigning `parameter.data` is.
"""

import threading
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

Packed = TypeVar("Packed")

_ROW = 1024
"""Elements that one sum of a fingerprint goes over. Shorter rows keep more sums, and take 2.5 times as long."""


@lru_cache
def _factors(dtype: torch.dtype) -> Tensor:
    """Random factors `[_ROW]`, from 1 to 2 and of either sign: no element is left out, none stands for another."""
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode(False):
        values = torch.rand(_ROW, generator=generator, dtype=torch.float64, device="cpu") + 1
        signs = torch.randint(0, 2, (_ROW,), generator=generator, device="cpu") * 2 - 1
        return (values * signs).to(dtype)


def fingerprint(weight: Tensor) -> Tensor:
    """Sums over all elements of `weight` on a CPU, which are other ones where an element is.

    Up to 2,048 elements these are the elements themselves. Of more, every 1,024 are summed with random factors, in
    float32 or float64: a change escapes where it is less than the rounding of such a sum, some 1e-7 of what the
    elements amount to, which every product with them rounds away as well.
    """
    weight = weight.detach()
    count = weight.numel()
    if count <= 2 * _ROW:
        return weight.clone()
    if not weight.is_contiguous():
        weight = weight.as_strided((count,), (1,)) if _is_dense(weight.shape, weight.stride()) else weight.contiguous()
    flat = weight.view(-1)
    if flat.dtype in (torch.float16, torch.bfloat16):
        flat = flat.float()
    factors = _factors(flat.dtype)
    sums = torch.mv(flat[: count // _ROW * _ROW].view(-1, _ROW), factors)
    if count % _ROW == 0:
        return sums
    return torch.cat([sums, torch.dot(flat[-_ROW:], factors).view(1)])


@lru_cache
def _is_dense(shape: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether a tensor takes one piece of memory, whole and without overlaps: whether it is a permuted contiguous
    one."""
    expected = 1
    for step, size in sorted((step, size) for step, size in zip(stride, shape, strict=True) if size != 1):
        if step != expected:
            return False
        expected *= size
    return True


class Mark:
    """What a tensor was when something was derived from it, and whether it still is that.

    It keeps neither the tensor nor its storage alive.
    """

    __slots__ = ("_contents", "_layout", "_private", "_state", "_storage")

    def __init__(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        # The weak reference keeps the storage's address from being taken by another one.
        self._storage = StorageWeakRef(storage)
        self._layout = layout(tensor)
        self._state = (tensor._version, tensor.data_ptr())
        self._private = is_private(tensor)
        self._contents = None if self._private or tensor.device.type != "cpu" else fingerprint(tensor)

    def is_of(self, tensor: Tensor) -> bool:
        """Whether `tensor`, one that may be kept (`may_keep`), is the marked one, unchanged."""
        return (
            self._layout == layout(tensor)
            and self._state == (tensor._version, tensor.data_ptr())
            and not self.expired()
            and (self._contents is None or torch.equal(self._contents, fingerprint(tensor)))
        )

    def expired(self) -> bool:
        """Whether the marked tensor's storage is gone."""
        return self._storage.expired()


def layout(tensor: Tensor) -> Hashable:
    """Which elements of which storage a tensor has."""
    storage = tensor.untyped_storage()._cdata
    return storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


def may_keep(*tensors: Tensor) -> bool:
    """Whether what is derived from these tensors, here and now, may serve another call.

    Not where they have no storage or version of their own (meta, fake, of a function transform, made in inference
    mode), and not while anything records or replaces what is computed (tracing, compiling, dispatch modes).
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._len_torch_dispatch_stack():
        return False
    return all(
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.layout == torch.strided
        and not tensor.is_meta
        and not tensor.is_inference()
        and tensor.dtype.is_floating_point
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        for tensor in tensors
    )


_lock = threading.Lock()
_kept: dict[Hashable, tuple[Mark, object]] = {}
_private: dict[int, StorageWeakRef] = {}
_SWEEP_EVERY = 64
"""Entries after which what dead weights have left is dropped: a model that is gone may leave 100 MB."""
_built = 0


def _sweep() -> None:
    global _built
    _built += 1
    if _built % _SWEEP_EVERY == 0:
        for dead in [key for key, (mark, _) in _kept.items() if mark.expired()]:
            del _kept[dead]
        for address in [key for key, reference in _private.items() if reference.expired()]:
            del _private[address]


def make_private(tensor: Tensor) -> None:
    """Promise that nobody writes to `tensor`, which its maker hands to ops and to nobody else: its contents need not be
    looked at again."""
    with _lock:
        _private[tensor.untyped_storage()._cdata] = StorageWeakRef(tensor.untyped_storage())
        _sweep()


def is_private(tensor: Tensor) -> bool:
    """Whether `make_private` was called for the storage of `tensor`."""
    reference = _private.get(tensor.untyped_storage()._cdata)
    return reference is not None and not reference.expired()


def packed(weight: Tensor, form: Hashable, build: Callable[[], Packed]) -> Packed:
    """`build()` for this weight and form, or what it returned before if the weight has not changed since."""
    if not may_keep(weight):
        return build()
    key = (layout(weight), form)
    found = _kept.get(key)
    if found is not None and found[0].is_of(weight):
        return found[1]  # type: ignore[return-value]
    mark = Mark(weight)
    result = build()
    with _lock:
        _kept[key] = (mark, result)
        _sweep()
    return result


def contiguous(weight: Tensor) -> Tensor:
    """`weight` where it is contiguous already, else its packed contiguous copy: kernels read `C_out` in long pieces."""
    return weight if weight.is_contiguous() else packed(weight, "contiguous", weight.contiguous)
