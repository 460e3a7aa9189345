"""`depth_separable_layer` on oneDNN: a depthwise and a pointwise convolution, channels-last, without the masks'
passes."""

import torch
from torch import Tensor
from torch.nn import functional

from ..dispatch.packing import packed
from ..dispatch.registry import Implementation, named, ops
from ..ops.dropout import dropout_scale, keep_mask
from .convolution import (
    activated,
    clear_beyond,
    compute_dtype,
    convolve,
    items,
    packed_matrix,
    prefers_eager_with_dropout,
    unsupported,
    whole_rows,
)


def _depthwise_weight(weight: Tensor, dilation: int, dtype: torch.dtype) -> Tensor:
    """`[K, C]` packed as the groups of a depthwise convolution."""

    def build() -> Tensor:
        taps, channels = weight.shape
        image = weight.detach().to(dtype).t().reshape(channels, 1, 1, -1).contiguous()
        shape = [1, channels, 1, 256 + (taps - 1) * dilation]
        return torch.ops.mkldnn._reorder_convolution_weight(image, [0, 0], [1, 1], [1, dilation], channels, shape)

    return packed(weight, ("onednn depthwise", dtype, dilation), build)


def _run(
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
    batch, steps, channels = x.shape
    kept = keep_mask(seed, batch, steps, channels, dropout) if seed is not None and dropout else None
    dtype = compute_dtype(x.dtype)
    pad = (depthwise.shape[0] - 1) * dilation // 2
    depthwise_weight = _depthwise_weight(depthwise, dilation, dtype)
    pointwise_weight = packed_matrix(pointwise, dtype)
    vectors = (depthwise_bias, norm1_weight, norm1_bias, pointwise_bias, norm2_weight, norm2_bias)
    bias1, scale1, shift1, bias2, scale2, shift2 = (vector.to(dtype).contiguous() for vector in vectors)
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    for chosen, length in items(lengths, batch, steps):
        inner, extra = x[chosen, :length], whole_rows(length) - length
        source = activated(inner, 1.0, dtype, pad, pad + extra)
        h = convolve(source, depthwise_weight, bias1, dilation=dilation, groups=channels)
        h = functional.gelu(functional.layer_norm(h, (channels,), scale1, shift1, eps))
        h = convolve(h, pointwise_weight, bias2)
        h = functional.gelu(functional.layer_norm(h, (channels,), scale2, shift2, eps))
        h = h[:, :length]
        if kept is not None:
            h = torch.where(kept[chosen, :length], h * dropout_scale(dropout), 0.0)
        torch.add(h, inner, out=out[chosen, :length])
    return clear_beyond(out, lengths).to(x.dtype)


_WEIGHTS = ("depthwise", "depthwise_bias", "norm1_weight", "norm1_bias", "pointwise", "pointwise_bias")
_supports = named(unsupported, "x", *_WEIGHTS, "norm2_weight", "norm2_bias")
ops()["depth_separable_layer"].register("onednn", Implementation(_run, _supports, prefers_eager_with_dropout))
