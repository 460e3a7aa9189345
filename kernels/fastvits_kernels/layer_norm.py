"""Residual addition followed by layer normalisation.

    y = (z - mean(z)) / sqrt(var(z) + eps) * weight + bias,    z = x + residual

over the channels of each step (Ba et al. 2016, equations 3 and 4; biased variance).

Axes: `x`, `residual` `[B, T, C]`, `weight`, `bias` `[C]`, `lengths` `[B]` or None. Output `[B, T, C]`, zero beyond `lengths`.
Traffic: eager reads or writes `5 B T C` elements (sum, then normalisation), fused `3 B T C`.
"""

from torch import Tensor
from torch.nn import functional

from .masking import zero_beyond
from .registry import Op


def layer_norm_reference(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, lengths: Tensor | None, eps: float
) -> Tensor:
    """`LayerNorm(x + residual)`, masked: the specification of the op."""
    z = x if residual is None else x + residual
    return zero_beyond(functional.layer_norm(z, (z.shape[-1],), weight, bias, eps), lengths)


def _fake(x: Tensor, *_: object) -> Tensor:
    return x.new_empty(x.shape)


_LAYER_NORM = Op("layer_norm", layer_norm_reference, _fake)


def layer_norm(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    *,
    lengths: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """`LayerNorm(x + residual)` over the channels, zero beyond `lengths`; see the module's docstring."""
    return _LAYER_NORM(x, residual, weight, bias, lengths, eps)
