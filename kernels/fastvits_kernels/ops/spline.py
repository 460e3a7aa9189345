"""The monotonic rational-quadratic spline with linear tails, forward and inverse.

On `[-tail_bound, tail_bound]` the function interpolates `K + 1` knots `(x_k, y_k)` with positive derivatives `d_k`
(Durkan et al. 2019, "Neural Spline Flows", equations 4 to 8); outside it is the identity. With
`s = (y_{k+1} - y_k) / (x_{k+1} - x_k)` and `theta = (x - x_k) / (x_{k+1} - x_k)`,

    y = y_k + (y_{k+1} - y_k) (s theta^2 + d_k theta (1 - theta)) / (s + (d_{k+1} + d_k - 2 s) theta (1 - theta))

and the inverse solves the quadratic in `theta`. Widths and heights are softmaxes with a floor of `MIN_BIN` of the whole
each, derivatives softpluses with a floor of `MIN_DERIVATIVE`, and 1 at both ends. Branch-free: every element takes the
same path, no value is looked at by the host.

The quadratic `a theta^2 + b theta + c` is solved in a form without cancellation. With `p = (y - y_k) / (y_{k+1} - y_k)`
and `q = (y_{k+1} - y) / (y_{k+1} - y_k)`, both from the nearer knot and neither below 0, and `u = d_k q - d_{k+1} p`,

    b = 2 s p + u,   c = -s p   (over the bin height),   b^2 - 4 a c = u^2 + 4 p q s^2 = D

since `a + b + c = s q` (the quadratic at `theta = 1`): `D` is a sum of terms that are not negative, so that rounding
cannot take it below 0, and it is 0 nowhere, since `u` is `d_k` or `-d_{k+1}` where `p q` is 0. Then

    theta = -2 c / (b + sqrt(D)) = 2 s p / (2 s p + w),   1 - theta = w / (2 s p + w),
    w = u + sqrt(D) = 4 p q s^2 / (sqrt(D) - u)

with the form of `w` whose terms have one sign. Knots are summed from the nearer end of the spline.

Axes: any, flattened; an element has its `3 K - 1` parameters in a register tile of `K` padded to a power of two. The
bin is the number of inner knots at or below the value, and its entries are picked by sums over one-hot selections.
Half precision is computed in float32, where even the narrowest bin is wide beside the rounding of its knots. The Triton
kernels compute in float32 and take any strides; they have none for float64.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from ..dispatch.registry import Implementation, Op
from ..launch import tiles
from ..launch.jit import kernel, launch, padded, unsupported

if TYPE_CHECKING:
    import triton.language as tl

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


@kernel
def _inner_knots(unnormalized, bins, tail_bound, K: "tl.constexpr", MIN_SIZE: "tl.constexpr"):
    """The right end of each bin `[N, BINS]`, `tail_bound` for the last one and the padding."""
    logits = tl.where(bins < K, unnormalized, float("-inf"))
    weights = tl.exp(logits - tl.max(logits, axis=1)[:, None])
    share = weights / tl.sum(weights, axis=1)[:, None]
    sizes = tl.where(bins < K, MIN_SIZE + (1.0 - MIN_SIZE * K) * share, 0.0)
    from_left = 2.0 * tail_bound * tl.cumsum(sizes, axis=1) - tail_bound
    from_right = tail_bound - 2.0 * tail_bound * (tl.cumsum(sizes, axis=1, reverse=True) - sizes)
    return tl.where(bins < K - 1, tl.where(from_left < 0.0, from_left, from_right), tail_bound)


@kernel
def _pick(table, bins, index, outside):
    """`table[n, index[n]]`, and `outside` for the index -1."""
    picked = tl.sum(tl.where(bins == index[:, None], table, 0.0), axis=1)
    return tl.where(index < 0, outside, picked)


@kernel
def _slope(unnormalized, bins, index, K: "tl.constexpr", MIN_SLOPE: "tl.constexpr"):
    """The derivative at the right end of the bin `index`: a softplus with a floor, and 1 at both ends of the spline.

    `log1p(e)` is `2 artanh(e / (2 + e))`; eight terms of its series, in a square of at most 1/9, are exact in float32.
    """
    value = _pick(unnormalized, bins, index, 0.0)
    decay = tl.exp(-tl.abs(value))
    ratio = decay / (2.0 + decay)
    square = ratio * ratio
    series = square * (1.0 / 15.0) + 1.0 / 13.0
    series = series * square + 1.0 / 11.0
    series = series * square + 1.0 / 9.0
    series = series * square + 1.0 / 7.0
    series = series * square + 1.0 / 5.0
    series = series * square + 1.0 / 3.0
    softplus = tl.maximum(value, 0.0) + 2.0 * (ratio + ratio * square * series)
    return tl.where((index < 0) | (index >= K - 1), 1.0, MIN_SLOPE + softplus)


@kernel
def spline_tile(
    x,  # [N]
    widths,  # [N, BINS], unnormalised, with anything beyond K
    heights,
    derivatives,
    bins,  # [1, BINS]
    tail_bound,
    K: "tl.constexpr",
    REVERSE: "tl.constexpr",
    MIN_SIZE: "tl.constexpr",
    MIN_SLOPE: "tl.constexpr",
):
    """The spline and its log-determinant at `x`, float32: the module's docstring."""
    ends_x = _inner_knots(widths, bins, tail_bound, K, MIN_SIZE)
    ends_y = _inner_knots(heights, bins, tail_bound, K, MIN_SIZE)
    inside = (x >= -tail_bound) & (x <= tail_bound)
    value = tl.where(inside, x, 0.0)
    searched = ends_y if REVERSE else ends_x
    index = tl.sum(((bins < K - 1) & (value[:, None] >= searched)).to(tl.int32), axis=1)
    x0, x1 = _pick(ends_x, bins, index - 1, -tail_bound), _pick(ends_x, bins, index, 0.0)
    y0, y1 = _pick(ends_y, bins, index - 1, -tail_bound), _pick(ends_y, bins, index, 0.0)
    slope0 = _slope(derivatives, bins, index - 1, K, MIN_SLOPE)
    slope1 = _slope(derivatives, bins, index, K, MIN_SLOPE)
    width, height = x1 - x0, y1 - y0
    secant = height / width
    if REVERSE:
        p, q = (value - y0) / height, (y1 - value) / height
        u = slope0 * q - slope1 * p
        product = 4.0 * (p * secant) * (q * secant)
        larger = tl.abs(u) + tl.sqrt(u * u + product)
        w = tl.where(u >= 0.0, larger, product / larger)
        total = 2.0 * secant * p + w
        theta, rest = 2.0 * secant * p / total, w / total
        out = theta * width + x0
    else:
        theta, rest = (value - x0) / width, (x1 - value) / width
        out = y0
    mixed = theta * rest
    denominator = secant * (1.0 - 2.0 * mixed) + (slope0 + slope1) * mixed
    derivative = slope1 * theta * theta + 2.0 * secant * mixed + slope0 * rest * rest
    if not REVERSE:
        out = y0 + height * (secant * theta * theta + slope0 * mixed) / denominator
    # The logarithm of secant^2 * derivative / denominator^2.
    ratio = secant / denominator
    log_det = tl.log(derivative) + 2.0 * tl.log(ratio)
    if REVERSE:
        log_det = -log_det
    return tl.where(inside, out, x), tl.where(inside, log_det, 0.0)


