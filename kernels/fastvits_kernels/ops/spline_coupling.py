"""The coupling of the stochastic duration predictor: a projection of `h` to the parameters of a spline of `x`.

    parameters[b, t, c] = h[b, t] @ weight[:, c] + bias[c],   widths and heights divided by sqrt(F)
    out, log_det        = rational_quadratic_spline(x[b, t, c], parameters[b, t, c])

(Durkan et al. 2019, "Neural Spline Flows"; `spline` has the equations.) Both are zero beyond `lengths[b]`.

Axes: `h` `[B, T, F]`, `weight` `[F, C (3 K - 1)]`, `bias` `[C (3 K - 1)]`, `x` `[B, T, C]`, all of one dtype and with
any strides; `lengths` is int64. Out and log-determinant `[B, T, C]`. Products are IEEE (`precision`).

The kernel reads `h` once and never writes the parameters: eager moves about `F + 40 K` elements an output, fused
`F + 3`, for `2 F (3 K - 1)` FLOPs. It computes in float32 and has no form for float64.
"""

import math
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional

from ..dispatch.masking import one_each, zero_beyond
from ..dispatch.packing import contiguous
from ..dispatch.registry import Implementation, Op
from ..dispatch.shapes import axes, expect, expect_each
from ..launch import tiles
from ..launch.jit import kernel, launch, padded, unsupported
from .spline import (
    MIN_BIN,
    MIN_DERIVATIVE,
    at_least_float32,
    check_bins,
    fake,
    rational_quadratic_spline_reference,
    refused_bins,
    spline_tile,
)

if TYPE_CHECKING:
    import triton.language as tl


