"""A text as the steps that a scheduler computes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..speech.speaker import Speaker
from ..speech.synthesis import DEFAULT_FIRST_CHUNK_FRAMES
from .scheduler import Sentence, Step

__all__ = ["PIECE_FRAMES", "spoken_steps"]

PIECE_FRAMES = 256
"""Frames of a piece behind a sentence's first one: twice those of a stream for one listener. What two pieces both hear
is computed twice, and under load that counts."""


def spoken_steps(speaker: Speaker, text: str, /, *, timestamps: bool = False, **options: Any) -> Iterator[Step]:
    """The steps of a text: of each sentence what is known of it, its pieces, and the pause behind it.

    Put together, the samples are those of `Speaker.stream` with the same options and `chunk_frames=PIECE_FRAMES`. Bad
    input is refused here, before any step.

    Args:
        speaker: the voice.
        text: the text, of any length.
        timestamps: tell when words are heard.
        options: those of `Speaker.sentence_streams`.
    """
    sentences = speaker.sentence_streams(
        text,
        return_timestamps=timestamps,
        chunk_frames=PIECE_FRAMES,
        first_chunk_frames=DEFAULT_FIRST_CHUNK_FRAMES,
        **options,
    )

    def steps() -> Iterator[Step]:
        for one in sentences:
            words = [span for span in one.timestamps or [] if span.kind == "word"]
            yield Sentence(one.index, one.start, one.samples, words)
            yield from one.pieces
            if one.pause:
                yield np.zeros(one.pause, np.float32)

    return steps()
