"""One step of the HiFi-GAN residual blocks, for all branches of a multi-receptive-field fusion (MRF) at once.

Branch `r` of `R` computes

    y_r = residual_r + bias_r + sum_j  f(x_r[t + (j - (K_r - 1) / 2) * dilation_r]) @ weight_r[j]

with `f` the leaky ReLU of slope `slope` (Kong et al. 2020, "HiFi-GAN", section 2.2). With `mean` the result is the mean
over the branches, which ends a stage. `x` counts as zero outside `[0, lengths[b])` and the result is zero there.

A leaky ReLU has an inverse, so that one form of a tensor is enough to be stored: with `activated`, `x` and `residual`
are given as `f(x)` and `f(residual)`. `out_slope` is that of a leaky ReLU of the result (1: none).

Axes: `x` `[R, B, T, C]`, or `[1, B, T, C]` when all branches share their input; `residual` likewise or None;
`weights[r]` `[K_r, C, C]` (taps first), `biases[r]` `[C]`. Out `[R, B, T, C]`, or `[B, T, C]` with `mean`. Every
`(K_r - 1) * dilation_r` is even.

A block of the first type is pairs of steps, the first without residual (`resblock_pair`); one of the second type is
single steps.

The kernel is an implicit GEMM: a program owns `[BLOCK_T, BLOCK_CO]` outputs of one branch, or with `mean` of all, and
accumulates `[BLOCK_T, BLOCK_CI] @ [BLOCK_CI, BLOCK_CO]` over taps and chunks of input channels in float32. All branches
are one launch. Kernel sizes and dilations are run-time numbers, so that one binary serves every step of a stage. A mean
is one more level of that accumulation: no atomics, no pass of its own. Weights are read as contiguous `[K_r, C_in,
C_out]`; others are packed so once (`packing.contiguous`).

A pair is two launches. The first stores `f(hidden)`, so that the second need not apply `f` once a tap: that makes the
loop of float16 on sm_90 2.6 to 3.2 times as many instructions, more than the tensor cores leave time for. `activated`
and `out_slope` spare the first launch the same: a result is stored as what reads it next wants it, and undone once, as
a residual. One launch for both would still pass the hidden tile through memory, since Triton cannot shift a tile by a
tap, and would save little of the traffic: every element is read once a tap (21 times over kernel sizes 3, 7 and 11)
from the L2 cache.

Work: `2 B T C^2 sum_r K_r` FLOPs a step. Elements moved a step, beside the weights, at `N = R B T C`: eager 7 N (leaky
ReLU 2, convolution 2, residual 3) and more for the mean; the kernel 2 N, or 3 N with a residual, of which `mean` saves
`(R - 1) / R` N.

Triton kernels: float32 (TF32 where torch's flags allow it), float16, bfloat16; any strides of `x` and `residual`; any
C; at most four branches.
"""

# torch 2.6 reads `typing.Sequence` in an operator's signature, and not that of collections.abc.
from typing import TYPE_CHECKING, Sequence  # noqa: UP035

import torch
from torch import Tensor
from torch.nn import functional

from ..dispatch.masking import one_each
from ..dispatch.packing import contiguous
from ..dispatch.registry import Implementation, Op
from ..dispatch.shapes import axes, expect, expect_each, expect_even_padding
from ..launch.jit import dot_precision, kernel, launch, unavailable
from ..launch.tiles import Tile, choose, preference
from .conv import conv1d_reference

if TYPE_CHECKING:
    import triton.language as tl

MAX_BRANCHES = 4
"""How many branches one launch serves: a kernel takes their weights as so many separate pointers."""


def inverse_leaky_relu(x: Tensor, slope: float) -> Tensor:
    """What a leaky ReLU of `slope` above 0 made `x` of."""
    return functional.leaky_relu(x, 1.0 / slope)


def resblock_step_reference(
    x: Tensor,
    residual: Tensor | None,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    lengths: Tensor | None,
    dilations: Sequence[int],
    slope: float,
    mean: bool,
    activated: bool,
    out_slope: float,
) -> Tensor:
    """One step of every branch: the specification of the op."""
    if activated:
        residual = None if residual is None else inverse_leaky_relu(residual, slope)
        slope = 1.0
    branches = [
        conv1d_reference(
            x[r if x.shape[0] > 1 else 0],
            weight,
            bias,
            None,
            None if residual is None else residual[r if residual.shape[0] > 1 else 0],
            lengths,
            dilation,
            (weight.shape[0] - 1) * dilation // 2,
            slope,
            "none",
            1.0,
        )
        for r, (weight, bias, dilation) in enumerate(zip(weights, biases, dilations, strict=True))
    ]
    if mean:
        total = branches[0]
        for branch in branches[1:]:
            total = total + branch
        out = total / len(branches)
    else:
        out = torch.stack(branches)
    return out if out_slope == 1.0 else functional.leaky_relu(out, out_slope)


