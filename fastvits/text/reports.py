"""What a text loses on its way to tokens, in words for the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .front_ends.base import Reading
from .spans import MaybeSpan

__all__ = ["losses"]

_LONGEST_WORD = 24


def losses(
    texts: Sequence[str], readings: Iterable[Reading], unk_token: str | None, reported: set[str] | None = None
) -> str | None:
    """One sentence or two about all that texts lose: characters, and of each the word in which it stood first.

    Args:
        texts, readings: the parts of a text, and how each was read.
        unk_token: what unknown characters are read as.
        reported: characters that were told before, and are not again; what is told joins them.

    Returns:
        the sentences; None where nothing new is lost.
    """
    missing: dict[str, str] = {}
    unknown: dict[str, str] = {}
    unread: dict[str, str] = {}
    voice = None
    for text, reading in zip(texts, readings, strict=True):
        for found, lost in ((missing, reading.missing), (unknown, reading.unknown), (unread, reading.unread)):
            for character, span in lost.items():
                if reported is None or character not in reported:
                    found.setdefault(character, _word(text, span))
        voice = reading.voice or voice
    if reported is not None:
        reported.update(missing, unknown, unread)
    lacks = []
    if missing:
        lacks.append(f"{_named(missing)} (left out)")
    if unknown:
        lacks.append(f"{_named(unknown)} (read as {unk_token})")
    whole = " ".join(texts)
    sentences = []
    if lacks:
        sentences.append(f"The vocabulary lacks {' and '.join(lacks)} of the text {_shortened(whole)}.")
    if unread:
        sentences.append(
            f"The espeak-ng voice {voice!r} does not read {_named(unread)} of the text {_shortened(whole)}."
        )
    return " ".join(sentences) or None


def _word(text: str, span: MaybeSpan) -> str:
    """The word around a span; nothing where it is not known, or no longer than the span."""
    if span is None:
        return ""
    first, last = span
    while first > 0 and span[0] - first < _LONGEST_WORD and not text[first - 1].isspace():
        first -= 1
    while last < len(text) and last - span[1] < _LONGEST_WORD and not text[last].isspace():
        last += 1
    return text[first:last] if (first, last) != span else ""


def _named(characters: Mapping[str, str]) -> str:
    """`'é' (U+00E9) in 'café'`: readable even where a font lacks the character."""
    return ", ".join(
        f"{character!r} ({' '.join(f'U+{ord(point):04X}' for point in character)})" + (f" in {word!r}" if word else "")
        for character, word in characters.items()
    )


def _shortened(text: str, limit: int = 60) -> str:
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")
