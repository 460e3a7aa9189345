"""`resblock_step` and `resblock_pair` on oneDNN, branch by branch and item by item.

The leaky ReLU is one pass into a padded buffer, the second one a post-operation of the first convolution; the last
convolution sums into the output, where the residual (or its mean over the branches) lies already. The mean's factor
belongs to the weights.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..registry import Implementation, ops
from ..resblock import undone
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
    whole_steps,
)


class _Branches:
    """The inputs' leaky ReLU for each branch, computed once where the branches share one input."""

    def __init__(self, x: Tensor, slope: float, dtype: torch.dtype, pads: Sequence[int], whole: int) -> None:
        self._x, self._slope, self._dtype, self._pads = x, slope, dtype, pads
        self._extra = whole - x.shape[1]
        self._shared: Tensor | None = None

    def __getitem__(self, branch: int) -> Tensor:
        """`[1, whole + 2 pads[branch], C]`, contiguous."""
        pad = self._pads[branch]
        if self._x.shape[0] > 1 or len(self._pads) == 1:
            return activated(self._x[branch : branch + 1], self._slope, self._dtype, pad, pad + self._extra)
        widest = max(self._pads)
        if self._shared is None:
            self._shared = activated(self._x, self._slope, self._dtype, widest, widest + self._extra)
        return self._shared[:, widest - pad : self._shared.shape[1] - (widest - pad)]


def _start(out: Tensor, residual: Tensor | None, mean: bool) -> None:
    """Put into `out` `[R or 1, T, C]` what the convolutions are summed onto: the residual `[R or 1, T, C]`, or its
    mean, or zeros."""
    if residual is None:
        out.zero_()
    elif mean and residual.shape[0] > 1:
        # torch.sum takes 1.7 times as long in float32, and 6 times in bfloat16.
        torch.add(residual[0], residual[1], out=out[0])
        for branch in residual[2:]:
            out[0].add_(branch)
        out.mul_(1 / residual.shape[0])
    else:
        out.copy_(residual)


def _run_step(
    x: Tensor,
    residual: Tensor | None,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    lengths: Tensor | None,
    dilations: Sequence[int],
    slope: float,
    mean: bool,
    activated: bool,
    out_slope: float,
) -> Tensor:
    return _run(x, residual, None, None, weights, biases, lengths, dilations, slope, mean, activated, out_slope)


def _run_pair(
    x: Tensor,
    weights1: Sequence[Tensor],
    biases1: Sequence[Tensor],
    weights2: Sequence[Tensor],
    biases2: Sequence[Tensor],
    lengths: Tensor | None,
    dilations: Sequence[int],
    slope: float,
    mean: bool,
    activated: bool,
    out_slope: float,
) -> Tensor:
    return _run(x, x, weights1, biases1, weights2, biases2, lengths, dilations, slope, mean, activated, out_slope)


def _run(
    x: Tensor,
    residual: Tensor | None,
    weights1: Sequence[Tensor] | None,
    biases1: Sequence[Tensor] | None,
    weights2: Sequence[Tensor],
    biases2: Sequence[Tensor],
    lengths: Tensor | None,
    dilations: Sequence[int],
    slope: float,
    mean: bool,
    activated: bool,
    out_slope: float,
) -> Tensor:
    """A pair, or without `weights1` a single step: `dilations` are those of the first convolution."""
    if activated:
        # Applied on the way into a padded buffer, at no cost: a CPU does not ask its models for activations.
        given, x = x, undone(x, slope)
        residual = x if residual is given else None if residual is None else undone(residual, slope)
    branches = len(weights2)
    _, batch, steps, channels = x.shape
    dtype = compute_dtype(x.dtype)
    alpha = 1 / branches if mean else 1.0
    firsts = None if weights1 is None or biases1 is None else list(zip(weights1, biases1, dilations, strict=True))
    inner = dilations if firsts is None else [1] * branches
    lasts = list(zip(weights2, biases2, inner, strict=True))
    pads = [(w.shape[0] - 1) * d // 2 for w, _, d in (lasts if firsts is None else firsts)]

    out = torch.empty(1 if mean else branches, batch, whole_steps(steps), channels, dtype=dtype, device=x.device)
    for item, length in _single_items(lengths, batch, steps):
        whole = whole_steps(length)
        target = out[:, item, :whole]
        _start(target[:, :length], None if residual is None else residual[:, item, :length], mean)
        inputs = _Branches(x[:, item, :length], slope, dtype, pads, whole)
        for branch, (weight, bias, dilation) in enumerate(lasts):
            h, pad = inputs[branch], 0
            if firsts is not None:
                weight1, bias1, dilation1 = firsts[branch]
                h = convolve(
                    h,
                    packed_weight(weight1, dtype, whole, dilation1),
                    scaled_bias(bias1, None, dtype),
                    dilation=dilation1,
                    activation="leaky_relu",
                    slope=slope,
                )
                h[:, length:].zero_()
                pad = (weight.shape[0] - 1) // 2
            convolve_onto(
                target if mean else target[branch : branch + 1],
                h,
                packed_weight(weight, dtype, whole, dilation, alpha),
                scaled_bias(bias, None, dtype, alpha),
                pad=pad,
                dilation=dilation,
            )
    out = out[:, :, :steps]
    for sequence in out:
        clear_beyond(sequence, lengths)
    out = (out[0] if mean else out).to(x.dtype)
    return out if out_slope == 1.0 else functional.leaky_relu_(out, out_slope)


def _single_items(lengths: Tensor | None, batch: int, steps: int) -> list[tuple[int, int]]:
    """Each item that has steps, and how many: a slice of one item is contiguous, one of several is not."""
    if lengths is None:
        return [(item, steps) for item in range(batch if steps else 0)]
    return [(chosen.start, length) for chosen, length in items(lengths, batch, steps)]


def _supports_step(
    x: Tensor, residual: Tensor | None, weights: Sequence[Tensor], biases: Sequence[Tensor], *_: Any
) -> str | None:
    return unsupported(x, residual, *weights, *biases)


def _supports_pair(
    x: Tensor,
    weights1: Sequence[Tensor],
    biases1: Sequence[Tensor],
    weights2: Sequence[Tensor],
    biases2: Sequence[Tensor],
    *_: Any,
) -> str | None:
    return _supports_step(x, x, [*weights1], [*biases1]) or unsupported(x, *weights2, *biases2)


ops()["resblock_step"].register("onednn", Implementation(_run_step, _supports_step))
ops()["resblock_pair"].register("onednn", Implementation(_run_pair, _supports_pair))
