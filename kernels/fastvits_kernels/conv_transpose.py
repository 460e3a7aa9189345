"""Transposed one-dimensional convolution (upsampling) of a channels-last sequence, with a leaky ReLU in front.

    out[b, u] = bias + sum_{t, j : t * stride + j - padding = u}  f(x[b, t]) @ weight[j],      0 <= u < T * stride

where `f` is the leaky ReLU of slope `slope` (1 means none) and `x` counts as zero outside `[0, lengths[b])`; `out` is zero
beyond `lengths[b] * stride`. The kernel size `K` must satisfy `K - 2 * padding == stride`, so that `T` becomes exactly `T * stride`.

Axes: `x` `[B, T, C_in]`, `weight` `[K, C_in, C_out]` (taps first), `bias` `[C_out]`; `out` `[B, T * stride, C_out]`.
The outputs of one phase `u mod stride` see the same `ceil(K / stride)` taps: a polyphase decomposition makes `stride` dense
products of it. Work: `2 B T K C_in C_out` FLOPs.
"""

from torch import Tensor
from torch.nn import functional

from .masking import zero_beyond
from .registry import Op


def conv_transpose1d_reference(
    x: Tensor, weight: Tensor, bias: Tensor | None, lengths: Tensor | None, stride: int, padding: int, slope: float
) -> Tensor:
    """The upsampling of the module's docstring: the specification of the op."""
    if weight.shape[0] - 2 * padding != stride:
        raise ValueError(
            f"kernel size - 2 * padding must equal the stride, got {weight.shape[0]} - 2 * {padding} and {stride}"
        )
    x = zero_beyond(x, lengths).transpose(1, 2)
    if slope != 1.0:
        x = functional.leaky_relu(x, slope)
    y = functional.conv_transpose1d(x, weight.permute(1, 2, 0), bias, stride=stride, padding=padding).transpose(1, 2)
    return zero_beyond(y, None if lengths is None else lengths * stride).contiguous()


def _fake(
    x: Tensor, weight: Tensor, bias: Tensor | None, lengths: Tensor | None, stride: int, padding: int, slope: float
) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1] * stride, weight.shape[2])


_CONV_TRANSPOSE1D = Op("conv_transpose1d", conv_transpose1d_reference, _fake)


def conv_transpose1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    lengths: Tensor | None = None,
    stride: int,
    padding: int,
    slope: float = 1.0,
) -> Tensor:
    """The upsampling of the module's docstring; raises ValueError unless `K - 2 * padding == stride`."""
    if weight.shape[0] - 2 * padding != stride:
        raise ValueError(
            f"kernel size - 2 * padding must equal the stride, got {weight.shape[0]} - 2 * {padding} and {stride}"
        )
    return _CONV_TRANSPOSE1D(x, weight, bias, lengths, stride, padding, slope)
