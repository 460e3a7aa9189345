"""A convolution with what stands behind it in a transformer layer: the residual and the layer normalisation.

    z[b, t] = residual[b, t] + bias + sum_j  x[b, t - pad_left + j] @ weight[j]
    out     = (z - mean(z)) / sqrt(var(z) + eps) * norm_weight + norm_bias

with mean and variance over the channels of a step (the post-norm of Vaswani et al. 2017; Ba et al. 2016, equations 3
and 4; biased variance). `x` counts as zero outside `[0, lengths[b])`, and `out` is zero there. `T` is kept.

Axes: `x` `[B, T, C_in]`, `weight` `[K, C_in, C]` (taps first), `bias` `[C]` or None, `residual` `[B, T, C]`,
`norm_weight`, `norm_bias` `[C]`, all of one dtype and with any strides; `lengths` is int64. Out `[B, T, C]`,
contiguous. Work: `2 B T K C_in C` FLOPs. Eager moves about `B T (3 C_in + 8 C)` elements, fused `B T (C_in + 2 C)`.

The fused kernel is an implicit GEMM as that of `conv`, whose programs make all channels of `BLOCK_T` steps, since the
norm needs them all: sums and norm are float32, and the sum is not rounded in between. Products are IEEE (`precision`).
Up to 1024 channels; Triton has no kernel for float64.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..dispatch.masking import one_each
from ..dispatch.packing import contiguous
from ..dispatch.registry import Implementation, Op
from ..dispatch.shapes import axes, expect, expect_each
from ..launch import tiles
from ..launch.jit import kernel, launch, padded, unsupported
from .conv import conv1d_reference, item_extent
from .implicit_gemm import add_taps
from .layer_norm import layer_norm_reference

if TYPE_CHECKING:
    import triton.language as tl


def conv1d_layer_norm_reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    lengths: Tensor | None,
    pad_left: int,
    eps: float,
) -> Tensor:
    """The convolution and the norm of the module's docstring: the specification of the op."""
    z = conv1d_reference(x, weight, bias, None, residual, lengths, 1, pad_left, 1.0, "none", 1.0)
    return layer_norm_reference(z, None, norm_weight, norm_bias, lengths, eps)


@kernel
def _conv1d_layer_norm_fwd_kernel(
    x_ptr,  # [B, T, C_in]
    weight_ptr,  # [K, C_in, C], contiguous
    bias_ptr,  # [C] or None
    residual_ptr,  # [B, T, C]
    norm_weight_ptr,  # [C]
    norm_bias_ptr,  # [C]
    lengths_ptr,  # [B] or None
    out_ptr,  # [B, T, C], contiguous
    steps,  # T
    pad_left,
    eps,
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


def _tile(x: Tensor, weight: Tensor) -> tiles.Tile:
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
) -> Tensor:
    batch, steps, inputs = x.shape
    taps, _, channels = weight.shape
    weight = contiguous(weight)
    tile = _tile(x, weight)
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
                out,
                steps,
                pad_left,
                float(eps),
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


def supports(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
) -> str | None:
    """Why Triton cannot run the op, or None."""
    channels = weight.shape[2]
    if channels > 1024:
        return f"a step's channels do not fit in registers: {channels}, at most 1024"
    if max(item_extent(x), item_extent(residual), x.shape[1] * channels) >= 2**31:
        return "the kernel takes items of fewer than 2^31 elements"
    return unsupported(x, weight, bias, residual, norm_weight, norm_bias)


def _fake(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], weight.shape[2])


def check(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    lengths: Tensor | None,
    pad_left: int,
) -> None:
    """Raise ValueError where the arguments do not fit each other."""
    batch, steps, inputs = axes(x, "x [B, T, C_in]")
    expect(weight, "weight [K, C_in, C]", None, inputs, None)
    taps, _, channels = weight.shape
    expect(bias, "bias [C]", channels)
    expect(residual, "residual [B, T, C]", batch, steps, channels)
    expect(norm_weight, "norm_weight [C]", channels)
    expect(norm_bias, "norm_bias [C]", channels)
    expect_each(lengths, "lengths [B or 1]", batch)
    if not 0 <= pad_left < taps:
        raise ValueError(f"pad_left must lie in [0, K - 1] = [0, {taps - 1}], got {pad_left}")


_CONV1D_LAYER_NORM = Op("conv1d_layer_norm", conv1d_layer_norm_reference, _fake, check, ieee=True)
_CONV1D_LAYER_NORM.register(
    "triton",
    Implementation(_launch_conv1d_layer_norm, supports, lambda x, weight: tiles.preference(_tile(x, weight))),
)


def conv1d_layer_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    *,
    lengths: Tensor | None = None,
    pad_left: int = 0,
    eps: float = 1e-5,
) -> Tensor:
    """The convolution and the norm of the module's docstring, `[B, T, C]`.

    Raises ValueError for shapes that do not fit or a padding outside `[0, K - 1]`.
    """
    return _CONV1D_LAYER_NORM(x, weight, bias, residual, norm_weight, norm_bias, lengths, pad_left, eps)
