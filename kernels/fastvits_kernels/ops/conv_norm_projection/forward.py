"""The fused op: two launches, the convolution in parts, and the norm of their sum with the projection."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...dispatch.masking import one_each
from ...dispatch.packing import contiguous
from ...launch import tiles
from ...launch.jit import kernel, launch, padded
from ..implicit_gemm import add_taps

if TYPE_CHECKING:
    import triton.language as tl


@kernel
def _conv1d_partial_fwd_kernel(
    x_ptr,  # [B, T, C_in]
    weight_ptr,  # [K, C_in, C], contiguous
    lengths_ptr,  # [B] or None
    partial_ptr,  # [B, S, T, C], contiguous, float32; beyond the lengths it is left as it is
    steps,  # T
    pad_left,
    stride_xb,
    stride_xt,
    stride_xc,
    stride_wi,
    C_IN: "tl.constexpr",
    CHANNELS: "tl.constexpr",
    TAPS: "tl.constexpr",
    SPLITS: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_C_OUT: "tl.constexpr",
    BLOCK_C_IN: "tl.constexpr",
):
    BLOCKS_OUT: tl.constexpr = (CHANNELS + BLOCK_C_OUT - 1) // BLOCK_C_OUT
    BLOCKS_IN: tl.constexpr = (C_IN + BLOCK_C_IN - 1) // BLOCK_C_IN
    SHARE: tl.constexpr = (TAPS * BLOCKS_IN + SPLITS - 1) // SPLITS
    pid = tl.program_id(0)
    blocks_t = tl.cdiv(steps, BLOCK_T)
    # Programs that share a tile of x are neighbours.
    pid_o = pid % BLOCKS_OUT
    split = pid // BLOCKS_OUT % SPLITS
    pid_t = pid // (BLOCKS_OUT * SPLITS) % blocks_t
    pid_b = (pid // (BLOCKS_OUT * SPLITS) // blocks_t).to(tl.int64)
    length = steps
    if lengths_ptr is not None:
        length = tl.minimum(tl.load(lengths_ptr + pid_b), steps).to(tl.int32)
    if pid_t * BLOCK_T >= length:
        return
    offs_t = pid_t * BLOCK_T + tl.arange(0, BLOCK_T)
    offs_o = pid_o * BLOCK_C_OUT + tl.arange(0, BLOCK_C_OUT)
    mask_o = offs_o < CHANNELS
    x_base = x_ptr + pid_b * stride_xb
    acc = tl.zeros((BLOCK_T, BLOCK_C_OUT), dtype=tl.float32)
    last = tl.minimum((split + 1) * SHARE, TAPS * BLOCKS_IN)
    acc = add_taps(
        acc, x_base, weight_ptr, split * SHARE, last, offs_t, -pad_left, 1, 0, 1, stride_xt, stride_xc, stride_wi,
        offs_o, length, 1.0, C_IN, CHANNELS, BLOCK_C_IN, BLOCK_C_OUT, False, "ieee",
    )  # fmt: skip
    partial_first = partial_ptr + (pid_b * SPLITS + split) * steps * CHANNELS
    partial_ptrs = partial_first + offs_t[:, None] * CHANNELS + offs_o[None, :]
    tl.store(partial_ptrs, acc, mask=(offs_t < length)[:, None] & mask_o[None, :])


@kernel
def _sum_of_parts(
    partial_base,  # an item's partial sums, [S, T, C]
    bias_ptr,  # [C] or None
    residual_base,  # an item's [T, C]
    steps,
    stride_bias,
    stride_rt,
    stride_rc,
    offs_t,
    offs_c,
    valid,
    CHANNELS: "tl.constexpr",
    SPLITS: "tl.constexpr",
):
    """What is normalised, of the steps `offs_t` and the channels `offs_c`, float32."""
    offsets = offs_t[:, None] * CHANNELS + offs_c[None, :]
    total = tl.load(partial_base + offsets, mask=valid, other=0.0)
    for _ in tl.static_range(1, SPLITS):
        partial_base += steps * CHANNELS
        total += tl.load(partial_base + offsets, mask=valid, other=0.0)
    if bias_ptr is not None:
        bias = tl.load(bias_ptr + offs_c * stride_bias, mask=offs_c < CHANNELS, other=0.0)
        total += bias.to(tl.float32)[None, :]
    residual_ptrs = residual_base + offs_t[:, None] * stride_rt + offs_c[None, :] * stride_rc
    return total + tl.load(residual_ptrs, mask=valid, other=0.0).to(tl.float32)


@kernel
def _norm_projection_fwd_kernel(
    partial_ptr,  # [B, S, T, C], contiguous, float32
    bias_ptr,  # [C] or None
    residual_ptr,  # [B, T, C]
    norm_weight_ptr,  # [C]
    norm_bias_ptr,  # [C]
    projection_ptr,  # [C, P], contiguous
    projection_bias_ptr,  # [P] or None
    lengths_ptr,  # [B] or None
    z_ptr,  # [B, T, C], contiguous
    y_ptr,  # [B, T, P], contiguous
    steps,  # T
    eps,
    stride_bias,
    stride_rb,
    stride_rt,
    stride_rc,
    stride_norm_weight,
    stride_norm_bias,
    stride_pc,  # P; as a constant it costs more than half as many registers again, in float32 on sm_80
    stride_projection_bias,
    CHANNELS: "tl.constexpr",
    OUTPUTS: "tl.constexpr",
    SPLITS: "tl.constexpr",
    BLOCK_ROWS: "tl.constexpr",
    BLOCK_C: "tl.constexpr",
    BLOCK_P: "tl.constexpr",
    BLOCK_N: "tl.constexpr",
):
    BLOCKS_P: tl.constexpr = (OUTPUTS + BLOCK_P - 1) // BLOCK_P
    pid = tl.program_id(0)
    blocks_t = tl.cdiv(steps, BLOCK_ROWS)
    pid_p = pid % BLOCKS_P
    pid_t = pid // BLOCKS_P % blocks_t
    pid_b = (pid // BLOCKS_P // blocks_t).to(tl.int64)
    length = steps
    if lengths_ptr is not None:
        length = tl.minimum(tl.load(lengths_ptr + pid_b), steps).to(tl.int32)
    offs_t = pid_t * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    mask_t = (offs_t < steps)[:, None]
    valid_t = (offs_t < length)[:, None]
    offs_p = pid_p * BLOCK_P + tl.arange(0, BLOCK_P)
    mask_p = offs_p < OUTPUTS
    z_base = z_ptr + pid_b * steps * CHANNELS
    y_ptrs = y_ptr + pid_b * steps * OUTPUTS + offs_t[:, None] * OUTPUTS + offs_p[None, :]
    offs_n = tl.arange(0, BLOCK_N)
    mask_n = offs_n < CHANNELS
    if pid_t * BLOCK_ROWS >= length:
        if pid_p == 0:
            z_ptrs = z_base + offs_t[:, None] * CHANNELS + offs_n[None, :]
            tl.store(z_ptrs, tl.zeros((BLOCK_ROWS, BLOCK_N), z_ptr.dtype.element_ty), mask=mask_t & mask_n[None, :])
        tl.store(y_ptrs, tl.zeros((BLOCK_ROWS, BLOCK_P), y_ptr.dtype.element_ty), mask=mask_t & mask_p[None, :])
        return

    partial_base = partial_ptr + pid_b * SPLITS * steps * CHANNELS
    residual_base = residual_ptr + pid_b * stride_rb
    whole = _sum_of_parts(
        partial_base,
        bias_ptr,
        residual_base,
        steps,
        stride_bias,
        stride_rt,
        stride_rc,
        offs_t,
        offs_n,
        valid_t & mask_n[None, :],
        CHANNELS,
        SPLITS,
    )  # [BLOCK_ROWS, BLOCK_N]
    mean = tl.sum(tl.where(mask_n[None, :], whole, 0.0), axis=1) / CHANNELS
    centred = tl.where(mask_n[None, :], whole - mean[:, None], 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=1) / CHANNELS + eps)
    acc = tl.zeros((BLOCK_ROWS, BLOCK_P), dtype=tl.float32)
    for c_first in range(0, CHANNELS, BLOCK_C):
        offs_c = c_first + tl.arange(0, BLOCK_C)
        mask_c = offs_c < CHANNELS
        projection = tl.load(
            projection_ptr + offs_c[:, None] * stride_pc + offs_p[None, :],
            mask=mask_c[:, None] & mask_p[None, :],
            other=0.0,
        )  # [BLOCK_C, BLOCK_P]
        part = _sum_of_parts(
            partial_base,
            bias_ptr,
            residual_base,
            steps,
            stride_bias,
            stride_rt,
            stride_rc,
            offs_t,
            offs_c,
            valid_t & mask_c[None, :],
            CHANNELS,
            SPLITS,
        )  # [BLOCK_ROWS, BLOCK_C]
        norm_weight = tl.load(norm_weight_ptr + offs_c * stride_norm_weight, mask=mask_c, other=0.0).to(tl.float32)
        norm_bias = tl.load(norm_bias_ptr + offs_c * stride_norm_bias, mask=mask_c, other=0.0).to(tl.float32)
        # In the padding of the channels the weight and the bias are zero, and so is z.
        z = (part - mean[:, None]) * scale[:, None] * norm_weight[None, :] + norm_bias[None, :]
        z = tl.where(valid_t, z, 0.0).to(z_ptr.dtype.element_ty)
        if pid_p == 0:
            z_ptrs = z_base + offs_t[:, None] * CHANNELS + offs_c[None, :]
            tl.store(z_ptrs, z, mask=mask_t & mask_c[None, :])
        acc = tl.dot(z, projection, acc, input_precision="ieee")
    if projection_bias_ptr is not None:
        bias = tl.load(projection_bias_ptr + offs_p * stride_projection_bias, mask=mask_p, other=0.0)
        acc += bias.to(tl.float32)[None, :]
    tl.store(y_ptrs, tl.where(valid_t, acc, 0.0).to(y_ptr.dtype.element_ty), mask=mask_t & mask_p[None, :])


def tile_of(x: Tensor, weight: Tensor) -> tiles.Tile:
    taps, _, channels = weight.shape
    work = x.shape[0] * x.shape[1]
    return tiles.choose(
        "conv1d_layer_norm_projection", x.device, x.dtype, channels=channels, kernel_size=taps, work=work
    )


def _launch_conv1d_layer_norm_projection(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    projection: Tensor,
    projection_bias: Tensor | None,
    lengths: Tensor | None,
    pad_left: int,
    eps: float,
) -> tuple[Tensor, Tensor]:
    batch, steps, inputs = x.shape
    taps, _, channels = weight.shape
    outputs = projection.shape[1]
    weight, projection, lengths = contiguous(weight), contiguous(projection), one_each(lengths, batch)
    tile = tile_of(x, weight)
    block_out, block_in = tiles.fit(tile.sizes["BLOCK_C_OUT"], channels), tiles.fit(tile.sizes["BLOCK_C_IN"], inputs)
    block_p, rows = tiles.fit(tile.sizes["BLOCK_P"], outputs), tile.sizes["BLOCK_ROWS"]
    # A part has the share of blocks that `SPLITS` parts would have, rounded up: as many parts as then have any.
    blocks = taps * -(-inputs // block_in)
    splits = -(-blocks // -(-blocks // tile.sizes["SPLITS"]))
    block_t = tile.sizes["BLOCK_T"]
    partial = torch.empty(batch, splits, steps, channels, dtype=torch.float32, device=x.device)
    z = torch.empty(batch, steps, channels, dtype=x.dtype, device=x.device)
    y = torch.empty(batch, steps, outputs, dtype=x.dtype, device=x.device)
    launch(
        "conv1d_layer_norm_projection",
        _conv1d_partial_fwd_kernel,
        (batch * -(-steps // block_t) * splits * -(-channels // block_out),),
        (x, weight, lengths, partial, steps, pad_left, *x.stride(), channels),
        {
            "C_IN": inputs,
            "CHANNELS": channels,
            "TAPS": taps,
            "SPLITS": splits,
            "BLOCK_T": block_t,
            "BLOCK_C_OUT": block_out,
            "BLOCK_C_IN": block_in,
        },
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )
    launch(
        "conv1d_layer_norm_projection",
        _norm_projection_fwd_kernel,
        (batch * -(-steps // rows) * -(-outputs // block_p),),
        (
            *(partial, bias, residual, norm_weight, norm_bias, projection, projection_bias, lengths, z, y),
            *(steps, float(eps)),
            *((0,) if bias is None else bias.stride()),
            *residual.stride(),
            *norm_weight.stride(),
            *norm_bias.stride(),
            outputs,
            *((0,) if projection_bias is None else projection_bias.stride()),
        ),
        {
            "CHANNELS": channels,
            "OUTPUTS": outputs,
            "SPLITS": splits,
            "BLOCK_ROWS": rows,
            "BLOCK_C": tiles.fit(tile.sizes["BLOCK_C"], channels),
            "BLOCK_P": block_p,
            "BLOCK_N": padded(channels, 16),
        },
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )
    return z, y
