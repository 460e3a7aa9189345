"""Gradients of the spline coupling, from one kernel and the products of matrices around it.

    dparameters[b, t, c] = those of the spline at x[b, t, c], widths' and heights' divided by sqrt(F)
    dh[b, t]             = dparameters[b, t] @ weight^T
    dweight              = sum_{b, t} h[b, t]^T dparameters[b, t],     dbias = sum_{b, t} dparameters[b, t]

(`spline.backward` has those of the spline.) The kernel projects `h` to the parameters again, as the forward kernel
does, and stores their gradients, `3 K - 1` an output in float32; the sums over parameters and over steps are two
products of torch's in IEEE float32. All of them are 0 beyond `lengths[b]`. No atomics: two runs are equal to the last
bit.
"""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from ...dispatch.masking import one_each, zero_beyond
from ...dispatch.precision import ieee_products
from ...launch import tiles
from ...launch.jit import kernel, launch, padded
from ..gradients import sums, wants
from ..spline.backward import spline_gradients
from ..spline.reference import MIN_BIN, MIN_DERIVATIVE, at_least_float32
from .forward import projected

if TYPE_CHECKING:
    import triton.language as tl


@kernel
def _spline_coupling_bwd_kernel(
    of_out_ptr,  # [B, T, C], contiguous
    of_log_det_ptr,  # [B, T, C], contiguous
    h_ptr,  # [B, T, F]
    weight_ptr,  # [F, C * (3 K - 1)], contiguous
    bias_ptr,  # [C * (3 K - 1)]
    x_ptr,  # [B, T, C]
    lengths_ptr,  # [B] or None
    of_x_ptr,  # [B, T, C], contiguous
    of_parameters_ptr,  # [B, T, C * (3 K - 1)], contiguous, float32
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
    blocks_t = tl.cdiv(steps, BLOCK_T)
    pid_b = (tl.program_id(0) // blocks_t).to(tl.int64)
    channel = tl.program_id(1)
    first = tl.program_id(0) % blocks_t * BLOCK_T
    rows = tl.arange(0, BLOCK_T)
    bins = tl.arange(0, BINS)[None, :]
    offs = ((pid_b * steps + first) * CHANNELS + channel) + rows * CHANNELS
    mask_t = rows < steps - first
    mask_w = mask_t[:, None] & (bins < K)
    mask_d = mask_t[:, None] & (bins < K - 1)
    of_parameters = of_parameters_ptr + offs[:, None] * (3 * K - 1) + bins
    length = steps if lengths_ptr is None else tl.minimum(tl.load(lengths_ptr + pid_b), steps).to(tl.int32)
    if first >= length:
        zeros = tl.zeros((BLOCK_T, BINS), tl.float32)
        tl.store(of_parameters, zeros, mask=mask_w)
        tl.store(of_parameters + K, zeros, mask=mask_w)
        tl.store(of_parameters + 2 * K, zeros, mask=mask_d)
        tl.store(of_x_ptr + offs, tl.zeros((BLOCK_T,), of_x_ptr.dtype.element_ty), mask=mask_t)
        return

    valid = rows < length - first
    widths, heights, slopes = projected(
        h_ptr + pid_b * stride_hb + first.to(tl.int64) * stride_ht, weight_ptr, bias_ptr, channel, rows, valid,
        stride_ht, stride_hf, stride_bias, FEATURES, CHANNELS, K, PRECISION, BINS, BLOCK_T, BLOCK_F,
    )  # fmt: skip
    x_first = x_ptr + pid_b * stride_xb + first.to(tl.int64) * stride_xt + channel * stride_xc
    x = tl.load(x_first + rows * stride_xt, mask=valid, other=0.0).to(tl.float32)
    # Steps beyond the length have no gradient, and with it none of their parameters has one.
    of_out = tl.load(of_out_ptr + offs, mask=valid, other=0.0).to(tl.float32)
    of_log_det = tl.load(of_log_det_ptr + offs, mask=valid, other=0.0).to(tl.float32)
    of_x, of_widths, of_heights, of_derivatives = spline_gradients(
        of_out, of_log_det, x, widths * scale, heights * scale, slopes, bins, tail_bound, K, REVERSE, MIN_SIZE,
        MIN_SLOPE,
    )  # fmt: skip
    tl.store(of_parameters, of_widths * scale, mask=mask_w)
    tl.store(of_parameters + K, of_heights * scale, mask=mask_w)
    tl.store(of_parameters + 2 * K, of_derivatives, mask=mask_d)
    tl.store(of_x_ptr + offs, of_x.to(of_x_ptr.dtype.element_ty), mask=mask_t)


def spline_coupling_backward(grads: tuple[Tensor, ...], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The gradients of the op's arguments; None for those that want none."""
    h, weight, bias, x, lengths, bins, tail_bound, reverse = arguments
    batch, steps, channels = x.shape
    features = h.shape[2]
    tile = tiles.choose("spline_coupling_backward", h.device, h.dtype, channels=features, work=x.numel())
    sizes = {**tile.sizes, "BLOCK_F": min(tile.sizes["BLOCK_F"], padded(features, 16)), "BINS": padded(bins, 16)}
    # A weight that learns is another one in the next step: nothing is kept of it.
    weight = weight.detach().contiguous()
    of_x = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    g = torch.empty(batch, steps, channels * (3 * bins - 1), dtype=torch.float32, device=x.device)
    launch(
        "spline_coupling_backward",
        _spline_coupling_bwd_kernel,
        (-(-steps // sizes["BLOCK_T"]) * batch, channels),
        (
            *(grad.contiguous() for grad in grads),
            *(h, weight, bias, x, one_each(lengths, batch), of_x, g),
            *(steps, 1 / math.sqrt(features), float(tail_bound)),
            *(*h.stride(), *bias.stride(), *x.stride()),
        ),
        {
            "FEATURES": features,
            "CHANNELS": channels,
            "K": bins,
            "REVERSE": reverse,
            "MIN_SIZE": MIN_BIN,
            "MIN_SLOPE": MIN_DERIVATIVE,
            "PRECISION": "ieee",
            **sizes,
        },
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )
    of_h = of_weight = None
    with ieee_products():
        if wants(h):
            of_h = functional.linear(g, at_least_float32(weight)).to(h.dtype)
        if wants(arguments[1]):
            rows = zero_beyond(at_least_float32(h), lengths).reshape(-1, features)
            of_weight = (rows.t() @ g.reshape(-1, g.shape[2])).to(weight.dtype)
    of_bias = sums(g).to(bias.dtype) if wants(bias) else None
    return of_h, of_weight, of_bias, of_x if wants(x) else None, None, None, None, None