@kernel
def _spline_fwd_kernel(
    x_ptr,  # [N]
    widths_ptr,  # [N, K]
    heights_ptr,  # [N, K]
    derivatives_ptr,  # [N, K - 1]
    out_ptr,  # [N]
    log_det_ptr,  # [N]
    size,
    tail_bound,
    stride_x,
    stride_wn,
    stride_wk,
    stride_hn,
    stride_hk,
    stride_dn,
    stride_dk,
    K: "tl.constexpr",
    REVERSE: "tl.constexpr",
    MIN_SIZE: "tl.constexpr",
    MIN_SLOPE: "tl.constexpr",
    BINS: "tl.constexpr",
    BLOCK_N: "tl.constexpr",
):
    offs_n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    mask_n = offs_n < size
    bins = tl.arange(0, BINS)[None, :]
    mask = mask_n[:, None] & (bins < K)
    x = tl.load(x_ptr + offs_n * stride_x, mask=mask_n, other=0.0).to(tl.float32)
    rows = offs_n[:, None]
    widths = tl.load(widths_ptr + rows * stride_wn + bins * stride_wk, mask=mask, other=0.0).to(tl.float32)
    heights = tl.load(heights_ptr + rows * stride_hn + bins * stride_hk, mask=mask, other=0.0).to(tl.float32)
    mask = mask_n[:, None] & (bins < K - 1)
    slopes = tl.load(derivatives_ptr + rows * stride_dn + bins * stride_dk, mask=mask, other=0.0).to(tl.float32)
    out, log_det = spline_tile(x, widths, heights, slopes, bins, tail_bound, K, REVERSE, MIN_SIZE, MIN_SLOPE)
    tl.store(out_ptr + offs_n, out.to(out_ptr.dtype.element_ty), mask=mask_n)
    tl.store(log_det_ptr + offs_n, log_det.to(out_ptr.dtype.element_ty), mask=mask_n)