def resblock_pair_reference(
    x: Tensor,
    weights1: Sequence[Tensor],
    biases1: Sequence[Tensor],
    weights2: Sequence[Tensor],
    biases2: Sequence[Tensor],
    lengths: Tensor | None,
    dilations: Sequence[int],
    slope: float,
    mean: bool,
    activated: bool,
    out_slope: float,
) -> Tensor:
    """A dilated step, a step with dilation 1 and the residual around both: the specification of the fused pair."""
    hidden = resblock_step_reference(x, None, weights1, biases1, lengths, dilations, slope, False, activated, 1.0)
    if activated:
        x = inverse_leaky_relu(x, slope)
    undilated = [1] * len(weights2)
    return resblock_step_reference(hidden, x, weights2, biases2, lengths, undilated, slope, mean, False, out_slope)


def _fake_of(x: Tensor, branches: int, mean: bool) -> Tensor:
    return x.new_empty(x.shape[1:]) if mean else x.new_empty(branches, *x.shape[1:])


def _step_fake(x: Tensor, weights: Sequence[Tensor], mean: bool) -> Tensor:
    return _fake_of(x, len(weights), mean)


def _pair_fake(x: Tensor, weights1: Sequence[Tensor], mean: bool) -> Tensor:
    return _fake_of(x, len(weights1), mean)


@kernel
def _add_branch(
    acc,  # [BLOCK_T, BLOCK_CO], float32
    x_ptr,  # one branch and item, [T, C]
    weight_ptr,  # [K, C, C], contiguous
    kernel_size,
    dilation,
    stride_xt,
    stride_xc,
    offs_t,
    offs_co,
    length,
    slope,
    CHANNELS: "tl.constexpr",
    BLOCK_CI: "tl.constexpr",
    BLOCK_CO: "tl.constexpr",
    ACTIVATE: "tl.constexpr",
    PRECISION: "tl.constexpr",
):
    """`acc` plus one branch's convolution."""
    CHUNKS: tl.constexpr = (CHANNELS + BLOCK_CI - 1) // BLOCK_CI
    EVEN: tl.constexpr = CHANNELS % BLOCK_CI == 0 and CHANNELS % BLOCK_CO == 0
    offs_ci = tl.arange(0, BLOCK_CI)
    pad = (kernel_size - 1) * dilation // 2
    # One loop over taps and chunks of channels, which Triton can pipeline as a whole.
    for i in range(kernel_size * CHUNKS):
        tap = i // CHUNKS
        ci = (i % CHUNKS) * BLOCK_CI + offs_ci
        t = offs_t + (tap * dilation - pad)
        mask_x = ((t >= 0) & (t < length))[:, None]
        weight_ptrs = weight_ptr + (tap * CHANNELS + ci)[:, None] * CHANNELS + offs_co[None, :]
        if EVEN:
            weight = tl.load(weight_ptrs)
        else:
            mask_x = mask_x & (ci < CHANNELS)[None, :]
            weight = tl.load(weight_ptrs, mask=(ci < CHANNELS)[:, None] & (offs_co < CHANNELS)[None, :], other=0.0)
        x = tl.load(x_ptr + t[:, None] * stride_xt + ci[None, :] * stride_xc, mask=mask_x, other=0.0)
        if ACTIVATE:
            wide = x.to(tl.float32)
            x = tl.where(wide > 0, wide, wide * slope).to(x.dtype)
        acc = tl.dot(x, weight, acc, input_precision=PRECISION)
    return acc


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
        acc = _add_branch(
            acc,
            x_ptr + wide_branch * stride_xr + pid_b * stride_xb,
            weight_ptr,
            tl.where(live, kernel_size, 0),  # no tap where the whole tile is padding
            dilation,
            stride_xt,
            stride_xc,
            offs_t,
            offs_co,
            length,
            slope,
            CHANNELS,
            BLOCK_CI,
            BLOCK_CO,
            ACTIVATE,
            PRECISION,
        )
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
    activated: bool,
    out_slope: float,
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
    activated: bool,
    out_slope: float,
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
    out = _fake_of(x, branches, mean)
    tile = _tile(op, x, weights, mean)
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


