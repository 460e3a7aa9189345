"""What the first calls of a model would wait for, done ahead: `VitsModel.warmup`."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ..progress import ProgressLine
from .buckets import LEAST_FRAMES, LEAST_TOKENS, bucket, buckets

if TYPE_CHECKING:
    from ..models.vits import VitsModel

MOST_TOKENS = 256
"""The longest text that is prepared for by default, in tokens."""

MOST_FRAMES = 1024
"""The longest audio that is prepared for by default, in frames."""

OPTIONS = ("tokens", "frames", "batch_sizes", "chunk_frames", "progress")


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
    """The keywords of `VitsModel.warmup` that `from_pretrained`'s argument means; None for no warm-up.

    Raises TypeError or ValueError as `warmup` would.
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


def warm_up(
    model: "VitsModel",
    *,
    tokens: int | Sequence[int] | None,
    frames: int | Sequence[int] | None,
    batch_sizes: int | Sequence[int],
    chunk_frames: int | Sequence[int] | None,
    progress: bool,
) -> WarmupReport:
    """See `VitsModel.warmup`."""
    begun = time.monotonic()
    token_sizes = buckets(1, MOST_TOKENS, LEAST_TOKENS) if tokens is None else _sizes("tokens", tokens)
    frame_sizes = buckets(1, MOST_FRAMES, LEAST_FRAMES) if frames is None else _sizes("frames", frames)
    items = sorted({bucket(size) for size in _sizes("batch_sizes", batch_sizes)})
    texts = sorted({bucket(size, LEAST_TOKENS) for size in token_sizes})
    sounds = sorted({bucket(size, LEAST_FRAMES) for size in frame_sizes})
    pieces = [] if chunk_frames is None else sorted(set(_sizes("chunk_frames", chunk_frames)))
    with torch.inference_mode(False), torch.no_grad(), model.selected_backend():
        if model.graph_limits() is None:
            items, texts, sounds, pieces = items[:1], texts[:1], sounds[:1], pieces[:1]
        jobs: list[tuple[Callable[[int, int], bool], int, int]]
        jobs = [(model.warm_text, batch, size) for batch in items for size in texts]
        jobs += [(model.warm_waveform, batch, size) for batch in items for size in sounds]
        jobs += [(model.warm_stream, batch, size) for batch in items for size in pieces]
        line = ProgressLine(len(jobs)) if progress else None
        before, plain = model.graph_cache.statistics().recorded, 0
        for done, (job, batch, size) in enumerate(jobs, start=1):
            plain += not job(batch, size)
            if line is not None:
                line.update(done, done, None, 0, last=done == len(jobs))
    graphs = model.graph_cache.statistics().recorded - before
    return WarmupReport(graphs, plain, time.monotonic() - begun)
