"""Gradients of the ops with long convolutions on a CPU (`ops.gradients`), and of `conv_transpose1d`.

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

from ..dispatch.masking import zero_beyond
from ..dispatch.registry import gradients_of, ops, tensors_in
from ..ops.gradients import BACKWARD, Convolutions, derivable, leaky, sums, through_leaky, wants
from .convolution import native_dtypes
from .images import by_input, by_weight, convolved, image, sequence


def conv_transpose1d_backward(
    g: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lengths: Tensor | None,
    stride: int,
    padding: int,
    slope: float,
) -> tuple[Any, ...]:
    """Gradients of `conv_transpose1d`'s arguments, by oneDNN's backward of channels-last images."""
    g = zero_beyond(g, None if lengths is None else lengths * stride)
    inside = zero_beyond(x, lengths)
    of_x, of_weight, _ = torch.ops.aten.convolution_backward(
        image(g.contiguous()),
        image(leaky(inside, slope).contiguous()),
        weight.permute(1, 2, 0).unsqueeze(2).contiguous(memory_format=torch.channels_last),
        None,
        [1, stride],
        [0, padding],
        [1, 1],
        True,
        [0, 0],
        1,
        (wants(x), wants(weight), False),
    )
    if of_x is not None:
        of_x = zero_beyond(through_leaky(sequence(of_x), inside, slope), lengths)
    if of_weight is not None:
        of_weight = of_weight.squeeze(2).permute(2, 0, 1)
    return of_x, of_weight, sums(g) if wants(bias) else None, *(None,) * 4


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
for _name, _backward in BACKWARD.items():
    # Of upsampling oneDNN has a backward of its own, which stuffs no taps.
    _register(_name, conv_transpose1d_backward if _name == "conv_transpose1d" else partial(_backward, _ON_CPU))