def _tile(op: str, x: Tensor, weights: Sequence[Tensor], mean: bool) -> Tile:
    """The tile, by the work that is there to share out: a mean's programs do all branches each, so there are fewer."""
    return choose(
        op,
        x.device,
        x.dtype,
        channels=x.shape[3],
        kernel_size=max(weight.shape[0] for weight in weights),
        work=x.shape[1] * x.shape[2] * (1 if mean else len(weights)),
        precision=dot_precision(x.dtype),
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


def _supports(x: Tensor, residual: Tensor | None, weights: Sequence[Tensor]) -> str | None:
    """Why a step cannot run, or None."""
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


def _supports_resblock_pair(x: Tensor, weights1: Sequence[Tensor], weights2: Sequence[Tensor]) -> str | None:
    return _supports(x, x, weights1) or _supports(x, x, weights2)


def _prefers_resblock_step(x: Tensor, weights: Sequence[Tensor], mean: bool) -> tuple[str, str, bool]:
    return preference(_tile("resblock_step", x, weights, mean))


def _prefers_resblock_pair(x: Tensor, weights1: Sequence[Tensor]) -> tuple[str, str, bool]:
    return preference(_tile("resblock_pair", x, weights1, False))


def _check_step(
    x: Tensor,
    residual: Tensor | None,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    lengths: Tensor | None,
    dilations: Sequence[int],
    slope: float,
    activated: bool,
) -> None:
    branches = len(weights)
    _, batch, steps, channels = axes(x, "x [R or 1, B, T, C]")
    _check_convolutions(weights, biases, dilations, channels)
    expect_each(x, "x [R or 1, B, T, C]", branches, batch, steps, channels)
    expect_each(residual, "residual [R or 1, B, T, C]", branches, batch, steps, channels)
    expect_each(lengths, "lengths [B or 1]", batch)
    if activated and slope <= 0:
        raise ValueError(f"slope must be above 0 for what is given activated, got {slope}")


def _check_pair(
    x: Tensor,
    weights1: Sequence[Tensor],
    biases1: Sequence[Tensor],
    weights2: Sequence[Tensor],
    biases2: Sequence[Tensor],
    lengths: Tensor | None,
    dilations: Sequence[int],
    slope: float,
    activated: bool,
) -> None:
    _check_step(x, None, weights1, biases1, lengths, dilations, slope, activated)
    _check_convolutions(weights2, biases2, [1] * len(weights1), x.shape[3])


def _check_convolutions(
    weights: Sequence[Tensor], biases: Sequence[Tensor], dilations: Sequence[int], channels: int
) -> None:
    if not len(weights) == len(biases) == len(dilations) > 0:
        raise ValueError(
            "weights, biases and dilations must be lists of one for each branch, "
            f"got {len(weights)}, {len(biases)} and {len(dilations)}"
        )
    for weight, bias, dilation in zip(weights, biases, dilations, strict=True):
        expect(weight, "weights [K, C, C]", None, channels, channels)
        expect_even_padding(weight.shape[0], dilation)
        expect(bias, "biases [C]", channels)


_RESBLOCK_STEP = Op("resblock_step", resblock_step_reference, _step_fake, _check_step)
_RESBLOCK_PAIR = Op("resblock_pair", resblock_pair_reference, _pair_fake, _check_pair)
_RESBLOCK_STEP.register("triton", Implementation(_launch_resblock_step, _supports, _prefers_resblock_step))
_RESBLOCK_PAIR.register(
    "triton", Implementation(_launch_resblock_pair, _supports_resblock_pair, _prefers_resblock_pair)
)


def resblock_step(
    x: Tensor,
    residual: Tensor | None,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    *,
    lengths: Tensor | None = None,
    dilations: Sequence[int],
    slope: float = 0.1,
    mean: bool = False,
    activated: bool = False,
    out_slope: float = 1.0,
) -> Tensor:
    """One step of every branch; see the module's docstring. Raises ValueError for shapes that do not fit."""
    return _RESBLOCK_STEP(
        x, residual, list(weights), list(biases), lengths, list(dilations), slope, mean, activated, out_slope
    )


def resblock_pair(
    x: Tensor,
    weights1: Sequence[Tensor],
    biases1: Sequence[Tensor],
    weights2: Sequence[Tensor],
    biases2: Sequence[Tensor],
    *,
    lengths: Tensor | None = None,
    dilations: Sequence[int],
    slope: float = 0.1,
    mean: bool = False,
    activated: bool = False,
    out_slope: float = 1.0,
) -> Tensor:
    """A pair of steps of every branch, the residual around both; see the module's docstring. Raises ValueError for
    shapes that do not fit."""
    first, second = (list(weights1), list(biases1)), (list(weights2), list(biases2))
    return _RESBLOCK_PAIR(x, *first, *second, lengths, list(dilations), slope, mean, activated, out_slope)
