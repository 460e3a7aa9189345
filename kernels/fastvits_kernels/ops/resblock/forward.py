"""The kernel of a step of the residual blocks, and how steps and pairs of steps are launched.

It is an implicit GEMM: a program owns `[BLOCK_T, BLOCK_CO]` outputs of one branch, or with `mean` of all, and
accumulates `[BLOCK_T, BLOCK_CI] @ [BLOCK_CI, BLOCK_CO]` over taps and chunks of input channels in float32. All branches
are one launch. Kernel sizes and dilations are run-time numbers, so that one binary serves every step of a stage. A mean
is one more level of that accumulation: no atomics, no pass of its own. Weights are read as contiguous `[K_r, C_in,
C_out]`; others are packed so once (`packing.contiguous`).

A pair is two launches. The first stores `f(hidden)`, so that the second need not apply `f` once a tap: that makes the
loop of float16 on sm_90 2.6 to 3.2 times as many instructions, more than the tensor cores leave time for. A leaky ReLU
has an inverse, so that one form of a tensor is enough to be stored: within a stage (`mrf_stage`) a launch is given `x`
and `residual` as `f(x)` and `f(residual)` (`activated`), and hands on what reads it next behind a leaky ReLU of
`out_slope`; a residual undoes it once. One launch for both steps of a pair would still pass the hidden tile through
memory, since Triton cannot shift a tile by a tap, and would save little of the traffic: every element is read once a
tap (21 times over kernel sizes 3, 7 and 11) from the L2 cache.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...dispatch.masking import one_each
from ...dispatch.packing import contiguous
from ...launch.jit import dot_precision, kernel, launch, unavailable
from ...launch.tiles import Tile, choose
from ..implicit_gemm import add_taps

if TYPE_CHECKING:
    import triton.language as tl

MAX_BRANCHES = 4
"""How many branches one launch serves: a kernel takes their weights as so many separate pointers."""


@kernel
def _resblock_step_kernel(
    x_ptr,  # [R, B, T, C] or [1, B, T, C] with stride_xr 0
    residual_ptr,  # likewise, or None
    out_ptr,  # [R, B, T, C], or [B, T, C] with MEAN, contiguous
    lengths_ptr,  # [B] int64, or None
    weight0_ptr,  # [K_0, C, C], contiguous; branches that are not there repeat the last
    weight1_ptr,
    weight2_ptr,
    weight3_ptr,
    bias0_ptr,  # [C], contiguous
    bias1_ptr,
    bias2_ptr,
    bias3_ptr,
    kernel_size0,
    kernel_size1,
    kernel_size2,
    kernel_size3,
    dilation0,
    dilation1,
    dilation2,
    dilation3,
    steps,  # T
    stride_xr,
    stride_xb,
    stride_xt,
    stride_xc,
    stride_rr,
    stride_rb,
    stride_rt,
    stride_rc,
    stride_or,
    stride_ob,
    stride_lengths,
    slope,
    residual_slope,
    out_slope,
    BRANCHES: "tl.constexpr",
    CHANNELS: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_CI: "tl.constexpr",
    BLOCK_CO: "tl.constexpr",
    ACTIVATE: "tl.constexpr",
    ACTIVATE_RESIDUAL: "tl.constexpr",
    ACTIVATE_OUT: "tl.constexpr",
    MEAN: "tl.constexpr",
    PRECISION: "tl.constexpr",
):
    """Program (item, tile of steps, tile of output channels; branch): a tile of one branch's output, or of the mean."""
    BLOCKS_CI: tl.constexpr = (CHANNELS + BLOCK_CI - 1) // BLOCK_CI
    BLOCKS_CO: tl.constexpr = (CHANNELS + BLOCK_CO - 1) // BLOCK_CO
    blocks_t = tl.cdiv(steps, BLOCK_T)
    pid = tl.program_id(0)
    pid_co = pid % BLOCKS_CO
    pid_t = pid // BLOCKS_CO % blocks_t
    pid_b = (pid // BLOCKS_CO // blocks_t).to(tl.int64)
    # Kernel sizes usually ascend: the branch with the most work starts first, so that none trails at the end.
    first_branch = 0 if MEAN else BRANCHES - 1 - tl.program_id(1)
    last_branch = BRANCHES if MEAN else first_branch + 1

    length = steps
    if lengths_ptr is not None:
        length = tl.minimum(tl.load(lengths_ptr + pid_b * stride_lengths), steps).to(tl.int32)
    offs_t = pid_t * BLOCK_T + tl.arange(0, BLOCK_T)
    offs_co = pid_co * BLOCK_CO + tl.arange(0, BLOCK_CO)
    mask_co = offs_co < CHANNELS
    mask_t = offs_t < length
    live = pid_t * BLOCK_T < length

    acc = tl.zeros((BLOCK_T, BLOCK_CO), dtype=tl.float32)
    for branch in range(first_branch, last_branch):
        weight_ptr = tl.where(branch == 0, weight0_ptr, weight1_ptr)
        bias_ptr = tl.where(branch == 0, bias0_ptr, bias1_ptr)
        kernel_size = tl.where(branch == 0, kernel_size0, kernel_size1)
        dilation = tl.where(branch == 0, dilation0, dilation1)
        if BRANCHES > 2:
            weight_ptr = tl.where(branch == 2, weight2_ptr, weight_ptr)
            bias_ptr = tl.where(branch == 2, bias2_ptr, bias_ptr)
            kernel_size = tl.where(branch == 2, kernel_size2, kernel_size)
            dilation = tl.where(branch == 2, dilation2, dilation)
        if BRANCHES > 3:
            weight_ptr = tl.where(branch == 3, weight3_ptr, weight_ptr)
            bias_ptr = tl.where(branch == 3, bias3_ptr, bias_ptr)
            kernel_size = tl.where(branch == 3, kernel_size3, kernel_size)
            dilation = tl.where(branch == 3, dilation3, dilation)
        wide_branch = tl.cast(branch, tl.int64)
        pad = (kernel_size - 1) * dilation // 2
        turns = tl.where(live, kernel_size, 0) * BLOCKS_CI  # no tap where the whole tile is padding
        x_base = x_ptr + wide_branch * stride_xr + pid_b * stride_xb
        acc = add_taps(
            acc, x_base, weight_ptr, 0, turns, offs_t, -pad, dilation, 0, 1, stride_xt, stride_xc, CHANNELS,
            offs_co, length, slope, CHANNELS, CHANNELS, BLOCK_CI, BLOCK_CO, ACTIVATE, PRECISION,
        )  # fmt: skip
        acc += tl.load(bias_ptr + offs_co, mask=mask_co, other=0.0).to(tl.float32)[None, :]
        if residual_ptr is not None:
            residual_ptrs = residual_ptr + wide_branch * stride_rr + pid_b * stride_rb
            residual_ptrs += offs_t[:, None] * stride_rt + offs_co[None, :] * stride_rc
            residual = tl.load(residual_ptrs, mask=mask_t[:, None] & mask_co[None, :], other=0.0).to(tl.float32)
            if ACTIVATE_RESIDUAL:
                residual = tl.where(residual > 0, residual, residual * residual_slope)
            acc += residual
    if MEAN:
        acc = acc * (1.0 / BRANCHES)
        out_ptrs = out_ptr + pid_b * stride_ob
    else:
        out_ptrs = out_ptr + tl.cast(first_branch, tl.int64) * stride_or + pid_b * stride_ob
    if ACTIVATE_OUT:
        acc = tl.where(acc > 0, acc, acc * out_slope)
    acc = tl.where(mask_t[:, None], acc, 0.0)
    out_ptrs += offs_t[:, None] * CHANNELS + offs_co[None, :]
    tl.store(out_ptrs, acc.to(out_ptr.dtype.element_ty), mask=(offs_t < steps)[:, None] & mask_co[None, :])


def _launch_resblock_step(
    x: Tensor,
    residual: Tensor | None,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    lengths: Tensor | None,
    dilations: Sequence[int],
    slope: float,
    mean: bool,
    activated: bool = False,
    out_slope: float = 1.0,
) -> Tensor:
    """One launch for all branches."""
    slopes = (1.0, 1.0 / slope, out_slope) if activated else (slope, 1.0, out_slope)
    return _launch("resblock_step", x, residual, weights, biases, lengths, dilations, slopes, mean)


def _launch_resblock_pair(
    x: Tensor,
    weights1: Sequence[Tensor],
    biases1: Sequence[Tensor],
    weights2: Sequence[Tensor],
    biases2: Sequence[Tensor],
    lengths: Tensor | None,
    dilations: Sequence[int],
    slope: float,
    mean: bool,
    activated: bool = False,
    out_slope: float = 1.0,
) -> Tensor:
    """Two launches, the hidden activations between them already through the leaky ReLU."""
    op, undilated = "resblock_pair", [1] * len(weights2)
    first = (1.0 if activated else slope, 1.0, slope)
    second = (1.0, 1.0 / slope if activated else 1.0, out_slope)
    hidden = _launch(op, x, None, weights1, biases1, lengths, dilations, first, False)
    return _launch(op, hidden, x, weights2, biases2, lengths, undilated, second, mean)


def _launch(
    op: str,
    x: Tensor,
    residual: Tensor | None,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    lengths: Tensor | None,
    dilations: Sequence[int],
    slopes: tuple[float, float, float],
    mean: bool,
) -> Tensor:
    """One step, with leaky ReLUs of these slopes for its input, its residual and its output; 1 means none."""
    slope, residual_slope, out_slope = slopes
    branches = len(weights)
    _, batch, steps, channels = x.shape
    lengths = one_each(lengths, batch)
    shape = x.shape[1:] if mean else (branches, *x.shape[1:])
    out = torch.empty(shape, dtype=x.dtype, device=x.device)
    tile = tile_of(op, x, weights, mean)
    block_co = _block(channels, tile.sizes["BLOCK_CO"])
    # Branches that are not there repeat the last one; the kernel never looks at them.
    which = [min(r, branches - 1) for r in range(MAX_BRANCHES)]
    weights = [contiguous(weight) for weight in weights]
    biases = [contiguous(bias) for bias in biases]
    args = (
        x,
        residual,
        out,
        lengths,
        *(weights[r] for r in which),
        *(biases[r] for r in which),
        *(weights[r].shape[0] for r in which),
        *(dilations[r] for r in which),
        steps,
        *_strides(x),
        *((0, 0, 0, 0) if residual is None else _strides(residual)),
        *((0, out.stride(0)) if mean else out.stride()[:2]),
        0 if lengths is None else lengths.stride(0),
        *map(float, slopes),
    )
    constants = {
        "BRANCHES": branches,
        "CHANNELS": channels,
        "BLOCK_T": tile.sizes["BLOCK_T"],
        "BLOCK_CI": _block(channels, tile.sizes["BLOCK_CI"]),
        "BLOCK_CO": block_co,
        "ACTIVATE": slope != 1.0,
        "ACTIVATE_RESIDUAL": residual_slope != 1.0,
        "ACTIVATE_OUT": out_slope != 1.0,
        "MEAN": mean,
        "PRECISION": dot_precision(x.dtype),
    }
    programs = batch * _cdiv(steps, tile.sizes["BLOCK_T"]) * _cdiv(channels, block_co)
    grid = (programs, 1 if mean else branches)
    launch(op, _resblock_step_kernel, grid, args, constants, num_warps=tile.num_warps, num_stages=tile.num_stages)
    return out


def tile_of(op: str, x: Tensor, weights: Sequence[Tensor], mean: bool) -> Tile:
    """The tile of a launch, `x` `[R or 1, B, T, C]`, by the work that is there to share out: a mean's programs do all
    branches each, so there are fewer."""
    work = x.shape[1] * x.shape[2] * (1 if mean else len(weights))
    return tile_for(op, x, x.shape[3], max(weight.shape[0] for weight in weights), work)


def tile_for(op: str, like: Tensor, channels: int, kernel_size: int, work: int) -> Tile:
    """The tile for so much work, in the dtype and on the device of `like`."""
    return choose(
        op,
        like.device,
        like.dtype,
        channels=channels,
        kernel_size=kernel_size,
        work=work,
        precision=dot_precision(like.dtype),
    )


def _strides(x: Tensor) -> tuple[int, ...]:
    """Strides of `[R or 1, B, T, C]`; that of a branch is 0 where all share one."""
    return (0 if x.shape[0] == 1 else x.stride(0), *x.stride()[1:])


def _cdiv(a: int, b: int) -> int:
    return -(-a // b)


def _block(channels: int, limit: int) -> int:
    """A block of channels: the largest power of two up to `limit` that divides them; where only a small one does, a
    masked block of at most 64 (masks cost registers: 128 by 128 outputs of 100 channels spill on sm_80)."""
    block = 16
    while block < min(limit, channels):
        block *= 2
    fitting = block
    while fitting > 32 and channels % fitting:
        fitting //= 2
    return fitting if channels % fitting == 0 else min(block, 64)


def unsupported_steps(x: Tensor, residual: Tensor | None, weights: Sequence[Tensor]) -> str | None:
    """Why a launch cannot run, or None."""
    reason = unavailable(x)
    if reason is not None:
        return reason
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return f"the kernel is for float32, float16 and bfloat16, not {x.dtype}"
    if len(weights) > MAX_BRANCHES:
        return f"the kernel is for 1 to {MAX_BRANCHES} branches, not {len(weights)}"
    for tensor in (x, x if residual is None else residual):
        if tensor.shape[2] * tensor.stride(2) + tensor.shape[3] * tensor.stride(3) >= 2**31:
            return "the kernel is for items that span less than 2**31 elements"
    if any(tensor.dtype != x.dtype for tensor in (*weights, x if residual is None else residual)):
        return "the kernel is for inputs and weights of one dtype"
    return None
