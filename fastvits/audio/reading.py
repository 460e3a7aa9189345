"""Recordings into samples: files of any rate and any number of channels, one channel at one rate out.

WAV files of 8, 16, 24 and 32 bits need nothing but Python; FLAC, Ogg, MP3 and WAV files of other kinds need
`soundfile`, and another sampling rate `soxr`: both come with the extra `train`.
"""

import contextlib
import os
import wave
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = ["AudioInfo", "audio_info", "mixed_down", "read_audio", "resampled", "trimmed"]


class AudioInfo(NamedTuple):
    """What a file's header says."""

    samples: int  # of one channel
    sampling_rate: int
    channels: int

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.samples / self.sampling_rate


def _soundfile(path: Path) -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the library behind it is missing
        raise ImportError(
            f"{path.name} needs the package `soundfile` to be read: install `fastvits[train]`, or use WAV files of PCM"
        ) from error
    return soundfile


def _plain_wave(path: Path) -> wave.Wave_read | None:
    """The file opened by Python's own reader; None where it is no WAV file of PCM."""
    if path.suffix.lower() not in (".wav", ".wave"):
        return None
    try:
        return wave.open(os.fspath(path), "rb")
    except (wave.Error, EOFError):
        return None


def audio_info(path: str | os.PathLike[str]) -> AudioInfo:
    """What the header of a file says, without its samples.

    Raises:
        OSError: the file is not there, or is no audio that can be read.
        ImportError: the file's kind needs `soundfile`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist" if not path.exists() else f"{path} is no file")
    reader = _plain_wave(path)
    if reader is not None:
        with contextlib.closing(reader):
            return AudioInfo(reader.getnframes(), reader.getframerate(), reader.getnchannels())
    soundfile = _soundfile(path)
    try:
        info = soundfile.info(os.fspath(path))
    except (RuntimeError, TypeError) as error:
        raise OSError(f"{path} cannot be read as audio: {str(error).splitlines()[0].rstrip('.')}") from error
    return AudioInfo(info.frames, info.samplerate, info.channels)


def read_audio(path: str | os.PathLike[str]) -> tuple[np.ndarray, int]:
    """Samples `[channels, T_samples]` in float32 within [-1, 1], and the sampling rate.

    Raises:
        OSError: the file is not there, is no audio that can be read, or ends before its header says.
        ImportError: the file's kind needs `soundfile`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist" if not path.exists() else f"{path} is no file")
    reader = _plain_wave(path)
    if reader is not None:
        with contextlib.closing(reader):
            frames, rate, width = reader.getnframes(), reader.getframerate(), reader.getsampwidth()
            channels, data = reader.getnchannels(), reader.readframes(frames)
        if len(data) != frames * channels * width:
            raise OSError(f"{path} is cut off: it holds {len(data)} of {frames * channels * width} bytes of sound")
        return _from_pcm(data, width).reshape(frames, channels).T.copy(), rate
    soundfile = _soundfile(path)
    try:
        samples, rate = soundfile.read(os.fspath(path), dtype="float32", always_2d=True)
    except (RuntimeError, TypeError) as error:
        raise OSError(f"{path} cannot be read as audio: {str(error).splitlines()[0].rstrip('.')}") from error
    return np.ascontiguousarray(samples.T), int(rate)


def _from_pcm(data: bytes, width: int) -> np.ndarray:
    """Little-endian PCM of `width` bytes a sample as float32; 8 bits are unsigned."""
    if width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    if width == 3:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return (wide.view("<i4")[:, 0] / 2**31).astype(np.float32)
    return (np.frombuffer(data, f"<i{width}") / 2.0 ** (8 * width - 1)).astype(np.float32)


def mixed_down(samples: np.ndarray, mix: bool) -> np.ndarray:
    """One channel `[T_samples]` of `[channels, T_samples]`; several are averaged with `mix`.

    Raises:
        ValueError: several channels, and `mix` is False.
    """
    if len(samples) == 1:
        return samples[0]
    if not mix:
        raise ValueError(f"has {len(samples)} channels, and one is needed: ask for them to be mixed down")
    return samples.mean(0, dtype=np.float32)


def resampled(samples: np.ndarray, sampling_rate: int, wanted_rate: int) -> np.ndarray:
    """`[T_samples]` at another rate, float32, band-limited by soxr in its best quality.

    Raises:
        ImportError: the rates differ and `soxr` is missing.
    """
    if sampling_rate == wanted_rate:
        return np.ascontiguousarray(samples, np.float32)
    try:
        import soxr
    except ImportError as error:
        raise ImportError(
            f"audio of {sampling_rate} Hz has to become {wanted_rate} Hz, which needs `soxr`: install `fastvits[train]`"
        ) from error
    return np.ascontiguousarray(soxr.resample(samples, sampling_rate, wanted_rate, quality="VHQ"), np.float32)


def trimmed(samples: np.ndarray, sampling_rate: int, decibels: float, margin_seconds: float = 0.05) -> np.ndarray:
    """`[T_samples]` without the silence at both ends: what is more than `decibels` below the loudest 25 ms, but for
    `margin_seconds` of it. All of it where nothing is louder than that."""
    width = max(sampling_rate // 40, 1)
    blocks = -(-len(samples) // width)
    if not blocks:
        return samples
    padded = np.zeros(blocks * width)
    padded[: len(samples)] = samples
    power = np.square(padded).reshape(blocks, width).mean(1)
    loud = np.flatnonzero(power > power.max() * 10 ** (-decibels / 10))
    if not len(loud):
        return samples
    margin = round(margin_seconds * sampling_rate)
    return samples[max(loud[0] * width - margin, 0) : (loud[-1] + 1) * width + margin]
