"""Gradients of the length regulator, with `s = exp(log_scales[b, i]) * noise_scale[b]` and `F_i` the frames of a token:

    dmeans[b, i]      = sum_{f in F_i} g[b, f]
    dlog_scales[b, i] = sum_{f in F_i} g[b, f] * noise[b, f] * s
    dnoise[b, f]      = g[b, f] * s
    dnoise_scale[b]   = sum_{f, c} g[b, f] * noise[b, f] * exp(log_scales[b, i])

A token's frames are neighbours, so that a program sums those of one token: no atomics, and two runs are equal to the
last bit. What it adds to the gradient of the scale is stored by token, and summed behind it. Sums are in float32.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...launch.jit import kernel, launch, padded
from ..gradients import wants

if TYPE_CHECKING:
    import triton.language as tl


@kernel
def _length_regulator_bwd_kernel(
    g_ptr,  # [B, T_frames, C], contiguous
    log_scales_ptr,  # [B, T_text, C], any strides
    ends_ptr,  # [B, T_text] int64, contiguous: the frame behind a token's last one
    durations_ptr,  # [B, T_text] int64, contiguous
    noise_ptr,  # [B, T_frames, C], any strides
    noise_scale_ptr,  # [B], contiguous
    of_means_ptr,  # [B, T_text, C], contiguous
    of_log_scales_ptr,  # [B, T_text, C], contiguous
    of_noise_ptr,  # [B, T_frames, C], contiguous, zeros; or None
    of_scale_ptr,  # [B, T_text], contiguous, float32
    stride_lb,
    stride_lt,
    stride_lc,
    stride_nb,
    stride_nt,
    stride_nc,
    T_text,
    T_frames,
    C: "tl.constexpr",
    BLOCK_F: "tl.constexpr",
    BLOCK_C: "tl.constexpr",
):
    b = (tl.program_id(0) // T_text).to(tl.int64)
    token = tl.program_id(0) % T_text
    row = b * T_text + token
    end = tl.load(ends_ptr + row)
    first = tl.minimum(end - tl.load(durations_ptr + row), T_frames).to(tl.int32)
    last = tl.minimum(end, T_frames).to(tl.int32)
    scale = tl.load(noise_scale_ptr + b).to(tl.float32)
    of_scale = tl.zeros((BLOCK_C,), tl.float32)
    for c0 in range(0, C, BLOCK_C):
        offs_c = c0 + tl.arange(0, BLOCK_C)
        mask_c = offs_c < C
        log_scales_pointers = log_scales_ptr + b * stride_lb + token * stride_lt + offs_c * stride_lc
        spread = tl.exp(tl.load(log_scales_pointers, mask=mask_c, other=0.0).to(tl.float32))  # [BLOCK_C]
        of_mean = tl.zeros((BLOCK_C,), tl.float32)
        of_log_scale = tl.zeros((BLOCK_C,), tl.float32)
        for f0 in range(first, last, BLOCK_F):
            frame = f0 + tl.arange(0, BLOCK_F)
            mask = (frame < last)[:, None] & mask_c[None, :]
            rows = (b * T_frames + frame)[:, None] * C + offs_c[None, :]
            g = tl.load(g_ptr + rows, mask=mask, other=0.0).to(tl.float32)  # [BLOCK_F, BLOCK_C]
            noise_pointers = noise_ptr + b * stride_nb + frame[:, None] * stride_nt + offs_c[None, :] * stride_nc
            noise = tl.load(noise_pointers, mask=mask, other=0.0).to(tl.float32)
            of_mean += tl.sum(g, 0)
            of_log_scale += tl.sum(g * noise, 0)
            if of_noise_ptr is not None:
                of_noise = g * (spread * scale)[None, :]
                tl.store(of_noise_ptr + rows, of_noise.to(of_noise_ptr.dtype.element_ty), mask=mask)
        of_log_scale *= spread
        of_scale += of_log_scale
        out = row * C + offs_c
        tl.store(of_means_ptr + out, of_mean.to(of_means_ptr.dtype.element_ty), mask=mask_c)
        of_log_scale *= scale
        tl.store(of_log_scales_ptr + out, of_log_scale.to(of_log_scales_ptr.dtype.element_ty), mask=mask_c)
    tl.store(of_scale_ptr + row, tl.sum(of_scale, 0))


def length_regulator_backward(grads: tuple[Tensor, ...], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The gradients of the op's arguments, None for those that want none, and for durations."""
    means, log_scales, durations, noise, noise_scale = arguments
    g = grads[0].contiguous()
    batch, frames, channels = noise.shape
    tokens = means.shape[1]
    durations = durations.contiguous()
    of_means = torch.empty(means.shape, dtype=means.dtype, device=means.device)
    of_log_scales = torch.empty(log_scales.shape, dtype=log_scales.dtype, device=means.device)
    of_noise = torch.zeros(noise.shape, dtype=noise.dtype, device=noise.device) if wants(noise) else None
    of_scale = torch.empty(batch, tokens, dtype=torch.float32, device=means.device)
    launch(
        "length_regulator_backward",
        _length_regulator_bwd_kernel,
        (batch * tokens,),
        (
            *(g, log_scales, durations.cumsum(1), durations, noise, noise_scale.contiguous()),
            *(of_means, of_log_scales, of_noise, of_scale),
            *log_scales.stride(),
            *noise.stride(),
            *(tokens, frames),
        ),
        {"C": channels, "BLOCK_F": 8, "BLOCK_C": min(padded(channels), 256)},
        num_warps=4,
        num_stages=1,
    )
    return (
        of_means if wants(means) else None,
        of_log_scales if wants(log_scales) else None,
        None,
        of_noise,
        of_scale.sum(1).to(noise_scale.dtype) if wants(noise_scale) else None,
    )
