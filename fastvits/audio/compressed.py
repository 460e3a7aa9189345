"""MP3, Opus, AAC and FLAC as the samples come, into files and pipes, by FFmpeg's libraries (the package PyAV)."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

__all__ = ["COMPRESSED_FORMATS", "CompressedWriter", "require_av"]


@dataclass(frozen=True)
class _Encoding:
    container: str
    codec: str
    bit_rate: int | None
    options: dict[str, str] = field(default_factory=dict)


# Bit rates at which one channel of speech is not told from the original. Pages of Ogg hold a tenth of a second, so that
# a listener gets what is written; FFmpeg's own choice is a whole second.
_ENCODINGS = {
    "mp3": _Encoding("mp3", "libmp3lame", 96_000),
    "ogg": _Encoding("ogg", "libopus", 48_000, {"page_duration": "100000"}),
    "opus": _Encoding("ogg", "libopus", 48_000, {"page_duration": "100000"}),
    "aac": _Encoding("adts", "aac", 96_000),
    "flac": _Encoding("flac", "flac", None),
}
COMPRESSED_FORMATS = tuple(_ENCODINGS)
"""MP3; Opus in Ogg, under two names; AAC as a stream (ADTS); FLAC."""


def require_av() -> Any:
    """The module that encodes; ImportError with what to install where it is missing."""
    try:
        import av
    except ImportError as error:
        raise ImportError("MP3, Opus and AAC need the package `av`: install `fastvits[audio]`, or write WAV") from error
    return av


class CompressedWriter:
    """Encodes audio into a file or a pipe as it comes.

    Where the format has no such sampling rate (Opus has 8, 12, 16, 24 and 48 kHz), the samples are resampled to the
    next higher one.

    Args:
        file: an open binary file or pipe. It is not closed. A file that can go back gets its length into the header.
        sampling_rate: samples a second.
        format: one of `COMPRESSED_FORMATS`.
        bit_rate: bits a second; None: 96,000 for MP3 and AAC, 48,000 for Opus. FLAC has none.

    Raises:
        ValueError: an unknown format.
        ImportError: the package `av` is missing.
    """

    def __init__(self, file: BinaryIO, sampling_rate: int, format: str, bit_rate: int | None = None) -> None:
        if format not in _ENCODINGS:
            raise ValueError(f"unknown compressed format {format!r}: use {', '.join(COMPRESSED_FORMATS)}")
        self._av = require_av()
        encoding = _ENCODINGS[format]
        self.samples = 0
        self._rate = sampling_rate
        self._file = file
        # A pipe has the method `seek` too, which PyAV would take for a promise.
        self._container = self._av.open(
            file if file.seekable() else _Pipe(file), "w", format=encoding.container, options=encoding.options
        )
        codec = self._av.Codec(encoding.codec, "w")
        self._stream = self._container.add_stream(
            encoding.codec, rate=_next_rate(codec.audio_rates, sampling_rate), layout="mono"
        )
        if encoding.bit_rate is not None:
            self._stream.bit_rate = encoding.bit_rate if bit_rate is None else bit_rate
        self._stream.format = next(one.name for one in codec.audio_formats)
        self._resampler = self._av.AudioResampler(
            format=self._stream.format, layout="mono", rate=self._stream.rate, frame_size=None
        )

    def write(self, audio: np.ndarray) -> None:
        """Append floating-point samples `[n]`; what lies outside [-1, 1] is clipped."""
        if not len(audio):
            return
        samples = np.ascontiguousarray(np.clip(audio, -1.0, 1.0), dtype=np.float32)
        frame = self._av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = self._rate
        frame.pts = self.samples
        frame.time_base = Fraction(1, self._rate)
        self.samples += len(samples)
        self._encode(frame)

    def _encode(self, frame: Any) -> None:
        for resampled in self._resampler.resample(frame):
            for packet in self._stream.encode(resampled):
                self._container.mux(packet)
        self._file.flush()

    def close(self) -> None:
        """Write what the encoder still holds, and complete the header. The file stays open."""
        if self._container is None:
            return
        if self.samples:
            self._encode(None)
        for packet in self._stream.encode(None):
            self._container.mux(packet)
        self._container.close()
        self._container = None
        self._file.flush()

    def __enter__(self) -> CompressedWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()


class _Pipe:
    """What can only be written to."""

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write


def _next_rate(rates: Any, wanted: int) -> int:
    """The lowest of a codec's rates that loses nothing of `wanted`; the highest where none does."""
    if not rates:
        return wanted
    return min((rate for rate in rates if rate >= wanted), default=max(rates))
