"""Gradients of the spline, of its inverse, and of their log-determinants, from one kernel.

The tails are the identity, so only what is inside the bounds has more than `dx = dout`. Let `y = f(x)` be the spline,
`l = log f'(x)`, and `a` and `b` the gradients of `y` and of `l`. Forward

    dx = a f' + b dl/dx            dparameter = a df/dparameter + b dl/dparameter

where `df/dparameter` is taken at a fixed `x`. The inverse `x = f^-1(y)` is not differentiated through its quadratic:
with the gradients `g` of `x` and `-b` of the log-determinant `-l`, the implicit function theorem gives

    dy = (g + b dl/dx) / f'        dparameter = -dy df/dparameter + b dl/dparameter

which is the same with `a = -dy`. Beside `theta`, `s` and the derivatives `d_k` and `d_{k+1}` of the bin, as in the
op's docstring, let `r = 1 - theta`, `m = theta r`, `d = d_k + d_{k+1}`,

    S = s (1 - 2 m) + d m,       N = d_{k+1} theta^2 + 2 s m + d_k r^2,       f' = s^2 N / S^2

Then, and likewise for the right knot with `theta` and `r`, and the derivatives, exchanged,

    dl/dtheta = 2 (d_{k+1} theta - d_k r + s (r - theta)) / N - 2 (d - 2 s) (r - theta) / S
    s dl/ds   = 2 m (s / N + d / S) =: v
    dl/dd_k   = r^2 / N - 2 m / S
    dl/dx_k   = (v - r dl/dtheta) / width
    dl/dy_k   = -v / height
    df/dd_k   = height m (s r^2 + d_{k+1} m) / S^2
    df/dx_k   = -f' n,   n = r^2 (d_{k+1} theta^2 + 2 s theta + d_k r (1 + theta)) / N
    df/dy_k   = (s^2 r^2 (1 - 2 m) + 2 s m r^2 d + d_{k+1} d m^2) / S^2

None of those of `f` is a difference of larger numbers. For the inverse, whose `dy` has a `dl/dtheta` in it as well,
that of `x_k` is put together as `g n + b (v + m (d_k r^2 - d_{k+1} theta^2) dl/dtheta / N) / width`.

A knot is a sum of a softmax: the gradient of one moves the shares before it and behind it against each other. That of
both knots of a bin together is `-dx`, `g` or `a`, and is not added up. A value's parameters are its own: no sums over
values, no atomics, two runs are equal to the last bit. The kernel reads `3 K` elements a value and writes as many;
float32 inside.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...launch import tiles
from ...launch.jit import kernel, launch, padded
from ..gradients import wants
from .forward import found_in_bin, right_ends, shares
from .reference import MIN_BIN, MIN_DERIVATIVE

if TYPE_CHECKING:
    import triton.language as tl


@kernel
def _of_sizes(
    share,  # [N, BINS], the softmax
    bins,
    index,
    of_left,  # [N], the gradients of the knots to the left and to the right of the bin `index`
    of_right,
    of_both,  # [N], their sum
    tail_bound,
    K: "tl.constexpr",
    MIN_SIZE: "tl.constexpr",
):
    """The gradient of unnormalised sizes `[N, BINS]`. Knots at the bounds are fixed: nothing is before or behind them,
    so that what would be theirs is multiplied by 0.
    """
    place = index[:, None]
    before = tl.sum(tl.where(bins < place, share, 0.0), axis=1)
    within = tl.sum(tl.where(bins == place, share, 0.0), axis=1)
    behind = tl.sum(tl.where(bins > place, share, 0.0), axis=1)
    of_before = of_both * behind + of_left * within
    of_within = of_right * behind - of_left * before
    of_behind = -(of_both * before + of_right * within)
    of_place = tl.where(bins == place, of_within[:, None], of_behind[:, None])
    of_share = tl.where(bins < place, of_before[:, None], of_place)
    return 2.0 * tail_bound * (1.0 - MIN_SIZE * K) * share * of_share


@kernel
def _bend_of_knot(theta, rest, secant, slope0, slope1):
    """`(v - r dl/dtheta) N S / (2 r)`, written without what cancels where one derivative is far above all others."""
    steep = slope0 * (rest * rest * (slope0 + slope1) + secant * rest * (3.0 * theta - rest * rest))
    flat = 2.0 * theta * theta * theta + theta * rest * (3.0 * theta - 2.0 * rest) - rest * rest * rest
    return steep + secant * (slope1 * theta * theta * theta + secant * flat)


@kernel
def spline_gradients(
    of_out,  # [N]
    of_log_det,  # [N]
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
    """The gradients of `x` `[N]` and of widths, heights and derivatives `[N, BINS]`, float32."""
    share_x, share_y = shares(widths, bins, K), shares(heights, bins, K)
    ends_x = right_ends(share_x, bins, tail_bound, K, MIN_SIZE)
    ends_y = right_ends(share_y, bins, tail_bound, K, MIN_SIZE)
    inside, index, _, _, width, height, slope0, slope1, theta, rest, mixed, secant, denominator, derivative = (
        found_in_bin(x, ends_x, ends_y, derivatives, bins, tail_bound, K, REVERSE, MIN_SLOPE)
    )
    slopes = slope0 + slope1
    ratio = secant / denominator
    steepness = derivative * ratio * ratio
    # `dl/dtheta` and `v`.
    turn = 2.0 * (slope1 * theta - slope0 * rest + secant * (rest - theta)) / derivative
    turn -= 2.0 * (slopes - 2.0 * secant) * (rest - theta) / denominator
    bend = 2.0 * mixed * (secant / derivative + slopes / denominator)
    # How much of a move of both knots, in x and in y, is that of the left and of the right one.
    from_x0 = rest * rest * (slope1 * theta * theta + 2.0 * secant * theta + slope0 * rest * (1.0 + theta)) / derivative
    from_x1 = theta * theta * (slope0 * rest * rest + 2.0 * secant * rest + slope1 * theta * (1.0 + rest)) / derivative
    share_of_mixed = mixed / denominator
    plain = ratio * ratio * (1.0 - 2.0 * mixed) + 2.0 * ratio * share_of_mixed * slopes
    from_y0 = plain * rest * rest + slope1 * slopes * share_of_mixed * share_of_mixed
    from_y1 = plain * theta * theta + slope0 * slopes * share_of_mixed * share_of_mixed
    # What tails have no gradients of is multiplied by 0.
    of_y = tl.where(inside, of_out, 0.0)
    of_log = tl.where(inside, of_log_det, 0.0)
    if REVERSE:
        of_log = -of_log
        of_value = (of_y + of_log * turn / width) / steepness
        of_bend = of_log * (bend + mixed * (slope0 * rest * rest - slope1 * theta * theta) * turn / derivative) / width
        of_x0, of_x1, of_both = of_y * from_x0 + of_bend, of_y * from_x1 - of_bend, of_y
        of_y = -of_value
    else:
        of_steep = of_y * steepness
        of_value = of_steep + of_log * turn / width
        of_bend = 2.0 * of_log / (derivative * denominator * width)
        of_x0 = of_bend * rest * _bend_of_knot(theta, rest, secant, slope0, slope1) - of_steep * from_x0
        of_x1 = -of_bend * theta * _bend_of_knot(rest, theta, secant, slope1, slope0) - of_steep * from_x1
        of_both = -of_value
    of_bend = of_log * bend / height
    of_y0, of_y1 = of_y * from_y0 - of_bend, of_y * from_y1 + of_bend
    of_widths = _of_sizes(share_x, bins, index, of_x0, of_x1, of_both, tail_bound, K, MIN_SIZE)
    of_heights = _of_sizes(share_y, bins, index, of_y0, of_y1, of_y, tail_bound, K, MIN_SIZE)
    of_slope = of_y * height * share_of_mixed / denominator
    of_slope0 = of_slope * (secant * rest * rest + slope1 * mixed)
    of_slope0 += of_log * (rest * rest / derivative - 2.0 * share_of_mixed)
    of_slope1 = of_log * (theta * theta / derivative - 2.0 * share_of_mixed)
    of_slope1 -= of_slope * (secant * theta * theta + slope0 * mixed)
    place = index[:, None]
    of_slopes = tl.where(bins == place, of_slope1[:, None], tl.where(bins == place - 1, of_slope0[:, None], 0.0))
    # Through the softplus: a sigmoid, of which no exponential overflows.
    decay = tl.exp(-tl.abs(derivatives))
    of_derivatives = tl.where(bins < K - 1, of_slopes * tl.where(derivatives < 0.0, decay, 1.0) / (1.0 + decay), 0.0)
    return tl.where(inside, of_value, of_out), of_widths, of_heights, of_derivatives


@kernel
def _spline_bwd_kernel(
    of_out_ptr,  # [N], contiguous
    of_log_det_ptr,  # [N], contiguous
    x_ptr,  # [N]
    widths_ptr,  # [N, K]
    heights_ptr,  # [N, K]
    derivatives_ptr,  # [N, K - 1]
    of_x_ptr,  # [N], contiguous
    of_widths_ptr,  # [N, K], contiguous
    of_heights_ptr,  # [N, K], contiguous
    of_derivatives_ptr,  # [N, K - 1], contiguous
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
    mask_d = mask_n[:, None] & (bins < K - 1)
    rows = offs_n[:, None]
    x = tl.load(x_ptr + offs_n * stride_x, mask=mask_n, other=0.0).to(tl.float32)
    widths = tl.load(widths_ptr + rows * stride_wn + bins * stride_wk, mask=mask, other=0.0).to(tl.float32)
    heights = tl.load(heights_ptr + rows * stride_hn + bins * stride_hk, mask=mask, other=0.0).to(tl.float32)
    slopes = tl.load(derivatives_ptr + rows * stride_dn + bins * stride_dk, mask=mask_d, other=0.0).to(tl.float32)
    of_out = tl.load(of_out_ptr + offs_n, mask=mask_n, other=0.0).to(tl.float32)
    of_log_det = tl.load(of_log_det_ptr + offs_n, mask=mask_n, other=0.0).to(tl.float32)
    of_x, of_widths, of_heights, of_derivatives = spline_gradients(
        of_out, of_log_det, x, widths, heights, slopes, bins, tail_bound, K, REVERSE, MIN_SIZE, MIN_SLOPE
    )
    tl.store(of_x_ptr + offs_n, of_x.to(of_x_ptr.dtype.element_ty), mask=mask_n)
    of_bins = rows * K + bins
    tl.store(of_widths_ptr + of_bins, of_widths.to(of_widths_ptr.dtype.element_ty), mask=mask)
    tl.store(of_heights_ptr + of_bins, of_heights.to(of_heights_ptr.dtype.element_ty), mask=mask)
    of_derivatives = of_derivatives.to(of_derivatives_ptr.dtype.element_ty)
    tl.store(of_derivatives_ptr + rows * (K - 1) + bins, of_derivatives, mask=mask_d)


def spline_backward(grads: tuple[Tensor, ...], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The gradients of the op's arguments; None for those that want none."""
    x, widths, heights, derivatives, tail_bound, reverse = arguments
    bins, size = widths.shape[-1], x.numel()
    tile = tiles.choose("rational_quadratic_spline_backward", x.device, x.dtype, channels=bins, work=size)
    flat = x.reshape(size)
    parameters = widths.reshape(size, bins), heights.reshape(size, bins), derivatives.reshape(size, bins - 1)
    found = tuple(torch.empty(given.shape, dtype=x.dtype, device=x.device) for given in arguments[:4])
    launch(
        "rational_quadratic_spline_backward",
        _spline_bwd_kernel,
        (-(-size // tile.sizes["BLOCK_N"]),),
        (
            *(grad.contiguous() for grad in grads),
            *(flat, *parameters, *found),
            *(size, float(tail_bound), *flat.stride()),
            *(stride for parameter in parameters for stride in parameter.stride()),
        ),
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
    return (*(of if wants(given) else None for of, given in zip(found, arguments[:4], strict=True)), None, None)
