"""The spline in plain torch: the specification of the op."""

import torch
from torch import Tensor
from torch.nn import functional

MIN_BIN = 1e-3
MIN_DERIVATIVE = 1e-3


def at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _knots(unnormalized: Tensor, tail_bound: float) -> tuple[Tensor, Tensor]:
    """Knot positions `[..., K + 1]` and bin sizes `[..., K]` from unnormalised sizes `[..., K]`."""
    bins = unnormalized.shape[-1]
    share = torch.softmax(unnormalized, dim=-1)
    # A size that torch traces as a symbol is multiplied with a tensor; with a number it could not be compiled.
    sizes = share + MIN_BIN * (1 - bins * share)
    from_left = 2 * tail_bound * torch.cumsum(sizes, dim=-1)[..., :-1] - tail_bound
    from_right = tail_bound - 2 * tail_bound * torch.cumsum(sizes.flip(-1), dim=-1).flip(-1)[..., 1:]
    inner = torch.where(from_left < 0, from_left, from_right)
    knots = functional.pad(functional.pad(inner, (1, 0), value=-tail_bound), (0, 1), value=tail_bound)
    return knots, knots.diff(dim=-1)


def rational_quadratic_spline_reference(
    x: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, tail_bound: float, reverse: bool
) -> tuple[Tensor, Tensor]:
    """The spline at `x` `[...]`, or its inverse, and the logarithm of its derivative: the specification of the op.

    `widths` and `heights` `[..., K]` and `derivatives` `[..., K - 1]` are unnormalised.
    """
    dtype = x.dtype
    x, widths, heights, derivatives = (at_least_float32(tensor) for tensor in (x, widths, heights, derivatives))
    knots, sizes = _knots(torch.stack([widths, heights]), tail_bound)
    slopes = functional.pad(MIN_DERIVATIVE + functional.softplus(derivatives), (1, 1), value=1.0)

    inside = x.abs() <= tail_bound
    value = x.clamp(-tail_bound, tail_bound)
    index = (value.unsqueeze(-1) >= knots[int(reverse), ..., 1:-1]).sum(-1, keepdim=True)
    bins = torch.cat([knots[..., :-1], knots[..., 1:], sizes, slopes[None, ..., :-1], slopes[None, ..., 1:]])
    x0, y0, x1, y1, width, height, slope0, slope1 = bins.gather(-1, index.expand(8, *index.shape)).squeeze(-1)
    secant = height / width
    if reverse:
        p, q = (value - y0) / height, (y1 - value) / height
        u = slope0 * q - slope1 * p
        product = 4 * (p * secant) * (q * secant)
        larger = u.abs() + (u * u + product).sqrt()
        w = torch.where(u >= 0, larger, product / larger)
        total = 2 * secant * p + w
        theta, rest = 2 * secant * p / total, w / total
    else:
        theta, rest = (value - x0) / width, (x1 - value) / width
    mixed = theta * rest
    denominator = secant * (1 - 2 * mixed) + (slope0 + slope1) * mixed
    derivative = slope1 * theta * theta + 2 * secant * mixed + slope0 * rest * rest
    out = x0 + width * theta if reverse else y0 + height * (secant * theta * theta + slope0 * mixed) / denominator
    # The logarithm of secant^2 * derivative / denominator^2.
    log_det = derivative.log() + 2 * (secant / denominator).log()
    if reverse:
        log_det = -log_det
    out, log_det = torch.where(inside, out, x), log_det.masked_fill(~inside, 0)
    return out.to(dtype).contiguous(), log_det.to(dtype).contiguous()
