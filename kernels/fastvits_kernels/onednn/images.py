"""Convolutions with weights that learn, on a CPU, and their gradients, as those of channels-last images of height 1.

Such weights are new in every step: nothing is packed, and all items are convolved together.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from ..dispatch.registry import in_operator
from . import fft_learning
from .convolution import native_dtypes


def learn(weights: Sequence[Tensor], x: Tensor, *others: Tensor | None) -> bool:
    """Whether `weights` want gradients, here and now, and all is of one dtype that this processor computes in."""
    if not in_operator() or not any(weight.requires_grad for weight in weights):
        return False
    dtypes = {tensor.dtype for tensor in (*weights, x, *others) if tensor is not None}
    return dtypes == {x.dtype} and x.dtype in native_dtypes()


def image(x: Tensor) -> Tensor:
    """A contiguous `[N, T, C]` as the image `[N, C, 1, T]`, channels last."""
    return x.transpose(1, 2).unsqueeze(2)


def sequence(made: Tensor) -> Tensor:
    """The sequence `[N, T, C]` of such an image."""
    return made.squeeze(2).transpose(1, 2)


def _filter(weight: Tensor) -> Tensor:
    """`[K, C_in, C_out]` as an image's filter `[C_out, C_in, 1, K]`, channels last."""
    return weight.permute(2, 1, 0).unsqueeze(2).contiguous(memory_format=torch.channels_last)


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, pad_left: int) -> Tensor:
    """The convolution of `x` `[B, T, C_in]` with `[K, C_in, C_out]`, `[B, T, C_out]`."""
    taps = weight.shape[0]
    if taps == 1:
        return functional.linear(x, weight[0].t(), bias)
    if fft_learning.convolution_pays(weight, x.shape[0] * x.shape[1], x.dtype):
        return fft_learning.convolved(x, weight, bias, dilation, pad_left)
    right = (taps - 1) * dilation - pad_left
    padding = (0, pad_left) if pad_left == right else (0, 0)
    if pad_left != right:
        x = functional.pad(x, (0, 0, pad_left, right))
    return sequence(torch.conv2d(image(x.contiguous()), _filter(weight), bias, padding=padding, dilation=(1, dilation)))


def by_input(g: Tensor, weight: Tensor, dilation: int, pad_left: int) -> Tensor:
    """The gradient by the input of a convolution whose output has the gradient `g` `[B, T, C_out]`."""
    if fft_learning.convolution_pays(weight, g.shape[0] * g.shape[1], g.dtype):
        return fft_learning.by_input(g, weight, dilation, pad_left)
    backwards = weight.flip(0).transpose(1, 2)
    return convolved(g, backwards, None, dilation, (weight.shape[0] - 1) * dilation - pad_left)


def product(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, pad_left: int) -> Tensor:
    """As `convolved`, without dilation, as one product with the windows of all steps, copied out: for filters that are
    large beside the input, which oneDNN would rearrange first (`[2, 512, 2048]` for 34 steps of 8 items: 190 ms)."""
    assert dilation == 1
    taps, inputs, outputs = weight.shape
    rows = functional.pad(x, (0, 0, pad_left, taps - 1 - pad_left))
    windows = rows.unfold(1, taps, 1).transpose(2, 3).reshape(-1, taps * inputs)
    filters = weight.reshape(-1, outputs)
    made = windows @ filters if bias is None else torch.addmm(bias, windows, filters)
    return made.view(*x.shape[:2], outputs)


def by_weight(x: Tensor, g: Tensor, taps: int, dilation: int, pad_left: int) -> Tensor:
    """The gradient by the weight, `[K, C_in, C_out]`, of a convolution of `x` `[B, T, C_in]`.

    In float32, where the Fourier domain does not pay, input and gradient get rows of zeros, so that both are one long
    sequence and a tap is a shift of it. In half precision oneDNN's own takes a quarter to three quarters of that, and
    keeps its sums in float32. (In float32 with AVX2 it takes 1.2 to 5 times as long.)
    """
    span = (taps - 1) * dilation
    if taps > 1 and g.dtype != torch.float32:
        return _weight_of_images(x, g, taps, dilation, pad_left, span - pad_left)
    if fft_learning.weight_gradient_pays(x, g, taps):
        return fft_learning.by_weight(x, g, taps, dilation, pad_left)
    rows = functional.pad(x, (0, 0, pad_left, span - pad_left)).reshape(-1, x.shape[2])
    grads = functional.pad(g, (0, 0, 0, span)).reshape(-1, g.shape[2])
    count = rows.shape[0] - span
    return torch.stack([rows[k * dilation : k * dilation + count].t() @ grads[:count] for k in range(taps)])


def _weight_of_images(x: Tensor, g: Tensor, taps: int, dilation: int, left: int, right: int) -> Tensor:
    if left != right:
        x, left = functional.pad(x, (0, 0, left, right)), 0
    # Of the weight only the shape is read.
    weight = _filter(x.new_empty(taps, x.shape[2], g.shape[2]))
    images = image(g.contiguous()), image(x.contiguous())
    _, of_weight, _ = torch.ops.aten.convolution_backward(
        *images, weight, None, [1, 1], [0, left], [1, dilation], False, [0, 0], 1, (False, True, False)
    )
    return cast(Tensor, of_weight).squeeze(2).permute(2, 1, 0)
