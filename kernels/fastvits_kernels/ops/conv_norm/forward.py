"""The fused op: one launch, whose programs make all channels of some steps."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...dispatch.masking import one_each
from ...dispatch.packing import contiguous
from ...launch import tiles
from ...launch.jit import kernel, launch, padded
from ..dropout import dropout_scale, keeps
from ..implicit_gemm import add_taps

if TYPE_CHECKING:
    import triton.language as tl


@kernel
def _conv1d_layer_norm_fwd_kernel(
    x_ptr,  # [B, T, C_in]
    weight_ptr,  # [K, C_in, C], contiguous
    bias_ptr,  # [C] or None
    residual_ptr,  # [B, T, C]
    norm_weight_ptr,  # [C]
    norm_bias_ptr,  # [C]
    lengths_ptr,  # [B] or None
    seed_ptr,  # [1] int64, or None
    out_ptr,  # [B, T, C], contiguous
    steps,  # T
    pad_left,
    eps,
    rate,  # of the dropout
    kept_scale,
    stride_xb,
    stride_xt,
    stride_xc,
    stride_wi,
    stride_bias,
    stride_rb,
    stride_rt,
    stride_rc,
    stride_norm_weight,
    stride_norm_bias,
    C_IN: "tl.constexpr",
    CHANNELS: "tl.constexpr",
    TAPS: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_C_IN: "tl.constexpr",
    BLOCK_N: "tl.constexpr",
):
    BLOCKS_IN: tl.constexpr = (C_IN + BLOCK_C_IN - 1) // BLOCK_C_IN
    blocks_t = tl.cdiv(steps, BLOCK_T)
    pid = tl.program_id(0)
    pid_t = pid % blocks_t
    pid_b = (pid // blocks_t).to(tl.int64)
    length = steps
    if lengths_ptr is not None:
        length = tl.minimum(tl.load(lengths_ptr + pid_b), steps).to(tl.int32)
    offs_t = pid_t * BLOCK_T + tl.arange(0, BLOCK_T)
    offs_n = tl.arange(0, BLOCK_N)
    mask_n = offs_n < CHANNELS
    x_base = x_ptr + pid_b * stride_xb
    # A tile beyond the length takes no step of the loop, and stores zeros.
    inside = (pid_t * BLOCK_T < length).to(tl.int32)
    acc = tl.zeros((BLOCK_T, BLOCK_N), dtype=tl.float32)
    acc = add_taps(
        acc, x_base, weight_ptr, 0, inside * (TAPS * BLOCKS_IN), offs_t, -pad_left, 1, 0, 1, stride_xt, stride_xc,
        stride_wi, offs_n, length, 1.0, C_IN, CHANNELS, BLOCK_C_IN, BLOCK_N, False, "ieee",
    )  # fmt: skip
    if bias_ptr is not None:
        acc += tl.load(bias_ptr + offs_n * stride_bias, mask=mask_n, other=0.0).to(tl.float32)[None, :]
    if seed_ptr is not None:
        kept = keeps(tl.load(seed_ptr), pid_b.to(tl.int32), offs_t[:, None], offs_n[None, :], rate)
        acc = tl.where(kept, acc * kept_scale, 0.0)
    valid = (offs_t < length)[:, None] & mask_n[None, :]
    r_ptrs = residual_ptr + pid_b * stride_rb + offs_t[:, None] * stride_rt + offs_n[None, :] * stride_rc
    acc += tl.load(r_ptrs, mask=valid, other=0.0).to(tl.float32)
    mean = tl.sum(tl.where(mask_n[None, :], acc, 0.0), axis=1) / CHANNELS
    centred = tl.where(mask_n[None, :], acc - mean[:, None], 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=1) / CHANNELS + eps)
    norm_weight = tl.load(norm_weight_ptr + offs_n * stride_norm_weight, mask=mask_n, other=0.0).to(tl.float32)
    norm_bias = tl.load(norm_bias_ptr + offs_n * stride_norm_bias, mask=mask_n, other=0.0).to(tl.float32)
    out = tl.where(valid, centred * scale[:, None] * norm_weight[None, :] + norm_bias[None, :], 0.0)
    out_ptrs = out_ptr + pid_b * steps * CHANNELS + offs_t[:, None] * CHANNELS + offs_n[None, :]
    tl.store(out_ptrs, out.to(out_ptr.dtype.element_ty), mask=(offs_t < steps)[:, None] & mask_n[None, :])


def tile_of(x: Tensor, weight: Tensor) -> tiles.Tile:
    taps, _, channels = weight.shape
    work = x.shape[0] * x.shape[1]
    return tiles.choose("conv1d_layer_norm", x.device, x.dtype, channels=channels, kernel_size=taps, work=work)


def _launch_conv1d_layer_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    lengths: Tensor | None,
    pad_left: int,
    eps: float,
    seed: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    batch, steps, inputs = x.shape
    taps, _, channels = weight.shape
    weight = contiguous(weight)
    tile = tile_of(x, weight)
    out = torch.empty(batch, steps, channels, dtype=x.dtype, device=x.device)
    launch(
        "conv1d_layer_norm",
        _conv1d_layer_norm_fwd_kernel,
        (-(-steps // tile.sizes["BLOCK_T"]) * batch,),
        (
            *(
                x,
                weight,
                bias,
                residual,
                norm_weight,
                norm_bias,
                one_each(lengths, batch),
                seed if dropout else None,
                out,
                steps,
                pad_left,
                float(eps),
                float(dropout),
                dropout_scale(dropout),
            ),
            *x.stride(),
            channels,
            *((0,) if bias is None else bias.stride()),
            *residual.stride(),
            *norm_weight.stride(),
            *norm_bias.stride(),
        ),
        {
            "C_IN": inputs,
            "CHANNELS": channels,
            "TAPS": taps,
            "BLOCK_T": tile.sizes["BLOCK_T"],
            # tl.dot takes no fewer than 16 rows or columns.
            "BLOCK_C_IN": min(tile.sizes["BLOCK_C_IN"], padded(inputs, 16)),
            "BLOCK_N": padded(channels, 16),
        },
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )
    return out
