"""The length regulator, fused with drawing the prior latents.

Frame `f` of item `b` belongs to the token `i` with `cumsum(durations)[i - 1] <= f < cumsum(durations)[i]`, and

    latents[b, f] = means[b, i] + noise[b, f] * exp(log_scales[b, i]) * noise_scale[b]

(Kim et al. 2021, equation 6 and section 2.2; the expansion is that of FastSpeech, Ren et al. 2019). Frames beyond
`sum(durations[b])` are zero. Memory is linear: no alignment matrix is formed.

Axes: `means`, `log_scales` `[B, T_text, C]`, `durations` `[B, T_text]` int64 frames, `noise` `[B, T_frames, C]`,
`noise_scale` `[B]`; out `[B, T_frames, C]` in the dtype of `noise`, computed in that of `means` if it is wider.
Durations are not negative.

Traffic: fused `2 B T_frames C` elements plus the gathered rows of `means` and `log_scales` (from cache, a token spans
several frames), in one launch; eager about `12 B T_frames C` in some 15. The kernel takes no cumulative sum
beforehand: a tile of frames walks over the durations, adds them up and counts the tokens that end at or before each
frame, until the tile is passed. That is at most `T_text` compares a frame, beside its `C` exponentials. Any strides;
float32 inside. Not supported by it: float64.

Gradients come from one launch, in which a program adds up the frames of a token: see `backward`.
"""

import torch
from torch import Tensor

from ...dispatch.registry import Implementation, Op
from ...dispatch.shapes import axes, expect
from ...launch.jit import unsupported
from ...launch.tiles import preference
from .backward import length_regulator_backward
from .forward import _launch_length_regulator, tile_of
from .reference import length_regulator_reference


def _supports_length_regulator(
    means: Tensor, log_scales: Tensor, durations: Tensor, noise: Tensor, noise_scale: Tensor
) -> str | None:
    if durations.dtype != torch.int64:
        return f"durations are int64, not {durations.dtype}"
    # These may differ in dtype: the prior is float32 where the noise is of the model's half precision.
    reasons = (unsupported(tensor) for tensor in (means, log_scales, noise, noise_scale))
    return next((reason for reason in reasons if reason is not None), None)


def _prefers_length_regulator(noise: Tensor) -> tuple[str, str, bool]:
    return preference(tile_of(noise))


def _fake(noise: Tensor) -> Tensor:
    return noise.new_empty(noise.shape)


def _check(means: Tensor, log_scales: Tensor, durations: Tensor, noise: Tensor, noise_scale: Tensor) -> None:
    batch, tokens, channels = axes(means, "means [B, T_text, C]")
    expect(log_scales, "log_scales [B, T_text, C]", batch, tokens, channels)
    expect(durations, "durations [B, T_text]", batch, tokens)
    expect(noise, "noise [B, T_frames, C]", batch, None, channels)
    expect(noise_scale, "noise_scale [B]", batch)


_LENGTH_REGULATOR = Op("length_regulator", length_regulator_reference, _fake, _check)
_LENGTH_REGULATOR.register(
    "triton",
    Implementation(
        _launch_length_regulator,
        _supports_length_regulator,
        _prefers_length_regulator,
        backward=length_regulator_backward,
    ),
)


def length_regulator(
    means: Tensor, log_scales: Tensor, durations: Tensor, noise: Tensor, noise_scale: Tensor
) -> Tensor:
    """Prior latents `[B, T_frames, C]`; see the module's docstring."""
    return _LENGTH_REGULATOR(means, log_scales, durations, noise, noise_scale)
