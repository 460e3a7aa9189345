"""Voices of the hub that read characters, and what all the published front ends have in common.

The way of a text: casing is normalised, what a family does to it follows (`transcribed`), and what is left is looked up
character by character, a blank between all of them and at both ends.

A quirk of the published tokenizer that every trained checkpoint knows, and that is kept: special tokens are cut out of
the text first. In the MMS vocabularies the pad token is a letter, in English `k`, so a `k` stands without blanks of its
own. With `_` for the blank, "ab" is `_ a _ b _`, and "akb" is `_ a _ k _ b _`: a segment, the letter, a segment.
"""

from __future__ import annotations

from ..spans import Arranged, MaybeSpan, Original, Rewritten, Spanned
from ..vocabulary import Vocabulary
from .base import FrontEnd, Reading

__all__ = ["CharacterFrontEnd"]


class CharacterFrontEnd(FrontEnd):
    """Characters, looked up as they are.

    Args:
        vocabulary: the tokens.
        silent: tokens that nothing is heard of, beside the blank.
        add_blank: put the token of id 0 between all tokens and at both ends.
        normalize, split_special_tokens: what `read` does where it is not told.
        language: ISO 639-3 code; "ron" turns `ț` into `ţ`.
    """

    reads_letters = True

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        silent: frozenset[str] = frozenset(),
        add_blank: bool = True,
        normalize: bool = True,
        split_special_tokens: bool = False,
        language: str | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self.alphabet = vocabulary.encoder
        self.blank = vocabulary.decoder[0] if add_blank else None
        self.silent = silent if self.blank is None else silent | {self.blank}
        self.normalize = normalize
        self.split_special_tokens = split_special_tokens
        self.language = language

    def read(self, text: str, *, normalize: bool | None = None, split_special_tokens: bool | None = None) -> Reading:
        normalize = self.normalize if normalize is None else normalize
        split = self.split_special_tokens if split_special_tokens is None else split_special_tokens
        missing: dict[str, MaybeSpan] = {}
        written: Spanned = Original(text)
        if normalize:
            written = self._cased(written)
        if self.language == "ron" and "ț" in str(written):
            letters = str(written).replace("ț", "ţ")
            written = Rewritten(written, letters, [(len(letters), 0, len(letters), True)])
        return self._laid_out(self.transcribed(written, normalize, missing), split, missing)

    def transcribed(self, text: Spanned, normalize: bool, missing: dict[str, MaybeSpan]) -> Spanned:
        """What of a text is looked up; adds to `missing` the characters that are left out."""
        return self.kept(text, missing) if normalize else text

    def kept(self, text: Spanned, missing: dict[str, MaybeSpan]) -> Rewritten:
        """The characters that the vocabulary has, without white space at the ends."""
        encoder = self.vocabulary.encoder
        written = str(text)
        lacking = dict.fromkeys(character for character in written.strip() if character not in encoder)
        if lacking:
            spans = text.spans()
            missing.update((character, spans[written.index(character)]) for character in lacking)
        kept = [number for number, character in enumerate(written) if character in encoder]
        first, last = 0, len(kept)
        while first < last and written[kept[first]].isspace():
            first += 1
        while last > first and written[kept[last - 1]].isspace():
            last -= 1
        return Rewritten.of(text, ((written[number], number, number + 1) for number in kept[first:last]))

    def _cased(self, text: Spanned) -> Rewritten:
        position = 0
        pieces = []
        for piece, width in self.vocabulary.cased_pieces(str(text)):
            pieces.append((piece, position, position + width))
            position += width
        return Rewritten.of(text, pieces)

    def _laid_out(self, text: Spanned, split_special_tokens: bool, missing: dict[str, MaybeSpan]) -> Reading:
        """The characters with blanks, special tokens cut out."""
        vocabulary, written = self.vocabulary, str(text)
        unknown: dict[str, MaybeSpan] = {}
        tokens = Arranged(text)
        # Uncut, an empty text is one blank: the published tokenizer's, and so ours.
        segments = [(0, len(written), False)] if split_special_tokens else vocabulary.segments(written)
        for start, end, is_added in segments:
            piece = written[start:end]
            if is_added:
                tokens.put(piece, start, end)
                continue
            tokens.put_each(piece, start, self.blank)
            unknown.update(dict.fromkeys(c for c in piece if c not in vocabulary))
        return Reading(tokens, missing, unknown)
