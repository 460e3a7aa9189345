"""The first half of the exported graph: token ids to the prior's means and log scales, and to frames of each token.

The equations are those of the model's modules (Kim et al. 2021; Shaw et al. 2018; Durkan et al. 2019); axes here are
`[B, C, T]`, and masks `[B, 1, T]` are multiplied in, so that shorter items of a batch do not see their padding.
"""

from __future__ import annotations

import math

import numpy as np

from fastvits_kernels.ops.spline.reference import MIN_BIN, MIN_DERIVATIVE

from ..configuration import VitsConfig
from .builder import GraphBuilder

_NEVER = -1e9
_NORM_EPS = 1e-5  # of the duration predictor's depth-separable layers, whatever the configuration says


def text_mask(graph: GraphBuilder, ids: str, lengths: str) -> str:
    """1 for tokens and 0 for padding, `[B, 1, T_text]`."""
    positions = graph.unsqueezed(graph.range(graph.size(ids, 1)), 0)
    return graph.as_float(graph.unsqueezed(graph.op("Less", positions, graph.unsqueezed(lengths, 1)), 1))


def text_encoder(graph: GraphBuilder, config: VitsConfig, ids: str, mask: str) -> tuple[str, str, str]:
    """Hidden states `[B, hidden_size, T_text]`, and means and log scales of the prior, `[B, flow_size, T_text]`."""
    embedded = graph.op("Gather", graph.weight("enc_p.emb.weight"), ids, path="enc_p.emb", axis=0)
    scaled = graph.op("Mul", embedded, graph.constant(math.sqrt(config.hidden_size)))
    x = graph.op("Mul", graph.transposed(scaled, 0, 2, 1), mask)
    places = _Places(graph, config, ids, mask)
    stem, pads = "enc_p.encoder", ((config.ffn_kernel_size - 1) // 2, config.ffn_kernel_size // 2)
    for layer in range(config.num_hidden_layers):
        norms = [f"{stem}.norm_layers_{number}.{layer}" for number in (1, 2)]
        y = _attention(graph, config, f"{stem}.attn_layers.{layer}", x, places)
        x = graph.layer_norm(graph.op("Add", x, y), f"{norms[0]}.gamma", f"{norms[0]}.beta", config.layer_norm_eps)
        y = graph.op("Mul", x, mask)
        for conv in ("conv_1", "conv_2"):
            padded = graph.op("Pad", y, graph.integers(0, 0, pads[0], 0, 0, pads[1]))
            y = graph.conv(f"{stem}.ffn_layers.{layer}.{conv}", padded, pads=(0, 0))
            y = graph.op("Mul", graph.op("Relu", y) if conv == "conv_1" else y, mask)
        x = graph.layer_norm(graph.op("Add", x, y), f"{norms[1]}.gamma", f"{norms[1]}.beta", config.layer_norm_eps)
    x = graph.op("Mul", x, mask)
    means, log_scales = graph.halves(graph.op("Mul", graph.conv("enc_p.proj", x), mask), config.flow_size)
    return x, means, log_scales


class _Places:
    """Where each token stands to each other, computed once for all layers."""

    def __init__(self, graph: GraphBuilder, config: VitsConfig, ids: str, mask: str) -> None:
        window = config.window_size or 0
        steps = graph.range(graph.size(ids, 1))
        offsets = graph.op("Sub", graph.unsqueezed(steps, 0), graph.unsqueezed(steps, 1))
        last = graph.constant(2 * window, np.int64)
        shifted = graph.op("Add", offsets, graph.constant(window, np.int64))
        inside = graph.op("And", graph.op("Not", graph.op("Less", shifted, graph.constant(0, np.int64))),
                          graph.op("Not", graph.op("Greater", shifted, last)))  # fmt: skip
        clipped = graph.op("Min", graph.op("Max", shifted, graph.constant(0, np.int64)), last)
        self.inside = graph.as_float(inside)  # [T, T]
        self.clipped = graph.unsqueezed(clipped, 0, 1)  # [1, 1, T, T], which entry of the key's table
        around = graph.integers(*range(2 * window + 1))
        self.around = graph.unsqueezed(graph.op("Add", graph.unsqueezed(steps, 1), around), 0, 1)  # [1, 1, T, 2 w + 1]
        pairs = graph.op("Mul", graph.unsqueezed(mask, 2), graph.unsqueezed(mask, 3))  # [B, 1, T, T]
        self.allowed = graph.op("Greater", pairs, graph.constant(0.0))
        self.like = graph.op("Shape", mask)


def _attention(graph: GraphBuilder, config: VitsConfig, stem: str, x: str, places: _Places) -> str:
    """Multi-head attention with relative keys and values; `[B, C, T]` -> `[B, C, T]`."""
    heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    window = config.window_size or 0
    q, k, v = (
        graph.transposed(graph.reshaped(graph.conv(f"{stem}.conv_{name}", x), (0, heads, width, -1)), 0, 1, 3, 2)
        for name in "qkv"
    )
    q = graph.op("Div", q, graph.constant(math.sqrt(width)))
    scores = graph.op("MatMul", q, graph.transposed(k, 0, 1, 3, 2))
    of_offsets = graph.op("MatMul", q, graph.transposed(graph.weight(f"{stem}.emb_rel_k"), 0, 2, 1))
    index = graph.op("Expand", places.clipped, graph.op("Shape", scores))
    relative = graph.op("Mul", graph.op("GatherElements", of_offsets, index, axis=3), places.inside)
    scores = graph.op("Where", places.allowed, graph.op("Add", scores, relative), graph.constant(_NEVER))
    weights = graph.op("Softmax", scores, axis=-1)
    padded = graph.op("Pad", weights, graph.integers(0, 0, 0, window, 0, 0, 0, window))
    index = graph.op("Expand", places.around, graph.op("Shape", of_offsets))
    by_offset = graph.op("GatherElements", padded, index, axis=3)
    out = graph.op(
        "Add", graph.op("MatMul", weights, v), graph.op("MatMul", by_offset, graph.weight(f"{stem}.emb_rel_v"))
    )
    out = graph.reshaped(graph.transposed(out, 0, 1, 3, 2), (0, config.hidden_size, -1))
    return graph.conv(f"{stem}.conv_o", out)


def log_durations(
    graph: GraphBuilder, config: VitsConfig, hidden: str, mask: str, speaker: str | None, noise_scale: str
) -> str:
    """Log durations `[B, 1, T_text]`, drawn with noise of `noise_scale` or predicted without."""
    if config.use_stochastic_duration_prediction:
        return _stochastic(graph, config, hidden, mask, speaker, noise_scale)
    x = hidden if speaker is None else graph.op("Add", hidden, graph.conv("dp.cond", speaker))
    for number in (1, 2):
        x = graph.op("Relu", graph.conv(f"dp.conv_{number}", graph.op("Mul", x, mask)))
        x = graph.layer_norm(x, f"dp.norm_{number}.gamma", f"dp.norm_{number}.beta", config.layer_norm_eps)
    return str(graph.op("Mul", graph.conv("dp.proj", graph.op("Mul", x, mask)), mask))


def _stochastic(
    graph: GraphBuilder, config: VitsConfig, hidden: str, mask: str, speaker: str | None, noise_scale: str
) -> str:
    x = graph.conv("dp.pre", hidden)
    if speaker is not None:
        x = graph.op("Add", x, graph.conv("dp.cond", speaker))
    x = graph.op("Mul", graph.conv("dp.proj", _depth_separable(graph, config, "dp.convs", x, mask)), mask)
    noise = graph.op("RandomNormalLike", graph.op("Concat", mask, mask, axis=1), mean=0.0, scale=1.0)
    first, second = graph.halves(graph.op("Mul", noise, noise_scale), 1)
    # A flip of the channels stands before each flow and before the affine one; flow 1 is left out when speaking.
    for flow in range(config.duration_predictor_num_flows, 1, -1):
        first, second = second, first
        stem = f"dp.flows.{2 * flow - 1}"
        h = graph.op("Add", graph.conv(f"{stem}.pre", first), x)
        h = graph.op("Mul", graph.conv(f"{stem}.proj", _depth_separable(graph, config, f"{stem}.convs", h, mask)), mask)
        second = _inverse_spline(graph, config, h, second)
    z = graph.op("Sub", graph.op("Concat", second, first, axis=1), graph.weight("dp.flows.0.m"))
    z = graph.op("Mul", z, graph.op("Exp", graph.op("Neg", graph.weight("dp.flows.0.logs"))))
    return str(graph.op("Mul", graph.slice(z, 0, 1, 1), mask))


def _depth_separable(graph: GraphBuilder, config: VitsConfig, stem: str, x: str, mask: str) -> str:
    kernel = config.duration_predictor_kernel_size
    for layer in range(config.depth_separable_num_layers):
        y = graph.op("Mul", x, mask)
        y = graph.conv(f"{stem}.convs_sep.{layer}", y, dilation=kernel**layer, group=config.hidden_size)
        for norm in ("norms_1", "norms_2"):
            if norm == "norms_2":
                y = graph.conv(f"{stem}.convs_1x1.{layer}", y)
            gamma, beta = (f"{stem}.{norm}.{layer}.{part}" for part in ("gamma", "beta"))
            y = graph.gelu(graph.layer_norm(y, gamma, beta, _NORM_EPS))
        x = graph.op("Add", x, y)
    return str(graph.op("Mul", x, mask))


def _inverse_spline(graph: GraphBuilder, config: VitsConfig, h: str, y: str) -> str:
    """The inverse of the rational-quadratic spline that `h` `[B, 3 K - 1, T]` describes, at `y` `[B, 1, T]`."""
    bins, bound = config.duration_predictor_flow_bins, config.duration_predictor_tail_bound
    scaling = graph.constant(math.sqrt(config.hidden_size))
    raw = graph.transposed(h, 0, 2, 1)  # [B, T, 3 K - 1]
    widths = graph.op("Div", graph.slice(raw, 0, bins, 2), scaling)
    heights = graph.op("Div", graph.slice(raw, bins, 2 * bins, 2), scaling)
    slopes = graph.op("Add", graph.op("Softplus", graph.slice(raw, 2 * bins, 3 * bins - 1, 2)),
                      graph.constant(MIN_DERIVATIVE))  # fmt: skip
    slopes = graph.op("Pad", slopes, graph.integers(0, 0, 1, 0, 0, 1), graph.constant(1.0))
    x_knots, x_sizes = _knots(graph, widths, bins, bound)
    y_knots, y_sizes = _knots(graph, heights, bins, bound)
    value = graph.transposed(y, 0, 2, 1)  # [B, T, 1]
    low, high = graph.constant(-bound), graph.constant(bound)
    inside = graph.op("And", graph.op("GreaterOrEqual", value, low), graph.op("LessOrEqual", value, high))
    clipped = graph.op("Max", graph.op("Min", value, high), low)
    passed = graph.as_integer(graph.op("GreaterOrEqual", clipped, graph.slice(y_knots, 1, bins, 2)))
    index = graph.op("ReduceSum", passed, graph.integers(2), keepdims=1)  # [B, T, 1]
    following = graph.op("Add", index, graph.constant(1, np.int64))

    def pick(table: str, at: str) -> str:
        return str(graph.op("GatherElements", table, at, axis=2))

    x0, y0, y1 = pick(x_knots, index), pick(y_knots, index), pick(y_knots, following)
    width, height = pick(x_sizes, index), pick(y_sizes, index)
    slope0, slope1 = pick(slopes, index), pick(slopes, following)
    secant = graph.op("Div", height, width)
    p = graph.op("Div", graph.op("Sub", clipped, y0), height)
    q = graph.op("Div", graph.op("Sub", y1, clipped), height)
    u = graph.op("Sub", graph.op("Mul", slope0, q), graph.op("Mul", slope1, p))
    sp = graph.op("Mul", secant, p)
    product = graph.op("Mul", graph.op("Mul", sp, graph.op("Mul", secant, q)), graph.constant(4.0))
    # Both roots' numerators without cancellation: of the smaller one, the product over the larger.
    larger = graph.op("Add", graph.op("Abs", u), graph.op("Sqrt", graph.op("Add", graph.op("Mul", u, u), product)))
    w = graph.op("Where", graph.op("Less", u, graph.constant(0.0)), graph.op("Div", product, larger), larger)
    twice = graph.op("Mul", sp, graph.constant(2.0))
    theta = graph.op("Div", twice, graph.op("Add", twice, w))
    out = graph.op("Add", x0, graph.op("Mul", width, theta))
    return graph.transposed(graph.op("Where", inside, out, value), 0, 2, 1)


def _knots(graph: GraphBuilder, unnormalized: str, bins: int, bound: float) -> tuple[str, str]:
    """Knots `[B, T, K + 1]` and sizes of bins `[B, T, K]`."""
    share = graph.op("Softmax", unnormalized, axis=-1)
    sizes = graph.op("Add", graph.op("Mul", share, graph.constant(1 - MIN_BIN * bins)), graph.constant(MIN_BIN))
    axis = graph.constant(2, np.int64)
    span, edge = graph.constant(2 * bound), graph.constant(bound)
    summed = graph.slice(graph.op("CumSum", sizes, axis), 0, bins - 1, 2)
    from_left = graph.op("Sub", graph.op("Mul", summed, span), edge)
    summed = graph.slice(graph.op("CumSum", sizes, axis, reverse=1), 1, bins, 2)
    from_right = graph.op("Sub", edge, graph.op("Mul", summed, span))
    inner = graph.op("Where", graph.op("Less", from_left, graph.constant(0.0)), from_left, from_right)
    knots = graph.op("Pad", inner, graph.integers(0, 0, 1, 0, 0, 0), graph.constant(-bound))
    knots = graph.op("Pad", knots, graph.integers(0, 0, 0, 0, 0, 1), edge)
    return knots, str(graph.op("Sub", graph.slice(knots, 1, bins + 1, 2), graph.slice(knots, 0, bins, 2)))
