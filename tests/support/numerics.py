"""How far an implementation of an op is from the truth, for the tests and the benchmarks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from fastvits_kernels.dispatch import registry
from tests.support.tolerances import OP_ERROR_CEILING, OP_ERROR_FLOOR, TF32_ERROR_CEILING, TF32_ERROR_FLOOR

SENTINEL = 123.0  # fits every dtype, bytes included
FENCE = 64


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Relative RMS distance; NaN anywhere is infinitely far, and so is anything but zeros where zeros are expected."""
    difference = (actual.double() - expected.double()).norm().item()
    scale = expected.double().norm().item()
    if difference != difference:
        return float("inf")
    return difference / scale if scale else (0.0 if difference == 0 else float("inf"))


def allowed_error(eager_error: float, dtype: torch.dtype, *, tf32: bool = False) -> float:
    """How far an implementation in `dtype` (in float32 with TF32 allowed) may be from float64 where eager is
    `eager_error` away."""
    if tf32:
        return min(2 * eager_error + TF32_ERROR_FLOOR, TF32_ERROR_CEILING)
    return min(2 * eager_error + OP_ERROR_FLOOR[dtype], OP_ERROR_CEILING[dtype])


def truth(op: registry.Op, arguments: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """The outputs of an op's reference in float64 on these, already rounded, arguments."""
    return outputs_of(op.reference(*converted(arguments, to_float64)))


def errors_of(result: Any, expected: Sequence[Tensor]) -> list[float]:
    """The distance of each output of an op from the truth; raises ValueError where there are more or fewer outputs."""
    return [relative_error(one, other) for one, other in zip(outputs_of(result), expected, strict=True)]


def outputs_of(result: Any) -> tuple[Tensor, ...]:
    """An op's result as a tuple of tensors."""
    return (result,) if isinstance(result, Tensor) else tuple(result)


def converted(arguments: tuple[Any, ...], convert: Callable[[Tensor], Tensor]) -> tuple[Any, ...]:
    """The arguments with every tensor, in lists too, converted."""
    return tuple(
        convert(a)
        if isinstance(a, Tensor)
        else [convert(t) for t in a]
        if isinstance(a, list) and a and isinstance(a[0], Tensor)
        else a
        for a in arguments
    )


def to_float64(tensor: Tensor) -> Tensor:
    """Floating-point values in float64; others as they are."""
    return tensor.double() if tensor.is_floating_point() else tensor


@contextmanager
def poisoned_allocations() -> Iterator[Callable[[], None]]:
    """`torch.empty` and its kin give NaN (or the largest integer) inside, between fences; yields a check of the
    fences."""
    fenced: list[Tensor] = []
    real_empty = torch.empty

    def empty(*size: Any, **options: Any) -> Tensor:
        shape = torch.Size(size[0] if len(size) == 1 and not isinstance(size[0], int) else size)
        dtype, device = options.pop("dtype", None) or torch.get_default_dtype(), options.pop("device", None)
        assert not options, f"an implementation allocates with unforeseen options {sorted(options)}"
        whole = real_empty(shape.numel() + 2 * FENCE, dtype=dtype, device=device)
        poison = float("nan") if dtype.is_floating_point else torch.iinfo(dtype).max if dtype != torch.bool else True
        whole.fill_(SENTINEL if dtype != torch.bool else True)
        inside = whole[FENCE : FENCE + shape.numel()].view(shape)
        inside.fill_(poison)
        fenced.append(whole)
        return inside

    def empty_like(tensor: Tensor, **options: Any) -> Tensor:
        return empty(tensor.shape, dtype=options.pop("dtype", tensor.dtype), device=tensor.device, **options)

    def new_empty(tensor: Tensor, *size: Any, **options: Any) -> Tensor:
        dtype, device = options.pop("dtype", tensor.dtype), options.pop("device", tensor.device)
        return empty(*size, dtype=dtype, device=device, **options)

    def check() -> None:
        for whole in fenced:
            expected = torch.full(
                (FENCE,), SENTINEL if whole.dtype != torch.bool else True, dtype=whole.dtype, device=whole.device
            )
            assert torch.equal(whole[:FENCE], expected), "a kernel wrote before its output"
            assert torch.equal(whole[-FENCE:], expected), "a kernel wrote beyond its output"

    with torch.device("cpu"):
        # torch remembers at the first use of a device as a context which functions make tensors: not these.
        torch.zeros(0)
    with (
        patch.object(torch, "empty", empty),
        patch.object(torch, "empty_like", empty_like),
        patch.object(Tensor, "new_empty", new_empty),
    ):
        yield check


def padding(expected: Tensor) -> Tensor:
    """Where whole steps are zero in the reference: what lies beyond `lengths`."""
    return (expected == 0).all(-1, keepdim=True).expand_as(expected)


def assert_as_good_as_eager(
    op: registry.Op, fast: Callable[..., Any], arguments: tuple[Any, ...], dtype: torch.dtype, *, tf32: bool = False
) -> tuple[float, float]:
    """The whole rule for one implementation at one set of arguments, under the flags of TF32 that are set (`tf32` says
    how). Returns the largest relative errors, of the implementation and of eager.

    Raises AssertionError with what is wrong.
    """
    expected = truth(op, arguments)
    eager = outputs_of(op.reference(*arguments))
    before = converted(arguments, torch.clone)
    with poisoned_allocations() as check_fences:
        first = outputs_of(fast(*arguments))
        second = outputs_of(fast(*arguments))
        check_fences()
    for old, new in zip(registry.tensors_in(before), registry.tensors_in(arguments), strict=True):
        torch.testing.assert_close(new, old, rtol=0, atol=0, equal_nan=True, msg="an input was changed")
    for one, other, reference, plain in zip(first, second, expected, eager, strict=True):
        assert one.shape == reference.shape
        assert one.dtype == plain.dtype
        assert torch.equal(one, other), "two runs differ"
        assert not one[padding(reference)].any(), "something else than zero stands beyond the lengths"
    errors, eager_errors = errors_of(first, expected), errors_of(eager, expected)
    for error, eager_error in zip(errors, eager_errors, strict=True):
        allowed = allowed_error(eager_error, dtype, tf32=tf32)
        assert error <= allowed, f"relative error {error:.3g}, allowed {allowed:.3g}"
    return max(errors), max(eager_errors)
