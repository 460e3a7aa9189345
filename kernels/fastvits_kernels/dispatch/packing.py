"""Weights in the form that an implementation wants, derived once and never stale.

Ops take weights as views of parameters (`[K, C_in, C_out]` of a published `[C_out, C_in, K]`). An implementation that
wants another layout or precision asks `packed(weight, form, build)`. The result is kept for as long as the weight is
what it was, which a `Mark` tells: the same storage, not freed in between, the same version counter, and the same
contents. Contents are looked at because counters are not enough: a write through `tensor.data`, a NumPy array or
another process counts nothing, and compiled code (inductor) writes one tensor after another into one buffer without
counting either.

Looking costs one pass over the weight, at the speed of memory. Within a call of a model a weight is looked at once,
however many ops and pieces use it; and those that earlier calls used are looked at together, when a call begins
(`Watch`). On other devices than CPUs the host would have to wait for each answer, so that there only storage and
version are compared, and what `tensor.data` is written through is not seen: assigning `parameter.data` is.
"""

import threading
import weakref
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from .devices import has_matrix_units

Packed = TypeVar("Packed")

_ROW = 8192
"""Elements that one sum of a fingerprint goes over, at most. Shorter rows keep more sums, and take up to 1.5 times as
long."""
_FEW = 2048
"""Up to so many elements are compared themselves."""
_BYTE_SUMS = 8
"""Sums of each row whose bytes are summed, with factors of their own: where one misses a change of several bytes, with
a chance of some 1 in 200, seven more have to."""


@lru_cache
def _sums_bytes(dtype: torch.dtype) -> bool:
    """Whether the bytes of such elements are summed. Products with them are exact, and matrix units (AMX) take them as
    they come; half precision would have to be widened, which takes several times as long as looking."""
    return dtype in (torch.float16, torch.bfloat16) and has_matrix_units()


@lru_cache
def _factors(dtype: torch.dtype) -> Tensor:
    """Random factors, none of them 0: no element is left out, none stands for another. `[_ROW]`, from 1 to 2 and of
    either sign; for bytes `[2 * _ROW, _BYTE_SUMS]`."""
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode(False):
        if dtype == torch.int32:
            size = (2 * _ROW, _BYTE_SUMS)
            magnitudes = torch.randint(1, 128, size, generator=generator, dtype=torch.int8, device="cpu")
            return magnitudes * (torch.randint(0, 2, size, generator=generator, dtype=torch.int8, device="cpu") * 2 - 1)
        values = torch.rand(_ROW, generator=generator, dtype=torch.float64, device="cpu") + 1
        signs = torch.randint(0, 2, (_ROW,), generator=generator, device="cpu") * 2 - 1
        return (values * signs).to(dtype)


def fingerprint(weight: Tensor) -> Tensor:
    """Sums over all elements of `weight` on a CPU, which are other ones where an element is.

    Up to 2,048 elements these are the elements themselves. Of more, every 8,192 or some less are summed with random
    factors, in float32 or float64: a change escapes where it is less than the rounding of such a sum, some 1e-7 of what
    the elements amount to, which every product with them rounds away as well. In half precision, on a processor with
    matrix units, the bytes are summed as whole numbers, and no change is too small.
    """
    return _sums(*_rows(weight))


def _rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Views of the elements that a fingerprint goes over (of a copy where no view has them all): whole rows, `[n,
    columns]`, and what is left, `[m]`."""
    flat = weight.detach()
    count = flat.numel()
    if not flat.is_contiguous():
        flat = flat.as_strided((count,), (1,)) if _is_dense(flat.shape, flat.stride()) else flat.contiguous()
    flat = flat.view(-1)
    columns = _columns(count)
    whole = 0 if count <= _FEW else count // columns * columns
    return flat[:whole].view(-1, columns), flat[whole:]


@lru_cache
def _columns(count: int) -> int:
    """The length of the rows of so many elements: one that leaves nothing, if it is half of the longest at least."""
    whole = (columns for columns in range(_ROW, _ROW // 2, -1) if count % columns == 0)
    return next(whole, _ROW)


def _is_few(rows: Tensor, rest: Tensor) -> bool:
    """Whether there are so few elements that they are compared themselves."""
    return not rows.shape[0] and rest.shape[0] <= _FEW


def _blocks(rows: Tensor, rest: Tensor) -> list[Tensor]:
    """The rows that are summed, `[n, columns]` each."""
    return [block for block in (rows, rest.view(1, -1)) if block.numel()]


def _sum_into(out: Tensor, block: Tensor) -> None:
    """The sums of a block's rows with the factors, as `_no_sums` makes room for them."""
    if out.dtype == torch.int32:
        data = block.view(torch.int8)
        torch._int_mm(data, _factors(out.dtype)[: data.shape[1]], out=out)
        return
    torch.mv(block.to(out.dtype), _factors(out.dtype)[: block.shape[1]], out=out)


