"""Gradients of the norm, with `z = x + residual` and `n` its rows normalised, before the norm's weight:

    dx = dresidual = N(g weight, n)        dweight = sum g n        dbias = sum g

(`normalisation` has `N`). One launch computes the rows again and makes all of it; gradients of the vectors are sums
over all steps, of which a program stores its share. `x` may have dropout in front of the sum, as behind a convolution
(`conv_norm`): then `dx` is `dresidual` with the same elements left out.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...dispatch.masking import one_each
from ...dispatch.registry import gradients_of
from ...launch import tiles
from ...launch.jit import kernel, launch, padded
from ..dropout import dropout_scale, keeps
from ..gradients import derivable, wants
from ..normalisation import statistics, store_shares, through_norm
from .reference import layer_norm_reference

if TYPE_CHECKING:
    import triton.language as tl


@kernel
def _layer_norm_bwd_kernel(
    x_ptr,  # [B, T, C], any strides
    residual_ptr,  # [B, T, C], any strides, or None
    weight_ptr,  # [C], any stride
    bias_ptr,  # [C], any stride
    lengths_ptr,  # [B] int64, or None
    seed_ptr,  # [1] int64, or None
    g_ptr,  # [B, T, C], contiguous
    of_x_ptr,  # [B, T, C], contiguous; or None without dropout, where it is the residual's
    of_residual_ptr,  # [B, T, C], contiguous
    out_ptr,  # [B, T, C], contiguous, what the forward pass gives; or None
    share_ptr,  # [programs, 3, C], contiguous, float32
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
    rate,  # of the dropout
    kept_scale,
    C: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_C: "tl.constexpr",
):
    row_tiles = tl.cdiv(T, BLOCK_T)
    pid = tl.program_id(0)
    b = (pid // row_tiles).to(tl.int64)
    t = (pid % row_tiles) * BLOCK_T + tl.arange(0, BLOCK_T)
    # 64 bits: a step times its stride alone can pass 2^31.
    offs_t = t.to(tl.int64)
    offs_c = tl.arange(0, BLOCK_C)
    mask_c = offs_c < C
    mask_valid = t < T
    if lengths_ptr is not None:
        mask_valid = mask_valid & (offs_t < tl.load(lengths_ptr + b))
    mask = mask_valid[:, None] & mask_c[None, :]
    stored = (t < T)[:, None] & mask_c[None, :]
    x_pointers = x_ptr + b * stride_xb + offs_t[:, None] * stride_xt + offs_c[None, :] * stride_xc
    z = tl.load(x_pointers, mask=mask, other=0.0).to(tl.float32)  # [BLOCK_T, BLOCK_C]
    if seed_ptr is not None:
        kept = keeps(tl.load(seed_ptr), b.to(tl.int32), t[:, None], offs_c[None, :], rate)
        z = tl.where(kept, z * kept_scale, 0.0)
    if residual_ptr is not None:
        residual_pointers = residual_ptr + b * stride_rb + offs_t[:, None] * stride_rt + offs_c[None, :] * stride_rc
        z += tl.load(residual_pointers, mask=mask, other=0.0).to(tl.float32)
    mean, scale = statistics(z, mask_c, eps, C)
    normed = tl.where(mask, (z - mean[:, None]) * scale[:, None], 0.0)
    weight = tl.load(weight_ptr + offs_c * stride_w, mask=mask_c, other=0.0).to(tl.float32)
    places = (b * T + offs_t)[:, None] * C + offs_c[None, :]
    if out_ptr is not None:
        bias = tl.load(bias_ptr + offs_c * stride_b, mask=mask_c, other=0.0).to(tl.float32)
        out = tl.where(mask, normed * weight[None, :] + bias[None, :], 0.0)
        tl.store(out_ptr + places, out.to(out_ptr.dtype.element_ty), mask=stored)
    # Beyond the lengths the gradient is zero, and so is what follows from it.
    g = tl.load(g_ptr + places, mask=mask, other=0.0).to(tl.float32)
    of_z = through_norm(g * weight[None, :], normed, scale, mask_c, C)
    tl.store(of_residual_ptr + places, of_z.to(of_residual_ptr.dtype.element_ty), mask=stored)
    if seed_ptr is not None:
        of_z = tl.where(kept, of_z * kept_scale, 0.0)
        tl.store(of_x_ptr + places, of_z.to(of_x_ptr.dtype.element_ty), mask=stored)
    store_shares(share_ptr, offs_c, mask_c, g * normed, g, of_z, C)


@dataclass(frozen=True)
class NormGradients:
    """What `norm_gradients` makes; the vectors' are those of a weight, a bias, and a bias in front of the norm."""

    x: Tensor
    residual: Tensor
    weight: Tensor
    bias: Tensor
    sum: Tensor
    out: Tensor | None


def norm_gradients(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    lengths: Tensor | None,
    eps: float,
    g: Tensor,
    seed: Tensor | None = None,
    dropout: float = 0.0,
    *,
    with_out: bool = False,
) -> NormGradients:
    """The gradients of `norm(residual + dropout(x))`, and with `with_out` its value; `x` is not empty."""
    batch, steps, channels = x.shape
    tile = tiles.choose("layer_norm_backward", x.device, x.dtype, channels=channels, work=batch * steps)
    programs = batch * -(-steps // tile.sizes["BLOCK_T"])
    of_residual = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    of_x = torch.empty(x.shape, dtype=x.dtype, device=x.device) if dropout else None
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device) if with_out else None
    shares = torch.empty(programs, 3, channels, dtype=torch.float32, device=x.device)
    strides = (*x.stride(), *((0, 0, 0) if residual is None else residual.stride()), *weight.stride(), *bias.stride())
    launch(
        "layer_norm_backward",
        _layer_norm_bwd_kernel,
        (programs,),
        (
            *(x, residual, weight, bias, one_each(lengths, batch), seed if dropout else None, g.contiguous()),
            *(of_x, of_residual, out, shares, *strides, steps),
            *(float(eps), float(dropout), dropout_scale(dropout)),
        ),
        {"C": channels, "BLOCK_C": padded(channels), **tile.sizes},
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )
    of_weight, of_bias, of_sum = shares.sum(0).to(x.dtype).unbind()
    return NormGradients(of_residual if of_x is None else of_x, of_residual, of_weight, of_bias, of_sum, out)


def layer_norm_backward(grads: tuple[Tensor, ...], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The gradients of the op's arguments, None for those that want none."""
    if not derivable(arguments):
        return gradients_of(layer_norm_reference, arguments, grads)
    x, residual, weight, bias, lengths, eps = arguments
    found = norm_gradients(x, residual, weight, bias, lengths, eps, grads[0])
    return (
        found.x if wants(x) else None,
        found.residual if wants(residual) else None,
        found.weight if wants(weight) else None,
        found.bias if wants(bias) else None,
        None,
        None,
    )
