"""The end of a transformer layer with the projection that reads it: `conv_norm`, and a product with a matrix behind it.

    s[b, t] = residual[b, t] + bias + sum_j  x[b, t - pad_left + j] @ weight[j]
    z[b, t] = (s[b, t] - mean(s[b, t])) / sqrt(var(s[b, t]) + eps) * norm_weight + norm_bias
    y[b, t] = z[b, t] @ projection + projection_bias

with mean and variance over the channels of a step (biased variance). `x` counts as zero outside `[0, lengths[b])`, and
`z` and `y` are zero there. `T` is kept.

Axes: `x` `[B, T, C_in]`, `weight` `[K, C_in, C]` (taps first), `bias` `[C]` or None, `residual` `[B, T, C]`,
`norm_weight`, `norm_bias` `[C]`, `projection` `[C, P]`, `projection_bias` `[P]` or None, all of one dtype and with any
strides; `lengths` is int64. Out `z` `[B, T, C]` and `y` `[B, T, P]`, contiguous. Work: `2 B T C (K C_in + P)` FLOPs.
Eager moves about `B T (3 C_in + 11 C + 3 P)` elements, fused `B T (C_in + 2 C + P)` and `2 S B T C` of partial sums.

The norm needs all channels of a step, so a kernel that makes `z` at once has one program for some 16 steps: six for a
sentence, on a GPU with more than a hundred multiprocessors. The same two launches that the convolution with its norm
and the projection would take share the work better:

1. The sum over taps and input channels is split into `S` parts, by whole blocks of input channels. A program stores one
   part of `[BLOCK_T, BLOCK_C_OUT]` outputs, in float32.
2. A program adds up the parts of `BLOCK_ROWS` steps, in a fixed order, normalises, and multiplies by `BLOCK_P` columns
   of the projection. So the norm is computed once for each of these blocks of columns. It forms `s` twice: whole, for
   the statistics, and then `BLOCK_C` channels at a time, which are normalised and multiplied. One product of all
   channels would do without, but as IEEE float32 it spills.

Sums and norm are float32, products IEEE (`precision`); `z` is rounded to the input's dtype before its product. Up to
1024 channels; Triton has no kernel for float64. No dropout: every block of columns would draw
it again, and where there is some, `conv_norm` and a projection of its own serve.

Gradients are those of `conv_norm` behind the projection's, and keep nothing but the arguments: see `backward`.
"""

from torch import Tensor

from ...dispatch.registry import Implementation, Op
from ...dispatch.shapes import expect
from ...launch import tiles
from ...launch.jit import unsupported
from .. import conv_norm
from .backward import conv1d_layer_norm_projection_backward
from .forward import _launch_conv1d_layer_norm_projection, tile_of
from .reference import conv1d_layer_norm_projection_reference


def _supports(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    projection: Tensor,
    projection_bias: Tensor | None,
) -> str | None:
    reason = conv_norm.supports(x, weight, bias, residual, norm_weight, norm_bias)
    if reason is None and x.shape[1] * projection.shape[1] >= 2**31:
        return "the kernel takes items of fewer than 2^31 elements"
    return reason or unsupported(x, projection, projection_bias)


def _fake(x: Tensor, residual: Tensor, projection: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(residual.shape), x.new_empty(x.shape[0], x.shape[1], projection.shape[1])


def _check(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    projection: Tensor,
    projection_bias: Tensor | None,
    lengths: Tensor | None,
    pad_left: int,
) -> None:
    conv_norm.check(x, weight, bias, residual, norm_weight, norm_bias, lengths, pad_left)
    expect(projection, "projection [C, P]", weight.shape[2], None)
    expect(projection_bias, "projection_bias [P]", projection.shape[1])


_CONV1D_LAYER_NORM_PROJECTION = Op(
    "conv1d_layer_norm_projection", conv1d_layer_norm_projection_reference, _fake, _check, ieee=True
)
_CONV1D_LAYER_NORM_PROJECTION.register(
    "triton",
    Implementation(
        _launch_conv1d_layer_norm_projection,
        _supports,
        lambda x, weight: tiles.preference(tile_of(x, weight)),
        backward=conv1d_layer_norm_projection_backward,
    ),
)


def conv1d_layer_norm_projection(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    projection: Tensor,
    projection_bias: Tensor | None,
    *,
    lengths: Tensor | None = None,
    pad_left: int = 0,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """`z` `[B, T, C]` and `y` `[B, T, P]` of the module's docstring.

    Raises ValueError for shapes that do not fit or a padding outside `[0, K - 1]`.
    """
    return _CONV1D_LAYER_NORM_PROJECTION(
        x, weight, bias, residual, norm_weight, norm_bias, projection, projection_bias, lengths, pad_left, eps
    )
