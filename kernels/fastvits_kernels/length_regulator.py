"""The length regulator, fused with drawing the prior latents.

Frame `f` of item `b` belongs to the token `i` with `cumsum(durations)[i - 1] <= f < cumsum(durations)[i]`, and

    latents[b, f] = means[b, i] + noise[b, f] * exp(log_scales[b, i]) * noise_scale[b]

(Kim et al. 2021, equation 6 and section 2.2; the expansion is that of FastSpeech, Ren et al. 2019). Frames beyond
`sum(durations[b])` are zero. Memory is linear: no alignment matrix is formed.

Axes: `means`, `log_scales` `[B, T_text, C]`, `durations` `[B, T_text]` int64 frames, `noise` `[B, T_frames, C]`, `noise_scale` `[B]`; out
`[B, T_frames, C]` in the dtype of `noise`, computed in that of `means` if it is wider. Traffic: `2 B T_frames C` elements plus the
gathered rows.
"""

import torch
from torch import Tensor

from .registry import Op


def length_regulator_reference(
    means: Tensor, log_scales: Tensor, durations: Tensor, noise: Tensor, noise_scale: Tensor
) -> Tensor:
    """The expansion of the module's docstring: the specification of the op."""
    batch, frames, channels = noise.shape
    ends = durations.cumsum(1)
    frame = torch.arange(frames, device=means.device).expand(batch, frames).contiguous()
    token = torch.searchsorted(ends, frame, right=True)
    beyond = frame >= ends[:, -1:]
    index = token.clamp(max=durations.shape[1] - 1).unsqueeze(-1).expand(batch, frames, channels)
    dtype = torch.promote_types(means.dtype, noise.dtype)
    spread = log_scales.gather(1, index).to(dtype).exp() * noise_scale.to(dtype)[:, None, None]
    latents = means.gather(1, index).to(dtype) + noise.to(dtype) * spread
    return latents.masked_fill(beyond.unsqueeze(-1), 0).to(noise.dtype)


def _fake(means: Tensor, log_scales: Tensor, durations: Tensor, noise: Tensor, noise_scale: Tensor) -> Tensor:
    return noise.new_empty(noise.shape)


_LENGTH_REGULATOR = Op("length_regulator", length_regulator_reference, _fake)


def length_regulator(
    means: Tensor, log_scales: Tensor, durations: Tensor, noise: Tensor, noise_scale: Tensor
) -> Tensor:
    """Prior latents `[B, T_frames, C]`; see the module's docstring."""
    return _LENGTH_REGULATOR(means, log_scales, durations, noise, noise_scale)
