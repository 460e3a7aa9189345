"""A text as the steps that a scheduler computes, and what of them several texts may have in common."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np

from ..models.streaming import PieceSizes, PieceWindow
from ..speech.controls import SPEAKER_CONTROLS
from ..speech.long_form import PlannedSentence
from ..speech.speaker import Speaker
from ..speech.synthesis import DEFAULT_FIRST_CHUNK_FRAMES, SpeechStream, pieces_together, windows_together
from .utterances import CallItem, Deferred, Sentence, Step

__all__ = ["SIZES", "spoken_samples", "spoken_steps"]

SIZES = PieceSizes(chunk=256, first=DEFAULT_FIRST_CHUNK_FRAMES, shared=96, first_flow=192, flow=320)
"""How sentences are cut. What two pieces both hear is computed twice, and under load that counts: pieces are larger
than those of a stream for one listener, and the flow goes ahead of them. Two threads share even a short sentence."""


def spoken_steps(
    speaker: Speaker, text: str, /, *, timestamps: bool = False, **options: Any
) -> Generator[Step | CallItem | Deferred, Any, None]:
    """The steps of a text: of each sentence what is known of it, its pieces, and the pause behind it.

    Put together, the samples are those of `Speaker.stream` with the same options, but for the last bits. Bad
    input is refused here, before any step. What takes time is a `CallItem`: reading a sentence, its durations, the flow
    of a piece, and its decoder, which what follows does not wait for. Texts that the same speaker object speaks share
    the calls of its model.

    Args:
        speaker: the voice.
        text: the text, of any length.
        timestamps: tell when words are heard.
        options: those of `Speaker.planned_sentences`.
    """
    planned = speaker.planned_sentences(text, **options)

    def steps() -> Generator[Step | CallItem | Deferred, Any, None]:
        start = 0
        while (one := (yield _reading(planned))) is not None:
            stream = None if one.encoding is None else (yield _beginning(speaker, one))
            spans = stream.timestamps() if timestamps and stream is not None else []
            samples = 0 if stream is None else stream.samples
            sentence = one.begun(start, speaker.sampling_rate, samples, iter(()), spans)
            words = [span for span in sentence.timestamps or [] if span.kind == "word"]
            yield Sentence(one.index, start, sentence.samples, words)
            if one.lead:
                yield np.zeros(one.lead, np.float32)
            while stream is not None and (frames := stream.next_frames):
                window = yield _window(speaker, stream)
                yield Deferred(_piece(speaker, window, frames), window.samples)
            if one.pause:
                yield np.zeros(one.pause, np.float32)
            start += sentence.samples + one.pause

    return steps()


def spoken_samples(speaker: Speaker, text: str, /, **options: Any) -> np.ndarray:
    """What a server says of a text, float32 samples `[n]` (with `batch` 1 and as many threads as a step of it has, to
    the last bit): the steps of `spoken_steps` computed one after the other."""
    steps, answer = spoken_steps(speaker, text, **options), None
    heard: list[np.ndarray] = []
    while True:
        try:
            step = steps.send(answer)
        except StopIteration:
            return np.concatenate(heard)
        if isinstance(step, CallItem):
            (answer,) = step.compute([step.given])
            continue
        answer = None
        if isinstance(step, Deferred):
            heard += step.item.compute([step.item.given])
        elif isinstance(step, np.ndarray):
            heard.append(step)


def _reading(planned: Iterator[PlannedSentence]) -> CallItem:
    """The next sentence of a text; None at its end."""
    return CallItem("read", ("read", id(planned)), None, lambda given: [next(planned, None)])


def _beginning(speaker: Speaker, one: PlannedSentence) -> CallItem:
    """A sentence's `SpeechStream`."""

    def compute(planned: Sequence[PlannedSentence]) -> list[SpeechStream]:
        return speaker.begin_together(
            [each.encoding for each in planned if each.encoding is not None],
            [each.controls for each in planned],
            sizes=SIZES,
        )

    # A call is told in one way who speaks.
    way = next((name for name in SPEAKER_CONTROLS if name in one.controls), None)
    return CallItem("text", ("text", speaker, way), speaker, compute, one)


def _window(speaker: Speaker, stream: SpeechStream) -> CallItem:
    """What a stream's next piece is made of; the stream goes on behind it."""
    return CallItem("flow", ("flow", speaker, stream.next_frames), speaker, windows_together, stream)


def _piece(speaker: Speaker, window: PieceWindow, frames: int) -> CallItem:
    """The samples of a window. Pieces of one size are made of windows of one size, but for the first and the last of a
    sentence."""
    return CallItem("piece", ("piece", speaker, frames), speaker, pieces_together, window)
