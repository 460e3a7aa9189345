"""A convolution with what stands behind it in a transformer layer: the residual and the layer normalisation.

    y[b, t] = bias + sum_j  x[b, t - pad_left + j] @ weight[j]
    z       = residual + dropout(y)
    out     = (z - mean(z)) / sqrt(var(z) + eps) * norm_weight + norm_bias

with mean and variance over the channels of a step (the post-norm of Vaswani et al. 2017; Ba et al. 2016, equations 3
and 4; biased variance). `x` counts as zero outside `[0, lengths[b])`, and `out` is zero there. `T` is kept.
`dropout` leaves out elements as a seed says (`ops.dropout`), and is nothing without one.

Axes: `x` `[B, T, C_in]`, `weight` `[K, C_in, C]` (taps first), `bias` `[C]` or None, `residual` `[B, T, C]`,
`norm_weight`, `norm_bias` `[C]`, all of one dtype and with any strides; `lengths` and `seed` `[1]` are int64. Out
`[B, T, C]`, contiguous. Work: `2 B T K C_in C` FLOPs. Eager moves about `B T (3 C_in + 8 C)` elements, fused
`B T (C_in + 2 C)`.

The fused kernel is an implicit GEMM as that of `conv`, whose programs make all channels of `BLOCK_T` steps, since the
norm needs them all: sums and norm are float32, and the sum is not rounded in between. Products are IEEE (`precision`).
Up to 1024 channels; Triton has no kernel for float64.

Gradients keep nothing but the arguments. The convolution is computed again, and the kernel of `layer_norm`'s gradients
makes that of `y` from it; those by `x` and by the weight are a convolution's (`conv_gradients`): see `backward`.
"""

from torch import Tensor

from ...dispatch.registry import Implementation, Op
from ...dispatch.shapes import axes, expect, expect_each
from ...launch import tiles
from ...launch.jit import unsupported
from ..conv import item_extent
from ..dropout import check_dropout, draw_seed
from .backward import conv1d_layer_norm_backward, convolution_gradients
from .forward import _launch_conv1d_layer_norm, tile_of
from .reference import conv1d_layer_norm_reference

__all__ = ["check", "conv1d_layer_norm", "conv1d_layer_norm_reference", "convolution_gradients", "supports"]


def supports(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
) -> str | None:
    """Why Triton cannot run the op, or None."""
    channels = weight.shape[2]
    if channels > 1024:
        return f"a step's channels do not fit in registers: {channels}, at most 1024"
    if max(item_extent(x), item_extent(residual), x.shape[1] * channels) >= 2**31:
        return "the kernel takes items of fewer than 2^31 elements"
    return unsupported(x, weight, bias, residual, norm_weight, norm_bias)


def _fake(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], weight.shape[2])


def check(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    lengths: Tensor | None,
    pad_left: int,
) -> None:
    """Raise ValueError where the arguments do not fit each other; those of dropout are not looked at."""
    batch, steps, inputs = axes(x, "x [B, T, C_in]")
    expect(weight, "weight [K, C_in, C]", None, inputs, None)
    taps, _, channels = weight.shape
    expect(bias, "bias [C]", channels)
    expect(residual, "residual [B, T, C]", batch, steps, channels)
    expect(norm_weight, "norm_weight [C]", channels)
    expect(norm_bias, "norm_bias [C]", channels)
    expect_each(lengths, "lengths [B or 1]", batch)
    if not 0 <= pad_left < taps:
        raise ValueError(f"pad_left must lie in [0, K - 1] = [0, {taps - 1}], got {pad_left}")


def _check_all(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    lengths: Tensor | None,
    pad_left: int,
    seed: Tensor | None,
    dropout: float,
) -> None:
    check(x, weight, bias, residual, norm_weight, norm_bias, lengths, pad_left)
    check_dropout(seed, dropout)


_CONV1D_LAYER_NORM = Op("conv1d_layer_norm", conv1d_layer_norm_reference, _fake, _check_all, ieee=True)
_CONV1D_LAYER_NORM.register(
    "triton",
    Implementation(
        _launch_conv1d_layer_norm,
        supports,
        lambda x, weight: tiles.preference(tile_of(x, weight)),
        backward=conv1d_layer_norm_backward,
    ),
)


def conv1d_layer_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    *,
    lengths: Tensor | None = None,
    pad_left: int = 0,
    eps: float = 1e-5,
    seed: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """The convolution and the norm of the module's docstring, `[B, T, C]`.

    `dropout` is the share of the convolution's result that is left out, 0.0 by default. `seed` int64 `[1]` says which
    elements; without one, torch's generator draws it. Raises ValueError for shapes that do not fit, a padding outside
    `[0, K - 1]` or a rate outside `[0, 1]`.
    """
    if dropout and seed is None:
        seed = draw_seed(x.device)
    return _CONV1D_LAYER_NORM(x, weight, bias, residual, norm_weight, norm_bias, lengths, pad_left, eps, seed, dropout)
