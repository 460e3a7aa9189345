"""The spline coupling in plain torch: the specification of the op."""

import math

from torch import Tensor
from torch.nn import functional

from ...dispatch.masking import zero_beyond
from ..spline.reference import at_least_float32, rational_quadratic_spline_reference


def spline_coupling_reference(
    h: Tensor,
    weight: Tensor,
    bias: Tensor,
    x: Tensor,
    lengths: Tensor | None,
    num_bins: int,
    tail_bound: float,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """The spline whose parameters are projected from `h`: the specification of the fused op.

    `h` `[B, T, F]`, `weight` `[F, C * (3 K - 1)]`, `bias` `[C * (3 K - 1)]`, `x` `[B, T, C]` -> the transformed `x` and
    the log-determinant, both `[B, T, C]` and zero beyond `lengths`. Widths and heights are divided by `sqrt(F)` (Kim et
    al. 2021).
    """
    batch, steps, channels = x.shape
    h, weight, bias = (at_least_float32(tensor) for tensor in (h, weight, bias))
    parameters = functional.linear(h, weight.t(), bias).view(batch, steps, channels, 3 * num_bins - 1)
    widths, heights, derivatives = parameters.split([num_bins, num_bins, num_bins - 1], dim=-1)
    scale = 1 / math.sqrt(h.shape[-1])
    out, log_det = rational_quadratic_spline_reference(
        x, widths * scale, heights * scale, derivatives, tail_bound, reverse
    )
    return zero_beyond(out, lengths), zero_beyond(log_det, lengths)
