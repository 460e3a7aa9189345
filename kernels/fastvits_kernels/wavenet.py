"""The WaveNet layer of the residual couplings and the posterior encoder, and its gate.

    a        = conv(x; in_weight, dilation) + in_bias + cond
    z        = tanh(a[:C]) * sigmoid(a[C:])
    r        = z @ out_weight + out_bias

(van den Oord et al. 2016, "WaveNet", equations 2 and 3). With `out_weight` `[C, 2 C]` a layer in the middle returns the next
state `[x + r[:C] | skip + r[C:]]`; with `[C, C]` the last one returns `skip + r`. `x` counts as zero outside
`[0, lengths[b])` and the result is zero there.

Axes: `x` `[B, T, C]`, `skip` `[B, T, C]` or None (zeros), both with any strides (the two halves of the state `[B, T, 2 C]` that
the previous layer returned); `in_weight` `[K, C, 2 C]`, `in_bias` `[2 C]`, `cond` `[B, 2 C]` with any stride over the batch, or
None. Work: `2 B T C (2 K C + C_out)` FLOPs. Eager moves about `15 B T C` elements, fused `4 B T C`.
"""

import torch
from torch import Tensor
from torch.nn import functional

from .masking import zero_beyond
from .registry import Op


def gated_activation_reference(x: Tensor, cond: Tensor | None) -> Tensor:
    """`tanh(a[..., :C]) * sigmoid(a[..., C:])` for `a = x + cond`; `x` `[B, T, 2 C]`, `cond` `[B, 2 C]`, out `[B, T, C]`."""
    a = x if cond is None else x + cond.unsqueeze(1)
    filtered, gate = a.chunk(2, dim=-1)
    return filtered.tanh() * gate.sigmoid()


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
    channels = x.shape[-1]
    x = zero_beyond(x, lengths)
    a = functional.conv1d(
        x.transpose(1, 2),
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
) -> Tensor:
    """The layer of the module's docstring, `[B, T, C_out]`: the specification of the op."""
    return wavenet_layer_with_dropout(
        x, skip, in_weight, in_bias, cond, out_weight, out_bias, lengths, dilation, 0.0
    )


def _gate_fake(x: Tensor, cond: Tensor | None) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], x.shape[2] // 2)


def _layer_fake(
    x: Tensor,
    skip: Tensor | None,
    in_weight: Tensor,
    in_bias: Tensor,
    cond: Tensor | None,
    out_weight: Tensor,
    *_: object,
) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], out_weight.shape[1])


_GATED_ACTIVATION = Op("gated_activation", gated_activation_reference, _gate_fake)
_WAVENET_LAYER = Op("wavenet_layer", wavenet_layer_reference, _layer_fake)


def gated_activation(x: Tensor, cond: Tensor | None = None) -> Tensor:
    """The gate of the module's docstring: `[B, T, 2 C]` (and `[B, 2 C]`) -> `[B, T, C]`."""
    return _GATED_ACTIVATION(x, cond)


def wavenet_layer(
    x: Tensor,
    skip: Tensor | None,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    *,
    cond: Tensor | None = None,
    lengths: Tensor | None = None,
    dilation: int = 1,
) -> Tensor:
    """The layer of the module's docstring, `[B, T, C_out]`."""
    return _WAVENET_LAYER(x, skip, in_weight, in_bias, cond, out_weight, out_bias, lengths, dilation)
