"""The specification of the layer, in plain torch."""

from torch import Tensor
from torch.nn import functional

from ...dispatch.masking import zero_beyond
from ..dropout import dropped


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
    seed: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """The layer of the package's docstring."""
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
    return zero_beyond(x + dropped(h, seed, dropout), lengths).contiguous()
