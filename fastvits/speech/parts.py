"""Sentences of a long text and their encodings, bounded by what they become: a word that is spelled out is cut."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from ..text.batch_encoding import BatchEncoding
from ..text.preparation import Preparation
from ..text.sentences import Sentence, split_sentences
from ..text.tokenization import VitsTokenizer
from .script import ScriptSentence
from .synthesis import Synthesizer

__all__ = ["DEFAULT_PREPARATION", "MAX_TOKENS", "encoded_parts", "language_of", "sentence_encoding"]

DEFAULT_PREPARATION = Preparation()
"""What is done to long texts: everything that there is."""
MIN_LENGTH = 20
"""Characters of the shortest part that a sentence is cut into."""
MAX_TOKENS = 400
"""Tokens that are heard in one piece, some 28 seconds of speech. Sentences of ordinary words stay below it, which the
number of their characters bounds; an address or a key that is spelled out does not."""
_WANTED_TOKENS = 280  # some 20 seconds


def language_of(synthesizer: Synthesizer) -> str | None:
    """The code of the language whose abbreviations do not end sentences; None where the tokenizer does not tell."""
    return getattr(synthesizer.tokenizer, "language_code", None)


def sentence_encoding(
    synthesizer: Synthesizer, sentence: Sentence, preparation: Preparation | None, reported: set[str]
) -> BatchEncoding:
    """The encoding of a sentence `[1, T_text]`, mended as long texts are; what the voice lacks is told once for all
    that share `reported`."""
    # Another library's tokenizer knows neither.
    own: dict[str, Any] = {"preparation": preparation, "reported": reported}
    options = own if isinstance(synthesizer.tokenizer, VitsTokenizer) else {}
    encoding: BatchEncoding = synthesizer.tokenizer([sentence.text], return_tensors="pt", **options)
    return encoding


def encoded_parts(
    synthesizer: Synthesizer, sentence: Sentence, preparation: Preparation | None, reported: set[str]
) -> Iterator[tuple[Sentence, BatchEncoding]]:
    """A sentence and its encoding; or, where it becomes more than `MAX_TOKENS`, parts of it and theirs.

    The boundary of the last part is the sentence's; the others end with a clause, a space or a cut.
    """
    encoding = sentence_encoding(synthesizer, sentence, preparation, reported)
    heard = synthesizer.heard_tokens(encoding)
    # Phonemes in the text are not cut.
    if heard <= MAX_TOKENS or len(sentence.text) < 2 * MIN_LENGTH or "[[" in sentence.text:
        yield sentence, encoding
        return
    length = max(math.ceil(len(sentence.text) * _WANTED_TOKENS / heard), MIN_LENGTH)
    parts = list(split_sentences(sentence.text, length))
    for number, part in enumerate(parts):
        is_last = number + 1 == len(parts)
        first, last = part.start, part.end
        own: dict[str, Any] = {
            "start": sentence.start if number == 0 else sentence.positions[first],
            "end": sentence.end if is_last else sentence.positions[last],
            "text": part.text,
            "positions": tuple(sentence.positions[position] for position in part.positions),
            "boundary": sentence.boundary if is_last else part.boundary,
        }
        if isinstance(sentence, ScriptSentence):
            own["places"] = tuple(sentence.places[position] for position in part.positions)
        piece = dataclasses.replace(sentence, **own)
        yield piece, sentence_encoding(synthesizer, piece, preparation, reported)
