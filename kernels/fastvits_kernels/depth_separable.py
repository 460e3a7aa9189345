"""One layer of the dilated depth-separable stack of the duration predictors.

    h   = GELU(LayerNorm_1(depthwise(x) + depthwise_bias))
    out = x + GELU(LayerNorm_2(h @ pointwise + pointwise_bias))

(Kim et al. 2021, "Conditional Variational Autoencoder with Adversarial Learning for End-to-End Text-to-Speech", appendix
B; GELU in its exact form.) `x` counts as zero outside `[0, lengths[b])`, `out` is zero there.

Axes: `x` `[B, T, C]`, `depthwise` `[K, C]`, `pointwise` `[C_in, C_out]` with `C_in = C_out = C`, biases and norms `[C]`. `K * dilation`
is odd-spanned: `(K - 1) * dilation` is even and split evenly. Work: `2 B T C (C + K)` FLOPs. Eager moves about `18 B T C`
elements, fused `2 B T C`.
"""

from torch import Tensor
from torch.nn import functional

from .masking import zero_beyond
from .registry import Op


def depth_separable_layer_with_dropout(
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
    eps: float,
    dropout: float,
) -> Tensor:
    """The layer as in training, with dropout on the branch."""
    channels = x.shape[-1]
    x = zero_beyond(x, lengths)
    h = functional.conv1d(
        x.transpose(1, 2),
        depthwise.t().unsqueeze(1),
        depthwise_bias,
        padding=(depthwise.shape[0] - 1) * dilation // 2,
        dilation=dilation,
        groups=channels,
    ).transpose(1, 2)
    h = functional.gelu(functional.layer_norm(h, (channels,), norm1_weight, norm1_bias, eps))
    h = functional.linear(h, pointwise.t(), pointwise_bias)
    h = functional.gelu(functional.layer_norm(h, (channels,), norm2_weight, norm2_bias, eps))
    if dropout:
        h = functional.dropout(h, dropout)
    return zero_beyond(x + h, lengths)


def depth_separable_layer_reference(
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
    eps: float,
) -> Tensor:
    """The layer of the module's docstring: the specification of the op."""
    return depth_separable_layer_with_dropout(
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
        0.0,
    )


def _fake(x: Tensor, *_: object) -> Tensor:
    return x.new_empty(x.shape)


_DEPTH_SEPARABLE_LAYER = Op("depth_separable_layer", depth_separable_layer_reference, _fake)


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
) -> Tensor:
    """The layer of the module's docstring, `[B, T, C]`."""
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
    )
