"""What the first calls of a model would wait for, done ahead."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..progress import ProgressLine
from .graphs import GraphCache
from .padding import MIN_FRAMES, MIN_TOKENS, padded_size, padded_sizes

DEFAULT_TOKENS = 256
"""The longest text that is prepared for by default, in tokens."""

DEFAULT_FRAMES = 1024
"""The longest audio that is prepared for by default, in frames."""

OPTIONS = ("tokens", "frames", "batch_sizes", "chunk_frames", "progress")

Job = Callable[[int, int], None]
"""Prepares for a batch of so many items of such a size."""


@dataclass(frozen=True)
class WarmupReport:
    """What a warm-up did."""

    graphs: int
    """Graphs recorded."""
    plain: int
    """Stages and sizes that no graph does."""
    seconds: float
    """How long it took."""


def check_warmup(warmup: bool | Mapping[str, Any]) -> dict[str, Any] | None:
    """The keywords of `warm_up` that a loader's argument means; None for no warm-up.

    Raises TypeError or ValueError as `warm_up` would.
    """
    if isinstance(warmup, bool):
        return {} if warmup else None
    if not isinstance(warmup, Mapping):
        raise TypeError(f"warmup must be True, False or a mapping of its keywords, got {type(warmup).__name__}")
    for name in warmup:
        if name not in OPTIONS:
            raise TypeError(f"unknown keyword {name!r} in warmup: allowed are {', '.join(OPTIONS)}")
    for name in OPTIONS:
        if name != "progress" and warmup.get(name) is not None:
            _sizes(name, warmup[name])
    return dict(warmup)


def _sizes(name: str, value: int | Sequence[int]) -> list[int]:
    sizes = [value] if isinstance(value, int) else list(value) if isinstance(value, Sequence) else [value]
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"{name} must be a whole number or a sequence of them, got {value!r}")
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
    if not sizes:
        raise ValueError(f"{name} is empty: name a size, or leave it out")
    return sizes


@dataclass(frozen=True)
class WarmupSizes:
    """What to prepare for: batches of `items`, texts of `tokens`, audio of `frames`, streams in pieces of `pieces`."""

    items: list[int]
    tokens: list[int]
    frames: list[int]
    pieces: list[int]

    def smallest(self) -> "WarmupSizes":
        """The smallest of each kind."""
        return WarmupSizes(self.items[:1], self.tokens[:1], self.frames[:1], self.pieces[:1])


def warmup_sizes(
    tokens: int | Sequence[int] | None,
    frames: int | Sequence[int] | None,
    batch_sizes: int | Sequence[int],
    chunk_frames: int | Sequence[int] | None,
) -> WarmupSizes:
    """The padded sizes that a warm-up's arguments mean; None: all up to the defaults, or no streams.

    Raises TypeError or ValueError for sizes that are no positive whole numbers.
    """
    token_sizes = padded_sizes(1, DEFAULT_TOKENS, MIN_TOKENS) if tokens is None else _sizes("tokens", tokens)
    frame_sizes = padded_sizes(1, DEFAULT_FRAMES, MIN_FRAMES) if frames is None else _sizes("frames", frames)
    return WarmupSizes(
        sorted({padded_size(size) for size in _sizes("batch_sizes", batch_sizes)}),
        sorted({padded_size(size, MIN_TOKENS) for size in token_sizes}),
        sorted({padded_size(size, MIN_FRAMES) for size in frame_sizes}),
        [] if chunk_frames is None else sorted(set(_sizes("chunk_frames", chunk_frames))),
    )


def warm_up(
    sizes: WarmupSizes, text: Job, waveform: Job, stream: Job, cache: GraphCache, *, progress: bool
) -> WarmupReport:
    """Run a job for each size. `cache` tells which of them graphs do, `progress` shows a bar on standard error."""
    begun = time.monotonic()
    jobs = [(text, batch, size) for batch in sizes.items for size in sizes.tokens]
    jobs += [(waveform, batch, size) for batch in sizes.items for size in sizes.frames]
    jobs += [(stream, batch, size) for batch in sizes.items for size in sizes.pieces]
    line = ProgressLine(len(jobs)) if progress else None
    before, plain = cache.statistics().recorded, 0
    for done, (job, batch, size) in enumerate(jobs, start=1):
        replayed = cache.statistics().replayed
        job(batch, size)
        plain += cache.statistics().replayed == replayed
        if line is not None:
            line.update(done, done, None, 0, last=done == len(jobs))
    return WarmupReport(cache.statistics().recorded - before, plain, time.monotonic() - begun)
