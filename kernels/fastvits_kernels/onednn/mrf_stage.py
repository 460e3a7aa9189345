"""`mrf_stage` on oneDNN: its parts one after the other.

Behind the last leaky ReLU a stage's result is written over in place; a next stage then reads it without a pass of its
own, as does the convolution to the waveform.
"""

from typing import Any

from torch import Tensor
from torch.nn import functional

from ..dispatch.registry import Implementation, ops
from ..ops.mrf_stage import compose, gradients_by
from . import conv_transpose, resblock
from .convolution import unsupported


def _run(*arguments: Any) -> Tensor:
    out = compose((conv_transpose.run, resblock.run_pair, resblock.run_step), arguments)
    return out if arguments[-1] == 1.0 else functional.leaky_relu_(out, arguments[-1])


def _supports(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    weights1: list[Tensor],
    biases1: list[Tensor],
    weights2: list[Tensor],
    biases2: list[Tensor],
) -> str | None:
    return unsupported(x, weight, bias, *weights1, *biases1, *weights2, *biases2)


ops()["mrf_stage"].register("onednn", Implementation(_run, _supports, backward=gradients_by("onednn")))
