"""What kernels with a layer normalisation in them share: a row's statistics, and the gradient through a norm.

    N(g, n)[c] = (g[c] - mean(g) - n[c] mean(g n)) / deviation

for the gradient `g` of the normalised row `n`, before the norm's weight (Ba et al. 2016, equations 3 and 4).
"""

from typing import TYPE_CHECKING

from ..launch.jit import kernel

if TYPE_CHECKING:
    import triton.language as tl


@kernel
def statistics(x, mask_c, eps, CHANNELS: "tl.constexpr"):
    """The mean and the reciprocal standard deviation of each row over its valid channels."""
    mean = tl.sum(tl.where(mask_c[None, :], x, 0.0), axis=1) / CHANNELS
    centred = tl.where(mask_c[None, :], x - mean[:, None], 0.0)
    return mean, 1.0 / tl.sqrt(tl.sum(centred * centred, axis=1) / CHANNELS + eps)


@kernel
def through_norm(g, normed, scale, mask_c, CHANNELS: "tl.constexpr"):
    """The gradient of what a norm is given, from that of its rows `normed` and what they were scaled by."""
    g = tl.where(mask_c[None, :], g, 0.0)
    mean = tl.sum(g, axis=1) / CHANNELS
    along = tl.sum(g * normed, axis=1) / CHANNELS
    return (g - mean[:, None] - normed * along[:, None]) * scale[:, None]


@kernel
def store_shares(share_ptr, offs_c, mask_c, of_weight, of_bias, of_sum, CHANNELS: "tl.constexpr"):
    """A program's share of the gradients of a norm's weight and bias, and of a bias that is added in front of it, into
    `[programs, 3, C]`. The shares are added up behind the kernel, in a fixed order: no atomics."""
    share_first = share_ptr + tl.program_id(0).to(tl.int64) * 3 * CHANNELS
    tl.store(share_first + offs_c, tl.sum(of_weight, axis=0), mask=mask_c)
    tl.store(share_first + CHANNELS + offs_c, tl.sum(of_bias, axis=0), mask=mask_c)
    tl.store(share_first + 2 * CHANNELS + offs_c, tl.sum(of_sum, axis=0), mask=mask_c)
