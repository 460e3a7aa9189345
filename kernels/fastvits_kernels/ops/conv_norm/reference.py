"""The specification of the op, in plain torch."""

from torch import Tensor

from ..conv import conv1d_reference
from ..dropout import dropped
from ..layer_norm import layer_norm_reference


def conv1d_layer_norm_reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    lengths: Tensor | None,
    pad_left: int,
    eps: float,
    seed: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """The convolution and the norm of the package's docstring."""
    y = conv1d_reference(x, weight, bias, None, None, lengths, 1, pad_left, 1.0, "none", 1.0)
    return layer_norm_reference(dropped(y, seed, dropout), residual, norm_weight, norm_bias, lengths, eps)
