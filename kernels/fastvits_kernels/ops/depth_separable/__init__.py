"""One layer of the dilated depth-separable stack of the duration predictors.

    h   = GELU(LayerNorm_1(depthwise(x) + depthwise_bias))
    out = x + dropout(GELU(LayerNorm_2(h @ pointwise + pointwise_bias)))

(Kim et al. 2021, "Conditional Variational Autoencoder with Adversarial Learning for End-to-End Text-to-Speech",
appendix B; GELU in its exact form.) `x` counts as zero outside `[0, lengths[b])`, `out` is zero there. `dropout` leaves
out elements as a seed says (`ops.dropout`), and is nothing without one.

Axes: `x` `[B, T, C]`, `depthwise` `[K, C]`, `pointwise` `[C_in, C_out]` with `C_in = C_out = C`, biases and norms
`[C]`, all of one dtype and with any strides; `lengths` and `seed` `[1]` are int64. `(K - 1) * dilation` is even and
split evenly. Work: `2 B T C (C + K)` FLOPs. Eager moves about `18 B T C` elements, fused `2 B T C`.

The fused layer is one launch. A program makes `BLOCK_T` steps of all channels, since both norms need them all. It forms
the depthwise convolution twice: whole, for the first norm's statistics, and then `BLOCK_C` channels at a time, which
are normalised and multiplied into the accumulator `[BLOCK_T, C]` of the pointwise product. `K` more loads an element,
from the cache, are the price: a register tile cannot be sliced, so the first result cannot be kept. Sums, norms and
GELU are float32; the first GELU is rounded to the input's dtype before the product. Up to 1024 channels; Triton has no
kernel for float64.

Gradients come from kernels that keep nothing but the arguments, and compute both norms again: see `backward`.
"""

from torch import Tensor

from ...dispatch.registry import Implementation, Op
from ...dispatch.shapes import axes, expect, expect_each, expect_even_padding
from ...launch import tiles
from ...launch.jit import unsupported
from ..dropout import check_dropout, draw_seed
from .backward import depth_separable_layer_backward
from .forward import _launch_depth_separable_layer, tile_of
from .reference import depth_separable_layer_reference


def _supports(
    x: Tensor,
    depthwise: Tensor,
    depthwise_bias: Tensor,
    norm1_weight: Tensor,
    norm1_bias: Tensor,
    pointwise: Tensor,
    pointwise_bias: Tensor,
    norm2_weight: Tensor,
    norm2_bias: Tensor,
) -> str | None:
    channels = x.shape[2]
    if channels > 1024:
        return f"a step's channels do not fit in registers: {channels}, at most 1024"
    weights = (depthwise, depthwise_bias, norm1_weight, norm1_bias, pointwise, pointwise_bias)
    return unsupported(x, *weights, norm2_weight, norm2_bias)


def _fake(x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


def _check(
    x: Tensor,
    depthwise: Tensor,
    depthwise_bias: Tensor,
    norm1_weight: Tensor,
    norm1_bias: Tensor,
    pointwise: Tensor,
    pointwise_bias: Tensor,
    norm2_weight: Tensor,
    norm2_bias: Tensor,
    lengths: Tensor | None,
    dilation: int,
    seed: Tensor | None,
    dropout: float,
) -> None:
    batch, _, channels = axes(x, "x [B, T, C]")
    expect(depthwise, "depthwise [K, C]", None, channels)
    expect_even_padding(depthwise.shape[0], dilation)
    expect(depthwise_bias, "depthwise_bias [C]", channels)
    expect(norm1_weight, "norm1_weight [C]", channels)
    expect(norm1_bias, "norm1_bias [C]", channels)
    expect(pointwise, "pointwise [C_in, C_out]", channels, channels)
    expect(pointwise_bias, "pointwise_bias [C]", channels)
    expect(norm2_weight, "norm2_weight [C]", channels)
    expect(norm2_bias, "norm2_bias [C]", channels)
    expect_each(lengths, "lengths [B or 1]", batch)
    check_dropout(seed, dropout)


_DEPTH_SEPARABLE_LAYER = Op("depth_separable_layer", depth_separable_layer_reference, _fake, _check, ieee=True)
_DEPTH_SEPARABLE_LAYER.register(
    "triton",
    Implementation(
        _launch_depth_separable_layer,
        _supports,
        lambda x: tiles.preference(tile_of(x)),
        backward=depth_separable_layer_backward,
    ),
)


def depth_separable_layer(
    x: Tensor,
    depthwise: Tensor,
    depthwise_bias: Tensor,
    norm1_weight: Tensor,
    norm1_bias: Tensor,
    pointwise: Tensor,
    pointwise_bias: Tensor,
    norm2_weight: Tensor,
    norm2_bias: Tensor,
    *,
    lengths: Tensor | None = None,
    dilation: int = 1,
    eps: float = 1e-5,
    seed: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """The layer of the module's docstring, `[B, T, C]`.

    `dropout` is the share that is left out, 0.0 by default. `seed` int64 `[1]` says which elements; without one,
    torch's generator draws it. Raises ValueError for shapes that do not fit or a rate outside `[0, 1]`.
    """
    if dropout and seed is None:
        seed = draw_seed(x.device)
    return _DEPTH_SEPARABLE_LAYER(
        x,
        depthwise,
        depthwise_bias,
        norm1_weight,
        norm1_bias,
        pointwise,
        pointwise_bias,
        norm2_weight,
        norm2_bias,
        lengths,
        dilation,
        eps,
        seed,
        dropout,
    )
