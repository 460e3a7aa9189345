"""`resblock_step` and `resblock_pair` on oneDNN, branch by branch and item by item.

The leaky ReLU is one pass into a padded buffer, the second one a post-operation of the first convolution; the last
convolution sums into the output, where the residual (or its mean over the branches) lies already. The mean's factor
belongs to the weights. The first of two convolutions makes the second one's padding, too, which then is cleared: with
AVX2 a convolution of 7 taps and more that pads by itself wants its weights in another layout than one that does not,
and has them rearranged in every call (256 channels, 11 taps: for 70 ms).

Long filters of many channels go through the Fourier domain (`fft_convolution`), behind which the leaky ReLU and the sum
are passes of their own. Weights that learn are not packed (`images`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ..dispatch.masking import zero_beyond
from ..dispatch.registry import Implementation, keep, ops
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
from .fft_convolution import fft_convolve, pays
from .images import convolved, learn

_Convolution = tuple[Tensor, Tensor, int]
"""Weight, bias and dilation."""

_KEPT_CHANNELS = 128
"""With so many, what the second convolution of a pair has heard is kept for the gradients: two thirds of the products
are in these stages, and two fifths of the memory that all would take."""


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


def _start(out: Tensor, residual: Tensor | None) -> None:
    """Put into `out` `[T, C]` what convolutions are summed onto: the mean of the residual `[R, T, C]`, or zeros."""
    if residual is None:
        out.zero_()
    elif residual.shape[0] > 1:
        # torch.sum takes 1.7 times as long in float32, and 6 times in bfloat16.
        torch.add(residual[0], residual[1], out=out)
        for branch in residual[2:]:
            out.add_(branch)
        out.mul_(1 / residual.shape[0])
    else:
        out.copy_(residual[0])


def run_step(
    x: Tensor,
    residual: Tensor | None,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    lengths: Tensor | None,
    dilations: Sequence[int],
    slope: float,
    mean: bool,
) -> Tensor:
    return _run(x, residual, None, None, weights, biases, lengths, dilations, slope, mean)


def run_pair(
    x: Tensor,
    weights1: Sequence[Tensor],
    biases1: Sequence[Tensor],
    weights2: Sequence[Tensor],
    biases2: Sequence[Tensor],
    lengths: Tensor | None,
    dilations: Sequence[int],
    slope: float,
    mean: bool,
) -> Tensor:
    return _run(x, x, weights1, biases1, weights2, biases2, lengths, dilations, slope, mean)


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
) -> Tensor:
    """A pair, or without `weights1` a single step: `dilations` are those of the first convolution."""
    branches = len(weights2)
    _, batch, steps, channels = x.shape
    dtype = compute_dtype(x.dtype)
    alpha = 1 / branches if mean else 1.0
    firsts = None if weights1 is None or biases1 is None else list(zip(weights1, biases1, dilations, strict=True))
    inner = dilations if firsts is None else [1] * branches
    lasts = list(zip(weights2, biases2, inner, strict=True))
    if learn([*weights2, *(weights1 or [])], x, residual, *biases2, *(biases1 or [])):
        return _run_learning(x, residual, firsts, lasts, lengths, slope, mean)
    pads = [_span(weight, dilation) for weight, _, dilation in lasts]
    if firsts is not None:
        pads = [pad + _span(weight, dilation) for pad, (weight, _, dilation) in zip(pads, firsts, strict=True)]

    out = torch.empty(1 if mean else branches, batch, whole_steps(steps), channels, dtype=dtype, device=x.device)
    for item, length in _single_items(lengths, batch, steps):
        whole = whole_steps(length)
        remaining = None if residual is None else residual[:, item, :length]
        if mean:
            _start(out[0, item, :length], remaining)
        inputs = _Branches(x[:, item, :length], slope, dtype, pads, whole)
        for branch, (weight, bias, dilation) in enumerate(lasts):
            h = inputs[branch]
            if firsts is not None:
                pad = _span(weight, dilation)
                h = _first(h, *firsts[branch], dtype, whole + 2 * pad, slope)
                h[:, :pad].zero_()
                h[:, pad + length :].zero_()
            target = out[0 if mean else branch, item, :whole]
            before = target[:length] if mean else _one_of(remaining, branch)
            if pays(weight, dtype, whole):
                y = fft_convolve(h, weight, bias, alpha=alpha, dilation=dilation)[0, :length]
                if before is None:
                    target[:length] = y
                else:
                    torch.add(before, y, out=target[:length])
            else:
                if not mean:
                    _start(target[:length], None if before is None else before.unsqueeze(0))
                convolve_onto(
                    target.unsqueeze(0),
                    h,
                    packed_weight(weight, dtype, whole, dilation, alpha),
                    scaled_bias(bias, None, dtype, alpha),
                    dilation=dilation,
                )
    out = out[:, :, :steps]
    for sequence in out:
        clear_beyond(sequence, lengths)
    return (out[0] if mean else out).to(x.dtype)


def _run_learning(
    x: Tensor,
    residual: Tensor | None,
    firsts: Sequence[_Convolution] | None,
    lasts: Sequence[_Convolution],
    lengths: Tensor | None,
    slope: float,
    mean: bool,
) -> Tensor:
    out = x.new_empty(len(lasts), *x.shape[1:])
    sources = [functional.leaky_relu(zero_beyond(branch, lengths), slope) for branch in x]
    heard, keeps = [], firsts is not None and x.shape[3] >= _KEPT_CHANNELS
    for branch, (weight, bias, dilation) in enumerate(lasts):
        h = sources[branch if len(sources) > 1 else 0]
        if firsts is not None:
            first, first_bias, first_dilation = firsts[branch]
            h = convolved(h, first, first_bias, first_dilation, _span(first, first_dilation))
            h = zero_beyond(functional.leaky_relu_(h, slope), lengths)
            if keeps:
                heard.append(h)
        y = convolved(h, weight, bias, dilation, _span(weight, dilation))
        before = _one_of(residual, branch)
        if before is None:
            out[branch] = y
        else:
            torch.add(before, y, out=out[branch])
        clear_beyond(out[branch], lengths)
    if keeps:
        keep(*heard)
    return out.mean(0) if mean else out


def _span(weight: Tensor, dilation: int) -> int:
    """How many steps `weight` `[K, C_in, C_out]` hears on either side."""
    return (weight.shape[0] - 1) * dilation // 2


def _one_of(x: Tensor | None, branch: int) -> Tensor | None:
    """`[R or 1, ...]` -> a branch's own."""
    return None if x is None else x[branch if x.shape[0] > 1 else 0]


