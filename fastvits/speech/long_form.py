"""Long texts, spoken sentence by sentence.

`fastvits.text.sentences` cuts the text. Each sentence is one call of the model, with a seed of its own, so that its
samples are those of the plain call on that sentence: `say.sentences(text, seed=7)` gives for sentence `i` what
`say(sentence.text, seed=7 + i)` gives with the same preparation (`fastvits.text.preparation`). Between sentences there
is silence, exact zeros. Nothing is kept of a sentence that has been handed out. On a CPU the allocator and oneDNN's
cache of generated code grow on the way, ever more slowly.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..text.batch_encoding import BatchEncoding
from ..text.preparation import Preparation
from ..text.sentences import DEFAULT_MAX_LENGTH, Boundary, Sentence, split_sentences
from .controls import CONTROLS
from .parts import DEFAULT_PREPARATION, encoded_parts, language_of
from .script import Script, ScriptSentence
from .synthesis import DEFAULT_CHUNK_FRAMES, DEFAULT_FIRST_CHUNK_FRAMES, Synthesizer
from .timestamps import TimeSpan

__all__ = [
    "DEFAULT_SENTENCE_SILENCE",
    "PlannedSentence",
    "SentenceStream",
    "SpokenSentence",
    "place_timestamps",
    "planned_sentences",
    "sentence_seed",
    "sentence_streams",
    "silences",
    "speak_sentences",
    "stream_speech",
]

logger = logging.getLogger("fastvits")

DEFAULT_SENTENCE_SILENCE = 0.2
"""Seconds of silence between two sentences."""
MAX_SILENCE = 3600
"""Seconds of the longest silence that can be asked for; it is memory, too."""

MAX_SEED = 2**63 - 1


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
    audio: np.ndarray
    start: int
    pause: int
    sampling_rate: int
    seed: int | None = None
    timestamps: list[TimeSpan] | None = None

    @property
    def audio_with_pause(self) -> np.ndarray:
        """The samples and the silence after them; those of all sentences, put together, are the whole speech."""
        return np.concatenate([self.audio, np.zeros(self.pause, np.float32)])


@dataclass(frozen=True)
class SentenceStream:
    """A sentence of a long text about to be spoken: what is known before its samples are, and the samples as they come.

    Attributes:
        index, sentence, start, pause, seed, timestamps: as of a `SpokenSentence`.
        samples: how many samples there will be, the pause not included.
        pieces: the samples, float32 arrays `[n]`; one that has a method `close` can be ended early.
    """

    index: int
    sentence: Sentence
    start: int
    samples: int
    pause: int
    seed: int | None
    timestamps: list[TimeSpan] | None
    pieces: Iterator[np.ndarray]


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
        raise TypeError(f"seed must be a whole number or a list of one a sentence, got {seed!r}")
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must lie in [0, 2**63), got {seed}")
    return (seed + index) % (MAX_SEED + 1)


def silences(
    sentence_silence: float, paragraph_silence: float | None, sampling_rate: int, tail: float = 0.0
) -> dict[Boundary, int]:
    """Samples of silence after a piece, by what it ends with: half a sentence's after a clause, none within one, `tail`
    at the very end. A time that is no whole number of samples is rounded to the nearest.

    Raises TypeError or ValueError for seconds that are no number, negative or more than `MAX_SILENCE`.
    """
    if paragraph_silence is None:
        is_number = isinstance(sentence_silence, int | float)
        paragraph_silence = min(sentence_silence * 2, MAX_SILENCE) if is_number else 0
    for name, value in (
        ("sentence_silence", sentence_silence),
        ("paragraph_silence", paragraph_silence),
        ("tail", tail),
    ):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} must be a number of seconds, got {value!r}")
        if not 0 <= value <= MAX_SILENCE:
            raise ValueError(f"{name} must be from 0 to {MAX_SILENCE} seconds, got {value!r}")
    return {
        "paragraph": round(paragraph_silence * sampling_rate),
        "sentence": round(sentence_silence * sampling_rate),
        "clause": round(sentence_silence / 2 * sampling_rate),
        "space": 0,
        "cut": 0,
        "end": round(tail * sampling_rate),
    }


@dataclass(frozen=True)
class PlannedSentence:
    """A sentence of a long text that has been read, but for which nothing has been computed.

    Attributes:
        index, sentence, pause, seed: as of a `SpokenSentence`.
        encoding: its ids, `[1, T_text]`; None where the voice has none of its characters.
        controls: what a call of the model is asked, the seed included.
        lead: samples of silence before it, which count as its own.
    """

    index: int
    sentence: Sentence
    encoding: BatchEncoding | None
    controls: dict[str, Any]
    lead: int
    pause: int
    seed: int | None

    def begun(
        self,
        start: int,
        sampling_rate: int,
        samples: int,
        pieces: Iterator[np.ndarray],
        timestamps: list[TimeSpan] | None,
    ) -> SentenceStream:
        """The sentence at the sample `start` of the whole, with what a call of the model gave for it: its number of
        samples, they themselves, and when its words are heard from its first sample on."""
        if self.lead:
            samples, pieces = samples + self.lead, _behind_silence(self.lead, pieces)
        if timestamps is not None:
            timestamps = place_timestamps(timestamps, self.sentence, (start + self.lead) / sampling_rate)
        return SentenceStream(self.index, self.sentence, start, samples, self.pause, self.seed, timestamps, pieces)


def speak_sentences(
    synthesizer: Synthesizer,
    text: str | Script,
    *,
    sentence_silence: float = DEFAULT_SENTENCE_SILENCE,
    paragraph_silence: float | None = None,
    tail: float = 0.0,
    max_length: int = DEFAULT_MAX_LENGTH,
    seed: int | Sequence[int] | None = None,
    return_timestamps: bool = False,
    preparation: Preparation | None = DEFAULT_PREPARATION,
    **controls: Any,
) -> Iterator[SpokenSentence]:
    """Speak a text of any length, sentence by sentence, each when it is asked for.

    Args:
        synthesizer: what speaks.
        text: the text, or a script, which has pauses and rates of its own.
        sentence_silence: seconds of silence between sentences; between the clauses of a sentence that was too long,
            half of it.
        paragraph_silence: seconds of silence between paragraphs, which empty lines separate; None means twice
            `sentence_silence`.
        tail: seconds of silence behind the last sentence.
        max_length: the most characters of a sentence that is spoken whole, as in
            `fastvits.text.sentences.split_sentences`.
        seed: sentence `i` has the seed `seed + i`, or of a sequence its number `i`; None draws from torch's global
            generators.
        return_timestamps: tell when the tokens, characters and words are heard.
        preparation: how texts are mended before they are read, all kinds of it where it is not given
            (`fastvits.text.preparation.AS_PUBLISHED` for none); None means as the tokenizer is set.
        controls: `speaker` or `speaker_id` or `speaker_embedding`, `speaking_rate`, `noise_scale` and
            `noise_scale_duration`, one for the text.

    Raises:
        TypeError: a wrong type or an unknown keyword.
        ValueError: a text without anything to say, or a value out of range.
    """
    spoken = sentence_streams(
        synthesizer,
        text,
        sentence_silence=sentence_silence,
        paragraph_silence=paragraph_silence,
        tail=tail,
        max_length=max_length,
        seed=seed,
        return_timestamps=return_timestamps,
        preparation=preparation,
        **controls,
    )
    return (
        SpokenSentence(
            index=one.index,
            sentence=one.sentence,
            audio=next(one.pieces),
            start=one.start,
            pause=one.pause,
            sampling_rate=synthesizer.sampling_rate,
            seed=one.seed,
            timestamps=one.timestamps,
        )
        for one in spoken
    )


def stream_speech(
    synthesizer: Synthesizer,
    text: str | Script,
    *,
    chunk_frames: int = DEFAULT_CHUNK_FRAMES,
    first_chunk_frames: int | None = DEFAULT_FIRST_CHUNK_FRAMES,
    **options: Any,
) -> Iterator[np.ndarray]:
    """Speak a text of any length as a stream of pieces, float32 arrays `[n]`, pauses included.

    Put together they are what `speak_sentences` gives with the same options, pauses included.

    Args:
        synthesizer: what speaks.
        text: the text.
        chunk_frames, first_chunk_frames: the size of a piece, and of each sentence's first one, as in
            `VitsModel.stream`.
        options: those of `speak_sentences`, but for `return_timestamps`.
    """
    if "return_timestamps" in options:
        raise TypeError("a stream has no place for timestamps: take speak_sentences, or say --stream --timestamps")
    spoken = sentence_streams(
        synthesizer, text, chunk_frames=chunk_frames, first_chunk_frames=first_chunk_frames, **options
    )

    def pieces() -> Iterator[np.ndarray]:
        for one in spoken:
            yield from one.pieces
            if one.pause:
                yield np.zeros(one.pause, np.float32)

    return pieces()


def sentence_streams(
    synthesizer: Synthesizer,
    text: str | Script,
    *,
    return_timestamps: bool = False,
    chunk_frames: int | None = None,
    first_chunk_frames: int | None = None,
    **options: Any,
) -> Iterator[SentenceStream]:
    """The sentences of a text, each before it is spoken: with `chunk_frames` in pieces of that size, else in one.

    Arguments are those of `speak_sentences` and `stream_speech`, which are made of it. A sentence's pieces have to be
    taken before the next sentence is asked for, where no seed is given and so the order of the random numbers counts.
    """
    planned = planned_sentences(synthesizer, text, **options)

    def begun(one: PlannedSentence) -> tuple[int, Iterator[np.ndarray], list[TimeSpan] | None]:
        if one.encoding is None:
            return 0, iter([np.zeros(0, np.float32)]), [] if return_timestamps else None
        if chunk_frames is None:
            (speech,) = synthesizer.synthesize([one.encoding], **one.controls)
            return len(speech.audio), iter([speech.audio]), speech.timestamps() if return_timestamps else None
        stream = synthesizer.begin(
            one.encoding, chunk_frames=chunk_frames, first_chunk_frames=first_chunk_frames, **one.controls
        )
        return stream.samples, stream, stream.timestamps() if return_timestamps else None

    def streams() -> Iterator[SentenceStream]:
        start = 0
        for one in planned:
            stream = one.begun(start, synthesizer.sampling_rate, *begun(one))
            yield stream
            start += stream.samples + stream.pause

    return streams()


def planned_sentences(
    synthesizer: Synthesizer,
    text: str | Script,
    *,
    sentence_silence: float = DEFAULT_SENTENCE_SILENCE,
    paragraph_silence: float | None = None,
    tail: float = 0.0,
    max_length: int = DEFAULT_MAX_LENGTH,
    seed: int | Sequence[int] | None = None,
    preparation: Preparation | None = DEFAULT_PREPARATION,
    **controls: Any,
) -> Iterator[PlannedSentence]:
    """The sentences of a text, each read when it is asked for: what the calls of the model are made of.

    Arguments are those of `speak_sentences`, which are checked before this returns.
    """
    for name in controls:
        if name not in CONTROLS and name != "speaker":
            raise TypeError(f"unknown keyword {name!r}: allowed controls are speaker, {', '.join(CONTROLS)}")
    pauses = silences(sentence_silence, paragraph_silence, synthesizer.sampling_rate, tail)
    sentence_seed(seed, 0)
    given = {name: value for name, value in controls.items() if value is not None}
    language = language_of(synthesizer)
    reported: set[str] = set()  # what the voice lacks is told once a text
    if isinstance(text, Script):
        _check_script(synthesizer, text, preparation)
        split_sentences("", max_length)
        units = _units_of_script(text, max_length, language, pauses, synthesizer.sampling_rate)
    else:
        units = ((one, pauses[one.boundary], 1.0) for one in split_sentences(text, max_length, language=language))
    first = next(units, None)
    if first is None:
        written = text.written if isinstance(text, Script) else text
        what = "has no letter, number or symbol" if written.strip() else "is empty"
        raise ValueError(f"text {what}, so that there is nothing to say")
    lead = round(text.lead * synthesizer.sampling_rate) if isinstance(text, Script) else 0

    def planned() -> Iterator[PlannedSentence]:
        index, said = 0, False
        for whole, whole_pause, rate in itertools.chain([first], units):
            for sentence, encoding in encoded_parts(synthesizer, whole, preparation, reported):
                own_seed = sentence_seed(seed, index)
                if synthesizer.says_something(encoding):
                    keywords = given if own_seed is None else {**given, "seed": own_seed}
                    if rate != 1.0:
                        own_rate = given.get("speaking_rate", synthesizer.model.speaking_rate)
                        keywords = {**keywords, "speaking_rate": own_rate * rate}
                    pause = whole_pause if sentence.boundary == whole.boundary else pauses[sentence.boundary]
                    before = 0 if said else lead
                    said = True
                    yield PlannedSentence(index, sentence, encoding, keywords, before, pause, own_seed)
                else:
                    # Nothing but what the voice cannot say, which the tokenizer warns of, is passed over.
                    yield PlannedSentence(index, sentence, None, {}, 0, 0, own_seed)
                index += 1
        if not said:
            raise ValueError("text has no character that this voice can say")

    return planned()


_Unit = tuple[Sentence, int, float]
"""A sentence, the samples of silence behind it, and the factor of its rate."""
_ENDS_SENTENCE = re.compile(r"[.!?\u2026\u0964\u3002\uff01\uff1f\u061f\u06d4][\"'”’»)\]」』]*\s*$")


def _units_of_script(
    script: Script, max_length: int, language: str | None, pauses: dict[Boundary, int], sampling_rate: int
) -> Iterator[_Unit]:
    """The sentences of a script."""
    for number, passage in enumerate(script.passages):
        at_end = pauses["end"]
        if passage.pause is not None:
            at_end = round(passage.pause * sampling_rate)
        elif number + 1 < len(script.passages):
            goes_on = passage.ends is None and _ENDS_SENTENCE.search(passage.text) is None
            at_end = 0 if goes_on else pauses[passage.ends or "sentence"]
        for sentence in split_sentences(passage.text, max_length, language=language):
            pause = at_end if sentence.boundary == "end" else pauses[sentence.boundary]
            yield ScriptSentence.of(sentence, passage, script.written), pause, passage.rate


def _check_script(synthesizer: Synthesizer, script: Script, preparation: Preparation | None) -> None:
    """Refuse phonemes where the voice reads letters; tell where the text says that it is of another language."""
    tokenizer = synthesizer.tokenizer
    if script.has_phonemes and not getattr(getattr(tokenizer, "front_end", None), "reads_raw_phonemes", False):
        raise ValueError("the text holds phonemes, and this voice reads none: only voices from Piper do")
    if script.has_phonemes and preparation is not None and not preparation.inline_phonemes:
        raise ValueError(
            "the text holds phonemes, and its preparation says brackets as text: give inline_phonemes=True"
        )
    codes = [re.split("[-_]", code.lower())[0] for code in (script.language, synthesizer.language) if code]
    if len(codes) == 2 and len(codes[0]) == len(codes[1]) and codes[0] != codes[1]:
        logger.warning("The text says that its language is %s; this voice's is %s.", *codes)


def _behind_silence(samples: int, pieces: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield np.zeros(samples, np.float32)
    yield from pieces


def place_timestamps(spans: Sequence[TimeSpan], sentence: Sentence, seconds: float) -> list[TimeSpan]:
    """Timestamps of a sentence as those of the whole: `seconds` later, their places in the whole text.

    Args:
        spans: what `fastvits.timestamps` tells of the sentence.
        sentence: the sentence.
        seconds: when the sentence begins.
    """
    if isinstance(sentence, ScriptSentence):
        return [
            dataclasses.replace(span, start=span.start + seconds, end=span.end + seconds)
            for span in sentence.as_written(spans)
        ]
    placed = []
    for span in spans:
        first, last = sentence.original_span(span.text_start, span.text_end)
        placed.append(
            dataclasses.replace(
                span, start=span.start + seconds, end=span.end + seconds, text_start=first, text_end=last
            )
        )
    return placed
