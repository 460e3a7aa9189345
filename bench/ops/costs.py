"""What each op must do at least, by shape and dtype: floating-point operations and bytes of memory traffic.

Operations are those of matrix products and convolutions, two for a multiply-add; the work on single elements
is not counted. Bytes are every input read once and every output written once, whatever happens in between. Steps beyond
`lengths` count like others: a cost follows from shapes alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastvits_kernels.dispatch.registry import Op, tensors_in


@dataclass(frozen=True)
class Cost:
    """The least that a call costs."""

    flops: int
    bytes: int


def cost_of(op: Op, *args: Any) -> Cost:
    """The cost of one call of `op`; nothing is run, so the arguments may be on the meta device."""
    inputs = {id(tensor): tensor for tensor in tensors_in(args)}
    outputs = op.fake(*(_on_meta(argument) for argument in args))
    outputs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
    traffic = sum(tensor.numel() * tensor.element_size() for tensor in (*inputs.values(), *outputs))
    return Cost(_FLOPS[op.name](*args), traffic)


def _on_meta(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return torch.empty_strided(argument.shape, argument.stride(), dtype=argument.dtype, device="meta")
    return [_on_meta(item) for item in argument] if isinstance(argument, (list, tuple)) else argument


def _conv1d(x: Tensor, weight: Tensor, *_: Any) -> int:
    # Every output step sums all taps, those in the padding included. So does a transposed convolution's input step.
    return 2 * math.prod(x.shape[:2]) * weight.numel()


def _conv1d_layer_norm_projection(
    x: Tensor,
    weight: Tensor,
    bias: Any,
    residual: Any,
    norm_weight: Any,
    norm_bias: Any,
    projection: Tensor,
    *_: Any,
) -> int:
    return _conv1d(x, weight) + _conv1d(x, projection)


def _resblock_step(x: Tensor, residual: Tensor | None, weights: list[Tensor], *_: Any) -> int:
    return sum(2 * math.prod(x.shape[1:3]) * weight.numel() for weight in weights)


def _resblock_pair(x: Tensor, weights1: list[Tensor], biases1: list[Tensor], weights2: list[Tensor], *_: Any) -> int:
    return _resblock_step(x, None, [*weights1, *weights2])


def _mrf_stage(
    x: Tensor,
    weight: Tensor,
    bias: Any,
    weights1: list[Tensor],
    biases1: Any,
    weights2: list[Tensor],
    biases2: Any,
    lengths: Any,
    stride: int,
    *_: Any,
) -> int:
    steps = math.prod(x.shape[:2]) * stride
    return _conv1d(x, weight) + sum(2 * steps * each.numel() for each in (*weights1, *weights2))


def _wavenet_layer(
    x: Tensor, skip: Any, in_weight: Tensor, in_bias: Any, cond: Any, out_weight: Tensor, *_: Any
) -> int:
    return 2 * math.prod(x.shape[:2]) * (in_weight.numel() + out_weight.numel())


def _attention(q: Tensor, k: Tensor, v: Tensor, rel_k: Tensor | None, rel_v: Tensor | None, *_: Any) -> int:
    rows = sum(q.shape[1] + (0 if table is None else table.shape[0]) for table in (rel_k, rel_v))
    return 2 * q.numel() * rows


def _depth_separable_layer(x: Tensor, depthwise: Tensor, *others: Any) -> int:
    return 2 * x.numel() * (depthwise.shape[0] + x.shape[2])


def _spline_coupling(h: Tensor, weight: Tensor, *_: Any) -> int:
    return 2 * math.prod(h.shape[:2]) * weight.numel()


def _elementwise(*_: Any) -> int:
    return 0


_FLOPS: dict[str, Callable[..., int]] = {
    "conv1d": _conv1d,
    "conv1d_layer_norm": _conv1d,
    "conv1d_layer_norm_projection": _conv1d_layer_norm_projection,
    "conv_transpose1d": _conv1d,
    "resblock_step": _resblock_step,
    "resblock_pair": _resblock_pair,
    "mrf_stage": _mrf_stage,
    "wavenet_layer": _wavenet_layer,
    "gated_activation": _elementwise,
    "relative_attention": _attention,
    "relative_attention_weights": _attention,
    "durations": _elementwise,
    "layer_norm": _elementwise,
    "left_align": _elementwise,
    "length_regulator": _elementwise,
    "monotonic_alignment": _elementwise,
    "rational_quadratic_spline": _elementwise,
    "spline_coupling": _spline_coupling,
    "depth_separable_layer": _depth_separable_layer,
}
