"""Recordings of any rate in another speaker's voice."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from ..audio.reading import resampled

if TYPE_CHECKING:
    from ..models.vits import VitsModel

__all__ = ["revoice"]


def revoice(
    model: "VitsModel",
    samples: np.ndarray,
    sampling_rate: int,
    source: int | None,
    target: int | None,
    *,
    noise_scale: float = 1.0,
    seed: int | None = None,
) -> np.ndarray:
    """A recording `[T_samples]` of speaker `source`, spoken by `target`: float32 samples at the model's rate.

    Args:
        model: one with a posterior encoder.
        samples: one channel in [-1, 1].
        sampling_rate: of the recording; another than the model's is resampled, which needs `soxr`.
        source, target: speakers' numbers; None for a model with one speaker, which then says the same again.
        noise_scale: how far latents are drawn from their means; 1 as published, 0 without randomness.
        seed: of that noise; None: torch's global generator.

    Raises:
        ValueError: a model without a posterior encoder, an unknown speaker, or a recording that is too short.
        ImportError: another rate than the model's, and `soxr` is missing.
    """
    if samples.ndim != 1:
        raise ValueError(f"samples must be one channel, [T_samples], got {samples.shape}")
    waveform = torch.from_numpy(resampled(samples, sampling_rate, model.config.sampling_rate))
    with torch.no_grad():
        output = model.convert(waveform, source, target, noise_scale=noise_scale, seed=seed)
    assert output.waveform is not None
    return output.waveform[0].float().cpu().numpy()
