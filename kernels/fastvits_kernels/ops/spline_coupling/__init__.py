"""The coupling of the stochastic duration predictor: a projection of `h` to the parameters of a spline of `x`.

    parameters[b, t, c] = h[b, t] @ weight[:, c] + bias[c],   widths and heights divided by sqrt(F)
    out, log_det        = rational_quadratic_spline(x[b, t, c], parameters[b, t, c])

(Durkan et al. 2019, "Neural Spline Flows"; `spline` has the equations.) Both are zero beyond `lengths[b]`.

Axes: `h` `[B, T, F]`, `weight` `[F, C (3 K - 1)]`, `bias` `[C (3 K - 1)]`, `x` `[B, T, C]`, all of one dtype and with
any strides; `lengths` is int64. Out and log-determinant `[B, T, C]`. Products are IEEE (`precision`).

The kernel reads `h` once and never writes the parameters: eager moves about `F + 40 K` elements an output, fused
`F + 3`, for `2 F (3 K - 1)` FLOPs. It computes in float32 and has no form for float64. Gradients have a kernel: see
`backward`.
"""

from torch import Tensor

from ...dispatch.registry import Implementation, Op
from ...dispatch.shapes import axes, expect, expect_each
from ...launch.jit import unsupported
from ...launch.tiles import preference
from ..spline import check_bins, fake, refused_bins
from .backward import spline_coupling_backward
from .forward import _launch_spline_coupling, tile_of
from .reference import spline_coupling_reference


def _supports_spline_coupling(h: Tensor, weight: Tensor, bias: Tensor, x: Tensor, num_bins: int) -> str | None:
    return refused_bins(num_bins) or unsupported(h, weight, bias, x)


def _check_coupling(
    h: Tensor,
    weight: Tensor,
    bias: Tensor,
    x: Tensor,
    lengths: Tensor | None,
    num_bins: int,
) -> None:
    check_bins(num_bins)
    batch, steps, channels = axes(x, "x [B, T, C]")
    expect(h, "h [B, T, F]", batch, steps, None)
    outputs = channels * (3 * num_bins - 1)
    expect(weight, "weight [F, C * (3 K - 1)]", h.shape[2], outputs)
    expect(bias, "bias [C * (3 K - 1)]", outputs)
    expect_each(lengths, "lengths [B or 1]", batch)


_SPLINE_COUPLING = Op("spline_coupling", spline_coupling_reference, fake, _check_coupling, ieee=True)
_SPLINE_COUPLING.register(
    "triton",
    Implementation(
        _launch_spline_coupling,
        _supports_spline_coupling,
        lambda h, x: preference(tile_of(h, x)),
        backward=spline_coupling_backward,
    ),
)


def spline_coupling(
    h: Tensor,
    weight: Tensor,
    bias: Tensor,
    x: Tensor,
    *,
    lengths: Tensor | None = None,
    num_bins: int = 10,
    tail_bound: float = 5.0,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """The spline with parameters projected from `h`, and its log-determinant; see `spline_coupling_reference`."""
    return _SPLINE_COUPLING(h, weight, bias, x, lengths, num_bins, tail_bound, reverse)
