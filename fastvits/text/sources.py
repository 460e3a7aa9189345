"""What an item of an encoding was made of: its texts, and where in them each of its tokens stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .spans import Piece, Spanned

__all__ = ["TokenSource", "pieces_of_sources", "sources_text"]


@dataclass(frozen=True)
class TokenSource:
    """The text that a run of an item's ids was made of, and how; what `fastvits.timestamps` traces ids back with.

    Attributes:
        parts: the text, or its words where it was given in words.
        normalize, split_special_tokens: the settings of the call.
        first, last: of the ids of the whole text, `first:last` were kept; truncation cuts the others.
        readings: of each part its tokens, which know their spans. They follow from the rest, and are not compared.
    """

    parts: tuple[str, ...]
    normalize: bool
    split_special_tokens: bool
    first: int
    last: int
    readings: tuple[Spanned, ...] = field(compare=False, repr=False)


def sources_text(sources: Sequence[TokenSource]) -> str:
    """The text of an item: words that it was given in, and a text and its pair, are joined by a space."""
    return " ".join(part for source in sources for part in source.parts)


def pieces_of_sources(sources: Sequence[TokenSource]) -> list[Piece]:
    """Tokens of an item, those that were kept, each with its span in `sources_text(sources)`.

    Spans are not empty, and neither their starts nor their ends ever go back; None stands for nothing in the text.
    """
    pieces: list[Piece] = []
    offset = 0
    for source in sources:
        of_source: list[Piece] = []
        for part, reading in zip(source.parts, source.readings, strict=True):
            of_source += [
                Piece(token, None if span is None else (span[0] + offset, span[1] + offset))
                for token, span in zip(reading.characters, reading.spans(), strict=True)
            ]
            offset += len(part) + 1
        pieces += of_source[source.first : source.last]
    return pieces
