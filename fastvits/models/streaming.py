"""The waveform piece by piece, with the samples of the whole.

A sample hears a bounded stretch of latents, and a latent a bounded stretch of the prior's: the receptive fields of the
decoder and of the flow, computed from the configuration. A piece decodes the latents that it hears and cuts off what
the ends of that window have spoiled. The flow's outputs are kept until no later piece hears them, so that only its halo
is computed twice.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from ..configuration import VitsConfig
from ..runtime.stages import StageRunner
from .flow import flow_receptive_radius
from .hifigan import decoder_window
from .output import Prior
from .stages import from_latents

Layer: TypeAlias = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]
"""Latents `[B, T, C]`, their lengths `[B]`, speakers `[B, C]` -> `[B, n T, ...]`."""


class PieceStages(NamedTuple):
    """What a piece is made by."""

    flow: Layer
    decoder: Layer
    entered: Callable[[], AbstractContextManager[StageRunner]]
    """A context to compute a piece in, with what runs its stages."""


class _Latents:
    """The flow's outputs, computed as far as asked for and kept as long as needed."""

    def __init__(self, flow: Layer, radius: int, prior: Prior) -> None:
        self.flow, self.radius, self.prior = flow, radius, prior
        self.first = 0  # the frame that `kept` begins with
        self.kept = prior.latents[:, :0]

    def window(self, runner: StageRunner, first: int, last: int, size: int) -> Tensor:
        """The latents `[B, last - first, flow_size]` of the frames `[first, last)`; earlier frames are forgotten.

        `size` is how many frames a piece of this kind adds, wherever it stands: a graph has room for those.
        """
        done = self.first + self.kept.shape[1]
        if last > done:
            frames = self.prior.latents.shape[1]
            begin, end = max(done - self.radius, 0), min(last + self.radius, frames)
            (computed,) = from_latents(
                runner,
                "flow",
                lambda x, lengths, speaker: (self.flow(x, lengths, speaker),),
                self.prior.latents[:, begin:end],
                valid_lengths(self.prior, begin, end),
                (self.prior.frames - begin).clamp(0, end - begin),
                self.prior.speaker,
                room=size + 2 * self.radius,
            )
            self.kept = torch.cat([self.kept, computed[:, done - begin : last - begin]], dim=1)
        self.kept = self.kept[:, first - self.first :]
        self.first = first
        return self.kept[:, : last - first]


def valid_lengths(prior: Prior, begin: int, end: int) -> Tensor | None:
    """How many of the frames `[begin, end)` each item has, or None where all have all."""
    return None if prior.lengths is None else (prior.lengths - begin).clamp(0, end - begin)


def stream_pieces(
    config: VitsConfig, prior: Prior, stages: PieceStages, chunk_frames: int, first_chunk_frames: int
) -> Iterator[Tensor]:
    """Waveforms `[B, n]` of consecutive pieces; see `VitsModel.stream`."""
    frames = prior.latents.shape[1]
    latents = _Latents(stages.flow, flow_receptive_radius(config), prior)
    start, size = 0, first_chunk_frames
    while start < frames:
        stop = min(start + size, frames)
        first, last = decoder_window(config, start, stop)
        first, last = max(first, 0), min(last, frames)
        # A piece in the middle, which is longer than one at an end: one graph serves them all.
        inner_first, inner_last = decoder_window(config, 0, size)
        added = inner_last if start == 0 else size
        # Entered for each piece: a context held across a yield would leak into the caller's code.
        with stages.entered() as runner:
            (waveform,) = from_latents(
                runner,
                "decoder",
                lambda x, lengths, speaker: (stages.decoder(x, lengths, speaker),),
                latents.window(runner, first, last, added),
                valid_lengths(prior, first, last),
                (prior.frames - first).clamp(0, last - first),
                prior.speaker,
                room=inner_last - inner_first,
            )
        hop = waveform.shape[1] // (last - first)
        yield waveform[:, (start - first) * hop : (stop - first) * hop]
        start, size = stop, chunk_frames