def _no_sums(elements: Tensor, rows: int) -> Tensor:
    """Room for the sums of so many rows of such elements: `[rows]`, or of their bytes `[rows, _BYTE_SUMS]`."""
    if _sums_bytes(elements.dtype):
        return elements.new_empty(rows, _BYTE_SUMS, dtype=torch.int32)
    half = elements.dtype in (torch.float16, torch.bfloat16)
    return elements.new_empty(rows, dtype=torch.float32 if half else elements.dtype)


def _sums(rows: Tensor, rest: Tensor) -> Tensor:
    if _is_few(rows, rest):
        return rest.clone()
    blocks = _blocks(rows, rest)
    sums = _no_sums(rest, sum(block.shape[0] for block in blocks))
    for out, block in zip(sums.split([block.shape[0] for block in blocks]), blocks, strict=True):
        _sum_into(out, block)
    return sums


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


class WatchedCall:
    """A call of a model, in which nobody changes weights without counting it; see `Watch.begin`."""

    def __init__(self, epoch: object, covered: Container[int]) -> None:
        self.epoch = epoch
        """Marks with this one are of weights that the `Watch` found unchanged when the call began."""
        self.covered = covered
        """The storages of those weights."""
        self.looked: list[Tensor] = []
        """The weights that were looked at one by one."""


class _Calls(threading.local):
    current: WatchedCall | None = None
    """The call that this thread is in; None where weights are looked at whenever they are used."""


_calls = _Calls()


@contextmanager
def during(call: WatchedCall | None) -> Iterator[None]:
    """A block that belongs to this call; with None, one in which this thread looks at a weight whenever it is used, for
    code that writes weights itself."""
    before = _calls.current
    _calls.current = call
    try:
        yield
    finally:
        _calls.current = before


def current_call() -> WatchedCall | None:
    """The call that this thread is in, for another one that does a part of it."""
    return _calls.current


class _Watched:
    """A parameter that calls use, and what it was."""

    __slots__ = ("_data", "_parameter", "_version", "rest", "rows", "storage", "sums")

    def __init__(self, parameter: Tensor) -> None:
        self._parameter = weakref.ref(parameter)
        self._version, self._data = parameter._version, parameter.data_ptr()
        self.storage = parameter.untyped_storage()._cdata
        self.rows, self.rest = _rows(parameter)
        self.sums = _sums(self.rows, self.rest)

    def counted(self) -> bool:
        """Whether something else took its place, or was written to it and counted."""
        parameter = self._parameter()
        return parameter is None or parameter._version != self._version or parameter.data_ptr() != self._data


class _Part:
    """Some of the watched parameters, of one dtype, to be looked at together: in few operations, for a short text
    takes not many times longer than a look."""

    def __init__(self, watched: Sequence[_Watched]) -> None:
        few = [one for one in watched if _is_few(one.rows, one.rest)]
        many = [one for one in watched if not _is_few(one.rows, one.rest)]
        self._watched = watched
        self._few = [one.rest for one in few]
        self._blocks = [block for one in many for block in _blocks(one.rows, one.rest)]
        self._sizes = [block.shape[0] for block in self._blocks]
        self._contents = torch.cat([one.sums for one in few]) if few else None
        self._sums = torch.cat([one.sums for one in many]) if many else None

    def unchanged(self) -> bool:
        if any(one.counted() for one in self._watched):
            return False
        if self._contents is not None and not torch.equal(self._contents, torch.cat(self._few)):
            return False
        if self._sums is None:
            return True
        sums = torch.empty_like(self._sums)
        for out, block in zip(sums.split(self._sizes), self._blocks, strict=True):
            _sum_into(out, block)
        return torch.equal(self._sums, sums)


_PARTS = 8
"""Parts in which the weights of a dtype are looked at, for threads to share."""


def _divided(watched: Iterable[_Watched]) -> tuple[_Part, ...]:
    """Parts of about as many elements each: dealt in turn, the largest first."""
    by_dtype: dict[torch.dtype, list[_Watched]] = {}
    for one in sorted(watched, key=lambda one: one.rows.numel() + one.rest.numel(), reverse=True):
        by_dtype.setdefault(one.rest.dtype, []).append(one)
    return tuple(_Part(some[first::_PARTS]) for some in by_dtype.values() for first in range(min(_PARTS, len(some))))


