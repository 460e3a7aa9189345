"""The monotonic rational-quadratic spline with linear tails, forward and inverse, and the projection that feeds it.

On `[-tail_bound, tail_bound]` the function interpolates `K + 1` knots `(x_k, y_k)` with positive derivatives `d_k` (Durkan et
al. 2019, "Neural Spline Flows", equations 4 to 8); outside it is the identity. With `s = (y_{k+1} - y_k) / (x_{k+1} - x_k)` and
`theta = (x - x_k) / (x_{k+1} - x_k)`,

    y = y_k + (y_{k+1} - y_k) (s theta^2 + d_k theta (1 - theta)) / (s + (d_{k+1} + d_k - 2 s) theta (1 - theta))

and the inverse solves the quadratic in `theta` by its numerically stable root. Widths and heights are softmaxes with a
floor of `MIN_BIN` of the whole each, derivatives softpluses with a floor of `MIN_DERIVATIVE`, and 1 at both ends.

Branch-free: every element takes the same path, no value is looked at by the host. The discriminant is clamped at 0, where
cancellation could take it below.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from .masking import zero_beyond
from .registry import Op

MIN_BIN = 1e-3
MIN_DERIVATIVE = 1e-3
# The last knot is moved out by this much before the bin is looked up, so that x == tail_bound falls into the last bin.
LAST_KNOT_MARGIN = 1e-6


def _knots(unnormalized: Tensor, tail_bound: float) -> tuple[Tensor, Tensor]:
    """Knot positions `[..., K + 1]` and bin sizes `[..., K]` from unnormalised sizes `[..., K]`."""
    bins = unnormalized.shape[-1]
    sizes = MIN_BIN + (1 - MIN_BIN * bins) * torch.softmax(unnormalized, dim=-1)
    inner = 2 * tail_bound * torch.cumsum(sizes, dim=-1)[..., :-1] - tail_bound
    first = torch.full_like(unnormalized[..., :1], -tail_bound)
    knots = torch.cat([first, inner, -first], dim=-1)
    return knots, knots.diff(dim=-1)


def rational_quadratic_spline_reference(
    x: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, tail_bound: float, reverse: bool
) -> tuple[Tensor, Tensor]:
    """The spline at `x` `[...]`, or its inverse, and the logarithm of its derivative: the specification of the op.

    `widths` and `heights` `[..., K]` and `derivatives` `[..., K - 1]` are unnormalised.
    """
    knots_x, bin_widths = _knots(widths, tail_bound)
    knots_y, bin_heights = _knots(heights, tail_bound)
    ones = torch.ones_like(x).unsqueeze(-1)
    slopes = torch.cat([ones, MIN_DERIVATIVE + functional.softplus(derivatives), ones], dim=-1)

    inside = (x >= -tail_bound) & (x <= tail_bound)
    value = x.clamp(-tail_bound, tail_bound)
    searched = knots_y if reverse else knots_x
    edges = torch.cat([searched[..., :-1], searched[..., -1:] + LAST_KNOT_MARGIN], dim=-1)
    index = ((value.unsqueeze(-1) >= edges).sum(-1) - 1).clamp(0, widths.shape[-1] - 1).unsqueeze(-1)

    def pick(table: Tensor) -> Tensor:
        return table.gather(-1, index).squeeze(-1)

    x0, width, y0, height = pick(knots_x), pick(bin_widths), pick(knots_y), pick(bin_heights)
    slope0, slope1 = pick(slopes), pick(slopes[..., 1:])
    secant = height / width
    curvature = slope0 + slope1 - 2 * secant
    if reverse:
        rise = value - y0
        a = height * (secant - slope0) + rise * curvature
        b = height * slope0 - rise * curvature
        c = -secant * rise
        discriminant = (b * b - 4 * a * c).clamp_min(0)
        theta = 2 * c / (-b - discriminant.sqrt())
        out = theta * width + x0
    else:
        theta = (value - x0) / width
        numerator = height * (secant * theta * theta + slope0 * theta * (1 - theta))
        out = y0 + numerator / (secant + curvature * theta * (1 - theta))
    mixed = theta * (1 - theta)
    denominator = secant + curvature * mixed
    derivative = secant * secant * (slope1 * theta * theta + 2 * secant * mixed + slope0 * (1 - theta) * (1 - theta))
    log_det = derivative.log() - 2 * denominator.log()
    if reverse:
        log_det = -log_det
    return torch.where(inside, out, x), log_det.masked_fill(~inside, 0)


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

    `h` `[B, T, F]`, `weight` `[F, C * (3 K - 1)]`, `bias` `[C * (3 K - 1)]`, `x` `[B, T, C]` -> the transformed `x` and the
    log-determinant, both `[B, T, C]` and zero beyond `lengths`. Widths and heights are divided by `sqrt(F)` (Kim et al. 2021).
    """
    batch, steps, channels = x.shape
    parameters = functional.linear(h, weight.t(), bias).view(batch, steps, channels, 3 * num_bins - 1)
    widths, heights, derivatives = parameters.split([num_bins, num_bins, num_bins - 1], dim=-1)
    scale = 1 / math.sqrt(h.shape[-1])
    out, log_det = rational_quadratic_spline_reference(
        x, widths * scale, heights * scale, derivatives, tail_bound, reverse
    )
    return zero_beyond(out, lengths), zero_beyond(log_det, lengths)


def _spline_fake(x: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


def _coupling_fake(h: Tensor, weight: Tensor, bias: Tensor, x: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


_SPLINE = Op("rational_quadratic_spline", rational_quadratic_spline_reference, _spline_fake)
_SPLINE_COUPLING = Op("spline_coupling", spline_coupling_reference, _coupling_fake)


def rational_quadratic_spline(
    x: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, *, tail_bound: float = 5.0, reverse: bool = False
) -> tuple[Tensor, Tensor]:
    """The spline, or its inverse, at `x`, and the logarithm of its derivative; see the module's docstring."""
    bins = widths.shape[-1]
    if bins * MIN_BIN >= 1:
        raise ValueError(f"the spline takes fewer than {round(1 / MIN_BIN)} bins, got {bins}")
    return _SPLINE(x, widths, heights, derivatives, tail_bound, reverse)


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
