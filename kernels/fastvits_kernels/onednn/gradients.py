"""Gradients of the ops with long convolutions on a CPU (`ops.gradients`), and of `conv_transpose1d`.

A convolution's gradient by its input is a convolution of a channels-last image, that by its weight a product of
matrices for each tap, over the steps of all items. Together they take a half to two thirds of what torch's own backward
takes. (One AVX-512 thread, batch 8, kernel sizes 3 to 11 of 32 to 256 channels: 1.6 to 4 times as fast as the reference
forwards and backwards.) In half precision everything is widened to float32 and rounded once, at the end.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..dispatch.masking import zero_beyond
from ..dispatch.registry import gradients_of, ops
from ..ops.gradients import BACKWARD, Convolutions, derivable, leaky, sums, through_leaky, wants


def _image(x: Tensor) -> Tensor:
    """A contiguous `[N, T, C]` as the image `[N, C, 1, T]`, channels last."""
    return x.transpose(1, 2).unsqueeze(2)


def _sequence(image: Tensor) -> Tensor:
    return image.squeeze(2).transpose(1, 2)


def _filter(weight: Tensor) -> Tensor:
    """`[K, C_in, C_out]` as an image's filter `[C_out, C_in, 1, K]`, channels last."""
    return weight.permute(2, 1, 0).unsqueeze(2).contiguous(memory_format=torch.channels_last)


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, pad_left: int) -> Tensor:
    """The convolution of `x` `[B, T, C_in]` with `[K, C_in, C_out]`, `[B, T, C_out]`."""
    taps = weight.shape[0]
    if taps == 1:
        return functional.linear(x, weight[0].t(), bias)
    right = (taps - 1) * dilation - pad_left
    padding = (0, pad_left) if pad_left == right else (0, 0)
    if pad_left != right:
        x = functional.pad(x, (0, 0, pad_left, right))
    image = _image(x.contiguous())
    return _sequence(torch.conv2d(image, _filter(weight), bias, padding=padding, dilation=(1, dilation)))


def by_input(g: Tensor, weight: Tensor, dilation: int, pad_left: int) -> Tensor:
    """The gradient by the input of a convolution whose output has the gradient `g` `[B, T, C_out]`."""
    backwards = weight.flip(0).transpose(1, 2)
    return convolved(g, backwards, None, dilation, (weight.shape[0] - 1) * dilation - pad_left)


def by_weight(x: Tensor, g: Tensor, taps: int, dilation: int, pad_left: int) -> Tensor:
    """The gradient by the weight, `[K, C_in, C_out]`, of a convolution of `x` `[B, T, C_in]`.

    Input and gradient get rows of zeros, so that both are one long sequence and a tap is a shift of it.
    """
    span = (taps - 1) * dilation
    rows = functional.pad(x, (0, 0, pad_left, span - pad_left)).reshape(-1, x.shape[2])
    grads = functional.pad(g, (0, 0, 0, span)).reshape(-1, g.shape[2])
    count = rows.shape[0] - span
    return torch.stack([rows[k * dilation : k * dilation + count].t() @ grads[:count] for k in range(taps)])


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
        _image(g.contiguous()),
        _image(leaky(inside, slope).contiguous()),
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
        of_x = zero_beyond(through_leaky(_sequence(of_x), inside, slope), lengths)
    if of_weight is not None:
        of_weight = of_weight.squeeze(2).permute(2, 0, 1)
    return of_x, of_weight, sums(g) if wants(bias) else None, *(None,) * 4


def _register(name: str, backward: Any) -> None:
    op = ops()[name]

    def run(grads: tuple[Tensor, ...], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        if not derivable(arguments):
            return gradients_of(op.reference, arguments, grads)
        return _rounded(backward(grads[0].float(), *_widened(arguments)), arguments)

    op.implementations["onednn"] = replace(op.implementations["onednn"], backward=run)


def _widened(arguments: tuple[Any, ...]) -> list[Any]:
    """The arguments in float32 and outside of any graph, still saying which of them want a gradient."""

    def widened(argument: Any) -> Any:
        if isinstance(argument, list):
            return [widened(item) for item in argument]
        if not isinstance(argument, Tensor) or not argument.is_floating_point():
            return argument
        return argument.detach().float().requires_grad_(argument.requires_grad)

    return [widened(argument) for argument in arguments]


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
