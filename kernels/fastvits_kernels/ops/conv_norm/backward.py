"""Gradients of the convolution with its norm: those of its parts, with nothing kept but the arguments.

The convolution is computed again for the norm's kernel (`layer_norm.backward`), which makes the gradients of the
residual, of the norm's parameters, of the bias and of what the convolution gave; from the last, `conv_gradients` makes
those of `x` and of the weight. That is three products where eager's backward has two, and no `[B, T, C]` in memory
between the passes.
"""

from typing import Any

from torch import Tensor

from ...dispatch.masking import zero_beyond
from ...dispatch.registry import gradients_of
from ..conv_gradients import convolutions
from ..gradients import derivable, wants
from ..layer_norm.backward import norm_gradients
from .reference import conv1d_layer_norm_reference


def convolution_gradients(
    g: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    lengths: Tensor | None,
    pad_left: int,
    eps: float,
    seed: Tensor | None = None,
    dropout: float = 0.0,
    *,
    with_out: bool = False,
) -> tuple[tuple[Tensor | None, ...], Tensor | None]:
    """The gradients of the first six arguments behind `g`, None for those that want none, and with `with_out` what
    the op gives."""
    with_ = convolutions(ieee=True)
    inside = zero_beyond(x, lengths)
    y = with_.convolved(inside, weight, bias, 1, pad_left)
    found = norm_gradients(y, residual, norm_weight, norm_bias, lengths, eps, g, seed, dropout, with_out=with_out)
    of_x = zero_beyond(with_.by_input(found.x, weight, 1, pad_left), lengths) if wants(x) else None
    of_weight = with_.by_weight(inside, found.x, weight.shape[0], 1, pad_left) if wants(weight) else None
    gradients = (
        of_x,
        of_weight,
        found.sum if wants(bias) else None,
        found.residual if wants(residual) else None,
        found.weight if wants(norm_weight) else None,
        found.bias if wants(norm_bias) else None,
    )
    return gradients, found.out


def conv1d_layer_norm_backward(grads: tuple[Tensor, ...], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The gradients of the op's arguments, None for those that want none."""
    if not derivable(arguments):
        return gradients_of(conv1d_layer_norm_reference, arguments, grads)
    gradients, _ = convolution_gradients(grads[0], *arguments)
    return *gradients, *(None,) * 5
