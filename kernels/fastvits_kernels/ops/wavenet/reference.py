"""The references of `wavenet_layer` and `gated_activation`."""

# torch 2.6 reads `typing.Sequence` in an operator's signature, and not that of collections.abc.
from typing import Sequence  # noqa: UP035

import torch
from torch import Tensor
from torch.nn import functional

from ...dispatch.masking import zero_beyond
from ..int8 import quantized, quantized_weight


def gated_activation_reference(x: Tensor, cond: Tensor | None) -> Tensor:
    """`tanh(a[..., :C]) * sigmoid(a[..., C:])`, `a = x + cond`: `x` `[B, T, 2 C]`, `cond` `[B, 2 C]` -> `[B, T, C]`."""
    a = x if cond is None else x + cond.unsqueeze(1)
    filtered, gate = a.chunk(2, dim=-1)
    return (filtered.tanh() * gate.sigmoid()).contiguous()


def wavenet_layer_with_dropout(
    x: Tensor,
    skip: Tensor | None,
    in_weight: Tensor,
    in_bias: Tensor,
    cond: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor,
    lengths: Tensor | None,
    dilation: int,
    dropout: float,
) -> Tensor:
    """The layer as in training, with dropout on the gate's output."""
    x = zero_beyond(x, lengths)
    return _layer(x, x, skip, in_weight, in_bias, cond, out_weight, out_bias, lengths, dilation, dropout)


def _layer(
    x: Tensor,
    heard: Tensor,
    skip: Tensor | None,
    in_weight: Tensor,
    in_bias: Tensor,
    cond: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor,
    lengths: Tensor | None,
    dilation: int,
    dropout: float = 0.0,
) -> Tensor:
    """The layer where the dilated convolution hears `heard` in the place of `x`, with zeros beyond the lengths."""
    channels = x.shape[-1]
    a = functional.conv1d(
        heard.transpose(1, 2),
        in_weight.permute(2, 1, 0),
        in_bias,
        padding=(in_weight.shape[0] - 1) * dilation // 2,
        dilation=dilation,
    ).transpose(1, 2)
    z = gated_activation_reference(a, cond)
    if dropout:
        z = functional.dropout(z, dropout)
    r = functional.linear(z, out_weight.t(), out_bias)
    if out_weight.shape[1] == 2 * channels:
        skipped = r[..., channels:] if skip is None else skip + r[..., channels:]
        out = torch.cat([x + r[..., :channels], skipped], dim=-1)
    else:
        out = r if skip is None else skip + r
    return zero_beyond(out, lengths).contiguous()


def wavenet_layer_reference(
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
) -> Tensor:
    """The layer of the module's docstring, `[B, T, C_out]`: the specification of the op."""
    if ranges is not None:
        heard = quantized(zero_beyond(x, lengths), *ranges)
        return _layer(
            x, heard, skip, quantized_weight(in_weight), in_bias, cond, out_weight, out_bias, lengths, dilation
        )
    return wavenet_layer_with_dropout(x, skip, in_weight, in_bias, cond, out_weight, out_bias, lengths, dilation, 0.0)
