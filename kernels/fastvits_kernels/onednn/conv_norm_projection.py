"""`conv1d_layer_norm_projection` on oneDNN: `conv1d_layer_norm` there, and a convolution of kernel size 1 behind it."""

from torch import Tensor

from ..dispatch.registry import Implementation, named, ops
from .conv import _run as run_conv1d
from .conv_norm import _run as run_conv1d_layer_norm
from .convolution import unsupported


def _run(
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
    z = run_conv1d_layer_norm(x, weight, bias, residual, norm_weight, norm_bias, lengths, pad_left, eps)
    y = run_conv1d(z, projection.unsqueeze(0), projection_bias, None, None, lengths, 1, 0, 1.0, "none", 1.0)
    return z, y


_FLOATS = ("x", "weight", "bias", "residual", "norm_weight", "norm_bias", "projection", "projection_bias")
ops()["conv1d_layer_norm_projection"].register("onednn", Implementation(_run, named(unsupported, *_FLOATS)))
