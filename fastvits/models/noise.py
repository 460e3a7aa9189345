"""The random numbers of a call: duration noise first, then the prior's, in the published order and shapes."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from ..runtime.recorder import recording_lock
from .inputs import TextInput, to_device


def duration_noise(
    text: TextInput, noise_scales: Tensor, generators: Sequence[torch.Generator] | None, dtype: torch.dtype
) -> Tensor:
    """Scaled noise `[B, T_text, 2]` for the stochastic duration predictor, drawn on the CPU whatever the device."""
    batch, steps = text.ids.shape
    device = text.ids.device
    if generators is None:
        # In the caller's layout, padding on the left included: the published order and shape.
        noise = text.shifted(to_device(torch.randn(batch, 2, steps), device).to(dtype), 2)
    else:
        rows = torch.zeros(batch, 2, steps)
        lengths = [steps] * batch if text.lengths is None else text.lengths.tolist()
        for row, length, generator in zip(rows, lengths, generators, strict=True):
            row[:, :length] = torch.randn(2, length, generator=generator)
        noise = to_device(rows, device).to(dtype)
    return noise.transpose(1, 2) * noise_scales[:, None, None]


def prior_noise(
    frames: Sequence[int],
    channels: int,
    generators: Sequence[torch.Generator] | None,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Noise `[B, T_frames, channels]` for the prior of items of so many `frames`."""
    shape = (len(frames), max(frames), channels)
    if generators is None:
        # The published draw is over [B, C, T] with the strides of a contiguous [B, T, C], and strides decide its order.
        layout = torch.empty(shape, device=device, dtype=dtype)
        with recording_lock if device.type == "cuda" else nullcontext():
            return torch.randn_like(layout.transpose(1, 2)).transpose(1, 2)
    noise = torch.zeros(shape)
    for row, length, generator in zip(noise, frames, generators, strict=True):
        row[:length] = torch.randn(length, channels, generator=generator)
    return to_device(noise, device).to(dtype)
