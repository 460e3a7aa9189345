"""The residual blocks' steps in plain torch: the specification of `resblock_step` and `resblock_pair`."""

# torch 2.6 reads `typing.Sequence` in an operator's signature, and not that of collections.abc.
from typing import Sequence  # noqa: UP035

import torch
from torch import Tensor

from ..conv import conv1d_reference


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
            x[r if x.shape[0] > 1 else 0],
            weight,
            bias,
            None,
            None if residual is None else residual[r if residual.shape[0] > 1 else 0],
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
