"""The length regulator's kernel and its launch."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...launch import tiles
from ...launch.jit import kernel, launch

if TYPE_CHECKING:
    import triton.language as tl


@kernel
def _length_regulator_fwd_kernel(
    means_ptr,  # [B, T_text, C], any strides
    log_scales_ptr,  # [B, T_text, C], any strides
    durations_ptr,  # [B, T_text] int64, any strides
    noise_ptr,  # [B, T_frames, C], any strides
    noise_scale_ptr,  # [B], any stride
    out_ptr,  # [B, T_frames, C], contiguous
    stride_mb,
    stride_mt,
    stride_mc,
    stride_lb,
    stride_lt,
    stride_lc,
    row_stride_d,
    stride_dt,
    stride_nb,
    stride_nt,
    stride_nc,
    stride_sb,
    T_text,
    T_frames,
    C: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_C: "tl.constexpr",
    BLOCK_N: "tl.constexpr",
):
    frame_tiles = tl.cdiv(T_frames, BLOCK_T)
    pid = tl.program_id(0)
    b = (pid // frame_tiles).to(tl.int64)
    frame = (pid % frame_tiles) * BLOCK_T + tl.arange(0, BLOCK_T).to(tl.int64)
    last_frame = ((pid % frame_tiles) + 1).to(tl.int64) * BLOCK_T - 1

    token = tl.zeros([BLOCK_T], tl.int64)
    end = last_frame * 0  # frames of the tokens walked over so far
    first = pid * 0
    while (first < T_text) & (end <= last_frame):
        offs_n = first + tl.arange(0, BLOCK_N)
        mask_n = offs_n < T_text
        durations_pointers = durations_ptr + b * row_stride_d + offs_n.to(tl.int64) * stride_dt
        durations = tl.load(durations_pointers, mask=mask_n, other=0).to(tl.int64)  # [BLOCK_N]
        ends = end + tl.cumsum(durations, 0)
        passed = (ends[None, :] <= frame[:, None]) & mask_n[None, :]  # [BLOCK_T, BLOCK_N]
        token += tl.sum(passed.to(tl.int32), 1)
        end += tl.sum(durations, 0)
        first += BLOCK_N

    # The walk ends early only when it has passed the tile's last frame, so `end` bounds the valid frames either way.
    mask_t = frame < T_frames
    mask_valid = mask_t & (frame < end)
    scale = tl.load(noise_scale_ptr + b * stride_sb).to(tl.float32)
    for c0 in range(0, C, BLOCK_C):
        offs_c = c0 + tl.arange(0, BLOCK_C)
        mask_c = offs_c < C
        mask = mask_valid[:, None] & mask_c[None, :]
        means_pointers = means_ptr + b * stride_mb + token[:, None] * stride_mt + offs_c[None, :] * stride_mc
        log_scales_pointers = log_scales_ptr + b * stride_lb + token[:, None] * stride_lt + offs_c[None, :] * stride_lc
        noise_pointers = noise_ptr + b * stride_nb + frame[:, None] * stride_nt + offs_c[None, :] * stride_nc
        mean = tl.load(means_pointers, mask=mask, other=0.0).to(tl.float32)  # [BLOCK_T, BLOCK_C]
        log_scale = tl.load(log_scales_pointers, mask=mask, other=0.0).to(tl.float32)
        noise = tl.load(noise_pointers, mask=mask, other=0.0).to(tl.float32)
        latents = tl.where(mask, mean + noise * (tl.exp(log_scale) * scale), 0.0)
        out_pointers = out_ptr + (b * T_frames + frame)[:, None] * C + offs_c[None, :]
        tl.store(out_pointers, latents.to(out_ptr.dtype.element_ty), mask=mask_t[:, None] & mask_c[None, :])


def tile_of(noise: Tensor) -> tiles.Tile:
    batch, frames, channels = noise.shape
    return tiles.choose("length_regulator", noise.device, noise.dtype, channels=channels, work=batch * frames)


def _launch_length_regulator(
    means: Tensor, log_scales: Tensor, durations: Tensor, noise: Tensor, noise_scale: Tensor
) -> Tensor:
    batch, frames, channels = noise.shape
    tile = tile_of(noise)
    out = torch.empty(noise.shape, dtype=noise.dtype, device=noise.device)
    inputs = (means, log_scales, durations, noise, noise_scale)
    strides = tuple(stride for tensor in inputs for stride in tensor.stride())
    launch(
        "length_regulator",
        _length_regulator_fwd_kernel,
        (-(-frames // tile.sizes["BLOCK_T"]) * batch,),
        (*inputs, out, *strides, means.shape[1], frames),
        {"C": channels, **tile.sizes},
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )
    return out