class Watch:
    """The weights on a CPU that the calls of one model use.

    A call looks at all of them when it begins, in one go: an op then finds what was derived from them without looking
    again. What else it uses is looked at once, when an op first asks.
    """

    def __init__(self) -> None:
        self._state = _WatchState(object(), (), (), frozenset())

    def begin(self, spread: Callable[[Sequence[Callable[[], None]]], None] | None = None) -> WatchedCall:
        """A call, which `during` runs parts of and `end` ends. What is written to the model's weights meanwhile is seen
        where a version counts it. `spread` runs functions that do not depend on each other, perhaps on several
        threads."""
        state = self._state
        changed: list[bool] = []

        def look(part: _Part) -> None:
            if not part.unchanged():
                changed.append(True)

        looks = [partial(look, part) for part in state.parts]
        if spread is not None:
            spread(looks)
        else:
            for each in looks:
                each()
        if changed:
            self._state = state = _WatchState(object(), (), (), frozenset())
        return WatchedCall(state.epoch, state.covered)

    @contextmanager
    def part(self, call: WatchedCall, parameters: Callable[[], Iterable[Tensor]]) -> Iterator[None]:
        """A block that is a part of this call, of a model with these parameters, or all of it."""
        with during(call):
            yield
        self.end(call, parameters)

    def end(self, call: WatchedCall, parameters: Callable[[], Iterable[Tensor]]) -> None:
        """Watch from now on what the call used of the model's parameters."""
        looked = {tensor.untyped_storage()._cdata for tensor in call.looked}
        if looked <= self._state.covered:
            return
        with _lock:  # parts of calls end in several threads
            state = self._state
            fresh = looked - state.covered  # each part of a call ends it: what an earlier one has added is not new
            added = [_Watched(one) for one in parameters() if _is_watchable(one, fresh)]
            if not added or call.epoch is not state.epoch:
                return
            watched = (*state.watched, *added)
            covered = frozenset(one.storage for one in watched)
            self._state = _WatchState(state.epoch, watched, _divided(watched), covered)

    def __deepcopy__(self, memo: dict[int, object]) -> "Watch":
        return Watch()

    def __reduce__(self) -> tuple[type["Watch"], tuple[()]]:
        return Watch, ()


class _WatchState(NamedTuple):
    epoch: object
    watched: tuple[_Watched, ...]
    parts: tuple[_Part, ...]
    covered: frozenset[int]


def _is_watchable(tensor: Tensor, storages: Container[int]) -> bool:
    """Whether it has one of these storages to itself, and all of it: others are looked at one by one."""
    storage = tensor.untyped_storage()
    return (
        storage._cdata in storages
        and storage.nbytes() == tensor.numel() * tensor.element_size()
        and _is_dense(tensor.shape, tensor.stride())
        and may_keep(tensor)
    )


class Mark:
    """What a tensor was when something was derived from it, and whether it still is that.

    It keeps neither the tensor nor its storage alive.
    """

    __slots__ = ("_contents", "_layout", "_seen", "_state", "_storage")

    def __init__(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        # The weak reference keeps the storage's address from being taken by another one.
        self._storage = StorageWeakRef(storage)
        self._layout = layout(tensor)
        self._state = (tensor._version, tensor.data_ptr())
        look = tensor.device.type == "cpu" and not is_private(tensor)
        self._contents = fingerprint(tensor) if look else None
        self._seen: object | None = None
        if look:
            self._note(tensor)

    def is_of(self, tensor: Tensor) -> bool:
        """Whether `tensor`, one that may be kept (`may_keep`), is the marked one, unchanged."""
        # The same storage: while this mark refers to one, no other takes its address.
        return self._layout == layout(tensor) and self.holds(tensor)

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor of the marked one's layout is unchanged."""
        if self._state != (tensor._version, tensor.data_ptr()):
            return False
        call = _calls.current
        if self._contents is None or (call is not None and (self._seen is call.epoch or self._seen is call)):
            return True
        if not torch.equal(self._contents, fingerprint(tensor)):
            return False
        self._note(tensor)
        return True

    def _note(self, tensor: Tensor) -> None:
        """Remember that the tensor was looked at just now."""
        call = _calls.current
        if call is None:
            self._seen = None
        elif tensor.untyped_storage()._cdata in call.covered:
            self._seen = call.epoch
        else:
            self._seen = call
            call.looked.append(tensor)

    def expired(self) -> bool:
        """Whether the marked tensor's storage is gone."""
        return self._storage.expired()


def layout(tensor: Tensor) -> Hashable:
    """Which elements of which storage a tensor has."""
    storage = tensor.untyped_storage()._cdata
    return storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


_PLAIN = (Tensor, nn.Parameter)


def may_keep(*tensors: Tensor) -> bool:
    """Whether what is derived from these tensors, here and now, may serve another call.

    Not where they have no storage or version of their own (meta, fake, of a function transform, made in inference
    mode), and not while anything records or replaces what is computed (tracing, compiling, dispatch modes).
    """
    # In each op of each call: no generators. First whether dynamo traces this, for it cannot trace what follows.
    if torch.compiler.is_compiling() or torch._C._is_tracing() or torch._C._len_torch_dispatch_stack():
        return False
    for tensor in tensors:
        if (
            type(tensor) not in _PLAIN
            or tensor.layout != torch.strided
            or tensor.is_meta
            or tensor.is_inference()
            or not tensor.dtype.is_floating_point
            or torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        ):
            return False
    return True


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
    if found is not None and found[0].holds(weight):
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
