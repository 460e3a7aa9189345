"""The length regulator in plain torch: the specification of the op."""

import torch
from torch import Tensor


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
