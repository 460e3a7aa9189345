"""One speaker's recording in another speaker's voice (Kim et al. 2021, section 4.4).

The posterior encoder hears the recording as the first speaker's, the flow takes its latents to the prior, where they
know nothing of who speaks, and goes back as the second speaker's; the decoder speaks what comes out.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..audio.spectrogram import frame_count, linear_spectrogram
from ..configuration import VitsConfig
from .inputs import to_device
from .learning import Network
from .output import VitsModelOutput

__all__ = ["convert", "heard_input"]


def heard_input(
    recording: Tensor, lengths: Sequence[int] | Tensor | None, config: VitsConfig, device: torch.device
) -> tuple[Tensor, list[int]]:
    """Spectrograms `[B, spectrogram_bins, T_frames]` in the recording's dtype, zero beyond an item's frames, and the
    frames of each, from waveforms `[T_samples]` or `[B, T_samples]` or from spectrograms.

    `lengths` counts samples, or frames of spectrograms; None: items are as long as the tensor.

    Raises:
        TypeError: no floating-point tensor.
        ValueError: shapes, lengths or values that do not fit.
    """
    if not isinstance(recording, Tensor) or not recording.is_floating_point():
        raise TypeError("a recording must be a floating-point tensor: waveforms [B, T_samples] or linear spectrograms")
    is_waveform = recording.dim() < 3
    if is_waveform and recording.dim() == 1:
        recording = recording.unsqueeze(0)
    if recording.dim() not in (2, 3) or 0 in recording.shape:
        raise ValueError(
            "a recording must be a waveform [T_samples] or [B, T_samples], or a spectrogram "
            f"[B, {config.spectrogram_bins}, T_frames], got {tuple(recording.shape)}"
        )
    if not is_waveform and recording.shape[1] != config.spectrogram_bins:
        raise ValueError(
            f"a spectrogram must have {config.spectrogram_bins} bins, [B, {config.spectrogram_bins}, T_frames], "
            f"got {tuple(recording.shape)}"
        )
    if not bool(recording.isfinite().all()):
        raise ValueError("a recording must be finite")
    batch, longest = recording.shape[0], recording.shape[-1]
    counts = [longest] * batch if lengths is None else [int(length) for length in lengths]
    if len(counts) != batch or not all(0 < count <= longest for count in counts):
        raise ValueError(f"lengths must be {batch} numbers from 1 to {longest}, got {counts}")
    recording = to_device(recording, device)
    if not is_waveform:
        steps = torch.arange(longest, device=device)
        beyond = steps >= torch.tensor(counts, device=device).unsqueeze(1)
        return recording.masked_fill(beyond.unsqueeze(1), 0), counts
    sizes = config.n_fft, config.hop_length, config.window_length
    wide = recording.to(torch.promote_types(recording.dtype, torch.float32))
    items = [linear_spectrogram(row[:count], *sizes) for row, count in zip(wide, counts, strict=True)]
    frames = [frame_count(count, config.n_fft, config.hop_length) for count in counts]
    spectrogram = wide.new_zeros(batch, config.spectrogram_bins, max(frames))
    for row, item in zip(spectrogram, items, strict=True):
        row[:, : item.shape[1]] = item
    return spectrogram, frames


def convert(
    network: Network,
    spectrogram: Tensor,
    frames: list[int],
    source: Tensor | None,
    target: Tensor | None,
    noise_scale: float,
    generators: Sequence[torch.Generator] | None,
) -> VitsModelOutput:
    """See `VitsModel.convert`; `source` and `target` are embeddings `[B, speaker_embedding_size]` or None."""
    config, dtype = network.config, network.decoder.conv_pre.weight.dtype
    batch, longest = spectrogram.shape[0], spectrogram.shape[2]
    counts = torch.tensor(frames, device=spectrogram.device)
    lengths = None if min(frames) == longest else counts
    shape = batch, longest, config.flow_size
    if generators is None:
        noise = torch.randn(shape, device=spectrogram.device, dtype=dtype)
    else:
        rows = torch.zeros(shape)
        for row, count, generator in zip(rows, frames, generators, strict=True):
            row[:count] = torch.randn(count, shape[2], generator=generator)
        noise = to_device(rows, spectrogram.device).to(dtype)
    heard = spectrogram.transpose(1, 2).to(dtype)
    latents, _, _ = network.posterior_encoder.encode(heard, lengths, source, noise * noise_scale)
    latents = network.flow.transform(network.flow.transform(latents, lengths, source), lengths, target, reverse=True)
    output = VitsModelOutput(
        waveform=network.decoder.decode(latents, lengths, target),
        sequence_lengths=counts * config.hop_length,
        spectrogram=latents.transpose(1, 2),
    )
    output.sampling_rate = config.sampling_rate
    return output
