"""Gradients of the ops with long convolutions on a CPU (`ops.gradients`).

A convolution's gradient by its input is a convolution of a channels-last image, that by its weight a product of
matrices for each tap, over the steps of all items. Together they take a half to two thirds of what torch's own backward
takes. (One AVX-512 thread, batch 8, kernel sizes 3 to 11 of 32 to 256 channels: 1.6 to 4 times as fast as the reference
forwards and backwards.) Half precision is computed as such where the processor has instructions for it. Elsewhere, and
where dtypes are mixed, everything is widened to float32 and rounded once, at the end.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..dispatch.registry import gradients_of, ops, tensors_in
from ..ops.gradients import BACKWARD, Convolutions, derivable
from .convolution import native_dtypes
from .images import by_input, by_weight, convolved, product


def _register(name: str, backward: Any) -> None:
    op = ops()[name]

    def run(
        grads: tuple[Tensor, ...], arguments: tuple[Any, ...], kept: tuple[Tensor, ...] | None = None
    ) -> tuple[Any, ...]:
        if not derivable(arguments):
            return gradients_of(op.reference, arguments, grads)
        dtype = _computing(grads[0].dtype, arguments)
        computed = {} if kept is None or kept[0].dtype != dtype else {"kept": kept}
        return _rounded(backward(grads[0].to(dtype), *_converted(arguments, dtype), **computed), arguments)

    op.implementations["onednn"] = replace(op.implementations["onednn"], backward=run)


def _computing(dtype: torch.dtype, arguments: tuple[Any, ...]) -> torch.dtype:
    """The dtype of the gradients' convolutions, where that of the result has `dtype`."""
    alone = all(tensor.dtype == dtype for tensor in tensors_in(arguments) if tensor.is_floating_point())
    return dtype if alone and dtype in native_dtypes() else torch.float32


def _converted(arguments: tuple[Any, ...], dtype: torch.dtype) -> list[Any]:
    """The arguments in `dtype` and outside of any graph, still saying which of them want a gradient."""

    def converted(argument: Any) -> Any:
        if isinstance(argument, list):
            return [converted(item) for item in argument]
        if not isinstance(argument, Tensor) or not argument.is_floating_point():
            return argument
        return argument.detach().to(dtype).requires_grad_(argument.requires_grad)

    return [converted(argument) for argument in arguments]


def _rounded(gradients: tuple[Any, ...], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Each gradient in the dtype of its argument."""

    def rounded(gradient: Any, argument: Any) -> Any:
        if isinstance(gradient, list):
            return [rounded(*pair) for pair in zip(gradient, argument, strict=True)]
        return None if gradient is None else gradient.to(argument.dtype)

    return tuple(rounded(*pair) for pair in zip(gradients, arguments, strict=True))


_ON_CPU = Convolutions(convolved, by_input, by_weight)
_LARGE_FILTERS = Convolutions(product, by_input, by_weight)
for _name, _backward in BACKWARD.items():
    # Upsampling has few steps of many channels.
    _register(_name, partial(_backward, _LARGE_FILTERS if _name == "conv_transpose1d" else _ON_CPU))
