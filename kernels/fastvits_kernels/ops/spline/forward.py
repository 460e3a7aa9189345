"""The spline's kernel and its launch."""

from typing import TYPE_CHECKING

from torch import Tensor

from ...launch import tiles
from ...launch.jit import kernel, launch, padded
from .reference import MIN_BIN, MIN_DERIVATIVE

if TYPE_CHECKING:
    import triton.language as tl


@kernel
def shares(unnormalized, bins, K: "tl.constexpr"):
    """The softmax over the bins `[N, BINS]`, 0 in the padding."""
    logits = tl.where(bins < K, unnormalized, float("-inf"))
    weights = tl.exp(logits - tl.max(logits, axis=1)[:, None])
    return weights / tl.sum(weights, axis=1)[:, None]


@kernel
def right_ends(share, bins, tail_bound, K: "tl.constexpr", MIN_SIZE: "tl.constexpr"):
    """The right end of each bin `[N, BINS]`, `tail_bound` for the last one and the padding."""
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
def _found_bin(
    value,  # [N]
    ends_x,  # [N, BINS], as `right_ends` gives them
    ends_y,
    derivatives,  # [N, BINS], unnormalised, with anything beyond K - 1
    bins,  # [1, BINS]
    tail_bound,
    K: "tl.constexpr",
    REVERSE: "tl.constexpr",
    MIN_SLOPE: "tl.constexpr",
):
    """The bin of each value: its index, its knots `x0, x1, y0, y1`, and the derivatives at both."""
    searched = ends_y if REVERSE else ends_x
    index = tl.sum(((bins < K - 1) & (value[:, None] >= searched)).to(tl.int32), axis=1)
    x0, x1 = _pick(ends_x, bins, index - 1, -tail_bound), _pick(ends_x, bins, index, 0.0)
    y0, y1 = _pick(ends_y, bins, index - 1, -tail_bound), _pick(ends_y, bins, index, 0.0)
    slope0 = _slope(derivatives, bins, index - 1, K, MIN_SLOPE)
    slope1 = _slope(derivatives, bins, index, K, MIN_SLOPE)
    return index, x0, x1, y0, y1, slope0, slope1


@kernel
def _place_in_bin(value, x0, x1, y0, y1, slope0, slope1, REVERSE: "tl.constexpr"):
    """`theta` and `1 - theta` of each value: how far into its bin its `x` is."""
    if REVERSE:
        height = y1 - y0
        secant = height / (x1 - x0)
        p, q = (value - y0) / height, (y1 - value) / height
        u = slope0 * q - slope1 * p
        product = 4.0 * (p * secant) * (q * secant)
        larger = tl.abs(u) + tl.sqrt(u * u + product)
        w = tl.where(u >= 0.0, larger, product / larger)
        total = 2.0 * secant * p + w
        theta, rest = 2.0 * secant * p / total, w / total
    else:
        width = x1 - x0
        theta, rest = (value - x0) / width, (x1 - value) / width
    return theta, rest


@kernel
def found_in_bin(
    x,  # [N]
    ends_x,  # [N, BINS], as `right_ends` gives them
    ends_y,
    derivatives,  # [N, BINS], unnormalised, with anything beyond K - 1
    bins,  # [1, BINS]
    tail_bound,
    K: "tl.constexpr",
    REVERSE: "tl.constexpr",
    MIN_SLOPE: "tl.constexpr",
):
    """What the spline and its gradients take from the bin of each `x`, or of 0 where `x` is outside the bounds.

    `[N]` each: whether `x` is inside; the bin's index, its left knot `x0, y0`, its width and height, the derivatives at
    both knots; `theta`, `1 - theta` and their product; the secant `s`; and `S` and `N`, of which the spline's
    derivative is `s^2 N / S^2` (the docstring of `backward`).
    """
    inside = (x >= -tail_bound) & (x <= tail_bound)
    value = tl.where(inside, x, 0.0)
    index, x0, x1, y0, y1, slope0, slope1 = _found_bin(
        value, ends_x, ends_y, derivatives, bins, tail_bound, K, REVERSE, MIN_SLOPE
    )
    theta, rest = _place_in_bin(value, x0, x1, y0, y1, slope0, slope1, REVERSE)
    width, height = x1 - x0, y1 - y0
    secant = height / width
    mixed = theta * rest
    slopes = slope0 + slope1
    denominator = secant * (1.0 - 2.0 * mixed) + slopes * mixed
    derivative = slope1 * theta * theta + 2.0 * secant * mixed + slope0 * rest * rest
    return inside, index, x0, y0, width, height, slope0, slope1, theta, rest, mixed, secant, denominator, derivative


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
    """The spline and its log-determinant at `x`, float32: the docstring of the op."""
    ends_x = right_ends(shares(widths, bins, K), bins, tail_bound, K, MIN_SIZE)
    ends_y = right_ends(shares(heights, bins, K), bins, tail_bound, K, MIN_SIZE)
    inside, _, x0, y0, width, height, slope0, _, theta, _, mixed, secant, denominator, derivative = found_in_bin(
        x, ends_x, ends_y, derivatives, bins, tail_bound, K, REVERSE, MIN_SLOPE
    )
    out = theta * width + x0 if REVERSE else y0 + height * (secant * theta * theta + slope0 * mixed) / denominator
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


def tile_of(x: Tensor, widths: Tensor) -> tiles.Tile:
    bins = widths.shape[-1]
    return tiles.choose("rational_quadratic_spline", x.device, x.dtype, channels=bins, work=x.numel())


def _launch_spline(
    x: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, tail_bound: float, reverse: bool
) -> tuple[Tensor, Tensor]:
    bins, size = widths.shape[-1], x.numel()
    out, log_det = x.new_empty(x.shape), x.new_empty(x.shape)
    tile = tile_of(x, widths)
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
