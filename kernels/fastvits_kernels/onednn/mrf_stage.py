"""`mrf_stage` on oneDNN: its parts one after the other.

Behind the last leaky ReLU a stage's result is written over in place; a next stage then reads it without a pass of its
own, as does the convolution to the waveform. With `ranges` it is `int8.run_stage`.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional

from ..dispatch.registry import Implementation, ops
from ..ops.mrf_stage import compose, gradients_by
from . import conv_transpose, int8, resblock
from .convolution import unsupported


def _run(*arguments: Any) -> Tensor:
    if arguments[-1] is not None:
        return int8.run_stage(*arguments)
    out = compose((conv_transpose.run, resblock.run_pair, resblock.run_step), arguments)
    out_slope = arguments[14]
    return out if out_slope == 1.0 else functional.leaky_relu_(out, out_slope)


def _supports(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    weights1: list[Tensor],
    biases1: list[Tensor],
    weights2: list[Tensor],
    biases2: list[Tensor],
    ranges: Sequence[float] | None,
) -> str | None:
    reason = unsupported(x, weight, bias, *weights1, *biases1, *weights2, *biases2)
    return int8.unsupported() if reason is None and ranges is not None else reason


ops()["mrf_stage"].register("onednn", Implementation(_run, _supports, backward=gradients_by("onednn")))