def _first(
    h: Tensor, weight: Tensor, bias: Tensor, dilation: int, dtype: torch.dtype, steps: int, slope: float
) -> Tensor:
    """The first convolution of a pair and its leaky ReLU, `[1, steps, C]`, contiguous."""
    if pays(weight, dtype, steps):
        return fft_convolve(h, weight, bias, dilation=dilation, slope=slope)
    return convolve(
        h,
        packed_weight(weight, dtype, steps, dilation),
        scaled_bias(bias, None, dtype),
        dilation=dilation,
        activation="leaky_relu",
        slope=slope,
    )


def _single_items(lengths: Tensor | None, batch: int, steps: int) -> list[tuple[int, int]]:
    """Each item that has steps, and how many: a slice of one item is contiguous, one of several is not."""
    if lengths is None:
        return [(item, steps) for item in range(batch if steps else 0)]
    return [(chosen.start, length) for chosen, length in items(lengths, batch, steps)]


def _supports_step(
    x: Tensor, residual: Tensor | None, weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> str | None:
    return unsupported(x, residual, *weights, *biases)


def _supports_pair(
    x: Tensor,
    weights1: Sequence[Tensor],
    biases1: Sequence[Tensor],
    weights2: Sequence[Tensor],
    biases2: Sequence[Tensor],
) -> str | None:
    return unsupported(x, *weights1, *biases1, *weights2, *biases2)


ops()["resblock_step"].register("onednn", Implementation(run_step, _supports_step))
ops()["resblock_pair"].register("onednn", Implementation(run_pair, _supports_pair))
