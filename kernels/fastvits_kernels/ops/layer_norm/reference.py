"""The specification of the op, in plain torch."""

from torch import Tensor
from torch.nn import functional

from ...dispatch.masking import zero_beyond


def layer_norm_reference(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, lengths: Tensor | None, eps: float
) -> Tensor:
    """`LayerNorm(x + residual)`, masked: the specification of the op."""
    z = x if residual is None else x + residual
    return zero_beyond(functional.layer_norm(z, (z.shape[-1],), weight, bias, eps), lengths)
