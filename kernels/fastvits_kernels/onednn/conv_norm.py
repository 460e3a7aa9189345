"""`conv1d_layer_norm` on oneDNN: its convolution, and torch's layer normalisation behind it."""

from torch import Tensor

from ..dispatch.registry import Implementation, named, ops
from ..ops.dropout import dropped
from .conv import _run as run_conv1d
from .convolution import prefers_eager_with_dropout, unsupported
from .elementwise import _layer_norm as run_layer_norm


def _run(
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
    y = run_conv1d(x, weight, bias, None, None, lengths, 1, pad_left, 1.0, "none", 1.0)
    return run_layer_norm(dropped(y, seed, dropout), residual, norm_weight, norm_bias, lengths, eps)


_supports = named(unsupported, "x", "weight", "bias", "residual", "norm_weight", "norm_bias")
ops()["conv1d_layer_norm"].register("onednn", Implementation(_run, _supports, prefers_eager_with_dropout))
