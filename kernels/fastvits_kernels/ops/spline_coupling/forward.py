"""The spline coupling's kernel and its launch."""

import math
from typing import TYPE_CHECKING

from torch import Tensor

from ...dispatch.masking import one_each
from ...dispatch.packing import contiguous
from ...launch import tiles
from ...launch.jit import kernel, launch, padded
from ..spline.forward import spline_tile
from ..spline.reference import MIN_BIN, MIN_DERIVATIVE

if TYPE_CHECKING:
    import triton.language as tl


@kernel
def projected(
    h_first,  # [BLOCK_T, F], the tile's first step
    weight_ptr,  # [F, C * (3 K - 1)], contiguous
    bias_ptr,  # [C * (3 K - 1)]
    channel,
    rows,  # [BLOCK_T]
    valid,  # [BLOCK_T], which rows are before the length
    stride_ht,
    stride_hf,
    stride_bias,
    FEATURES: "tl.constexpr",
    CHANNELS: "tl.constexpr",
    K: "tl.constexpr",
    PRECISION: "tl.constexpr",
    BINS: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_F: "tl.constexpr",
):
    """A channel's widths, heights and derivatives `[BLOCK_T, BINS]`, float32, before widths and heights are scaled."""
    bins = tl.arange(0, BINS)
    mask_w = bins < K
    mask_d = bins < K - 1
    weight_first = weight_ptr + channel * (3 * K - 1)
    widths = tl.zeros((BLOCK_T, BINS), tl.float32)
    heights = tl.zeros((BLOCK_T, BINS), tl.float32)
    slopes = tl.zeros((BLOCK_T, BINS), tl.float32)
    for f_first in range(0, FEATURES, BLOCK_F):
        f = f_first + tl.arange(0, BLOCK_F)
        mask_f = f < FEATURES
        h = tl.load(
            h_first + rows[:, None] * stride_ht + f[None, :] * stride_hf,
            mask=valid[:, None] & mask_f[None, :],
            other=0.0,
        )  # [BLOCK_T, BLOCK_F]
        weights = weight_first + f[:, None] * (CHANNELS * (3 * K - 1)) + bins[None, :]
        mask = mask_f[:, None] & mask_w[None, :]
        weight = tl.load(weights, mask=mask, other=0.0)  # [BLOCK_F, BINS]
        widths = tl.dot(h, weight, widths, input_precision=PRECISION)
        weight = tl.load(weights + K, mask=mask, other=0.0)
        heights = tl.dot(h, weight, heights, input_precision=PRECISION)
        weight = tl.load(weights + 2 * K, mask=mask_f[:, None] & mask_d[None, :], other=0.0)
        slopes = tl.dot(h, weight, slopes, input_precision=PRECISION)
    biases = bias_ptr + (channel * (3 * K - 1) + bins) * stride_bias
    widths += tl.load(biases, mask=mask_w, other=0.0).to(tl.float32)[None, :]
    heights += tl.load(biases + K * stride_bias, mask=mask_w, other=0.0).to(tl.float32)[None, :]
    slopes += tl.load(biases + 2 * K * stride_bias, mask=mask_d, other=0.0).to(tl.float32)[None, :]
    return widths, heights, slopes


