"""Residual addition followed by layer normalisation.

    y = (z - mean(z)) / sqrt(var(z) + eps) * weight + bias,    z = x + residual

over the channels of each step (Ba et al. 2016, equations 3 and 4; biased variance).

Axes: `x`, `residual` `[B, T, C]`, `weight`, `bias` `[C]`, `lengths` `[B]` or None. Output `[B, T, C]`, zero beyond
`lengths`.
Traffic: eager reads or writes `5 B T C` elements (sum, then normalisation) and `2 B T C` more to mask them, fused `3 B
T C`; about `8 B T C` FLOPs. The kernel keeps a row in registers, in float32, and takes the variance from the centred
values. Any strides. Not supported by it: float64, more than 16384 channels, tensors of mixed dtypes.

Gradients come from one launch, which computes the norm again and keeps nothing: see `backward`.
"""

from torch import Tensor

from ...dispatch.registry import Implementation, Op
from ...dispatch.shapes import axes, expect, expect_each
from ...launch import tiles
from ...launch.jit import unsupported
from .backward import layer_norm_backward
from .forward import _launch_layer_norm, tile_of
from .reference import layer_norm_reference

__all__ = ["layer_norm", "layer_norm_reference"]


def _supports_layer_norm(x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor) -> str | None:
    if not 1 <= x.shape[2] <= 16384:
        return f"channels are 1 to 16384, not {x.shape[2]}"
    return unsupported(x, residual, weight, bias)


def _prefers_layer_norm(x: Tensor) -> tuple[str, str, bool]:
    return tiles.preference(tile_of(x))


def _fake(x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


def _check(x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, lengths: Tensor | None) -> None:
    batch, steps, channels = axes(x, "x [B, T, C]")
    expect(residual, "residual [B, T, C]", batch, steps, channels)
    expect(weight, "weight [C]", channels)
    expect(bias, "bias [C]", channels)
    expect_each(lengths, "lengths [B or 1]", batch)


_LAYER_NORM = Op("layer_norm", layer_norm_reference, _fake, _check)
_LAYER_NORM.register(
    "triton",
    Implementation(_launch_layer_norm, _supports_layer_norm, _prefers_layer_norm, backward=layer_norm_backward),
)


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