def spline_coupling_reference(
    h: Tensor,
    weight: Tensor,
    bias: Tensor,
    x: Tensor,
    lengths: Tensor | None,
    num_bins: int,
    tail_bound: float,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """The spline whose parameters are projected from `h`: the specification of the fused op.

    `h` `[B, T, F]`, `weight` `[F, C * (3 K - 1)]`, `bias` `[C * (3 K - 1)]`, `x` `[B, T, C]` -> the transformed `x` and
    the log-determinant, both `[B, T, C]` and zero beyond `lengths`. Widths and heights are divided by `sqrt(F)` (Kim et
    al. 2021).
    """
    batch, steps, channels = x.shape
    h, weight, bias = (at_least_float32(tensor) for tensor in (h, weight, bias))
    parameters = functional.linear(h, weight.t(), bias).view(batch, steps, channels, 3 * num_bins - 1)
    widths, heights, derivatives = parameters.split([num_bins, num_bins, num_bins - 1], dim=-1)
    scale = 1 / math.sqrt(h.shape[-1])
    out, log_det = rational_quadratic_spline_reference(
        x, widths * scale, heights * scale, derivatives, tail_bound, reverse
    )
    return zero_beyond(out, lengths), zero_beyond(log_det, lengths)


@kernel
def _spline_coupling_fwd_kernel(
    h_ptr,  # [B, T, F]
    weight_ptr,  # [F, C * (3 K - 1)], contiguous
    bias_ptr,  # [C * (3 K - 1)]
    x_ptr,  # [B, T, C]
    lengths_ptr,  # [B] or None
    out_ptr,  # [B, T, C], contiguous
    log_det_ptr,  # [B, T, C], contiguous
    steps,
    scale,
    tail_bound,
    stride_hb,
    stride_ht,
    stride_hf,
    stride_bias,
    stride_xb,
    stride_xt,
    stride_xc,
    FEATURES: "tl.constexpr",
    CHANNELS: "tl.constexpr",
    K: "tl.constexpr",
    REVERSE: "tl.constexpr",
    MIN_SIZE: "tl.constexpr",
    MIN_SLOPE: "tl.constexpr",
    PRECISION: "tl.constexpr",
    BINS: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_F: "tl.constexpr",
):
    # One axis for tiles and items: a grid's other axes hold 65535 programs at most.
    blocks_t = tl.cdiv(steps, BLOCK_T)
    pid_b = (tl.program_id(0) // blocks_t).to(tl.int64)
    channel = tl.program_id(1)
    first = tl.program_id(0) % blocks_t * BLOCK_T
    rows = tl.arange(0, BLOCK_T)
    mask_out = rows < steps - first
    # Tiles are addressed from their first row, so that only that address has 64 bits.
    offs_out = ((pid_b * steps + first) * CHANNELS + channel) + rows * CHANNELS
    length = steps if lengths_ptr is None else tl.minimum(tl.load(lengths_ptr + pid_b), steps).to(tl.int32)
    if first >= length:
        zeros = tl.zeros((BLOCK_T,), out_ptr.dtype.element_ty)
        tl.store(out_ptr + offs_out, zeros, mask=mask_out)
        tl.store(log_det_ptr + offs_out, zeros, mask=mask_out)
        return

    valid = rows < length - first
    bins = tl.arange(0, BINS)
    mask_w = bins < K
    mask_d = bins < K - 1
    h_first = h_ptr + pid_b * stride_hb + first.to(tl.int64) * stride_ht
    weight_first = weight_ptr + channel * (3 * K - 1)
    widths = tl.zeros((BLOCK_T, BINS), tl.float32)
    heights = tl.zeros((BLOCK_T, BINS), tl.float32)
    slopes = tl.zeros((BLOCK_T, BINS), tl.float32)
    for f_first in range(0, FEATURES, BLOCK_F):
        f = f_first + tl.arange(0, BLOCK_F)
        mask_f = f < FEATURES
        h = tl.load(
            h_first + rows[:, None] * stride_ht + f[None, :] * stride_hf,
            mask=valid[:, None] & mask_f[None, :],
            other=0.0,
        )  # [BLOCK_T, BLOCK_F]
        weights = weight_first + f[:, None] * (CHANNELS * (3 * K - 1)) + bins[None, :]
        mask = mask_f[:, None] & mask_w[None, :]
        weight = tl.load(weights, mask=mask, other=0.0)  # [BLOCK_F, BINS]
        widths = tl.dot(h, weight, widths, input_precision=PRECISION)
        weight = tl.load(weights + K, mask=mask, other=0.0)
        heights = tl.dot(h, weight, heights, input_precision=PRECISION)
        weight = tl.load(weights + 2 * K, mask=mask_f[:, None] & mask_d[None, :], other=0.0)
        slopes = tl.dot(h, weight, slopes, input_precision=PRECISION)
    biases = bias_ptr + (channel * (3 * K - 1) + bins) * stride_bias
    widths += tl.load(biases, mask=mask_w, other=0.0).to(tl.float32)[None, :]
    heights += tl.load(biases + K * stride_bias, mask=mask_w, other=0.0).to(tl.float32)[None, :]
    slopes += tl.load(biases + 2 * K * stride_bias, mask=mask_d, other=0.0).to(tl.float32)[None, :]
    x_first = x_ptr + pid_b * stride_xb + first.to(tl.int64) * stride_xt + channel * stride_xc
    x = tl.load(x_first + rows * stride_xt, mask=valid, other=0.0).to(tl.float32)
    out, log_det = spline_tile(
        x, widths * scale, heights * scale, slopes, bins[None, :], tail_bound, K, REVERSE, MIN_SIZE, MIN_SLOPE
    )
    tl.store(out_ptr + offs_out, tl.where(valid, out, 0.0).to(out_ptr.dtype.element_ty), mask=mask_out)
    tl.store(log_det_ptr + offs_out, tl.where(valid, log_det, 0.0).to(out_ptr.dtype.element_ty), mask=mask_out)


def _coupling_tile(h: Tensor, x: Tensor) -> tiles.Tile:
    batch, steps, features = h.shape
    work = batch * steps * x.shape[2]
    return tiles.choose("spline_coupling", h.device, h.dtype, channels=features, work=work)


def _launch_spline_coupling(
    h: Tensor,
    weight: Tensor,
    bias: Tensor,
    x: Tensor,
    lengths: Tensor | None,
    num_bins: int,
    tail_bound: float,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    batch, steps, channels = x.shape
    features = h.shape[2]
    weight = contiguous(weight)
    out, log_det = x.new_empty(x.shape), x.new_empty(x.shape)
    tile = _coupling_tile(h, x)
    # tl.dot takes no fewer than 16 rows or columns.
    sizes = {**tile.sizes, "BLOCK_F": min(tile.sizes["BLOCK_F"], padded(features, 16)), "BINS": padded(num_bins, 16)}
    launch(
        "spline_coupling",
        _spline_coupling_fwd_kernel,
        (-(-steps // sizes["BLOCK_T"]) * batch, channels),
        (
            h,
            weight,
            bias,
            x,
            one_each(lengths, batch),
            out,
            log_det,
            steps,
            1 / math.sqrt(features),
            float(tail_bound),
            *h.stride(),
            *bias.stride(),
            *x.stride(),
        ),
        {
            "FEATURES": features,
            "CHANNELS": channels,
            "K": num_bins,
            "REVERSE": reverse,
            "MIN_SIZE": MIN_BIN,
            "MIN_SLOPE": MIN_DERIVATIVE,
            "PRECISION": "ieee",
            **sizes,
        },
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )
    return out, log_det


def _supports_spline_coupling(h: Tensor, weight: Tensor, bias: Tensor, x: Tensor, num_bins: int) -> str | None:
    return refused_bins(num_bins) or unsupported(h, weight, bias, x)


def _check_coupling(
    h: Tensor,
    weight: Tensor,
    bias: Tensor,
    x: Tensor,
    lengths: Tensor | None,
    num_bins: int,
) -> None:
    check_bins(num_bins)
    batch, steps, channels = axes(x, "x [B, T, C]")
    expect(h, "h [B, T, F]", batch, steps, None)
    outputs = channels * (3 * num_bins - 1)
    expect(weight, "weight [F, C * (3 K - 1)]", h.shape[2], outputs)
    expect(bias, "bias [C * (3 K - 1)]", outputs)
    expect_each(lengths, "lengths [B or 1]", batch)


_SPLINE_COUPLING = Op("spline_coupling", spline_coupling_reference, fake, _check_coupling, ieee=True)
_SPLINE_COUPLING.register(
    "triton",
    Implementation(
        _launch_spline_coupling,
        _supports_spline_coupling,
        lambda h, x: tiles.preference(_coupling_tile(h, x)),
    ),
)


def spline_coupling(
    h: Tensor,
    weight: Tensor,
    bias: Tensor,
    x: Tensor,
    *,
    lengths: Tensor | None = None,
    num_bins: int = 10,
    tail_bound: float = 5.0,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """The spline with parameters projected from `h`, and its log-determinant; see `spline_coupling_reference`."""
    return _SPLINE_COUPLING(h, weight, bias, x, lengths, num_bins, tail_bound, reverse)
