"""A line on standard error that tells how far a long job is."""

from __future__ import annotations

import sys
import time
from typing import TextIO

__all__ = ["ProgressLine", "clock"]


def clock(seconds: float) -> str:
    """Seconds as `m:ss` or `h:mm:ss`."""
    whole = max(round(seconds), 0)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressLine:
    """How many items are done, the seconds of audio, the real-time factor and the time left.

    On a terminal one line is written again and again; elsewhere, in a log, a new line every ten seconds.

    Args:
        total: how many items there are; None where nobody knows, and then no time left is told.
        stream: where to; standard error by default.
        width: characters of the bar.
    """

    def __init__(self, total: int | None = None, stream: TextIO | None = None, width: int = 24) -> None:
        self.total = total
        self.stream = sys.stderr if stream is None else stream
        self.width = width
        self.on_terminal = self.stream.isatty()
        self.begun = time.monotonic()
        self._shown = float("-inf") if self.on_terminal else self.begun
        self._open = False

    def line(self, finished: int, fresh: int, audio_seconds: float | None, failed: int) -> str:
        """The line for `finished` items, of which `fresh` were done in this run, with `audio_seconds` of audio (None
        where none is made)."""
        seconds = time.monotonic() - self.begun
        parts = []
        if self.total:
            share = min(finished / self.total, 1.0)
            filled = round(share * self.width)
            parts.append(f"{share:4.0%} [{'#' * filled}{'.' * (self.width - filled)}] {finished}/{self.total}")
        else:
            parts.append(f"{finished} done")
        if audio_seconds is not None:
            parts.append(f"{clock(audio_seconds)} of audio")
        if audio_seconds:
            parts.append(f"real-time factor {seconds / audio_seconds:.3f}")
        if self.total and fresh:
            parts.append(f"{clock(seconds / fresh * max(self.total - finished, 0))} left")
        if failed:
            parts.append(f"{failed} failed")
        return ", ".join(parts)

    def update(
        self, finished: int, fresh: int, audio_seconds: float | None, failed: int, *, last: bool = False
    ) -> None:
        """Show the line, unless it was shown a moment ago and is not the last one."""
        now = time.monotonic()
        if not last and now - self._shown < (0.1 if self.on_terminal else 10.0):
            return
        self._shown = now
        text = self.line(finished, fresh, audio_seconds, failed)
        if self.on_terminal:
            self.stream.write(f"\r\x1b[K{text}" + ("\n" if last else ""))
            self._open = not last
        else:
            self.stream.write(text + "\n")
        self.stream.flush()

    def message(self, text: str) -> None:
        """Write a line of its own, above the progress line."""
        self.stream.write(("\r\x1b[K" if self._open else "") + text + "\n")
        self._open = False
        self.stream.flush()
