"""Samples to the bytes of an answer, as they come.

WAV and FLAC keep the voice's sampling rate. PCM, MP3, Opus and AAC have 24,000 samples a second, which clients of
OpenAI's route take for granted.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from ..audio.compressed import CompressedWriter
from ..audio.files import AudioWriter

__all__ = ["MEDIA_TYPES", "STREAM_RATE", "StreamEncoder"]

STREAM_RATE = 24000
"""Samples a second of PCM, MP3, Opus and AAC."""

MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
"""The formats, and what HTTP calls them."""


class _Sink(io.RawIOBase):
    """A pipe whose bytes are taken away after each write."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


class StreamEncoder:
    """Turns samples into the bytes of one format, piece by piece.

    Args:
        format: one of `MEDIA_TYPES`.
        sampling_rate: samples a second of what comes in.
        rate: samples a second of what goes out; None: the voice's for WAV and FLAC, `STREAM_RATE` for the others.

    Attributes:
        media_type: what HTTP calls it.

    Raises:
        ValueError: an unknown format.
        ImportError: the package that encodes is missing.
    """

    def __init__(self, format: str, sampling_rate: int, rate: int | None = None) -> None:
        if format not in MEDIA_TYPES:
            raise ValueError(f"unknown audio format {format!r}: use {', '.join(MEDIA_TYPES)}")
        self.media_type = MEDIA_TYPES[format]
        if rate is None:
            rate = sampling_rate if format in ("wav", "flac") else STREAM_RATE
        self._resample: Any = None
        if rate != sampling_rate:
            import soxr

            self._resample = soxr.ResampleStream(sampling_rate, rate, 1, dtype="float32")
        self._sink = _Sink()
        file: Any = self._sink
        self._writer: AudioWriter | CompressedWriter
        if format in ("wav", "pcm"):
            self._writer = AudioWriter(file, rate, "raw" if format == "pcm" else format)
        else:
            self._writer = CompressedWriter(file, rate, format)

    def encode(self, audio: np.ndarray) -> bytes:
        """The bytes that float32 samples `[n]` make complete; there may be none yet."""
        self._write(audio if self._resample is None else self._resample.resample_chunk(audio))
        return self._sink.take()

    def finish(self) -> bytes:
        """The last bytes. The encoder takes nothing more."""
        if self._resample is not None:
            self._write(self._resample.resample_chunk(np.zeros(0, np.float32), last=True))
        self._writer.close()
        return self._sink.take()

    def _write(self, audio: np.ndarray) -> None:
        if len(audio):
            self._writer.write(audio)
