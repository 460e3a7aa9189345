"""Linear and mel spectrograms as VITS is trained with them (Kim et al. 2021, section 3.1; HiFi-GAN, Kong et al. 2020).

Linear: a short-time Fourier transform under a periodic Hann window, not centred, of the waveform reflected by
`(n_fft - hop_length) // 2` samples at both ends, so that `T_samples` give `T_samples // hop_length` frames where
`n_fft - hop_length` is even; magnitudes are `sqrt(re^2 + im^2 + 1e-6)`. Mel: triangular filters of equal area on
Slaney's scale (linear up to 1,000 Hz, logarithmic above), then `ln(max(x, 1e-5))`.

Everything is computed in the waveform's own dtype, float32 or float64, whatever autocast says.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["frame_count", "linear_spectrogram", "log_mel", "mel_filterbank", "mel_spectrogram"]

_POWER_FLOOR = 1e-6
_MEL_FLOOR = 1e-5
_HERTZ_A_MEL = 200 / 3
_BREAK_HERTZ = 1000.0
_BREAK_MEL = _BREAK_HERTZ / _HERTZ_A_MEL
_LOG_STEP = np.log(6.4) / 27
"""Slaney's scale: 200/3 Hz a mel up to 1,000 Hz, then 27 mels for a factor of 6.4."""


def frame_count(samples: int, n_fft: int, hop_length: int) -> int:
    """How many frames a waveform of `samples` samples has."""
    return 1 + (samples + 2 * ((n_fft - hop_length) // 2) - n_fft) // hop_length


def linear_spectrogram(waveform: Tensor, n_fft: int, hop_length: int, window_length: int | None = None) -> Tensor:
    """Magnitudes `[..., n_fft // 2 + 1, T_frames]` of a waveform `[..., T_samples]` in [-1, 1].

    Args:
        waveform: float32 or float64; every item of a batch is heard to the end of the tensor, so items of unequal
            lengths have to be transformed one by one.
        n_fft: samples of a transform, at least `hop_length`.
        hop_length: samples from a frame to the next.
        window_length: samples of the window, in the middle of `n_fft`; None: `n_fft`.

    Raises:
        TypeError: `waveform` is neither float32 nor float64.
        ValueError: sizes that do not fit each other, or a waveform shorter than its own reflection needs.
    """
    if not isinstance(waveform, Tensor) or waveform.dtype not in (torch.float32, torch.float64):
        kind = waveform.dtype if isinstance(waveform, Tensor) else type(waveform).__name__
        raise TypeError(f"waveform must be a float32 or float64 tensor [..., T_samples], got {kind}")
    window_length = n_fft if window_length is None else window_length
    if not 0 < hop_length <= n_fft or not 0 < window_length <= n_fft:
        raise ValueError(
            f"hop_length and window_length must lie in 1 to n_fft ({n_fft}), got {hop_length} and {window_length}"
        )
    reflected = (n_fft - hop_length) // 2
    least = max(reflected + 1, n_fft - 2 * reflected)
    if waveform.dim() < 1 or waveform.shape[-1] < least:
        raise ValueError(f"waveform must have at least {least} samples for n_fft {n_fft}, got {tuple(waveform.shape)}")
    with torch.autocast(waveform.device.type, enabled=False):
        flat = waveform.reshape(-1, 1, waveform.shape[-1])
        padded = pad(flat, (reflected, reflected), mode="reflect").squeeze(1)
        window = torch.hann_window(window_length, dtype=waveform.dtype, device=waveform.device)
        transform = torch.stft(
            padded, n_fft, hop_length, window_length, window, center=False, onesided=True, return_complex=True
        )
        power = torch.view_as_real(transform).square().sum(-1)
        magnitudes = (power + _POWER_FLOOR).sqrt()
    return magnitudes.reshape(*waveform.shape[:-1], *magnitudes.shape[1:])


def _mel_to_hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < _BREAK_MEL, mel * _HERTZ_A_MEL, _BREAK_HERTZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL)))


def _hertz_to_mel(hertz: float) -> float:
    if hertz < _BREAK_HERTZ:
        return hertz / _HERTZ_A_MEL
    return float(_BREAK_MEL + np.log(hertz / _BREAK_HERTZ) / _LOG_STEP)


@lru_cache(maxsize=16)
def mel_filterbank(
    sampling_rate: int, n_fft: int, mel_bins: int, fmin: float = 0.0, fmax: float | None = None
) -> Tensor:
    """Triangular filters `[mel_bins, n_fft // 2 + 1]` in float64, each of area 2 over its width in Hz; do not write to
    it, for it is kept.

    Filter `i` rises from the centre of filter `i - 1` to its own and falls to that of `i + 1`; the centres are equally
    spaced on Slaney's mel scale from `fmin` to `fmax` Hz (None: half of `sampling_rate`).

    Raises:
        ValueError: `fmin` and `fmax` are no band below half the sampling rate.
    """
    half = sampling_rate / 2
    fmax = half if fmax is None else fmax
    if not 0 <= fmin < fmax <= half:
        raise ValueError(f"0 <= fmin < fmax <= {half:g} Hz must hold, got fmin {fmin:g} and fmax {fmax:g}")
    edges = _mel_to_hertz(np.linspace(_hertz_to_mel(fmin), _hertz_to_mel(fmax), mel_bins + 2))
    frequencies = np.arange(n_fft // 2 + 1) * (sampling_rate / n_fft)
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequencies - lower) / (centre - lower), (upper - frequencies) / (upper - centre)
    filters = np.maximum(np.minimum(rising, falling), 0) * (2 / (upper - lower))
    return torch.from_numpy(filters)


def log_mel(
    spectrogram: Tensor, sampling_rate: int, mel_bins: int, fmin: float = 0.0, fmax: float | None = None
) -> Tensor:
    """Log mel spectrogram `[..., mel_bins, T_frames]` of a linear one `[..., n_fft // 2 + 1, T_frames]`; arguments as
    in `mel_filterbank`."""
    filters = mel_filterbank(sampling_rate, 2 * (spectrogram.shape[-2] - 1), mel_bins, fmin, fmax)
    with torch.autocast(spectrogram.device.type, enabled=False):
        return torch.matmul(filters.to(spectrogram), spectrogram).clamp_min(_MEL_FLOOR).log()


def mel_spectrogram(
    waveform: Tensor,
    sampling_rate: int,
    n_fft: int,
    hop_length: int,
    window_length: int | None = None,
    mel_bins: int = 80,
    fmin: float = 0.0,
    fmax: float | None = None,
) -> Tensor:
    """Log mel spectrogram `[..., mel_bins, T_frames]` of a waveform `[..., T_samples]`; see `linear_spectrogram` and
    `mel_filterbank`."""
    return log_mel(linear_spectrogram(waveform, n_fft, hop_length, window_length), sampling_rate, mel_bins, fmin, fmax)
