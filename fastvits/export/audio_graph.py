"""The second half of the exported graph: from the prior and the frames of each token to the waveform."""

from __future__ import annotations

import numpy as np

from ..configuration import VitsConfig
from ..models.hifigan import LAST_SLOPE
from .builder import GraphBuilder


def latents(graph: GraphBuilder, means: str, log_scales: str, durations: str, noise_scale: str) -> tuple[str, str]:
    """Latents drawn from the prior, each token's repeated for its frames, `[B, C, T_frames]`, and their mask.

    Args:
        graph: the graph.
        means, log_scales: `[B, C, T_text]`.
        durations: frames of each token, whole numbers in float32, `[B, 1, T_text]`.
        noise_scale: of the noise.
    """
    ends = graph.op("CumSum", graph.op("Squeeze", durations, graph.integers(1)), graph.constant(1, np.int64))
    frames = graph.op("Max", graph.op("ReduceSum", durations, graph.integers(1, 2), keepdims=0), graph.constant(1.0))
    longest = graph.as_integer(graph.op("ReduceMax", frames, keepdims=0))
    steps = graph.as_float(graph.range(longest))  # [T_frames]
    mask = graph.as_float(
        graph.unsqueezed(graph.op("Less", graph.unsqueezed(steps, 0), graph.unsqueezed(frames, 1)), 1)
    )
    # The token that a frame belongs to: how many tokens have ended by then.
    ended = graph.op("Not", graph.op("Less", graph.unsqueezed(steps, 0, 2), graph.unsqueezed(ends, 1)))
    token = graph.op("ReduceSum", graph.as_integer(ended), graph.integers(2), keepdims=0)  # [B, T_frames]
    last = graph.op("Sub", graph.size(durations, 2), graph.constant(1, np.int64))
    token = graph.unsqueezed(graph.op("Min", token, last), 1)  # beyond an item's end, its last token
    channels = graph.unsqueezed(graph.size(means, 1), 0)
    shape = graph.op(
        "Concat", graph.unsqueezed(graph.size(means, 0), 0), channels, graph.unsqueezed(longest, 0), axis=0
    )
    index = graph.op("Expand", token, shape)
    mean = graph.op("GatherElements", means, index, axis=2)
    scale = graph.op("Exp", graph.op("GatherElements", log_scales, index, axis=2))
    noise = graph.op("Mul", graph.op("RandomNormalLike", mean, mean=0.0, scale=1.0), noise_scale)
    return graph.op("Mul", graph.op("Add", mean, graph.op("Mul", noise, scale)), mask), mask


def reverse_flow(graph: GraphBuilder, config: VitsConfig, x: str, mask: str, speaker: str | None) -> str:
    """The coupling layers backwards, each behind a reversal of the channels."""
    half = config.flow_size // 2
    for flow in reversed(range(config.prior_encoder_num_flows)):
        stem = f"flow.flows.{2 * flow}"
        first, second = graph.halves(graph.flipped(x, 1), half)
        h = graph.op("Mul", graph.conv(f"{stem}.pre", first), mask)
        h = _wavenet(graph, config, f"{stem}.enc", h, mask, speaker)
        shift = graph.op("Mul", graph.conv(f"{stem}.post", h), mask)
        x = graph.op("Concat", first, graph.op("Mul", graph.op("Sub", second, shift), mask), axis=1)
    return x


def _wavenet(graph: GraphBuilder, config: VitsConfig, stem: str, x: str, mask: str, speaker: str | None) -> str:
    hidden, layers = config.hidden_size, config.prior_encoder_num_wavenet_layers
    condition = None if speaker is None else graph.conv(f"{stem}.cond_layer", speaker)
    out = None
    for layer in range(layers):
        y = graph.conv(f"{stem}.in_layers.{layer}", x, dilation=config.wavenet_dilation_rate**layer)
        if condition is not None:
            part = graph.slice(condition, 2 * hidden * layer, 2 * hidden * (layer + 1), 1)
            y = graph.op("Add", y, part)
        filtered, gate = graph.halves(y, hidden)
        y = graph.conv(
            f"{stem}.res_skip_layers.{layer}", graph.op("Mul", graph.op("Tanh", filtered), graph.op("Sigmoid", gate))
        )
        if layer < layers - 1:
            residual, y = graph.halves(y, hidden)
            x = graph.op("Mul", graph.op("Add", x, residual), mask)
        out = y if out is None else graph.op("Add", out, y)
    assert out is not None
    return str(graph.op("Mul", out, mask))


def decoder(graph: GraphBuilder, config: VitsConfig, x: str, speaker: str | None) -> str:
    """HiFi-GAN: latents `[B, C, T_frames]` -> waveform `[B, 1, T_samples]`."""
    x = graph.conv("dec.conv_pre", x)
    if speaker is not None:
        x = graph.op("Add", x, graph.conv("dec.cond", speaker))
    branches = len(config.resblock_kernel_sizes)
    for stage, (rate, kernel) in enumerate(zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True)):
        module, padding = f"dec.ups.{stage}", (kernel - rate) // 2
        x = graph.op(
            "ConvTranspose",
            graph.op("LeakyRelu", x, alpha=config.leaky_relu_slope),
            graph.weight(f"{module}.weight"),
            graph.weight(f"{module}.bias"),
            path=module,
            kernel_shape=[kernel],
            strides=[rate],
            pads=[padding, padding],
            dilations=[1],
            group=1,
        )
        blocks = [_residual_block(graph, config, stage * branches + branch, branch, x) for branch in range(branches)]
        total = blocks[0]
        for block in blocks[1:]:
            total = graph.op("Add", total, block)
        x = graph.op("Div", total, graph.constant(float(branches)))
    x = graph.conv("dec.conv_post", graph.op("LeakyRelu", x, alpha=LAST_SLOPE))
    return str(graph.op("Tanh", x))


def _residual_block(graph: GraphBuilder, config: VitsConfig, block: int, branch: int, x: str) -> str:
    for step, dilation in enumerate(config.resblock_dilation_sizes[branch]):
        convs = [("convs", dilation)] if config.resblock_type == 2 else [("convs1", dilation), ("convs2", 1)]
        y = x
        for name, spacing in convs:
            y = graph.op("LeakyRelu", y, alpha=config.leaky_relu_slope)
            y = graph.conv(f"dec.resblocks.{block}.{name}.{step}", y, dilation=spacing)
        x = graph.op("Add", x, y)
    return x
