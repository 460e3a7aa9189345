"""The specification of the op, in plain torch."""

from torch import Tensor

from ..conv import conv1d_reference
from ..conv_norm import conv1d_layer_norm_reference


def conv1d_layer_norm_projection_reference(
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
    eps: float,
) -> tuple[Tensor, Tensor]:
    """`z` and `y` of the package's docstring."""
    z = conv1d_layer_norm_reference(x, weight, bias, residual, norm_weight, norm_bias, lengths, pad_left, eps)
    y = conv1d_reference(
        z, projection.unsqueeze(0), projection_bias, None, None, lengths, 1, 0, 1.0, "none", 1.0, ieee=True
    )
    return z, y
