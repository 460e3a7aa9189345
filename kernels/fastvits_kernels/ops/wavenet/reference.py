"""The references of `wavenet_layer` and `gated_activation`."""

# torch 2.6 reads `typing.Sequence` in an operator's signature, and not that of collections.abc.
from typing import Sequence  # noqa: UP035

import torch
from torch import Tensor
from torch.nn import functional

from ...dispatch.masking import zero_beyond
from ..dropout import dropped
from ..int8 import quantized, quantized_weight


def gated_activation_reference(x: Tensor, cond: Tensor | None) -> Tensor:
    """`tanh(a[..., :C]) * sigmoid(a[..., C:])`, `a = x + cond`: `x` `[B, T, 2 C]`, `cond` `[B, 2 C]` -> `[B, T, C]`."""
    a = x if cond is None else x + cond.unsqueeze(1)
    filtered, gate = a.chunk(2, dim=-1)
    return (filtered.tanh() * gate.sigmoid()).contiguous()


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
    seed: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """The layer of the module's docstring, `[B, T, C_out]`: the specification of the op."""
    channels = x.shape[-1]
    heard = x = zero_beyond(x, lengths)
    if ranges is not None:
        heard, in_weight = quantized(x, *ranges), quantized_weight(in_weight)
    a = functional.conv1d(
        heard.transpose(1, 2),
        in_weight.permute(2, 1, 0),
        in_bias,
        padding=(in_weight.shape[0] - 1) * dilation // 2,
        dilation=dilation,
    ).transpose(1, 2)
    z = dropped(gated_activation_reference(a, cond), seed, dropout)
    r = functional.linear(z, out_weight.t(), out_bias)
    if out_weight.shape[1] == 2 * channels:
        skipped = r[..., channels:] if skip is None else skip + r[..., channels:]
        out = torch.cat([x + r[..., :channels], skipped], dim=-1)
    else:
        out = r if skip is None else skip + r
    return zero_beyond(out, lengths).contiguous()
