"""The fused norm: one launch, whose programs keep whole rows in registers."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...dispatch.masking import one_each
from ...launch import tiles
from ...launch.jit import kernel, launch, padded

if TYPE_CHECKING:
    import triton.language as tl


@kernel
def _layer_norm_fwd_kernel(
    x_ptr,  # [B, T, C], any strides
    residual_ptr,  # [B, T, C], any strides, or None
    weight_ptr,  # [C], any stride
    bias_ptr,  # [C], any stride
    lengths_ptr,  # [B] int64, or None
    out_ptr,  # [B, T, C], contiguous
    stride_xb,
    stride_xt,
    stride_xc,
    stride_rb,
    stride_rt,
    stride_rc,
    stride_w,
    stride_b,
    T,
    eps,
    C: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_C: "tl.constexpr",
):
    row_tiles = tl.cdiv(T, BLOCK_T)
    pid = tl.program_id(0)
    b = (pid // row_tiles).to(tl.int64)
    # 64 bits: a step times its stride alone can pass 2^31.
    offs_t = (pid % row_tiles) * BLOCK_T + tl.arange(0, BLOCK_T).to(tl.int64)
    offs_c = tl.arange(0, BLOCK_C)
    mask_c = offs_c < C
    mask_t = offs_t < T
    mask_valid = mask_t
    if lengths_ptr is not None:
        mask_valid = mask_t & (offs_t < tl.load(lengths_ptr + b))

    mask = mask_valid[:, None] & mask_c[None, :]
    x_pointers = x_ptr + b * stride_xb + offs_t[:, None] * stride_xt + offs_c[None, :] * stride_xc
    z = tl.load(x_pointers, mask=mask, other=0.0).to(tl.float32)  # [BLOCK_T, BLOCK_C]
    if residual_ptr is not None:
        residual_pointers = residual_ptr + b * stride_rb + offs_t[:, None] * stride_rt + offs_c[None, :] * stride_rc
        z += tl.load(residual_pointers, mask=mask, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + offs_c * stride_w, mask=mask_c, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + offs_c * stride_b, mask=mask_c, other=0.0).to(tl.float32)

    mean = tl.sum(z, 1) / C
    centred = tl.where(mask_c[None, :], z - mean[:, None], 0.0)
    inverse_deviation = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / C + eps)
    y = centred * inverse_deviation[:, None] * weight[None, :] + bias[None, :]
    y = tl.where(mask_valid[:, None], y, 0.0)
    out_pointers = out_ptr + (b * T + offs_t)[:, None] * C + offs_c[None, :]
    tl.store(out_pointers, y.to(out_ptr.dtype.element_ty), mask=mask_t[:, None] & mask_c[None, :])


def tile_of(x: Tensor) -> tiles.Tile:
    batch, steps, channels = x.shape
    return tiles.choose("layer_norm", x.device, x.dtype, channels=channels, work=batch * steps)


def _launch_layer_norm(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, lengths: Tensor | None, eps: float
) -> Tensor:
    batch, steps, channels = x.shape
    tile = tile_of(x)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    strides = (*x.stride(), *((0, 0, 0) if residual is None else residual.stride()), *weight.stride(), *bias.stride())
    launch(
        "layer_norm",
        _layer_norm_fwd_kernel,
        (-(-steps // tile.sizes["BLOCK_T"]) * batch,),
        (x, residual, weight, bias, one_each(lengths, batch), out, *strides, steps, eps),
        {"C": channels, "BLOCK_C": padded(channels), **tile.sizes},
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )
    return out
