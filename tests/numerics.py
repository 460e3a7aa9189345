"""How far an implementation of an op is from the truth, for the tests and the benchmarks."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.tolerances import OP_ERROR_CEILING, OP_ERROR_FLOOR


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Relative RMS distance; NaN anywhere is infinitely far, and so is anything but zeros where zeros are expected."""
    difference = (actual.double() - expected.double()).norm().item()
    scale = expected.double().norm().item()
    if difference != difference:
        return float("inf")
    return difference / scale if scale else (0.0 if difference == 0 else float("inf"))


def allowed_error(eager_error: float, dtype: torch.dtype) -> float:
    """How far an implementation in `dtype` may be from float64 where eager is `eager_error` away."""
    return min(2 * eager_error + OP_ERROR_FLOOR[dtype], OP_ERROR_CEILING[dtype])


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
