"""Transposed one-dimensional convolution (upsampling) of a channels-last sequence behind a leaky ReLU.

    out[b, u] = bias + sum_{t, j : t * stride + j - padding = u}  f(x[b, t]) @ weight[j],      0 <= u < T * stride

where `f` is the leaky ReLU of slope `slope` (1 means none) and `x` counts as zero outside `[0, lengths[b])`; `out` is
zero beyond `lengths[b] * stride`. The kernel size `K` must satisfy `K - 2 * padding == stride`, so that `T` becomes
exactly `T * stride`.

Axes: `x` `[B, T, C_in]`, `weight` `[K, C_in, C_out]` (taps first), `bias` `[C_out]`, all with any strides; `out`
`[B, T * stride, C_out]`, contiguous.

Polyphase form: write `u = q * stride + r` with the phase `r` in `[0, stride)`, and `r + padding = s * stride + p` with
`p` in `[0, stride)`. Then `t * stride + j = u + padding` has the solutions `j = p + i * stride`, `t = q + s - i` only:

    out[b, q * stride + r] = bias + sum_{i : p + i * stride < K}  f(x[b, q + s - i]) @ weight[p + i * stride]

and each phase is a dense product of `ceil(K / stride)` taps at most, without a zero stuffed between the steps.

Work: `2 B T K C_in C_out` FLOPs. Eager moves `B T (3 C_in + 2 stride C_out)` elements (prologue, product, mask),
fused `B T (C_in + stride C_out)`; phases and blocks of channels that share a tile of `x` run beside each other, and
find it in L2. In Triton a program makes `[BLOCK_T, BLOCK_C_OUT]` outputs of one phase, accumulated in float32. Takes
float32, float16 and bfloat16, one dtype for all tensors; not supported: float64, an item of 2^31 elements or more.
A `weight` that is not contiguous is copied once and kept (`packing`).
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from ..dispatch.masking import zero_beyond
from ..dispatch.packing import contiguous
from ..dispatch.registry import Implementation, Op
from ..dispatch.shapes import axes, expect, expect_each
from ..launch.jit import dot_precision, kernel, launch, unsupported
from ..launch.tiles import Tile, choose, fit, preference
from .conv import item_extent
from .implicit_gemm import add_taps

if TYPE_CHECKING:
    import triton.language as tl


def conv_transpose1d_reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lengths: Tensor | None,
    stride: int,
    padding: int,
    slope: float,
) -> Tensor:
    """The upsampling of the module's docstring: the specification of the op."""
    x = zero_beyond(x, lengths).transpose(1, 2)
    if slope != 1.0:
        x = functional.leaky_relu(x, slope)
    y = functional.conv_transpose1d(x, weight.permute(1, 2, 0), bias, stride=stride, padding=padding).transpose(1, 2)
    return zero_beyond(y, None if lengths is None else lengths * stride).contiguous()


def _fake(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1] * stride, weight.shape[2])


