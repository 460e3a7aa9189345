"""Gradients of the layer, in three launches and a product; nothing of the forward pass is kept but its arguments.

With `n_1`, `n_2` what the norms make before their weights, `e` what the second GELU is given and `a` the first one,
`D` the dropout, and `N(g, n)` the gradient through a norm (`normalisation`)

    de = D(g) GELU'(e)        dv = N(de norm2_weight, n_2)        dpointwise = sum h^T dv
    da = (dv pointwise^T) GELU'(a)        du = N(da norm1_weight, n_1)
    dx[t] = g[t] + sum_j du[t - s_j] depthwise[j]        ddepthwise[j] = sum_t x[t + s_j] du[t],  s_j the shift of tap j

The first kernel computes the layer again up to the second norm and stores `h` and `dv`,
the second the first norm again and stores `du`, the third convolves. Gradients of vectors are sums over all steps: a
program stores its share in float32, and the shares are added up behind it, in a fixed order. No atomics: two runs are
equal to the last bit. `dpointwise` comes from the kernel of all convolutions' weights (`conv_gradients`).
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...dispatch.masking import one_each
from ...dispatch.registry import gradients_of
from ...launch import tiles
from ...launch.jit import kernel, launch, padded
from ..conv_gradients import convolutions
from ..dropout import dropout_scale, keeps
from ..gradients import derivable, wants
from ..normalisation import statistics, store_shares, through_norm
from .forward import _depthwise, _pointwise_sum, tile_of_program
from .reference import depth_separable_layer_reference

if TYPE_CHECKING:
    import triton.language as tl


@kernel
def _gelu_slope(x):
    """The derivative of the exact GELU, `Phi(x) + x phi(x)`."""
    return 0.5 * (1.0 + tl.erf(x * 0.7071067811865476)) + x * 0.3989422804014327 * tl.exp(-0.5 * x * x)


@kernel
def _normed(
    x,  # [BLOCK_T, BLOCK_N], float32
    weight_ptr,  # [C]
    bias_ptr,  # [C]
    offs_c,
    mask_c,
    eps,
    CHANNELS: "tl.constexpr",
):
    """A norm again: its rows before the weight, what they were scaled by, the weight and the bias."""
    mean, scale = statistics(x, mask_c, eps, CHANNELS)
    normed = (x - mean[:, None]) * scale[:, None]
    weight = tl.load(weight_ptr + offs_c, mask=mask_c, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + offs_c, mask=mask_c, other=0.0).to(tl.float32)
    return normed, scale, weight, bias


@kernel
def _depth_separable_output_bwd_kernel(
    x_ptr,  # [B, T, C], any strides
    depthwise_ptr,  # [K, C], contiguous, as is all that follows
    depthwise_bias_ptr,  # [C]
    norm1_weight_ptr,  # [C]
    norm1_bias_ptr,  # [C]
    pointwise_ptr,  # [C, C]
    pointwise_bias_ptr,  # [C]
    norm2_weight_ptr,  # [C]
    norm2_bias_ptr,  # [C]
    lengths_ptr,  # [B] or None
    seed_ptr,  # [1] int64, or None
    g_ptr,  # [B, T, C]
    hidden_ptr,  # [B, T, C]: h
    of_sum_ptr,  # [B, T, C]: dv
    share_ptr,  # [programs, 3, C], float32
    steps,
    dilation,
    eps,
    rate,  # of the dropout
    kept_scale,
    stride_xb,
    stride_xt,
    stride_xc,
    CHANNELS: "tl.constexpr",
    KERNEL_SIZE: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_C: "tl.constexpr",
    BLOCK_N: "tl.constexpr",
):
    pid_b, first, length, rows, offs_n, mask_n, tile_first = tile_of_program(
        lengths_ptr, steps, CHANNELS, BLOCK_T, BLOCK_N
    )
    tile = rows[:, None] * CHANNELS + offs_n[None, :]
    mask = (rows < steps - first)[:, None] & mask_n[None, :]
    # A tile beyond the length has a gradient of zeros, and passes on such; only its h has to be a number.
    v = _pointwise_sum(
        x_ptr + pid_b * stride_xb + first.to(tl.int64) * stride_xt, depthwise_ptr, depthwise_bias_ptr,
        norm1_weight_ptr, norm1_bias_ptr, pointwise_ptr, pointwise_bias_ptr, hidden_ptr + tile_first,
        first, steps, length, dilation, eps, stride_xt, stride_xc,
        CHANNELS, KERNEL_SIZE, "ieee", BLOCK_T, BLOCK_C, BLOCK_N,
    )  # fmt: skip
    normed, scale, weight, bias = _normed(v, norm2_weight_ptr, norm2_bias_ptr, offs_n, mask_n, eps, CHANNELS)
    valid = (rows < length - first)[:, None] & mask_n[None, :]
    g = tl.load(g_ptr + tile_first + tile, mask=valid, other=0.0).to(tl.float32)
    if seed_ptr is not None:
        kept = keeps(tl.load(seed_ptr), pid_b.to(tl.int32), (first + rows)[:, None], offs_n[None, :], rate)
        g = tl.where(kept, g * kept_scale, 0.0)
    g *= _gelu_slope(normed * weight[None, :] + bias[None, :])
    of_v = through_norm(g * weight[None, :], normed, scale, mask_n, CHANNELS)
    tl.store(of_sum_ptr + tile_first + tile, of_v.to(of_sum_ptr.dtype.element_ty), mask=mask)
    store_shares(share_ptr, offs_n, mask_n, g * normed, g, of_v, CHANNELS)


@kernel
def _depth_separable_hidden_bwd_kernel(
    x_ptr,  # [B, T, C], any strides
    depthwise_ptr,  # [K, C], contiguous, as is all that follows
    depthwise_bias_ptr,  # [C]
    norm1_weight_ptr,  # [C]
    norm1_bias_ptr,  # [C]
    pointwise_ptr,  # [C_out, C_in]: the pointwise weight turned around
    lengths_ptr,  # [B] or None
    of_sum_ptr,  # [B, T, C]: dv
    of_depthwise_ptr,  # [B, T, C]: du
    share_ptr,  # [programs, 3, C], float32
    steps,
    dilation,
    eps,
    stride_xb,
    stride_xt,
    stride_xc,
    CHANNELS: "tl.constexpr",
    KERNEL_SIZE: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_C: "tl.constexpr",
    BLOCK_N: "tl.constexpr",
):
    pid_b, first, length, rows, offs_n, mask_n, tile_first = tile_of_program(
        lengths_ptr, steps, CHANNELS, BLOCK_T, BLOCK_N
    )
    mask_t = (rows < steps - first)[:, None]
    g = tl.zeros((BLOCK_T, BLOCK_N), tl.float32)
    for c_first in range(0, CHANNELS, BLOCK_C):
        c = c_first + tl.arange(0, BLOCK_C)
        mask_c = c < CHANNELS
        of_sum = tl.load(
            of_sum_ptr + tile_first + rows[:, None] * CHANNELS + c[None, :], mask=mask_t & mask_c[None, :], other=0.0
        )
        pointwise = tl.load(
            pointwise_ptr + c[:, None] * CHANNELS + offs_n[None, :],
            mask=mask_c[:, None] & mask_n[None, :],
            other=0.0,
        )  # [BLOCK_C, BLOCK_N]
        g = tl.dot(of_sum, pointwise, g, input_precision="ieee")
    u = _depthwise(
        x_ptr + pid_b * stride_xb + first.to(tl.int64) * stride_xt, depthwise_ptr, depthwise_bias_ptr,
        first, length, dilation, stride_xt, stride_xc, offs_n, mask_n, CHANNELS, KERNEL_SIZE, BLOCK_T,
    )  # fmt: skip
    normed, scale, weight, bias = _normed(u, norm1_weight_ptr, norm1_bias_ptr, offs_n, mask_n, eps, CHANNELS)
    g *= _gelu_slope(normed * weight[None, :] + bias[None, :])
    of_u = through_norm(g * weight[None, :], normed, scale, mask_n, CHANNELS)
    of_u_ptrs = of_depthwise_ptr + tile_first + rows[:, None] * CHANNELS + offs_n[None, :]
    tl.store(of_u_ptrs, of_u.to(of_depthwise_ptr.dtype.element_ty), mask=mask_t & mask_n[None, :])
    store_shares(share_ptr, offs_n, mask_n, g * normed, g, of_u, CHANNELS)


@kernel
def _depthwise_bwd_kernel(
    x_ptr,  # [B, T, C], any strides
    depthwise_ptr,  # [K, C], contiguous, as is all that follows
    lengths_ptr,  # [B] or None
    g_ptr,  # [B, T, C]
    of_depthwise_ptr,  # [B, T, C]: du
    of_x_ptr,  # [B, T, C]
    share_ptr,  # [blocks of steps in all items, K, C], float32
    steps,
    dilation,
    stride_xb,
    stride_xt,
    stride_xc,
    CHANNELS: "tl.constexpr",
    KERNEL_SIZE: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_C: "tl.constexpr",
):
    BLOCKS_C: tl.constexpr = (CHANNELS + BLOCK_C - 1) // BLOCK_C
    blocks_t = tl.cdiv(steps, BLOCK_T)
    tile = tl.program_id(0) // BLOCKS_C
    pid_b = (tile // blocks_t).to(tl.int64)
    first = tile % blocks_t * BLOCK_T
    c = tl.program_id(0) % BLOCKS_C * BLOCK_C + tl.arange(0, BLOCK_C)
    mask_c = c < CHANNELS
    t = first + tl.arange(0, BLOCK_T)
    length = steps if lengths_ptr is None else tl.minimum(tl.load(lengths_ptr + pid_b), steps).to(tl.int32)
    item_first = pid_b * steps * CHANNELS
    x_first = x_ptr + pid_b * stride_xb
    valid = (t < length)[:, None] & mask_c[None, :]
    places = t.to(tl.int64)[:, None] * CHANNELS + c[None, :]
    total = tl.load(g_ptr + item_first + places, mask=valid, other=0.0).to(tl.float32)
    of_u = tl.load(of_depthwise_ptr + item_first + places, mask=valid, other=0.0).to(tl.float32)
    for tap in tl.static_range(KERNEL_SIZE):
        shift = tap * dilation - (KERNEL_SIZE - 1) * dilation // 2
        weight = tl.load(depthwise_ptr + tap * CHANNELS + c, mask=mask_c, other=0.0).to(tl.float32)
        behind = (t - shift).to(tl.int64)
        from_u = tl.load(
            of_depthwise_ptr + item_first + behind[:, None] * CHANNELS + c[None, :],
            mask=((behind >= 0) & (behind < length))[:, None] & mask_c[None, :],
            other=0.0,
        ).to(tl.float32)
        total += from_u * weight[None, :]
        before = (t + shift).to(tl.int64)
        x = tl.load(
            x_first + before[:, None] * stride_xt + c[None, :] * stride_xc,
            mask=((before >= 0) & (before < length))[:, None] & mask_c[None, :],
            other=0.0,
        ).to(tl.float32)
        share = share_ptr + (tile.to(tl.int64) * KERNEL_SIZE + tap) * CHANNELS + c
        tl.store(share, tl.sum(x * of_u, axis=0), mask=mask_c)
    of_x = tl.where(valid, total, 0.0).to(of_x_ptr.dtype.element_ty)
    tl.store(of_x_ptr + item_first + places, of_x, mask=(t < steps)[:, None] & mask_c[None, :])


def depth_separable_layer_backward(grads: tuple[Tensor, ...], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The gradients of the op's arguments, None for those that want none."""
    if not derivable(arguments):
        return gradients_of(depth_separable_layer_reference, arguments, grads)
    x, *parameters, lengths, dilation, eps, seed, dropout = arguments
    batch, steps, channels = x.shape
    depthwise, depthwise_bias, norm1_weight, norm1_bias, pointwise, pointwise_bias, norm2_weight, norm2_bias = (
        parameter.detach().contiguous() for parameter in parameters
    )
    g, lengths = grads[0].contiguous(), one_each(lengths, batch)
    taps = depthwise.shape[0]
    name = "depth_separable_layer_backward"
    tile = tiles.choose(name, x.device, x.dtype, channels=channels, work=batch * steps)
    block_t, block_n = tile.sizes["BLOCK_T"], padded(channels, 16)
    block_c = min(tile.sizes["BLOCK_C"], block_n)
    programs = batch * -(-steps // block_t)
    constants = {"CHANNELS": channels, "KERNEL_SIZE": taps, "BLOCK_T": block_t, "BLOCK_C": block_c}
    options = {"num_warps": tile.num_warps, "num_stages": tile.num_stages}
    hidden, of_sum, of_depthwise, of_x = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for _ in range(4))
    shares1, shares2 = (torch.empty(programs, 3, channels, dtype=torch.float32, device=x.device) for _ in range(2))
    first = (x, depthwise, depthwise_bias, norm1_weight, norm1_bias)
    launch(
        name,
        _depth_separable_output_bwd_kernel,
        (programs,),
        (
            *(*first, pointwise, pointwise_bias, norm2_weight, norm2_bias, lengths, seed if dropout else None),
            *(g, hidden, of_sum, shares2, steps, dilation, float(eps), float(dropout), dropout_scale(dropout)),
            *x.stride(),
        ),
        {**constants, "BLOCK_N": block_n},
        **options,
    )
    turned = parameters[4].detach().t().contiguous()
    launch(
        name,
        _depth_separable_hidden_bwd_kernel,
        (programs,),
        (*first, turned, lengths, of_sum, of_depthwise, shares1, steps, dilation, float(eps), *x.stride()),
        {**constants, "BLOCK_N": block_n},
        **options,
    )
    of_taps: Tensor | None = None
    if wants(x) or wants(parameters[0]):
        shares = torch.empty(programs, taps, channels, dtype=torch.float32, device=x.device)
        launch(
            name,
            _depthwise_bwd_kernel,
            (programs * -(-channels // block_c),),
            (x, depthwise, lengths, g, of_depthwise, of_x, shares, steps, dilation, *x.stride()),
            constants,
            **options,
        )
        of_taps = shares.sum(0).to(x.dtype)
    of_pointwise = None
    if wants(parameters[4]):
        of_pointwise = convolutions(ieee=True).by_weight(hidden, of_sum, 1, 1, 0)[0]
    of_norm1, of_norm1_bias, of_depthwise_bias = shares1.sum(0).to(x.dtype).unbind()
    of_norm2, of_norm2_bias, of_pointwise_bias = shares2.sum(0).to(x.dtype).unbind()
    found = (
        *(of_x, of_taps, of_depthwise_bias, of_norm1, of_norm1_bias),
        *(of_pointwise, of_pointwise_bias, of_norm2, of_norm2_bias),
    )
    wanted = (gradient if wants(given) else None for given, gradient in zip(arguments, found, strict=False))
    return *wanted, *(None,) * 5
