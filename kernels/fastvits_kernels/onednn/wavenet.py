"""`wavenet_layer` and `gated_activation` on the CPU.

One convolution computes both halves of the gate. Two of them, with tanh and sigmoid as post-operations, would take 1.5
times as long for a short text, and no less for one of 500 steps. Weights that learn are not packed (`images`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ..dispatch.masking import zero_beyond
from ..dispatch.registry import Implementation, keep, named, ops
from ..ops.dropout import dropout_scale, dropped, keep_mask
from . import int8
from .convolution import (
    activated,
    clear_beyond,
    compute_dtype,
    convolve,
    items,
    packed_matrix,
    planned,
    scaled_bias,
    unsupported,
    whole_steps,
)
from .images import convolved, learn


def _run_layer(
    x: Tensor,
    skip: Tensor | None,
    in_weight: Tensor,
    in_bias: Tensor,
    cond: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor,
    lengths: Tensor | None,
    dilation: int,
    ranges: Sequence[float] | None = None,
    seed: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    if ranges is None and learn([in_weight, out_weight], x, skip, in_bias, cond, out_bias):
        return _run_learning(x, skip, in_weight, in_bias, cond, out_weight, out_bias, lengths, dilation, seed, dropout)
    batch, steps, channels = x.shape
    outputs = out_weight.shape[1]
    dtype = compute_dtype(x.dtype)
    last_weight, last_bias = packed_matrix(out_weight, dtype), scaled_bias(out_bias, None, dtype)
    cond = None if cond is None else cond.expand(batch, -1)
    span = (in_weight.shape[0] - 1) * dilation // 2

    kept = None
    if seed is not None and dropout:
        kept = (keep_mask(seed, batch, steps, channels, dropout) * dropout_scale(dropout)).to(dtype)
    out = torch.empty(batch, steps, outputs, dtype=dtype, device=x.device)
    each = lengths
    if lengths is None and cond is not None and batch > 1:
        # A condition is a bias of its own for each item.
        each = torch.full((batch,), steps, device="cpu")
    for chosen, length in items(each, batch, steps):
        bias = scaled_bias(in_bias, None if cond is None else cond[chosen.start], dtype)
        if ranges is None:
            whole, weight = planned(in_weight, dtype, length, dilation)
            source = activated(x[chosen, :length], 1.0, dtype, span, span + whole - length)
            z = convolve(source, weight, bias, dilation=dilation)
        else:
            heard = int8.Bounds(*ranges)
            source = int8.quantized(x[chosen, :length], 1.0, heard, span, span + whole_steps(length) - length)
            z = int8.convolve(source, int8.packed_weight(in_weight, heard, dilation), bias, dtype)
        z = _gated(z)
        if kept is not None:
            z[:, :length].mul_(kept[chosen, :length])
        y = convolve(z, last_weight, last_bias)[:, :length]
        if outputs == 2 * channels:
            y[..., :channels].add_(x[chosen, :length])
        if skip is not None:
            y[..., outputs - channels :].add_(skip[chosen, :length])
        if length == steps and batch == chosen.stop - chosen.start:
            return y.to(x.dtype).contiguous()
        out[chosen, :length].copy_(y)
    return clear_beyond(out, lengths).to(x.dtype)


def _run_learning(
    x: Tensor,
    skip: Tensor | None,
    in_weight: Tensor,
    in_bias: Tensor,
    cond: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor,
    lengths: Tensor | None,
    dilation: int,
    seed: Tensor | None,
    dropout: float,
) -> Tensor:
    channels, outputs = x.shape[2], out_weight.shape[1]
    inside = zero_beyond(x, lengths)
    z = convolved(inside, in_weight, in_bias, dilation, (in_weight.shape[0] - 1) * dilation // 2)
    if cond is not None:
        z.add_(cond.unsqueeze(1))
    gated = _gated(z)
    if z.dtype != torch.float32:
        z[..., channels:].sigmoid_()
    keep(z)
    y = functional.linear(dropped(gated, seed, dropout), out_weight.t(), out_bias)
    if outputs == 2 * channels:
        y[..., :channels].add_(inside)
    if skip is not None:
        y[..., outputs - channels :].add_(skip)
    return clear_beyond(y, lengths)


def _run_gate(x: Tensor, cond: Tensor | None) -> Tensor:
    dtype = torch.float32
    a = x.to(dtype, copy=True) if cond is None else x.to(dtype) + cond.to(dtype).unsqueeze(1)
    return _gated(a).to(x.dtype)


def _gated(z: Tensor) -> Tensor:
    """`tanh(a) * sigmoid(b)` of `z = [a, b]`, `[N, T, 2 C]` -> contiguous `[N, T, C]`; `z` is overwritten,
    with `[tanh(a), sigmoid(b)]` in float32 and `[tanh(a), b]` else.

    In float32 `tanh(a) = e / (e + 2)` with `e = exp(2 a) - 1`, as exact as torch's tanh, which takes 4 times as long.
    """
    a, b = z.chunk(2, -1)
    if z.dtype != torch.float32:
        a.tanh_()
        return functional.glu(z, -1)
    a.mul_(2).clamp_(max=40).expm1_()  # no float32 lies between tanh(20) and 1
    return a.div_(a + 2) * b.sigmoid_()


def _supports_layer(
    x: Tensor,
    skip: Tensor | None,
    in_weight: Tensor,
    in_bias: Tensor,
    cond: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor,
    ranges: Sequence[float] | None,
) -> str | None:
    reason = unsupported(x, skip, in_weight, in_bias, cond, out_weight, out_bias)
    return int8.unsupported() if reason is None and ranges is not None else reason


ops()["wavenet_layer"].register("onednn", Implementation(_run_layer, _supports_layer))
ops()["gated_activation"].register("onednn", Implementation(_run_gate, named(unsupported, "x", "cond")))
