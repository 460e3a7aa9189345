"""Spectrograms are the published ones: librosa's filters, and the formula written out in float64."""

import math

import numpy as np
import pytest
import torch

from fastvits.audio.spectrogram import frame_count, linear_spectrogram, log_mel, mel_filterbank, mel_spectrogram
from tests.support.tolerances import SPECTROGRAM_FLOAT32, SPECTROGRAM_FLOAT64

# From librosa 0.11.0: librosa.filters.mel(sr=..., n_fft=..., n_mels=..., fmin=..., fmax=..., dtype=float64): the sum of
# all filters, the sum of their squares, and the peak (bin, value) of the first, the middle and the last.
LIBROSA = {
    (22050, 1024, 80, 0.0, None): (
        3.7146471721459062,
        0.03377944547864759,
        [(2, 0.023165586793109164), (94, 0.011514986988122547), (491, 0.002208118609031178)],
    ),
    (16000, 1024, 80, 0.0, None): (
        5.118657633003991,
        0.05550472673954551,
        [(2, 0.022534560750290804), (110, 0.014444176346352967), (493, 0.0033306334078876555)],
    ),
    (24000, 2048, 128, 30.0, 11000.0): (
        10.923151482355308,
        0.15796911704367544,
        [(5, 0.034474148782624246), (174, 0.018247696027289043), (914, 0.0035036014801726988)],
    ),
    (8000, 256, 20, 50.0, 3800.0): (
        0.6403217177638165,
        0.002939867494615687,
        [(5, 0.0093008634774504), (40, 0.006516349778450568), (109, 0.002641212028879955)],
    ),
}


@pytest.mark.parametrize("arguments", LIBROSA)
def test_filters_are_librosas(arguments):
    filters = mel_filterbank(*arguments).numpy()
    total, squares, peaks = LIBROSA[arguments]
    assert filters.shape == (arguments[2], arguments[1] // 2 + 1)
    assert filters.sum() == pytest.approx(total, rel=SPECTROGRAM_FLOAT64)
    assert np.square(filters).sum() == pytest.approx(squares, rel=SPECTROGRAM_FLOAT64)
    for row, (place, value) in zip((0, len(filters) // 2, -1), peaks, strict=True):
        assert filters[row].argmax() == place
        assert filters[row].max() == pytest.approx(value, rel=SPECTROGRAM_FLOAT64)


def written_out(samples, n_fft, hop, window_length):
    """The linear spectrogram `[bins, T_frames]` by the definition, a frame at a time."""
    reflected = (n_fft - hop) // 2
    padded = np.pad(samples, reflected, mode="reflect")
    n = np.arange(window_length)
    window = np.zeros(n_fft)
    start = (n_fft - window_length) // 2
    window[start : start + window_length] = 0.5 - 0.5 * np.cos(2 * math.pi * n / window_length)
    columns = []
    for first in range(0, len(padded) - n_fft + 1, hop):
        spectrum = np.fft.rfft(padded[first : first + n_fft] * window)
        columns.append(np.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-6))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize(
    ("n_fft", "hop", "window_length"), [(1024, 256, None), (512, 200, 400), (64, 8, 64), (30, 7, 21)]
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_linear_spectrogram_is_the_published_formula(n_fft, hop, window_length, dtype):
    generator = torch.Generator().manual_seed(0)
    waveform = torch.rand(2, 3000, generator=generator, dtype=torch.float64) - 0.5
    made = linear_spectrogram(waveform.to(dtype), n_fft, hop, window_length)
    expected = np.stack([written_out(row.numpy(), n_fft, hop, window_length or n_fft) for row in waveform])
    assert made.shape == expected.shape
    assert made.shape[-1] == frame_count(3000, n_fft, hop)
    if (n_fft - hop) % 2 == 0:
        assert made.shape[-1] == 3000 // hop
    allowed = SPECTROGRAM_FLOAT64 if dtype == torch.float64 else SPECTROGRAM_FLOAT32
    assert np.abs(made.numpy() - expected).max() <= allowed * expected.max()


def test_mel_is_the_logarithm_of_the_filtered_clamped():
    waveform = torch.zeros(4000, dtype=torch.float64)
    waveform[2000:] = torch.rand(2000, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5
    linear = linear_spectrogram(waveform, 256, 64)
    filters = mel_filterbank(16000, 256, 20, 0.0, 6000.0).numpy()
    expected = np.log(np.maximum(filters @ linear.numpy(), 1e-5))
    np.testing.assert_allclose(log_mel(linear, 16000, 20, 0.0, 6000.0), expected, rtol=SPECTROGRAM_FLOAT64)
    whole = mel_spectrogram(waveform, 16000, 256, 64, mel_bins=20, fmax=6000.0)
    np.testing.assert_allclose(whole, expected, rtol=SPECTROGRAM_FLOAT64)


def test_autocast_leaves_spectrograms_in_float32():
    waveform = torch.rand(2000, generator=torch.Generator().manual_seed(2)) - 0.5
    plain = mel_spectrogram(waveform, 16000, 256, 64, mel_bins=20)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = mel_spectrogram(waveform, 16000, 256, 64, mel_bins=20)
    assert under.dtype == torch.float32
    assert torch.equal(under, plain)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: linear_spectrogram(torch.zeros(100, dtype=torch.int64), 64, 8), TypeError, "float32 or float64"),
        (lambda: linear_spectrogram(torch.zeros(10), 64, 8), ValueError, "at least 29 samples"),
        (lambda: linear_spectrogram(torch.zeros(100), 64, 65), ValueError, "hop_length"),
        (lambda: linear_spectrogram(torch.zeros(100), 64, 8, 65), ValueError, "window_length"),
        (lambda: mel_filterbank(16000, 64, 10, 0.0, 9000.0), ValueError, "8000 Hz"),
    ],
)
def test_what_cannot_be_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
