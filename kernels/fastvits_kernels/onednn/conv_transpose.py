"""`conv_transpose1d` on oneDNN: one ordinary convolution whose output channels are the phases.

With `v = u + padding = q * stride + p`, the transposed convolution of `x` without its padding is

    full[q, p] = bias + sum_i  f(x[q - i]) @ weight[p + i * stride],      0 <= q < T + I - 1,   I = ceil(K / stride)

a convolution of `I` taps with `stride * C_out` output channels. Its result `[T + I - 1, stride * C_out]` is, in memory,
the sequence `[(T + I - 1) * stride, C_out]`, of which `T * stride` steps from `padding` on are what is asked for: a
slice, not a copy.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ..dispatch.masking import zero_beyond
from ..dispatch.packing import packed
from ..dispatch.registry import Implementation, named, ops
from ..ops.gradients import leaky
from .convolution import (
    activated,
    clear_beyond,
    compute_dtype,
    convolve,
    items,
    layout,
    packed_weight,
    unsupported,
    whole_steps,
)
from .images import learn, product


def phases(weight: Tensor, stride: int) -> Tensor:
    """`[K, C_in, C_out]` -> `[I, C_in, stride * C_out]`, the taps in the order of the input's steps."""
    taps, inputs, outputs = weight.shape
    rows = -(-taps // stride)
    whole = functional.pad(weight, (0, 0, 0, 0, 0, rows * stride - taps))
    return whole.view(rows, stride, inputs, outputs).flip(0).transpose(1, 2).reshape(rows, inputs, stride * outputs)


def _packed_phases(weight: Tensor, stride: int, dtype: torch.dtype, steps: int) -> Tensor:
    def build() -> Tensor:
        return packed_weight(phases(weight.detach().to(dtype), stride), dtype, steps)

    return packed(weight, ("onednn phases", dtype, stride, layout(steps)), build)


def run(
    x: Tensor, weight: Tensor, bias: Tensor | None, lengths: Tensor | None, stride: int, padding: int, slope: float
) -> Tensor:
    """`conv_transpose1d`, perhaps as a slice of a longer sequence."""
    if learn([weight], x, bias):
        return _run_learning(x, weight, bias, lengths, stride, padding, slope)
    batch, steps, _ = x.shape
    taps, _, outputs = weight.shape
    dtype = compute_dtype(x.dtype)
    phase_bias = None
    if bias is not None:
        phase_bias = packed(bias, ("onednn phases", dtype, stride), lambda: bias.detach().to(dtype).repeat(stride))
    pad = -(-taps // stride) - 1
    out = torch.empty(batch, steps * stride, outputs, dtype=dtype, device=x.device) if batch != 1 else None
    for chosen, length in items(lengths, batch, steps):
        whole = whole_steps(length)
        weights = _packed_phases(weight, stride, dtype, whole)
        source = activated(x[chosen, :length], slope, dtype, pad, pad + whole - length)
        full = convolve(source, weights, phase_bias)
        kept = full.reshape(full.shape[0], -1, outputs)[:, padding : padding + length * stride]
        if out is None and length == steps:
            return kept.to(x.dtype)
        if out is None:
            out = torch.empty(batch, steps * stride, outputs, dtype=dtype, device=x.device)
        out[chosen, : length * stride].copy_(kept)
    if out is None:
        return x.new_zeros(batch, steps * stride, outputs)
    return clear_beyond(out, None if lengths is None else lengths * stride).to(x.dtype)


def _run_learning(
    x: Tensor, weight: Tensor, bias: Tensor | None, lengths: Tensor | None, stride: int, padding: int, slope: float
) -> Tensor:
    batch, steps, _ = x.shape
    more = -(-weight.shape[0] // stride) - 1
    source = functional.pad(leaky(zero_beyond(x, lengths), slope), (0, 0, 0, more))
    full = product(source, phases(weight, stride), None if bias is None else bias.repeat(stride), 1, more)
    long = full.view(batch, (steps + more) * stride, weight.shape[2])
    kept = long[:, padding : padding + steps * stride].contiguous()
    return clear_beyond(kept, None if lengths is None else lengths * stride)


ops()["conv_transpose1d"].register("onednn", Implementation(run, named(unsupported, "x", "weight", "bias")))