@kernel
def _spline_coupling_fwd_kernel(
    h_ptr,  # [B, T, F]
    weight_ptr,  # [F, C * (3 K - 1)], contiguous
    bias_ptr,  # [C * (3 K - 1)]
    x_ptr,  # [B, T, C]
    lengths_ptr,  # [B] or None
    out_ptr,  # [B, T, C], contiguous
    log_det_ptr,  # [B, T, C], contiguous
    steps,
    scale,
    tail_bound,
    stride_hb,
    stride_ht,
    stride_hf,
    stride_bias,
    stride_xb,
    stride_xt,
    stride_xc,
    FEATURES: "tl.constexpr",
    CHANNELS: "tl.constexpr",
    K: "tl.constexpr",
    REVERSE: "tl.constexpr",
    MIN_SIZE: "tl.constexpr",
    MIN_SLOPE: "tl.constexpr",
    PRECISION: "tl.constexpr",
    BINS: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_F: "tl.constexpr",
):
    # One axis for tiles and items: a grid's other axes hold 65535 programs at most.
    blocks_t = tl.cdiv(steps, BLOCK_T)
    pid_b = (tl.program_id(0) // blocks_t).to(tl.int64)
    channel = tl.program_id(1)
    first = tl.program_id(0) % blocks_t * BLOCK_T
    rows = tl.arange(0, BLOCK_T)
    mask_out = rows < steps - first
    # Tiles are addressed from their first row, so that only that address has 64 bits.
    offs_out = ((pid_b * steps + first) * CHANNELS + channel) + rows * CHANNELS
    length = steps if lengths_ptr is None else tl.minimum(tl.load(lengths_ptr + pid_b), steps).to(tl.int32)
    if first >= length:
        zeros = tl.zeros((BLOCK_T,), out_ptr.dtype.element_ty)
        tl.store(out_ptr + offs_out, zeros, mask=mask_out)
        tl.store(log_det_ptr + offs_out, zeros, mask=mask_out)
        return

    valid = rows < length - first
    bins = tl.arange(0, BINS)[None, :]
    widths, heights, slopes = projected(
        h_ptr + pid_b * stride_hb + first.to(tl.int64) * stride_ht, weight_ptr, bias_ptr, channel, rows, valid,
        stride_ht, stride_hf, stride_bias, FEATURES, CHANNELS, K, PRECISION, BINS, BLOCK_T, BLOCK_F,
    )  # fmt: skip
    x_first = x_ptr + pid_b * stride_xb + first.to(tl.int64) * stride_xt + channel * stride_xc
    x = tl.load(x_first + rows * stride_xt, mask=valid, other=0.0).to(tl.float32)
    out, log_det = spline_tile(
        x, widths * scale, heights * scale, slopes, bins, tail_bound, K, REVERSE, MIN_SIZE, MIN_SLOPE
    )
    tl.store(out_ptr + offs_out, tl.where(valid, out, 0.0).to(out_ptr.dtype.element_ty), mask=mask_out)
    tl.store(log_det_ptr + offs_out, tl.where(valid, log_det, 0.0).to(out_ptr.dtype.element_ty), mask=mask_out)


def tile_of(h: Tensor, x: Tensor) -> tiles.Tile:
    batch, steps, features = h.shape
    work = batch * steps * x.shape[2]
    return tiles.choose("spline_coupling", h.device, h.dtype, channels=features, work=work)


def _launch_spline_coupling(
    h: Tensor,
    weight: Tensor,
    bias: Tensor,
    x: Tensor,
    lengths: Tensor | None,
    num_bins: int,
    tail_bound: float,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    batch, steps, channels = x.shape
    features = h.shape[2]
    weight = contiguous(weight)
    out, log_det = x.new_empty(x.shape), x.new_empty(x.shape)
    tile = tile_of(h, x)
    # tl.dot takes no fewer than 16 rows or columns.
    sizes = {**tile.sizes, "BLOCK_F": min(tile.sizes["BLOCK_F"], padded(features, 16)), "BINS": padded(num_bins, 16)}
    launch(
        "spline_coupling",
        _spline_coupling_fwd_kernel,
        (-(-steps // sizes["BLOCK_T"]) * batch, channels),
        (
            h,
            weight,
            bias,
            x,
            one_each(lengths, batch),
            out,
            log_det,
            steps,
            1 / math.sqrt(features),
            float(tail_bound),
            *h.stride(),
            *bias.stride(),
            *x.stride(),
        ),
        {
            "FEATURES": features,
            "CHANNELS": channels,
            "K": num_bins,
            "REVERSE": reverse,
            "MIN_SIZE": MIN_BIN,
            "MIN_SLOPE": MIN_DERIVATIVE,
            "PRECISION": "ieee",
            **sizes,
        },
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )
    return out, log_det
