"""The gradients of a convolution on a GPU, from two kernels: what `gradients` and other backward passes are made of.

By its input a convolution's gradient is a convolution, and `conv1d`'s kernel makes it, from a weight turned around. By
its weight it is

    dw[k, i, o] = sum_{b, t} x[b, t - pad_left + k * dilation, i] * g[b, t, o]

a product of matrices over all steps of all items for each tap. Few outputs and a long sum would keep few
multiprocessors busy, so the sum is split: a program adds up the share of one split for `[BLOCK_I, BLOCK_O]` channels of
one tap in float32, and the splits are then added up in a fixed order. No atomics: two runs are equal to the last bit.

Axes: `x` `[B, T, C_in]`, `g` `[B, T, C_out]`, both with any strides and of one dtype; out `[K, C_in, C_out]`. Work:
`2 B T K C_in C_out` FLOPs; `x` is read `K C_out / BLOCK_O` times, from cache mostly, and the splits' partial sums are
`splits` times the weight in float32. Products of float32 follow torch's flags for TF32. Not supported: float64.
"""

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..launch import tiles
from ..launch.jit import dot_precision, kernel, launch
from .conv import _launch_conv1d
from .gradients import Convolutions

if TYPE_CHECKING:
    import triton.language as tl

_PROGRAMS = 264
"""How many programs keep a large GPU busy: two on each of 132 multiprocessors."""


@kernel
def _conv1d_weight_bwd_kernel(
    x_ptr,  # [B, T, C_in]
    g_ptr,  # [B, T, C_out]
    out_ptr,  # [S, K, C_in, C_out], contiguous
    steps,  # T
    T_blocks,  # blocks of steps in all items
    T_share,  # of these, how many a split adds up
    stride_xb,
    stride_xt,
    stride_xc,
    stride_gb,
    stride_gt,
    stride_gc,
    dilation,
    pad_left,
    C_IN: "tl.constexpr",
    C_OUT: "tl.constexpr",
    TAPS: "tl.constexpr",
    PRECISION: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_I: "tl.constexpr",
    BLOCK_O: "tl.constexpr",
):
    BLOCKS_I: tl.constexpr = (C_IN + BLOCK_I - 1) // BLOCK_I
    BLOCKS_O: tl.constexpr = (C_OUT + BLOCK_O - 1) // BLOCK_O
    pid = tl.program_id(0)
    # Programs that share tiles of x and g are neighbours: the taps of a split.
    tap = pid % TAPS
    pid_o = pid // TAPS % BLOCKS_O
    pid_i = pid // (TAPS * BLOCKS_O) % BLOCKS_I
    split = pid // (TAPS * BLOCKS_O * BLOCKS_I)
    offs_i = pid_i * BLOCK_I + tl.arange(0, BLOCK_I)
    offs_o = pid_o * BLOCK_O + tl.arange(0, BLOCK_O)
    mask_i = (offs_i < C_IN)[:, None]
    mask_o = (offs_o < C_OUT)[None, :]
    shift = tap * dilation - pad_left
    blocks_t = tl.cdiv(steps, BLOCK_T)
    acc = tl.zeros((BLOCK_I, BLOCK_O), dtype=tl.float32)
    for index in range(split * T_share, tl.minimum((split + 1) * T_share, T_blocks)):
        item = (index // blocks_t).to(tl.int64)
        offs_t = index % blocks_t * BLOCK_T + tl.arange(0, BLOCK_T)
        offs_x = offs_t + shift
        mask_x = ((offs_x >= 0) & (offs_x < steps))[None, :]
        x_ptrs = x_ptr + item * stride_xb + offs_x[None, :] * stride_xt + offs_i[:, None] * stride_xc
        x = tl.load(x_ptrs, mask=mask_x & mask_i, other=0.0)  # [BLOCK_I, BLOCK_T]
        g_ptrs = g_ptr + item * stride_gb + offs_t[:, None] * stride_gt + offs_o[None, :] * stride_gc
        g = tl.load(g_ptrs, mask=(offs_t < steps)[:, None] & mask_o, other=0.0)  # [BLOCK_T, BLOCK_O]
        acc = tl.dot(x, g, acc, input_precision=PRECISION)
    out_ptrs = out_ptr + ((split * TAPS + tap) * C_IN + offs_i).to(tl.int64)[:, None] * C_OUT + offs_o[None, :]
    tl.store(out_ptrs, acc.to(out_ptr.dtype.element_ty), mask=mask_i & mask_o)


def _precision(x: Tensor, ieee: bool) -> str:
    return "ieee" if ieee else dot_precision(x.dtype)


def _convolved(ieee: bool, x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, pad_left: int) -> Tensor:
    # Turned around or not, the weight is this step's own: nothing is kept of it.
    weight = weight.detach().contiguous()
    return _launch_conv1d(x, weight, bias, None, None, None, dilation, pad_left, 1.0, "none", 1.0, ieee)


def _by_input(ieee: bool, g: Tensor, weight: Tensor, dilation: int, pad_left: int) -> Tensor:
    backwards = weight.detach().flip(0).transpose(1, 2)
    return _convolved(ieee, g, backwards, None, dilation, (weight.shape[0] - 1) * dilation - pad_left)


def _by_weight(ieee: bool, x: Tensor, g: Tensor, taps: int, dilation: int, pad_left: int) -> Tensor:
    batch, steps, inputs = x.shape
    outputs = g.shape[2]
    precision = _precision(x, ieee)
    tile = tiles.choose(
        "conv1d_backward",
        x.device,
        x.dtype,
        channels=max(inputs, outputs),
        kernel_size=taps,
        work=batch * steps,
        precision=precision,
    )
    block_t = tile.sizes["BLOCK_T"]
    block_i, block_o = tiles.fit(tile.sizes["BLOCK_I"], inputs), tiles.fit(tile.sizes["BLOCK_O"], outputs)
    blocks = batch * -(-steps // block_t)
    programs = taps * -(-inputs // block_i) * -(-outputs // block_o)
    # As many splits as then have any blocks.
    share = -(-blocks // min(max(_PROGRAMS // programs, 1), blocks))
    splits = -(-blocks // share)
    dtype = x.dtype if splits == 1 else torch.float32
    out = torch.empty(splits, taps, inputs, outputs, dtype=dtype, device=x.device)
    launch(
        "conv1d_backward",
        _conv1d_weight_bwd_kernel,
        (programs * splits,),
        (x, g, out, steps, blocks, share, *x.stride(), *g.stride(), dilation, pad_left),
        {
            "C_IN": inputs,
            "C_OUT": outputs,
            "TAPS": taps,
            "PRECISION": precision,
            "BLOCK_T": block_t,
            "BLOCK_I": block_i,
            "BLOCK_O": block_o,
        },
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )
    return out[0] if splits == 1 else out.sum(0).to(x.dtype)


def convolutions(ieee: bool) -> Convolutions:
    """Convolutions and their gradients by Triton; with `ieee` products of float32 follow no flag for TF32."""
    return Convolutions(partial(_convolved, ieee), partial(_by_input, ieee), partial(_by_weight, ieee))
