"""A fake GPU: tensors that say they are on `cuda:0`, keep their values on the CPU, and are computed there.

Whatever would make the host wait for a GPU, and whatever a CUDA graph must not hold, is seen as it is dispatched.
PyTorch's own fake tensors have no values to be read or compared, and where PyTorch is built without CUDA, they can be
neither indexed nor copied into. Builds with CUDA ask a driver for every device that they meet: there a real GPU has
to be at hand, on which nothing is computed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes, return_and_correct_aliasing
from torch.utils.weak import WeakTensorKeyDictionary

from fastvits.models import observed

aten = torch.ops.aten
DEVICE = torch.device("cuda:0")


class OnGpu(Tensor):
    """A tensor on the fake GPU; `held` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "OnGpu":
        strides, offset = held.stride(), held.storage_offset()
        made: OnGpu = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=strides, storage_offset=offset, dtype=held.dtype, device=DEVICE
        )
        made.held = held
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"OnGpu({self.held!r})"

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            return INSTEAD.get(func, func)(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} outside of the fake GPU")


def _each(kind: type, function: Callable[[Any], Any], value: Any) -> Any:
    """`value`, nested lists and tuples, with `function` of each `kind` in its place."""
    if isinstance(value, kind):
        return function(value)
    return type(value)([_each(kind, function, x) for x in value]) if isinstance(value, list | tuple) else value


def _get(x: OnGpu, index: Any) -> OnGpu:
    parts = index if isinstance(index, tuple) else (index,)
    # A mask or a single number is read by the host, and what is on the host is copied: the model needs none of them.
    assert not any(isinstance(part, Tensor) for part in parts), "the fake GPU takes no tensor as an index"
    with _disable_current_modes():
        return OnGpu(x.held[index])


def _set(x: OnGpu, index: Any, value: Any) -> None:
    aten.copy_(_get(x, index), value) if isinstance(value, Tensor) else _get(x, index).fill_(value)


# What PyTorch implements with a guard of the device, or refuses to subclasses, above where modes see it.
INSTEAD: dict[Any, Callable[..., Any]] = {
    Tensor.__getitem__: _get,
    Tensor.__setitem__: _set,
    Tensor.__invert__: aten.bitwise_not,
    Tensor.copy_: aten.copy_,
    Tensor.contiguous: lambda x: x if x.is_contiguous() else aten.clone(x, memory_format=torch.contiguous_format),
    Tensor.tolist: lambda x: x.cpu().tolist(),
}


class FakeGpu(TorchDispatchMode):
    """Inside the block, tensors are made on, moved to and computed on the fake GPU.

    `reads` names the operators that made the host wait for values, `uploads` counts copies from pinned memory, and
    `pageable` names those that wait because their source is not pinned, or because nobody said that they need not.
    Operands on two devices raise.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pinned = WeakTensorKeyDictionary()
        self._capturing = False
        self.forget()

    def forget(self) -> None:
        """Count from here on."""
        self.reads: list[str] = []
        self.pageable: list[str] = []
        self.uploads = 0

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Raise, inside the block, for what a CUDA graph must not hold."""
        self._capturing = True
        try:
            yield
        finally:
            self._capturing = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given: list[Tensor] = []
        _each(Tensor, given.append, (args, list(kwargs.values())))
        on_host = [x for x in given if not isinstance(x, OnGpu)]
        there = len(on_host) < len(given)
        if func is aten.copy_.default:
            there = isinstance(args[0], OnGpu)
        elif kwargs.get("device") is not None:
            there = kwargs["device"].type == DEVICE.type
            kwargs["device"] = torch.device("cpu")
        self._watch(func, args, kwargs, given, on_host, there)
        if func is aten.is_pinned.default:
            return args[0] in self._pinned
        if func is aten._pin_memory.default:
            pinned = args[0].clone()
            self._pinned[pinned] = None
            return pinned
        values = _each(OnGpu, lambda x: x.held, args)
        result = func(*values, **{name: _each(OnGpu, lambda x: x.held, value) for name, value in kwargs.items()})
        if there:
            return return_and_correct_aliasing(func, args, kwargs, _each(Tensor, OnGpu, result))
        if self._capturing and isinstance(result, Tensor):
            raise RuntimeError(f"{func} makes a tensor on the host, inside a CUDA graph")
        return result

    def _watch(
        self, func: Any, args: Any, kwargs: dict[str, Any], given: list[Tensor], on_host: list[Tensor], there: bool
    ) -> None:
        if self._capturing and on_host:
            raise RuntimeError(f"{func} of a tensor on the host, inside a CUDA graph")
        if self._capturing and torch.Tag.nondeterministic_seeded in func.tags:
            raise RuntimeError(f"{func} draws random numbers, inside a CUDA graph")
        if func in (aten.copy_.default, aten._to_copy.default):
            source = args[1] if func is aten.copy_.default else args[0]
            at_once = not (kwargs.get("non_blocking") or (*args, False)[2:3] == (True,))
            if there and not isinstance(source, OnGpu) and (at_once or source not in self._pinned):
                self.pageable.append(str(func))
            elif there and not isinstance(source, OnGpu):
                self.uploads += 1
            elif not there and isinstance(source, OnGpu):
                self._read(func)
        elif len(on_host) < len(given):
            # PyTorch lets a single number of the CPU meet tensors of a GPU.
            if any(x.dim() for x in on_host):
                raise RuntimeError(f"{func} of tensors on two devices")
            if {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags):
                self._read(func)

    def _read(self, func: Any) -> None:
        if self._capturing:
            raise RuntimeError(f"{func} makes the host wait, inside a CUDA graph")
        self.reads.append(str(func))


@contextmanager
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    """A fake GPU, and PyTorch ready to believe in it; skips the test where PyTorch has CUDA and finds no driver."""
    if torch.backends.cuda.is_built() and not torch.cuda.is_available():
        pytest.skip("this PyTorch asks a driver for every device, and there is none")
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)

    # Weights of a class of their own would have every module called by itself; on a real GPU these are none.
    monkeypatch.setattr("fastvits.models.observed._ORDINARY", {*observed._ORDINARY, OnGpu})
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    monkeypatch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    with FakeGpu() as gpu:
        yield gpu
