"""Long texts, spoken sentence by sentence.

`fastvits.text.sentences` cuts the text. Each sentence is one call of the model, with a seed of its own, so that its
samples are those of the plain call on that sentence: `say.sentences(text, seed=7)` gives for sentence `i` what
`say(sentence.text, seed=7 + i)` gives. Between sentences there is silence, exact zeros. Nothing is kept of a sentence
that has been handed out. On a CPU the allocator and oneDNN's cache of generated code grow on the way, ever more slowly.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy
import torch

from ..models.output import VitsModelOutput
from ..text.batch_encoding import BatchEncoding
from ..text.sentences import DEFAULT_MAX_LENGTH, Boundary, Sentence, split_sentences

if TYPE_CHECKING:
    from .pipeline import TextToAudioPipeline

__all__ = [
    "DEFAULT_SENTENCE_SILENCE",
    "SpokenSentence",
    "sentence_seed",
    "silences",
    "speak_sentences",
    "stream_speech",
    "utterances",
]

DEFAULT_SENTENCE_SILENCE = 0.2
"""Seconds of silence between two sentences."""
LONGEST_SILENCE = 3600
"""Seconds of the longest silence that can be asked for; it is memory, too."""

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class SpokenSentence:
    """A sentence of a long text, spoken.

    Attributes:
        index: its number, from 0.
        sentence: what was said, and where it stands in the text.
        audio: float32 samples, `[T_samples]`; empty where the voice has none of the sentence's characters.
        start: the sample of the whole at which it begins.
        pause: samples of silence between it and the next one (0 after the last).
        sampling_rate: samples a second.
        seed: the seed of its random numbers; None where none was given.
        timestamps: where asked for, when its tokens, characters and words are heard: seconds from the beginning of the
            whole, places in the whole text.
    """

    index: int
    sentence: Sentence
    audio: numpy.ndarray
    start: int
    pause: int
    sampling_rate: int
    seed: int | None = None
    timestamps: list[Any] | None = None

    @property
    def audio_with_pause(self) -> numpy.ndarray:
        """The samples and the silence after them; those of all sentences, put together, are the whole speech."""
        return numpy.concatenate([self.audio, numpy.zeros(self.pause, numpy.float32)])


@dataclass(frozen=True)
class Utterance:
    """A sentence about to be spoken: what is known before its samples are, and the samples as they come."""

    index: int
    sentence: Sentence
    start: int
    samples: int
    pause: int
    seed: int | None
    timestamps: list[Any] | None
    pieces: Iterator[numpy.ndarray]


def sentence_seed(seed: int | Sequence[int] | None, index: int) -> int | None:
    """The seed of sentence `index`: `seed + index` for a whole number (from 2**63 - 1 on to 0), the one of that place
    in a sequence, None for None.

    Raises TypeError for what is no whole number, ValueError for a list that is too short or a seed out of range.
    """
    if seed is None:
        return None
    if isinstance(seed, list | tuple):
        if index >= len(seed):
            raise ValueError(f"seed has {len(seed)} numbers, but the text has more sentences: give one a sentence")
        return seed[index]
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be a whole number or a list of one a sentence, not {seed!r}")
    if not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"seed must lie in [0, 2**63), got {seed}")
    return (seed + index) % (LARGEST_SEED + 1)


def silences(sentence_silence: float, paragraph_silence: float | None, sampling_rate: int) -> dict[Boundary, int]:
    """Samples of silence after a piece, by what it ends with: half a sentence's after a clause, none within one.

    Raises TypeError or ValueError for seconds that are no number, negative or more than `LONGEST_SILENCE`.
    """
    if paragraph_silence is None:
        is_number = isinstance(sentence_silence, int | float)
        paragraph_silence = min(sentence_silence * 2, LONGEST_SILENCE) if is_number else 0
    for name, value in (("sentence_silence", sentence_silence), ("paragraph_silence", paragraph_silence)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} must be a number of seconds, not {value!r}")
        if not 0 <= value <= LONGEST_SILENCE:
            raise ValueError(f"{name} must be from 0 to {LONGEST_SILENCE} seconds, not {value!r}")
    return {
        "paragraph": round(paragraph_silence * sampling_rate),
        "sentence": round(sentence_silence * sampling_rate),
        "clause": round(sentence_silence / 2 * sampling_rate),
        "space": 0,
        "cut": 0,
        "end": 0,
    }


def speak_sentences(
    pipeline: TextToAudioPipeline,
    text: str,
    *,
    sentence_silence: float = DEFAULT_SENTENCE_SILENCE,
    paragraph_silence: float | None = None,
    max_length: int = DEFAULT_MAX_LENGTH,
    seed: int | Sequence[int] | None = None,
    return_timestamps: bool = False,
    **controls: Any,
) -> Iterator[SpokenSentence]:
    """Speak a text of any length, sentence by sentence, each when it is asked for.

    Args:
        pipeline: what speaks.
        text: the text.
        sentence_silence: seconds of silence between sentences; between the clauses of a sentence that was too long,
            half of it.
        paragraph_silence: seconds of silence between paragraphs, which empty lines separate; None means twice
            `sentence_silence`.
        max_length: the most characters of a sentence that is spoken whole, as in
            `fastvits.text.sentences.split_sentences`.
        seed: sentence `i` has the seed `seed + i`, or of a sequence its number `i`; None draws from torch's global
            generators.
        return_timestamps: tell when the tokens, characters and words are heard.
        controls: `speaker_id`, `speaker_embedding`, `speaking_rate`, `noise_scale` and `noise_scale_duration`, one for
            the text.

    Raises:
        TypeError: a wrong type or an unknown keyword.
        ValueError: a text without anything to say, or a value out of range.
    """
    spoken = utterances(
        pipeline,
        text,
        sentence_silence=sentence_silence,
        paragraph_silence=paragraph_silence,
        max_length=max_length,
        seed=seed,
        return_timestamps=return_timestamps,
        **controls,
    )
    return (
        SpokenSentence(
            index=one.index,
            sentence=one.sentence,
            audio=next(one.pieces),
            start=one.start,
            pause=one.pause,
            sampling_rate=pipeline.sampling_rate,
            seed=one.seed,
            timestamps=one.timestamps,
        )
        for one in spoken
    )


def stream_speech(
    pipeline: TextToAudioPipeline,
    text: str,
    *,
    chunk_frames: int = 128,
    first_chunk_frames: int | None = 16,
    **options: Any,
) -> Iterator[numpy.ndarray]:
    """Speak a text of any length as a stream of pieces, float32 arrays `[n]`, pauses included.

    Put together they are what `speak_sentences` gives with the same options, pauses included.

    Args:
        pipeline: what speaks.
        text: the text.
        chunk_frames, first_chunk_frames: the size of a piece, and of each sentence's first one, as in
            `VitsModel.stream`.
        options: those of `speak_sentences`, but for `return_timestamps`.
    """
    if "return_timestamps" in options:
        raise TypeError("a stream has no place for timestamps: take speak_sentences, or say --stream --timestamps")
    spoken = utterances(pipeline, text, chunk_frames=chunk_frames, first_chunk_frames=first_chunk_frames, **options)

    def pieces() -> Iterator[numpy.ndarray]:
        for one in spoken:
            yield from one.pieces
            if one.pause:
                yield numpy.zeros(one.pause, numpy.float32)

    return pieces()


def utterances(
    pipeline: TextToAudioPipeline,
    text: str,
    *,
    sentence_silence: float = DEFAULT_SENTENCE_SILENCE,
    paragraph_silence: float | None = None,
    max_length: int = DEFAULT_MAX_LENGTH,
    seed: int | Sequence[int] | None = None,
    return_timestamps: bool = False,
    chunk_frames: int | None = None,
    first_chunk_frames: int | None = None,
    **controls: Any,
) -> Iterator[Utterance]:
    """The sentences of a text as `Utterance`s: with `chunk_frames` in pieces of that size, else each in one.

    Arguments are those of `speak_sentences` and `stream_speech`, which are made of it. An utterance's pieces have to be
    taken before the next utterance is asked for, where no seed is given and so the order of the random numbers counts.
    """
    from .pipeline import CONTROLS

    for name in controls:
        if name not in CONTROLS:
            raise TypeError(f"unknown keyword {name!r}: allowed controls are {', '.join(CONTROLS)}")
    pauses = silences(sentence_silence, paragraph_silence, pipeline.sampling_rate)
    sentence_seed(seed, 0)
    given = {name: value for name, value in controls.items() if value is not None}
    sentences = split_sentences(text, max_length)
    first = next(sentences, None)
    if first is None:
        what = "has no letter, number or symbol" if text.strip() else "is empty"
        raise ValueError(f"text {what}, so that there is nothing to say")

    def spoken() -> Iterator[Utterance]:
        start, said = 0, False
        sentence: Sentence | None = first
        index = 0
        while sentence is not None:
            following = next(sentences, None)
            # A sentence of nothing but what the voice cannot say (the tokenizer warns of it) is passed over.
            encoding = pipeline.tokenizer([sentence.text], return_tensors="pt")
            if pipeline.says_something(encoding):
                said = True
                one_seed = sentence_seed(seed, index)
                keywords = given if one_seed is None else {**given, "seed": one_seed}
                if chunk_frames is None:
                    pieces, output = _whole(pipeline, encoding, keywords)
                else:
                    pieces, output = _in_pieces(pipeline, encoding, keywords, chunk_frames, first_chunk_frames)
                assert output.sequence_lengths is not None
                samples = int(output.sequence_lengths[0])
                spans = None
                if return_timestamps:
                    spans = place_timestamps(
                        pipeline.timestamps(encoding, output), sentence, start / pipeline.sampling_rate
                    )
                pause = pauses[sentence.boundary]
                yield Utterance(index, sentence, start, samples, pause, one_seed, spans, pieces)
                start += samples + pause
            elif following is None and not said:
                raise ValueError("text has no character that this voice can say")
            else:
                empty = iter([numpy.zeros(0, numpy.float32)])
                yield Utterance(
                    index, sentence, start, 0, 0, sentence_seed(seed, index), [] if return_timestamps else None, empty
                )
            sentence = following
            index += 1

    return spoken()


def _whole(
    pipeline: TextToAudioPipeline, encoding: BatchEncoding, keywords: dict[str, Any]
) -> tuple[Iterator[numpy.ndarray], VitsModelOutput]:
    """A sentence in one piece."""
    controls = {name: _one(name, value) for name, value in keywords.items()}
    audio, output = next(iter(pipeline.synthesise([encoding], controls)))
    return iter([audio]), output


def _one(name: str, value: Any) -> list[Any]:
    """A control for one sentence as a list of one."""
    from .pipeline import one_a_text

    return one_a_text(name, value, 1)


def _in_pieces(
    pipeline: TextToAudioPipeline,
    encoding: BatchEncoding,
    keywords: dict[str, Any],
    chunk_frames: int,
    first_chunk_frames: int | None,
) -> tuple[Iterator[numpy.ndarray], VitsModelOutput]:
    """A sentence in pieces; its length and its durations are known before the first."""
    from ..models.inputs import check_frames, to_device
    from ..models.streaming import stream_pieces
    from .pipeline import batch_controls

    check_frames(chunk_frames, "chunk_frames")
    if first_chunk_frames is not None:
        check_frames(first_chunk_frames, "first_chunk_frames")
    model = pipeline.model
    controls = batch_controls({name: _one(name, value) for name, value in keywords.items()})
    with torch.no_grad(), model.selected_backend():
        prior = model.prior(to_device(encoding["input_ids"], pipeline.device), **controls)
    output = VitsModelOutput(
        sequence_lengths=prior.frames.cpu() * math.prod(model.config.upsample_rates),
        durations=prior.text.restored(prior.durations, 1).cpu(),
    )
    pieces = stream_pieces(model, prior, chunk_frames, first_chunk_frames or chunk_frames)
    return (piece[0].to(device="cpu", dtype=torch.float32).numpy() for piece in pieces), output


def place_timestamps(spans: Sequence[Any], sentence: Sentence, seconds: float) -> list[Any]:
    """Timestamps of a sentence as those of the whole: `seconds` later, their places in the whole text.

    Args:
        spans: what `fastvits.timestamps` tells of the sentence.
        sentence: the sentence.
        seconds: when the sentence begins.
    """
    placed = []
    for span in spans:
        first, last = sentence.original_span(span.text_start, span.text_end)
        placed.append(
            dataclasses.replace(
                span, start=span.start + seconds, end=span.end + seconds, text_start=first, text_end=last
            )
        )
    return placed
