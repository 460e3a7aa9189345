"""What the models call, by length. The published configuration has 62.5 frames a second, the bundled one 86."""

from typing import Any

from .convolutions import conv, conv_norm, conv_norm_projection, depth_separable, wavenet
from .decoder import conv_transpose, resblock, stage
from .draw import Draw, case
from .text import alignment, attention, coupling, layer_norm, left_align, length_regulator, log_durations, spline


def model_cases(label: str, batch: int, seconds: int) -> None:
    tokens, frames, samples = 29 * seconds + 1, 125 * seconds // 2, 125 * seconds // 2 * 256
    text, full_text = (batch, tokens, 192), [tokens] * batch
    latent = (batch, frames, 192)

    def full(steps: int) -> list[int] | None:
        # Behind the durations a single item has no padding, and no lengths.
        return None if batch == 1 else [steps] * batch

    conv(f"model-{label}-attention-projection", text, 576, 1, lengths=full_text)
    conv(f"model-{label}-feed-forward", text, 768, 3, lengths=full_text, activation="relu")
    conv(f"model-{label}-decoder-input", latent, 512, 7, lengths=full(frames))
    last = (batch, samples, 32)
    waveform: dict[str, Any] = {"lengths": full(samples), "activation": "tanh", "bias": False}
    conv(f"model-{label}-waveform", last, 1, 7, **waveform)
    attention(f"model-{label}", (batch, tokens, 2, 96), lengths=full_text)
    conv_norm(f"model-{label}-attention", text, 192, lengths=full_text)
    conv_norm_projection(f"model-{label}-feed-forward", (batch, tokens, 768), 192, 576, lengths=full_text)
    layer_norm(f"model-{label}", text, lengths=full_text)
    depth_separable(f"model-{label}", text, dilation=3, lengths=full_text)
    coupling(f"model-{label}", text, lengths=full_text)
    spline(f"model-{label}", (batch, tokens, 1), directions=[True])
    left_align(f"model-{label}", [(0, tokens)] * batch, (batch, tokens))
    log_durations(f"model-{label}", (batch, tokens), lengths=full_text)
    length_regulator(f"model-{label}", [durations(tokens, frames)] * batch, frames, 192)
    alignment(f"model-{label}", (batch, tokens, frames), full_text, [frames] * batch)
    wavenet(f"model-{label}", latent, skip="normal", lengths=full(frames))

    @case("gated_activation", f"model-{label}")
    def _(draw: Draw) -> tuple[Any, ...]:
        return draw.normal(batch, frames, 2 * 192), None

    steps = frames
    blocks = [(kernel_size, (1, 3, 5)) for kernel_size in (3, 7, 11)]
    for channels, stride in ((256, 8), (128, 8), (64, 2), (32, 2)):
        name, shape, taps = f"model-{label}-{channels}", (batch, steps, 2 * channels), 16 if stride == 8 else 4
        slopes = (0.1, 0.1 if channels == 256 else 1.0, 0.01 if channels == 32 else 0.1)
        stage(name, shape, channels, (taps, stride), blocks, lengths=full(steps), slopes=slopes)
        # Its parts, as they run where the decoder learns.
        conv_transpose(name, shape, channels, taps, stride, lengths=full(steps))
        steps *= stride
        pair: dict[str, Any] = {"dilations": (5, 5, 5), "mean": True, "lengths": full(steps), "ops": ["resblock_pair"]}
        resblock(name, (batch, steps, channels), **pair)
    steps = 86 * seconds * 8
    bundled = [(3, (1, 2)), (5, (2, 6)), (7, (3, 12))]
    name, slopes = f"model-{label}-bundled-64", (0.1, 1.0, 0.1)
    stage(name, (batch, steps, 128), 64, (16, 8), bundled, pairs=False, lengths=full(steps), slopes=slopes)
    steps *= 8
    single: dict[str, Any] = {"mean": True, "lengths": full(steps), "ops": ["resblock_step"]}
    resblock(name, (batch, steps, 64), (3, 5, 7), (2, 6, 12), **single)


def durations(tokens: int, frames: int) -> list[int]:
    """Frames for each token, as even as integers allow."""
    return [frames * (i + 1) // tokens - frames * i // tokens for i in range(tokens)]


model_cases("3s", 1, 3)
model_cases("32x10s", 32, 10)
