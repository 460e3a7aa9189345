"""The rule of numbers for gradients, for the tests and the benchmarks."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fastvits_kernels.dispatch import registry
from tests.support.numerics import allowed_error, converted, outputs_of, poisoned_allocations, relative_error
from tests.support.tolerances import GRADIENT_BEYOND_CEILING


def leaf(tensor: Tensor) -> Tensor:
    """A copy that wants a gradient, if it can have one."""
    return tensor.detach().clone().requires_grad_(tensor.is_floating_point())


def flat(gradients: tuple[Any, ...]) -> list[Tensor | None]:
    """The gradients with those of lists in line."""
    return [one for entry in gradients for one in (entry if isinstance(entry, list) else [entry])]


def _in_float64(tensor: Tensor) -> Tensor:
    wide = tensor.detach().double() if tensor.is_floating_point() else tensor
    return wide.requires_grad_(tensor.requires_grad)


def gradients_of_results(op: registry.Op, arguments: tuple[Any, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Drawn gradients of the op's results, `dtype`, on the device of the arguments."""
    generator, device = torch.Generator().manual_seed(3), next(registry.tensors_in(arguments)).device
    results = outputs_of(op.fake(*converted(arguments, lambda tensor: tensor.detach().to("meta"))))
    return tuple(torch.randn(result.shape, generator=generator).to(device, dtype) for result in results)


def assert_gradients_as_good_as_eager(
    op: registry.Op,
    backward: Callable[[tuple[Tensor, ...], tuple[Any, ...]], tuple[Any, ...]],
    arguments: tuple[Any, ...],
    dtype: torch.dtype,
    *,
    tf32: bool = False,
) -> tuple[float, float]:
    """The whole rule for the gradients of all arguments: as `assert_as_good_as_eager`, which says what that is.

    The truth is the reference's in float64, on the same rounded arguments and the same rounded gradient of the result.
    Returns the largest relative errors, of the implementation and of eager.
    """
    arguments = op.complete(converted(arguments, leaf))
    grads = gradients_of_results(op, arguments, dtype)
    exact = converted(arguments, _in_float64)
    expected = flat(registry.gradients_of(op.reference, exact, tuple(grad.double() for grad in grads)))
    eager = flat(registry.gradients_of(op.reference, arguments, grads))
    before = converted(arguments, lambda tensor: tensor.detach().clone())
    with torch.no_grad(), poisoned_allocations() as check_fences:
        first, second = flat(backward(grads, arguments)), flat(backward(grads, arguments))
        check_fences()
    for old, new in zip(registry.tensors_in(before), registry.tensors_in(arguments), strict=True):
        assert torch.equal(old, new.detach()), "an input was changed"
    errors = [(0.0, 0.0)]
    for one, other, plain, truth in zip(first, second, eager, expected, strict=True):
        assert (one is None) == (truth is None)
        if one is None or other is None or plain is None or truth is None:
            continue
        assert (one.shape, one.dtype) == (plain.shape, plain.dtype)
        assert torch.equal(one, other), "two runs differ"
        error, eager_error = relative_error(one, truth), relative_error(plain, truth)
        allowed = max(allowed_error(eager_error, dtype, tf32=tf32), GRADIENT_BEYOND_CEILING[dtype] * eager_error)
        assert error <= allowed, f"relative error {error:.3g}, allowed {allowed:.3g}"
        errors.append((error, eager_error))
    return max(error for error, _ in errors), max(eager_error for _, eager_error in errors)
