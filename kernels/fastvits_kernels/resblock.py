"""One step of the HiFi-GAN residual blocks, for all branches of a multi-receptive-field fusion (MRF) at once.

Branch `r` of `R` computes

    y_r = residual_r + bias_r + sum_j  f(x_r[t + (j - (K_r - 1) / 2) * dilation_r]) @ weight_r[j]

with `f` the leaky ReLU of slope `slope` (Kong et al. 2020, "HiFi-GAN", section 2.2). With `mean` the result is the mean over
the branches, which ends a stage. `x` counts as zero outside `[0, lengths[b])` and the result is zero there.

Axes: `x` `[R, B, T, C]`, or `[1, B, T, C]` when all branches share their input; `residual` likewise or None; `weights[r]`
`[K_r, C, C]` (taps first), `biases[r]` `[C]`. Out `[R, B, T, C]`, or `[B, T, C]` with `mean`. Every `(K_r - 1) * dilation_r` is even.

A block of the first type is pairs of steps, the first without residual (`resblock_pair`); one of the second type is single steps.
Work: `2 B T C^2 sum_r K_r` FLOPs a step. Eager moves 5 to 8 tensors a branch and step, fused 2 to 3.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .conv import conv1d_reference
from .registry import Op


def resblock_step_reference(
    x: Tensor,
    residual: Tensor | None,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    lengths: Tensor | None,
    dilations: Sequence[int],
    slope: float,
    mean: bool,
) -> Tensor:
    """One step of every branch: the specification of the op."""
    branches = [
        conv1d_reference(
            x[min(r, x.shape[0] - 1)],
            weight,
            bias,
            None,
            None if residual is None else residual[min(r, residual.shape[0] - 1)],
            lengths,
            dilation,
            (weight.shape[0] - 1) * dilation // 2,
            slope,
            "none",
            1.0,
        )
        for r, (weight, bias, dilation) in enumerate(zip(weights, biases, dilations, strict=True))
    ]
    if not mean:
        return torch.stack(branches)
    total = branches[0]
    for branch in branches[1:]:
        total = total + branch
    return total / len(branches)


def resblock_pair_reference(
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
    """A dilated step, a step with dilation 1 and the residual around both: the specification of the fused pair."""
    hidden = resblock_step_reference(x, None, weights1, biases1, lengths, dilations, slope, False)
    return resblock_step_reference(hidden, x, weights2, biases2, lengths, [1] * len(weights2), slope, mean)


def _fake_of(x: Tensor, branches: int, mean: bool) -> Tensor:
    return x.new_empty(x.shape[1:]) if mean else x.new_empty(branches, *x.shape[1:])


def _step_fake(
    x: Tensor,
    residual: Tensor | None,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    lengths: Tensor | None,
    dilations: Sequence[int],
    slope: float,
    mean: bool,
) -> Tensor:
    return _fake_of(x, len(weights), mean)


def _pair_fake(
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
    return _fake_of(x, len(weights1), mean)


_RESBLOCK_STEP = Op("resblock_step", resblock_step_reference, _step_fake)
_RESBLOCK_PAIR = Op("resblock_pair", resblock_pair_reference, _pair_fake)


def resblock_step(
    x: Tensor,
    residual: Tensor | None,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    *,
    lengths: Tensor | None = None,
    dilations: Sequence[int],
    slope: float = 0.1,
    mean: bool = False,
) -> Tensor:
    """One step of every branch; see the module's docstring."""
    return _RESBLOCK_STEP(x, residual, list(weights), list(biases), lengths, list(dilations), slope, mean)


def resblock_pair(
    x: Tensor,
    weights1: Sequence[Tensor],
    biases1: Sequence[Tensor],
    weights2: Sequence[Tensor],
    biases2: Sequence[Tensor],
    *,
    lengths: Tensor | None = None,
    dilations: Sequence[int],
    slope: float = 0.1,
    mean: bool = False,
) -> Tensor:
    """A pair of steps of every branch, the residual around both; see the module's docstring."""
    return _RESBLOCK_PAIR(
        x, list(weights1), list(biases1), list(weights2), list(biases2), lengths, list(dilations), slope, mean
    )
