"""How loud a stretch of speech is, and made as loud as wanted: a factor, its peak at full scale, or its loudness.

Loudness is that of ITU-R BS.1770-4 for one channel: the signal is weighted as a head and the ear hear it (two biquads),
its mean square is taken over blocks of 0.4 s, and blocks that are silent, or 10 dB below the others, do not count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["NORMALIZATIONS", "TARGET_LOUDNESS", "Levels", "check_levels", "loudness"]

NORMALIZATIONS = ("peak", "loudness")
TARGET_LOUDNESS = -18.0
"""LUFS of speech that is normalized by loudness: what AES TD1008 asks of speech that is sent over the net."""

_BLOCK_SECONDS = 0.4
_SILENCE_LUFS = -70.0
# Below this peak there is nothing to scale up; Piper has the same limit.
_SILENCE_PEAK = 1e-8


def check_levels(volume: object, normalize: object) -> None:
    """Raise TypeError or ValueError unless `volume` is a number from 0 on and `normalize` one of `NORMALIZATIONS` or
    None."""
    if isinstance(volume, bool) or not isinstance(volume, int | float):
        raise TypeError(f"volume must be a number, got {volume!r}")
    if not (math.isfinite(volume) and volume >= 0):
        raise ValueError(f"volume must be finite and >= 0, got {volume!r}")
    if normalize is not None and normalize not in NORMALIZATIONS:
        raise ValueError(f"normalize must be {' or '.join(map(repr, NORMALIZATIONS))} or None, got {normalize!r}")


@dataclass(frozen=True)
class Levels:
    """What to do to the level of every sentence.

    Attributes:
        volume: a factor, applied last.
        normalize: "peak" scales a sentence so that its peak is full scale, as Piper does to every sentence; "loudness"
            so that its loudness is `TARGET_LOUDNESS`, or as near to it as its peak lets it come; None leaves it.
    """

    volume: float = 1.0
    normalize: str | None = None

    def __post_init__(self) -> None:
        check_levels(self.volume, self.normalize)

    def apply(self, audio: np.ndarray, sampling_rate: int) -> np.ndarray:
        """The samples `[n]` of a sentence, scaled; the very same array where there is nothing to do."""
        gain = self.volume
        peak = float(np.abs(audio).max(initial=0.0))
        if self.normalize is not None and peak > _SILENCE_PEAK:
            if self.normalize == "peak":
                gain *= 1.0 / peak
            else:
                found = loudness(audio, sampling_rate)
                wanted = 10.0 ** ((TARGET_LOUDNESS - found) / 20.0) if found > _SILENCE_LUFS else 1.0
                gain *= min(wanted, 1.0 / peak)
        return audio if gain == 1.0 else np.asarray(audio * np.float32(gain), dtype=np.float32)


def loudness(audio: np.ndarray, sampling_rate: int) -> float:
    """The integrated loudness of one channel `[n]` in LUFS; of less than 0.4 s, that of the one block there is. -inf
    for silence."""
    block = round(_BLOCK_SECONDS * sampling_rate)
    weighted = _weighted(np.asarray(audio, dtype=np.float64), sampling_rate)
    if len(weighted) <= block:
        powers = np.array([np.mean(np.square(weighted))]) if len(weighted) else np.zeros(1)
    else:
        sums = np.concatenate([[0.0], np.cumsum(np.square(weighted))])
        # Blocks overlap by three quarters.
        starts = np.rint(np.arange(0, len(weighted) - block + 1, _BLOCK_SECONDS / 4 * sampling_rate)).astype(np.int64)
        powers = (sums[starts + block] - sums[starts]) / block
    with np.errstate(divide="ignore"):
        powers = powers[-0.691 + 10 * np.log10(powers) > _SILENCE_LUFS]
        if not len(powers):
            return -math.inf
        powers = powers[powers > powers.mean() / 10.0]
    return float(-0.691 + 10 * np.log10(powers.mean()))


def _weighted(audio: np.ndarray, sampling_rate: int) -> np.ndarray:
    """The K-weighted signal: a shelf that lifts what is above 1.7 kHz by 4 dB, and a high-pass at 38 Hz.

    The filters are applied through the Fourier domain; what they ring for is over within the padding.
    """
    if not len(audio):
        return audio
    size = 1 << (len(audio) + sampling_rate // 2 - 1).bit_length()
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    response = np.ones_like(z)
    for numerator, denominator in (_high_shelf(sampling_rate), _high_pass(sampling_rate)):
        response *= np.polyval(numerator[::-1], z) / np.polyval(denominator[::-1], z)
    return np.fft.irfft(np.fft.rfft(audio, size) * response, size)[: len(audio)]


# The two filters of BS.1770 are given for 48 kHz; these analogue prototypes give its coefficients there, and the same
# filters at every other rate by the bilinear transform.


def _high_shelf(sampling_rate: int) -> tuple[list[float], list[float]]:
    k = math.tan(math.pi * 1681.974450955533 / sampling_rate)
    q, high = 0.7071752369554196, 10.0 ** (3.999843853973347 / 20.0)
    band = high**0.4996667741545416
    scale = 1.0 + k / q + k * k
    numerator = [
        (high + band * k / q + k * k) / scale,
        2.0 * (k * k - high) / scale,
        (high - band * k / q + k * k) / scale,
    ]
    return numerator, [1.0, 2.0 * (k * k - 1.0) / scale, (1.0 - k / q + k * k) / scale]


def _high_pass(sampling_rate: int) -> tuple[list[float], list[float]]:
    k = math.tan(math.pi * 38.13547087602444 / sampling_rate)
    q = 0.5003270373238773
    scale = 1.0 + k / q + k * k
    return [1.0, -2.0, 1.0], [1.0, 2.0 * (k * k - 1.0) / scale, (1.0 - k / q + k * k) / scale]
