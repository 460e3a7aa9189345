"""One-dimensional convolution of a channels-last sequence, with what VITS puts before and after it.

    y[b, t] = act( bias + cond[b] + sum_j  f(x[b, t - pad_left + j * dilation]) @ weight[j] )
    out     = residual + alpha * y

where `f` is the leaky ReLU of slope `slope` (1 means none), `x` counts as zero outside `[0, lengths[b])`, and `out` is
zero there. `T` is kept: the padding on the right is `(K - 1) * dilation - pad_left`.

Axes: `x` `[B, T, C_in]`, `weight` `[K, C_in, C_out]` (taps first), `bias` `[C_out]`, `cond` `[B, C_out]`, `residual`
`[B, T, C_out]`, all with any strides; `out` contiguous. `activation` is one of `ACTIVATIONS`.

Work: `2 B T K C_in C_out` FLOPs. Eager moves up to `B T (3 C_in + 7 C_out)` elements (prologue, convolution, activation,
scaling, residual, mask), fused `B T (C_in + 2 C_out)`.
"""

from torch import Tensor
from torch.nn import functional

from .masking import zero_beyond
from .registry import Op

ACTIVATIONS = ("none", "relu", "gelu", "gelu_new", "selu", "tanh")


def apply_activation(x: Tensor, activation: str) -> Tensor:
    """The activation of that name; `gelu_new` is the tanh approximation of the GELU (Hendrycks and Gimpel 2016)."""
    if activation == "none":
        return x
    if activation == "relu":
        return functional.relu(x)
    if activation == "gelu":
        return functional.gelu(x)
    if activation == "gelu_new":
        return functional.gelu(x, approximate="tanh")
    if activation == "selu":
        return functional.selu(x)
    if activation == "tanh":
        return x.tanh()
    raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")


def conv1d_reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    cond: Tensor | None,
    residual: Tensor | None,
    lengths: Tensor | None,
    dilation: int,
    pad_left: int,
    slope: float,
    activation: str,
    alpha: float,
) -> Tensor:
    """The convolution of the module's docstring: the specification of the op."""
    span = (weight.shape[0] - 1) * dilation
    x = zero_beyond(x, lengths).transpose(1, 2)
    if slope != 1.0:
        x = functional.leaky_relu(x, slope)
    if span == 2 * pad_left:
        y = functional.conv1d(x, weight.permute(2, 1, 0), bias, padding=pad_left, dilation=dilation)
    else:
        y = functional.conv1d(
            functional.pad(x, (pad_left, span - pad_left)), weight.permute(2, 1, 0), bias, dilation=dilation
        )
    y = y.transpose(1, 2)
    if cond is not None:
        y = y + cond.unsqueeze(1)
    y = apply_activation(y, activation)
    if alpha != 1.0:
        y = y * alpha
    if residual is not None:
        y = residual + y
    return zero_beyond(y, lengths).contiguous()


def _fake(x: Tensor, weight: Tensor, *_: object) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], weight.shape[2])


_CONV1D = Op("conv1d", conv1d_reference, _fake)


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    cond: Tensor | None = None,
    residual: Tensor | None = None,
    lengths: Tensor | None = None,
    dilation: int = 1,
    pad_left: int | None = None,
    slope: float = 1.0,
    activation: str = "none",
    alpha: float = 1.0,
) -> Tensor:
    """The convolution of the module's docstring; `pad_left` None pads evenly, which needs an even `(K - 1) * dilation`.

    Raises ValueError for an unknown activation, shapes that do not fit, or an impossible padding.
    """
    span = (weight.shape[0] - 1) * dilation
    if pad_left is None:
        if span % 2:
            raise ValueError(
                f"kernel size {weight.shape[0]} with dilation {dilation} cannot be padded evenly; give pad_left"
            )
        pad_left = span // 2
    elif not 0 <= pad_left <= span:
        raise ValueError(f"pad_left must lie in [0, (K - 1) * dilation] = [0, {span}], got {pad_left}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    if x.dim() != 3 or weight.dim() != 3 or x.shape[2] != weight.shape[1]:
        raise ValueError(
            f"x must be [B, T, C_in] and weight [K, C_in, C_out], got {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    return _CONV1D(x, weight, bias, cond, residual, lengths, dilation, pad_left, slope, activation, alpha)
