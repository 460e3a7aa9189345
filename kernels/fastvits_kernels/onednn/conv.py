"""`conv1d` on oneDNN: prologue into a padded buffer, bias and condition as one bias, activation and residual as
post-operations."""

from typing import Any

import torch
from torch import Tensor

from ..conv import apply_activation
from ..registry import Implementation, ops
from .convolution import (
    activated,
    clear_beyond,
    compute_dtype,
    convolve,
    convolve_onto,
    items,
    packed_weight,
    scaled_bias,
    unsupported,
)

_POST_OPERATIONS = {
    "none": ("none", ""),
    "relu": ("relu", ""),
    "tanh": ("tanh", ""),
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
}
"""The activations that oneDNN applies itself, each with the names of its operation and its algorithm."""


def _run(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    cond: Tensor | None,
    residual: Tensor | None,
    lengths: Tensor | None,
    dilation: int,
    pad_left: int,
    slope: float,
    activation: str,
    alpha: float,
) -> Tensor:
    batch, steps, _ = x.shape
    taps, _, outputs = weight.shape
    dtype = compute_dtype(x.dtype)
    right = (taps - 1) * dilation - pad_left
    by_itself = dilation == 1 and pad_left == right
    post_operation, algorithm = _POST_OPERATIONS.get(activation, ("none", ""))
    linear = activation == "none"
    # Without an activation in between, the scale belongs to the weights.
    folded = alpha if linear else 1.0
    cond = None if cond is None else cond.expand(batch, outputs)
    residual = None if residual is None else residual.expand(batch, steps, outputs)
    in_place = linear and residual is not None

    out = torch.empty(batch, steps, outputs, dtype=dtype, device=x.device)
    for chosen, length in items(lengths if cond is None else _given(lengths, batch, steps), batch, steps):
        source = activated(x[chosen, :length], slope, dtype, *((0, 0) if by_itself else (pad_left, right)))
        pad = pad_left if by_itself else 0
        total_bias = scaled_bias(bias, None if cond is None else cond[chosen.start], dtype, folded)
        weights = packed_weight(weight, dtype, length, dilation, folded)
        target = out[chosen, :length]
        if in_place:
            assert residual is not None
            target.copy_(residual[chosen, :length])
            convolve_onto(target, source, weights, total_bias, pad=pad, dilation=dilation)
            continue
        y = convolve(
            source, weights, total_bias, pad=pad, dilation=dilation, activation=post_operation, algorithm=algorithm
        )
        if activation not in _POST_OPERATIONS:
            y = apply_activation(y, activation)
        if alpha != folded:
            y.mul_(alpha)
        if residual is not None:
            y.add_(residual[chosen, :length])
        if length == steps and batch == chosen.stop - chosen.start:
            return y.to(x.dtype)
        target.copy_(y)
    return clear_beyond(out, lengths).to(x.dtype)


def _given(lengths: Tensor | None, batch: int, steps: int) -> Tensor:
    """Lengths even where all items are whole: a condition is a bias of its own for each item."""
    return torch.full((batch,), steps, dtype=torch.int64) if lengths is None else lengths


def _supports(
    x: Tensor, weight: Tensor, bias: Tensor | None, cond: Tensor | None, residual: Tensor | None, *_: Any
) -> str | None:
    return unsupported(x, weight, bias, cond, residual)


ops()["conv1d"].register("onednn", Implementation(_run, _supports))
