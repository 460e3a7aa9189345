"""`conv1d` on oneDNN: prologue into a padded buffer, bias and condition as one bias, activation and residual as
post-operations.

A convolution to one channel is no work for it: see `_to_one_channel`.
"""

import torch
from torch import Tensor

from ..dispatch.packing import packed
from ..dispatch.registry import Implementation, named, ops
from ..ops.conv import apply_activation
from .convolution import (
    activated,
    clear_beyond,
    compute_dtype,
    convolve,
    convolve_onto,
    items,
    linear,
    planned,
    product_rows,
    scaled_bias,
    torch_is_slow,
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
    ieee: bool = False,
) -> Tensor:
    batch, steps, _ = x.shape
    taps, _, outputs = weight.shape
    dtype = compute_dtype(x.dtype)
    right = (taps - 1) * dilation - pad_left
    post_operation, algorithm = _POST_OPERATIONS.get(activation, ("none", ""))
    linear = activation == "none"
    # Without an activation in between, the scale belongs to the weights.
    folded = alpha if linear else 1.0
    cond = None if cond is None else cond.expand(batch, outputs)
    # Matrix units make a convolution to one channel wait 80 ms for generated code, at each new number of steps.
    one_channel = outputs == 1 and taps > 1

    out = torch.empty(batch, steps, outputs, dtype=dtype, device=x.device)
    for chosen, length in items(lengths if cond is None else _given(lengths, batch, steps), batch, steps):
        total_bias = scaled_bias(bias, None if cond is None else cond[chosen.start], dtype, folded)
        if one_channel:
            y = _to_one_channel(x[chosen, :length], weight, dilation, pad_left, slope, folded)
            if total_bias is not None:
                y.add_(total_bias)
            y = apply_activation(y, activation)
        else:
            whole, weights = planned(weight, dtype, length, dilation, folded)
            source = activated(x[chosen, :length], slope, dtype, pad_left, right + whole - length)
            if linear and residual is not None and whole == length and dilation > 1 and taps > 1:
                target = out[chosen, :length].copy_(residual[chosen, :length])
                convolve_onto(target, source, weights, total_bias, dilation=dilation)
                continue
            y = convolve(
                source, weights, total_bias, dilation=dilation, activation=post_operation, algorithm=algorithm
            )[:, :length]
            if activation not in _POST_OPERATIONS:
                y = apply_activation(y, activation)
        if alpha != folded:
            y.mul_(alpha)
        if residual is not None:
            y.add_(residual[chosen, :length])
        if length == steps and batch == chosen.stop - chosen.start:
            return y.to(x.dtype).contiguous()
        out[chosen, :length].copy_(y)
    return clear_beyond(out, lengths).to(x.dtype)


_ROWS = 1 << 13
"""Steps that `_to_one_channel` works on at a time: what it reads and writes stays in the cache."""


def _to_one_channel(x: Tensor, weight: Tensor, dilation: int, pad_left: int, slope: float, alpha: float) -> Tensor:
    """`alpha *` the convolution of `x` `[N, T, C]` with `[K, C, 1]`, `[N, T, 1]` in float32.

    A product of matrices, `[T + span, C] @ [C, K]`, whose diagonals are summed: a convolution of oneDNN takes 1.3 to 3
    times as long. With so few outputs MKL takes 5 times as long as oneDNN on an AMD EPYC 9005.
    """
    taps = weight.shape[0]
    batch, steps, _ = x.shape
    right = (taps - 1) * dilation - pad_left
    matrix = packed(
        weight, ("onednn one channel", alpha), lambda: (weight.detach()[..., 0].float() * alpha).contiguous()
    )
    out = torch.empty(batch, steps, 1, dtype=torch.float32, device=x.device)
    for item in range(batch):
        for first in range(0, steps, _ROWS):
            last = min(first + _ROWS, steps)
            begin, end = max(first - pad_left, 0), min(last + right, steps)
            rows = last - first + pad_left + right
            margins = begin - (first - pad_left), last + right - end + product_rows(rows, torch.float32) - rows
            source = activated(x[item : item + 1, begin:end], slope, torch.float32, *margins)[0]
            products = linear(source, matrix) if torch_is_slow() else source @ matrix.t()
            diagonals = products.as_strided((last - first, taps), (taps, dilation * taps + 1))
            torch.sum(diagonals, 1, out=out[item, first:last, 0])
    return out


def _given(lengths: Tensor | None, batch: int, steps: int) -> Tensor:
    """Lengths even where all items are whole: a condition is a bias of its own for each item."""
    return torch.full((batch,), steps, device="cpu") if lengths is None else lengths


ops()["conv1d"].register("onednn", Implementation(_run, named(unsupported, "x", "weight", "bias", "cond", "residual")))
