"""What every front end is: something that reads a text into pieces."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Iterator
from dataclasses import dataclass, field

from ..spans import MaybeSpan, Piece, Spanned

__all__ = ["FrontEnd", "Reading"]


@dataclass
class Reading:
    """A text, read.

    Attributes:
        pieces: its tokens in order, blanks included, each with its span in the text.
        missing: characters or phonemes that the vocabulary lacks and that were left out, in order, each once, and where
            the first of them stood in the text; None where that is not known.
        unknown: ones that it lacks and that stay among the tokens, to be read as the unknown token.
        unread: digits that the voice of espeak-ng has no words for.
        voice: that voice.
    """

    pieces: Spanned
    missing: dict[str, MaybeSpan] = field(default_factory=dict)
    unknown: dict[str, MaybeSpan] = field(default_factory=dict)
    unread: dict[str, MaybeSpan] = field(default_factory=dict)
    voice: str | None = None

    def losses(self) -> Iterator[dict[str, MaybeSpan]]:
        """Each kind of what is lost."""
        yield self.missing
        yield self.unknown
        yield self.unread


class FrontEnd(ABC):
    """From a text to the tokens of one family of voices, each with its span in the original text.

    Attributes:
        blank: the token that stands between all others, or None.
        silent: tokens that nothing is heard of: blanks, marks of beginning and end.
        normalize, split_special_tokens: what `read` does where it is not told.
        reads_letters: whether letters of the text are what the voice knows, as they are or romanised; False for
            phonemes.
        is_romanized: whether uroman makes the letters.
        alphabet: the characters that a voice of letters knows as they are; None for all others.
        corrects_phonemes: whether espeak-ng's phonemes have no language flags, and IPA for its own names of phonemes
            where the vocabulary lacks those.
        reads_raw_phonemes: whether text in double brackets is taken for phonemes.
    """

    blank: str | None
    silent: frozenset[str]
    normalize: bool = True
    split_special_tokens: bool = False
    reads_letters: bool = False
    is_romanized: bool = False
    alphabet: Container[str] | None = None
    reads_raw_phonemes: bool = False
    corrects_phonemes: bool = False

    @abstractmethod
    def read(self, text: str, *, normalize: bool | None = None, split_special_tokens: bool | None = None) -> Reading:
        """Read a text: its tokens at once, their spans when they are asked for.

        Args:
            text: the text.
            normalize: lower-case it and leave out what the vocabulary lacks; None means as the front end was made.
            split_special_tokens: treat special tokens in it as ordinary characters; None likewise.
        """

    def pieces(
        self, text: str, *, normalize: bool | None = None, split_special_tokens: bool | None = None
    ) -> list[Piece]:
        """The tokens of a text, blanks included, each with its span: what `read` gives, as a list.

        Spans are offsets in code points, `text[first:last]`, and not empty; neither their starts nor their ends ever go
        back. A token that stands for nothing in the text has None.
        """
        pieces = self.read(text, normalize=normalize, split_special_tokens=split_special_tokens).pieces
        return list(map(Piece, pieces.characters, pieces.spans()))