def _spline_tile(x: Tensor, widths: Tensor) -> tiles.Tile:
    bins = widths.shape[-1]
    return tiles.choose("rational_quadratic_spline", x.device, x.dtype, channels=bins, work=x.numel())


def _launch_spline(
    x: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, tail_bound: float, reverse: bool
) -> tuple[Tensor, Tensor]:
    bins, size = widths.shape[-1], x.numel()
    out, log_det = x.new_empty(x.shape), x.new_empty(x.shape)
    tile = _spline_tile(x, widths)
    # Views wherever the strides allow it, which they do for slices of one tensor of parameters.
    flat = x.reshape(size)
    parameters = widths.reshape(size, bins), heights.reshape(size, bins), derivatives.reshape(size, bins - 1)
    strides = [stride for parameter in parameters for stride in parameter.stride()]
    launch(
        "rational_quadratic_spline",
        _spline_fwd_kernel,
        (-(-size // tile.sizes["BLOCK_N"]),),
        (flat, *parameters, out, log_det, size, float(tail_bound), *flat.stride(), *strides),
        {
            "K": bins,
            "REVERSE": reverse,
            "MIN_SIZE": MIN_BIN,
            "MIN_SLOPE": MIN_DERIVATIVE,
            "BINS": padded(bins),
            **tile.sizes,
        },
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )
    return out, log_det


def _supports_spline(x: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor) -> str | None:
    return refused_bins(widths.shape[-1]) or unsupported(x, widths, heights, derivatives)


def refused_bins(bins: int) -> str | None:
    return None if bins <= 64 else f"an element's parameters do not fit in registers: {bins} bins, at most 64"


def fake(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


def check_bins(bins: int) -> None:
    if not 0 < bins < round(1 / MIN_BIN):
        raise ValueError(f"the spline takes 1 to {round(1 / MIN_BIN) - 1} bins, got {bins}")


def _check_spline(x: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor) -> None:
    bins = widths.shape[-1] if widths.dim() else 0
    for name, tensor, axis, size in (
        ("widths", widths, "K", bins),
        ("heights", heights, "K", bins),
        ("derivatives", derivatives, "K - 1", bins - 1),
    ):
        if tensor.shape != (*x.shape, size):
            raise ValueError(f"{name} must be {(*x.shape, size)}, the shape of x and {axis}, got {tuple(tensor.shape)}")
    check_bins(bins)


_SPLINE = Op("rational_quadratic_spline", rational_quadratic_spline_reference, fake, _check_spline)
_SPLINE.register(
    "triton",
    Implementation(_launch_spline, _supports_spline, lambda x, widths: tiles.preference(_spline_tile(x, widths))),
)


def rational_quadratic_spline(
    x: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, *, tail_bound: float = 5.0, reverse: bool = False
) -> tuple[Tensor, Tensor]:
    """The spline, or its inverse, at `x`, and the logarithm of its derivative; see the module's docstring."""
    return _SPLINE(x, widths, heights, derivatives, tail_bound, reverse)
