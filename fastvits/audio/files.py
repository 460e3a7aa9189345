"""Audio into files and pipes, one channel, as the samples come: WAV, FLAC and raw PCM of 16 bits, and compressed."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from .compressed import CompressedWriter

__all__ = [
    "FILE_FORMATS",
    "FORMATS",
    "AudioWriter",
    "audio_format",
    "pcm16",
    "require_flac",
    "write_audio",
    "write_wav",
]

FORMATS = ("wav", "flac", "raw")
"""WAV; FLAC, which the extra `flac` brings; and the samples alone, little-endian."""

FILE_FORMATS = {
    ".wav": "wav", ".flac": "flac", ".raw": "raw", ".pcm": "raw", ".mp3": "mp3", ".ogg": "ogg", ".opus": "opus",
    ".aac": "aac",
}  # fmt: skip
"""Formats by the ends of files' names; the last four are compressed, and come with the extra `audio`."""

_UNKNOWN_SIZE = 0xFFFFFFFF
_HEADER_BYTES = 44


def pcm16(audio: np.ndarray) -> np.ndarray:
    """Floating-point samples as 16-bit integers, `[T_samples]`; what lies outside [-1, 1] is clipped."""
    return np.rint(np.clip(audio, -1.0, 1.0) * 32767.0).astype("<i2")


def audio_format(path: str | os.PathLike[str]) -> str:
    """The format that a file's name asks for; WAV for a name without an end, such as that of a device.

    Raises ValueError for an end that stands for no format that can be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix and suffix not in FILE_FORMATS:
        allowed = ", ".join(FILE_FORMATS)
        raise ValueError(f"audio is written to files that end with {allowed}, not to {os.fspath(path)}")
    return FILE_FORMATS.get(suffix, "wav")


def require_flac() -> Any:
    """The module that writes FLAC; ImportError with what to install where it is missing."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the library behind it is missing
        raise ImportError("FLAC needs the package `soundfile`: install `fastvits[flac]`, or write WAV") from error
    return soundfile


def _wav_header(sampling_rate: int, data_bytes: int) -> bytes:
    """The 44 bytes before the samples of a WAV file; sizes that are unknown or too large are written as the largest."""
    riff_bytes = min(data_bytes + _HEADER_BYTES - 8, _UNKNOWN_SIZE)
    form = struct.pack("<HHIIHH", 1, 1, sampling_rate, 2 * sampling_rate, 2, 16)
    data = struct.pack("<I", min(data_bytes, _UNKNOWN_SIZE))
    return b"RIFF" + struct.pack("<I", riff_bytes) + b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + data


class AudioWriter:
    """Writes audio to a file or a pipe as it comes, and completes the header at the end where it can go back.

    A WAV in a pipe says that its length is unknown (both sizes 0xFFFFFFFF), as players expect of a stream.

    Args:
        file: an open binary file or pipe. It is not closed, but flushed after every write.
        sampling_rate: samples a second.
        format: one of `FORMATS`, or "mp3", "ogg", "opus" or "aac"; FLAC needs a file that can be read back.

    Raises:
        ValueError: an unknown format, or FLAC into a pipe.
        ImportError: FLAC, and `soundfile` is missing; a compressed format, and `av` is missing.
    """

    def __init__(self, file: BinaryIO, sampling_rate: int, format: str = "wav") -> None:
        if format not in FILE_FORMATS.values():
            raise ValueError(f"unknown audio format {format!r}: use {', '.join(dict.fromkeys(FILE_FORMATS.values()))}")
        self._file = file
        self._rate = sampling_rate
        self._format = format
        self._flac: Any = None
        self._compressed: CompressedWriter | None = None
        self.samples = 0
        try:
            self._start: int | None = file.tell() if file.seekable() else None
        except OSError:
            self._start = None
        if format == "flac":
            if self._start is None:
                raise ValueError("FLAC cannot be written to a pipe: write WAV or raw")
            self._flac = require_flac().SoundFile(file, "w", sampling_rate, 1, "PCM_16", format="FLAC")
        elif format == "wav":
            file.write(_wav_header(sampling_rate, _UNKNOWN_SIZE))
        elif format != "raw":
            self._compressed = CompressedWriter(file, sampling_rate, format)

    def write(self, audio: np.ndarray) -> None:
        """Append floating-point samples `[n]`."""
        if self._compressed is not None:
            self._compressed.write(audio)
            self.samples += len(audio)
            return
        samples = pcm16(audio)
        self.samples += len(samples)
        if self._flac is not None:
            self._flac.write(samples)
            return
        self._file.write(samples.tobytes())
        self._file.flush()

    def close(self) -> None:
        """Complete the header. The file stays open."""
        if self._flac is not None:
            self._flac.close()
        elif self._compressed is not None:
            self._compressed.close()
        elif self._format == "wav" and self._start is not None:
            end = self._file.tell()
            self._file.seek(self._start)
            self._file.write(_wav_header(self._rate, 2 * self.samples))
            self._file.seek(end)
        self._file.flush()

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()


def write_audio(
    path: str | os.PathLike[str], audio: np.ndarray, sampling_rate: int, format: str = "wav", *, sync: bool = False
) -> None:
    """Write one channel of audio as a file.

    Args:
        path: the file, overwritten if it exists.
        audio: floating-point samples, shape `[T_samples]`; what lies outside [-1, 1] is clipped.
        sampling_rate: samples a second.
        format: as of an `AudioWriter`.
        sync: return when the file is on the disk and not only on its way.
    """
    with open(path, "w+b") as file:
        with AudioWriter(file, sampling_rate, format) as writer:
            writer.write(audio)
        if sync:
            os.fsync(file.fileno())


def write_wav(path: str | os.PathLike[str], audio: np.ndarray, sampling_rate: int) -> None:
    """Write one channel of audio as a WAV file of 16-bit PCM.

    Args:
        path: the file, overwritten if it exists.
        audio: floating-point samples, shape `[T_samples]`; what lies outside [-1, 1] is clipped. A model's output never
            does, since a hyperbolic tangent ends it.
        sampling_rate: samples a second.
    """
    write_audio(path, audio, sampling_rate, "wav")