@kernel
def _conv_transpose1d_fwd_kernel(
    x_ptr,  # [B, T, C_in]
    weight_ptr,  # [K, C_in, C_out], contiguous
    bias_ptr,  # [C_out] or None
    lengths_ptr,  # [B] or None
    out_ptr,  # [B, T * stride, C_out], contiguous
    steps,  # T
    stride_xb,
    stride_xt,
    stride_xc,
    stride_wi,
    stride_bias,
    stride_lengths,
    slope,
    out_slope,
    C_IN: "tl.constexpr",
    C_OUT: "tl.constexpr",
    TAPS: "tl.constexpr",
    STRIDE: "tl.constexpr",
    PADDING: "tl.constexpr",
    LEAKY: "tl.constexpr",
    LEAKY_OUT: "tl.constexpr",
    PRECISION: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_C_OUT: "tl.constexpr",
    BLOCK_C_IN: "tl.constexpr",
):
    BLOCKS_OUT: tl.constexpr = (C_OUT + BLOCK_C_OUT - 1) // BLOCK_C_OUT
    BLOCKS_IN: tl.constexpr = (C_IN + BLOCK_C_IN - 1) // BLOCK_C_IN
    PHASE_TAPS: tl.constexpr = (TAPS + STRIDE - 1) // STRIDE
    pid = tl.program_id(0)
    blocks_t = tl.cdiv(steps, BLOCK_T)
    pid_o = pid % BLOCKS_OUT
    phase = (pid // BLOCKS_OUT) % STRIDE
    pid_t = (pid // (BLOCKS_OUT * STRIDE)) % blocks_t
    pid_b = (pid // (BLOCKS_OUT * STRIDE) // blocks_t).to(tl.int64)

    length = steps
    if lengths_ptr is not None:
        length = tl.minimum(tl.load(lengths_ptr + pid_b * stride_lengths), steps).to(tl.int32)
    shift = (phase + PADDING) // STRIDE  # s of the module's docstring
    first_tap = (phase + PADDING) % STRIDE  # p
    offs_q = pid_t * BLOCK_T + tl.arange(0, BLOCK_T)
    offs_o = pid_o * BLOCK_C_OUT + tl.arange(0, BLOCK_C_OUT)
    mask_o = offs_o < C_OUT
    x_base = x_ptr + pid_b * stride_xb
    # A tile beyond the length takes no step of the loop, and stores zeros.
    inside = (pid_t * BLOCK_T < length).to(tl.int32)
    acc = tl.zeros((BLOCK_T, BLOCK_C_OUT), dtype=tl.float32)

    # Where K is no multiple of the stride, some phases have a tap less.
    turns = PHASE_TAPS if TAPS % STRIDE == 0 else (TAPS - first_tap + STRIDE - 1) // STRIDE
    acc = add_taps(
        acc, x_base, weight_ptr, 0, inside * turns * BLOCKS_IN, offs_q, shift, -1, first_tap, STRIDE, stride_xt,
        stride_xc, stride_wi, offs_o, length, slope, C_IN, C_OUT, BLOCK_C_IN, BLOCK_C_OUT, LEAKY, PRECISION,
    )  # fmt: skip

    if bias_ptr is not None:
        acc += tl.load(bias_ptr + offs_o * stride_bias, mask=mask_o, other=0.0).to(tl.float32)[None, :]
    if LEAKY_OUT:
        acc = tl.where(acc > 0, acc, acc * out_slope)
    acc = tl.where((offs_q < length)[:, None], acc, 0.0)
    out_base = out_ptr + pid_b * steps * (STRIDE * C_OUT) + phase * C_OUT
    out_ptrs = out_base + offs_q[:, None] * (STRIDE * C_OUT) + offs_o[None, :]
    tl.store(out_ptrs, acc.to(out_ptr.dtype.element_ty), mask=(offs_q < steps)[:, None] & mask_o[None, :])


def _tile(x: Tensor, weight: Tensor) -> Tile:
    taps, _, outputs = weight.shape
    work, precision = x.shape[0] * x.shape[1], dot_precision(x.dtype)
    return choose(
        "conv_transpose1d", x.device, x.dtype, channels=outputs, kernel_size=taps, work=work, precision=precision
    )


def _supports_conv_transpose1d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> str | None:
    if max(item_extent(x), x.shape[1] * stride * weight.shape[2]) >= 2**31:
        return "the kernel takes items of fewer than 2^31 elements"
    return unsupported(x, weight, bias)


def _launch_conv_transpose1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lengths: Tensor | None,
    stride: int,
    padding: int,
    slope: float,
    out_slope: float = 1.0,
) -> Tensor:
    """The upsampling, stored behind a leaky ReLU of `out_slope` (1: none): what reads it next in a stage wants so."""
    batch, steps, inputs = x.shape
    taps, _, outputs = weight.shape
    lengths = None if lengths is None else lengths.expand(batch)
    weight = contiguous(weight)
    tile = _tile(x, weight)
    block_t, block_out = tile.sizes["BLOCK_T"], fit(tile.sizes["BLOCK_C_OUT"], outputs)
    out = torch.empty(batch, steps * stride, outputs, dtype=x.dtype, device=x.device)
    launch(
        "conv_transpose1d",
        _conv_transpose1d_fwd_kernel,
        (batch * -(-steps // block_t) * stride * -(-outputs // block_out),),
        (
            *(x, weight, bias, lengths, out, steps),
            *x.stride(),
            outputs,
            *((0,) if bias is None else bias.stride()),
            *((0,) if lengths is None else lengths.stride()),
            float(slope),
            float(out_slope),
        ),
        {
            "C_IN": inputs,
            "C_OUT": outputs,
            "TAPS": taps,
            "STRIDE": stride,
            "PADDING": padding,
            "LEAKY": slope != 1.0,
            "LEAKY_OUT": out_slope != 1.0,
            "PRECISION": dot_precision(x.dtype),
            "BLOCK_T": block_t,
            "BLOCK_C_OUT": block_out,
            "BLOCK_C_IN": fit(tile.sizes["BLOCK_C_IN"], inputs),
        },
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )
    return out


def _prefers_conv_transpose1d(x: Tensor, weight: Tensor) -> tuple[str, str, bool]:
    return preference(_tile(x, weight))


def check(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lengths: Tensor | None,
    stride: int,
    padding: int,
) -> None:
    batch, _, inputs = axes(x, "x [B, T, C_in]")
    expect(weight, "weight [K, C_in, C_out]", None, inputs, None)
    taps, _, outputs = weight.shape
    expect(bias, "bias [C_out]", outputs)
    expect_each(lengths, "lengths [B or 1]", batch)
    if stride < 1 or padding < 0:
        raise ValueError(f"stride must be at least 1 and padding at least 0, got {stride} and {padding}")
    if taps != stride + 2 * padding:
        raise ValueError(f"K must be stride + 2 * padding = {stride} + 2 * {padding}, got {taps}")


_CONV_TRANSPOSE1D = Op("conv_transpose1d", conv_transpose1d_reference, _fake, check)
_CONV_TRANSPOSE1D.register(
    "triton", Implementation(_launch_conv_transpose1d, _supports_conv_transpose1d, _prefers_conv_transpose1d)
)


def conv_transpose1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    lengths: Tensor | None = None,
    stride: int,
    padding: int,
    slope: float = 1.0,
) -> Tensor:
    """The upsampling of the module's docstring; raises ValueError unless `K - 2 * padding == stride`."""
    return _CONV_TRANSPOSE1D(x, weight, bias, lengths, stride, padding, slope)
