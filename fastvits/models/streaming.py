"""The waveform piece by piece, with the samples of the whole.

A sample hears a bounded stretch of latents, and a latent a bounded stretch of the prior's: the receptive fields of the
decoder and of the flow, computed from the configuration. A piece decodes the latents that it hears and cuts off what
the ends of that window have spoiled. The flow's outputs are kept until no later piece hears them, so that only its halo
is computed twice.

A piece has two parts: the flow, which goes on from where the piece before it has left, and the decoder, for which no
other piece waits (`next_windows`, `decoded`).

Streams of one model may have their next pieces computed in one call, wherever each of them stands: their windows lie
side by side, the shorter ones with lengths, so that a piece is the same alone.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from ..configuration import VitsConfig
from ..runtime.stages import StageRunner
from .flow import flow_receptive_radius
from .hifigan import decoder_window
from .inputs import to_device
from .stages import from_latents

Layer: TypeAlias = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]
"""Latents `[B, T, C]`, their lengths `[B]`, speakers `[B, C]` -> `[B, n T, ...]`."""


class PieceStages(NamedTuple):
    """What a piece is made by."""

    flow: Layer
    decoder: Layer
    entered: Callable[[], AbstractContextManager[StageRunner]]
    """A context to compute a piece in, with what runs its stages."""


class PieceSizes(NamedTuple):
    """How streams are cut, a matter of positions only: whoever computes them, and when, cuts them alike.

    A piece that is cut off is decoded with `decoder_window` more frames, and a flow that is cut with its radius more:
    few large ones take less time in all, small ones come early, and several threads compute several at once.
    """

    chunk: int
    """Frames of a piece at the most."""
    first: int
    """Frames of the first one."""
    shared: int = 0
    """Where so many frames or more follow the first piece, they are two pieces or more, for two threads, and whatever
    follows it is divided evenly. 0: every piece has `chunk` frames, and the last one what is left."""
    first_flow: int = 0
    """Frames that the flow reads for the first piece at the least, those that later ones hear too among them."""
    flow: int = 0
    """The same for later pieces."""

    def of(self, start: int, count: int) -> int:
        """The frames of the piece that begins with the frame `start` of `count`."""
        left = count - start
        if start == 0:
            return count if self.shared and 2 * count <= 3 * self.first else min(self.first, count)
        if not self.shared:
            return min(self.chunk, left)
        pieces = math.ceil(left / self.chunk)
        if start == self.first and left >= self.shared:
            pieces = max(pieces, 2)
        return math.ceil(left / pieces)

    def read(self, start: int, first: int, last: int, count: int) -> int:
        """The frame behind those of `count` that the flow reads from `first` on for the piece that begins at `start`,
        which needs it to read up to `last`: rather all that there are than to leave a few."""
        least = self.flow if start else self.first_flow
        last = max(last, first + least)
        return count if count - last < least // 4 else min(last, count)


class Latents(NamedTuple):
    """Latents of one item or several, or a window of them."""

    values: Tensor  # [B, T_frames, flow_size]
    counts: list[int]  # the frames that each item has
    speaker: Tensor | None  # [B, speaker_embedding_size] in the model's dtype

    def window(self, first: int, last: int) -> "Latents":
        """The frames `[first, last)`."""
        counts = [min(max(count - first, 0), last - first) for count in self.counts]
        return Latents(self.values[:, first:last], counts, self.speaker)


_order = itertools.count()


class PieceStream(Iterator[Tensor]):
    """Waveforms `[B, n]` of consecutive pieces; see `VitsModel.stream`. `close()` drops what the rest would need."""

    def __init__(self, config: VitsConfig, prior: Latents, stages: PieceStages, sizes: PieceSizes) -> None:
        self.stages = stages
        self.order = next(_order)
        """Streams that begin later have a greater one."""
        self._rest: _Rest | None = _Rest(config, prior, sizes)

    def __next__(self) -> Tensor:
        if self._rest is None:
            raise StopIteration
        return next_pieces([self])[0]

    @property
    def frames(self) -> int:
        """The frames that the next piece has at the most; 0 at the end."""
        rest = self._rest
        return 0 if rest is None else rest.size

    def close(self) -> None:
        """End it. A piece that another thread is computing is the last."""
        self._rest = None

    def rest(self) -> "_Rest":
        """What is still to come; raises ValueError at the end."""
        if self._rest is None:
            raise ValueError("a stream that is at its end has no next piece")
        return self._rest

    def advance(self, rest: "_Rest") -> None:
        """Go behind the piece that was computed of `rest`."""
        rest.start = rest.stop
        if rest.start >= rest.prior.values.shape[1]:
            self.close()


class _Rest:
    """Where a stream stands, and the flow's outputs, computed as far as asked for and kept as long as needed."""

    def __init__(self, config: VitsConfig, prior: Latents, sizes: PieceSizes) -> None:
        self.prior = prior
        self.start, self.sizes = 0, sizes
        self.config, self.radius = config, flow_receptive_radius(config)
        self.first = 0  # the frame that `kept` begins with
        self.kept = prior.values[:, :0]

    @property
    def size(self) -> int:
        """The frames that the next piece has at the most."""
        if self.start:
            return self.sizes.chunk
        return self.sizes.first if self.stop <= self.sizes.first else 3 * self.sizes.first // 2

    @property
    def stop(self) -> int:
        """The frame behind the next piece."""
        return self.start + self.sizes.of(self.start, self.prior.values.shape[1])

    def heard(self) -> tuple[int, int]:
        """The frames `[first, last)` that the next piece hears."""
        first, last = decoder_window(self.config, self.start, self.stop)
        return max(first, 0), min(last, self.prior.values.shape[1])

    def room(self) -> tuple[int, int]:
        """The most frames that a piece of this size hears, wherever it stands, and that it adds to the flow's outputs:
        one in the middle is longer than one at an end, and one graph serves them all."""
        first, last = decoder_window(self.config, 0, self.size)
        least = self.sizes.flow if self.start else self.sizes.first_flow
        added = (last if self.start == 0 else self.size) + 2 * self.radius
        return last - first, max(added, least + least // 4)

    def missing(self) -> Latents | None:
        """The prior's latents of which the flow has to make what the next piece hears; None where it has."""
        _, last = self.heard()
        done = self.first + self.kept.shape[1]
        if last <= done:
            return None
        count = self.prior.values.shape[1]
        begin = max(done - self.radius, 0)
        return self.prior.window(begin, self.sizes.read(self.start, begin, min(last + self.radius, count), count))

    def keep(self, computed: Tensor) -> None:
        """Take what the flow made of `missing()`: all but what its ends have spoiled."""
        done = self.first + self.kept.shape[1]
        begin = max(done - self.radius, 0)
        read = begin + computed.shape[1]
        last = read if read == self.prior.values.shape[1] else read - self.radius
        self.kept = torch.cat([self.kept, computed[:, done - begin : last - begin]], dim=1)

    def window(self) -> Latents:
        """The flow's outputs that the next piece hears; earlier ones are forgotten."""
        first, last = self.heard()
        self.kept = self.kept[:, first - self.first :]
        self.first = first
        return self.prior.window(first, last)._replace(values=self.kept[:, : last - first])

    def own(self) -> slice:
        """The frames of the next piece among those that it hears."""
        first, _ = self.heard()
        return slice(self.start - first, self.stop - first)

    @property
    def samples(self) -> int:
        """Those of the next piece."""
        return (self.stop - self.start) * math.prod(self.config.upsample_rates)


class PieceWindow(NamedTuple):
    """All that a piece is made of, whatever becomes of its stream; see `next_windows`."""

    stages: PieceStages
    order: int
    heard: Latents
    """The latents that it hears."""
    room: int
    """The most that a piece of its size hears."""
    own: slice
    """Its frames among those that it hears."""
    samples: int


def next_pieces(streams: Sequence[PieceStream]) -> list[Tensor]:
    """The next piece `[B, n]` of each of these different streams of one model, all made by one call of the flow, where
    they need one, and one of the decoder. None of them goes on where that fails.

    Pieces of one size (`PieceStream.frames`) waste the least: the shorter ones are padded.

    Raises ValueError where one of them is at its end.
    """
    rests = [stream.rest() for stream in streams]
    pieces = decoded(_windows(streams, rests))
    _advance(streams, rests)
    return pieces


def next_windows(streams: Sequence[PieceStream]) -> list[PieceWindow]:
    """What the next piece of each of these different streams of one model is made of, computed by one call of the flow
    where they need one; the streams go on, and `decoded` makes the pieces, in any order and in any thread.

    None of them goes on where that fails. Raises ValueError where one of them is at its end.
    """
    rests = [stream.rest() for stream in streams]
    windows = _windows(streams, rests)
    _advance(streams, rests)
    return windows


def decoded(windows: Sequence[PieceWindow]) -> list[Tensor]:
    """The pieces `[B, n]` of these windows of one model, made by one call of the decoder."""
    stages = max(windows, key=lambda window: window.order).stages
    heard = [window.heard for window in windows]
    with stages.entered() as runner:
        waveforms = _in_one_call(runner, "decoder", stages.decoder, heard, max(window.room for window in windows))
    pieces = []
    for window, waveform in zip(windows, waveforms, strict=True):
        hop = waveform.shape[1] // window.heard.values.shape[1]
        pieces.append(waveform[:, window.own.start * hop : window.own.stop * hop])
    # A piece that is kept does not keep those of others.
    return pieces if len(pieces) == 1 else [piece.clone() for piece in pieces]


def _windows(streams: Sequence[PieceStream], rests: Sequence[_Rest]) -> list[PieceWindow]:
    # Of the call that looked at the weights last. Entered for each piece: a context held across a yield would leak into
    # the caller's code.
    stages = max(streams, key=lambda stream: stream.order).stages
    wanting = [(rest, missing) for rest in rests if (missing := rest.missing()) is not None]
    if wanting:
        inputs = [missing for _, missing in wanting]
        with stages.entered() as runner:
            made = _in_one_call(runner, "flow", stages.flow, inputs, max(rest.room()[1] for rest in rests))
        for (rest, _), computed in zip(wanting, made, strict=True):
            rest.keep(computed)
    return [
        PieceWindow(stream.stages, stream.order, rest.window(), rest.room()[0], rest.own(), rest.samples)
        for stream, rest in zip(streams, rests, strict=True)
    ]


def _advance(streams: Sequence[PieceStream], rests: Sequence[_Rest]) -> None:
    for stream, rest in zip(streams, rests, strict=True):
        stream.advance(rest)


def _in_one_call(runner: StageRunner, name: str, layer: Layer, inputs: Sequence[Latents], room: int) -> list[Tensor]:
    """`layer` of each of the inputs `[B, T, C]`, which become one batch; `name` and `room` as in `from_latents`."""
    whole, steps = _side_by_side(inputs), max(one.values.shape[1] for one in inputs)
    lengths = to_device(torch.tensor(whole.counts), whole.values.device)
    (out,) = from_latents(
        runner,
        name,
        lambda x, lengths, speaker: (layer(x, lengths, speaker),),
        whole.values,
        None if min(whole.counts) == steps else lengths,
        lengths,
        whole.speaker,
        room=room,
    )
    hop = out.shape[1] // steps
    made = out.split([len(one.counts) for one in inputs])
    return [part[:, : one.values.shape[1] * hop] for part, one in zip(made, inputs, strict=True)]


def _side_by_side(inputs: Sequence[Latents]) -> Latents:
    """All items of the inputs, with zeros behind the shorter ones."""
    if len(inputs) == 1:
        return inputs[0]
    counts = [count for one in inputs for count in one.counts]
    first = inputs[0].values
    values = first.new_zeros(len(counts), max(one.values.shape[1] for one in inputs), first.shape[2])
    for row, one in zip(values.split([len(one.counts) for one in inputs]), inputs, strict=True):
        row[:, : one.values.shape[1]] = one.values
    speakers = [one.speaker for one in inputs if one.speaker is not None]
    return Latents(values, counts, torch.cat(speakers) if speakers else None)
