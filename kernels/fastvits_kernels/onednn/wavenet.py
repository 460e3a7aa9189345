"""`wavenet_layer` and `gated_activation` on the CPU.

The two halves of the gate are two convolutions, with tanh and sigmoid as post-operations, multiplied in place. The
pointwise convolution sums into the output, where the state and the skips lie already.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ..registry import Implementation, ops
from .convolution import (
    activated,
    clear_beyond,
    compute_dtype,
    convolve,
    convolve_onto,
    items,
    packed_weight,
    scaled_bias,
    unsupported,
)


def _half(weight: Tensor, first: int, dilation: int, dtype: torch.dtype, steps: int) -> Tensor:
    """The packed half `[K, C, C]` of `[K, C, 2 C]` that begins at output channel `first`."""
    half = weight.detach()[..., first : first + weight.shape[2] // 2]
    return packed_weight(half, dtype, steps, dilation)


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
) -> Tensor:
    batch, steps, channels = x.shape
    outputs = out_weight.shape[1]
    dtype = compute_dtype(x.dtype)
    last_bias = scaled_bias(out_bias, None, dtype)
    span = (in_weight.shape[0] - 1) * dilation // 2
    in_memory, by_itself = (0, span) if dilation == 1 else (span, 0)

    out = torch.empty(batch, steps, outputs, dtype=dtype, device=x.device)
    # A condition is a bias of its own for each item.
    together = lengths if cond is None or batch == 1 or lengths is not None else torch.full((batch,), steps)
    for chosen, length in items(together, batch, steps):
        filter_weight, gate_weight = (_half(in_weight, first, dilation, dtype, length) for first in (0, channels))
        last_weight = packed_weight(out_weight.unsqueeze(0), dtype, length)
        target = out[chosen, :length]
        if outputs == 2 * channels:
            target[..., :channels].copy_(x[chosen, :length])
        tail = target[..., outputs - channels :]
        if skip is None:
            tail.zero_()
        else:
            tail.copy_(skip[chosen, :length])
        source = activated(x[chosen, :length], 1.0, dtype, in_memory, in_memory)
        bias = scaled_bias(in_bias, None if cond is None else cond[chosen.start], dtype)
        assert bias is not None
        z = convolve(source, filter_weight, bias[:channels], pad=by_itself, dilation=dilation, activation="tanh")
        gate = convolve(source, gate_weight, bias[channels:], pad=by_itself, dilation=dilation, activation="sigmoid")
        convolve_onto(target, z.mul_(gate), last_weight, last_bias)
    return clear_beyond(out, lengths).to(x.dtype)


def _run_gate(x: Tensor, cond: Tensor | None) -> Tensor:
    dtype = torch.float32
    a = x.to(dtype, copy=True) if cond is None else x.to(dtype) + cond.to(dtype).unsqueeze(1)
    a[..., : a.shape[2] // 2].tanh_()
    return functional.glu(a, -1).to(x.dtype)


def _supports_layer(
    x: Tensor,
    skip: Tensor | None,
    in_weight: Tensor,
    in_bias: Tensor,
    cond: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor,
    *_: object,
) -> str | None:
    return unsupported(x, skip, in_weight, in_bias, cond, out_weight, out_bias)


ops()["wavenet_layer"].register("onednn", Implementation(_run_layer, _supports_layer))
ops()["gated_activation"].register("onednn", Implementation(_run_gate, unsupported))
