"""Letters that look like others, as the ones that a voice knows.

Texts hold accents apart from their letters, ligatures, bold and full-width letters, apostrophes of several kinds. They
mean plain letters, and are read as such. A voice that reads letters itself has an alphabet; where that lacks a
character, the nearest one that it has stands for it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterator
from functools import lru_cache

from .spans import Rewritten, Spanned, substituted

__all__ = ["folded", "folded_to", "readable_by_espeak"]

APOSTROPHES = "'\u2019\u02bc\u02bb\u2018\u201b\u2032\u02b9\uff07`\u00b4"
_INNER_APOSTROPHE = re.compile(r"(?<=[^\W\d_])[\u02bc\u02bb\u201b\u2032\uff07`\u00b4](?=[^\W\d_])")
# A letter with the marks that belong to it.
_CLUSTER = re.compile(r"[^\W_][\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u064b-\u065f\u3099\u309a]*", re.DOTALL)
_READ_AS_PLAIN = frozenset(["<font>", "<wide>", "<narrow>", "<initial>", "<medial>", "<final>", "<isolated>"])
# Letters and digits in a circle, and units in a square: "①", "㎞".
_SHOWN_WITHIN = frozenset(["<circle>", "<square>"])
_LIGATURES = ("LATIN", "GREEK", "ARMENIAN", "CYRILLIC")


@lru_cache(maxsize=4096)
def _plain(character: str) -> str:
    """A ligature, or a bold, full-width or positional form of a letter or digit, as the letters that it shows."""
    kind = unicodedata.decomposition(character).partition(" ")[0]
    category = unicodedata.category(character)
    if kind in _READ_AS_PLAIN and (category[0] == "L" or category == "Nd"):
        return unicodedata.normalize("NFKC", character)
    if kind in _SHOWN_WITHIN or (category == "Nl" and kind == "<compat>"):
        shown = unicodedata.normalize("NFKC", character)
        return shown if shown.isalnum() and shown.isascii() else character
    if kind == "<compat>" and category[0] == "L" and unicodedata.name(character, "").startswith(_LIGATURES):
        return unicodedata.normalize("NFKC", character)
    return character


def folded(text: Spanned) -> Spanned:
    """Accents joined to their letters (NFC), ligatures, bold and full-width letters plain, apostrophes in words `'`."""
    written = str(text)
    if written.isascii():
        return text
    if not unicodedata.is_normalized("NFC", written):
        text = Rewritten.of(text, _composed(written))
        written = str(text)
    if any(_plain(character) != character for character in set(written)):
        text = Rewritten.of(text, ((_plain(c), number, number + 1) for number, c in enumerate(written)))
    return substituted(text, _INNER_APOSTROPHE, lambda match: "'")


_DIGIT = re.compile(r"\d")
# A picture with what belongs to it: skin tones, variants, pictures joined to it; and flags.
_EMOJI = re.compile(
    r"[\U0001f1e6-\U0001f1ff]{2}|(?P<base>[\u2190-\u21ff\u231a-\u23ff\u25aa-\u27bf\u2934-\u2b55\U0001f000-\U0001faff])"
    r"(?P<more>(?:[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]|\u200d[\u2190-\u2b55\U0001f000-\U0001faff])*)"
)
_TONES = re.compile("[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]")


# Thousands apart by spaces, which is no telephone number: "12 000", not "12 000 00" or "012 000".
_SPACES_THAT_HOLD = "\u00a0\u2009\u202f"
_THOUSANDS, _THOUSANDS_TYPED = (
    re.compile(
        rf"(?<![\w.,+])(?<!\d[ {_SPACES_THAT_HOLD}])[1-9]\d{{0,2}}(?:[{spaces}]\d{{3}})+(?!\d|[ {_SPACES_THAT_HOLD}]\d)"
    )
    for spaces in (_SPACES_THAT_HOLD, " " + _SPACES_THAT_HOLD)
)
# Languages that write them with spaces, and whose espeak-ng does not read them so.
_SPACED_THOUSANDS = frozenset(("cs", "lv", "ru", "sk", "uk"))


def readable_by_espeak(text: Spanned, language: str | None) -> Spanned:
    """Digits of all scripts as those that a voice of espeak-ng reads, and emoji a space apart, without skin tones.

    espeak-ng reads the digits of a script in voices that write it, European ones in all but Nepali's. It reads
    thousands apart by a space that does not break the line digit by digit: they are put together.
    """
    thousands = _THOUSANDS_TYPED if language in _SPACED_THOUSANDS else _THOUSANDS
    text = substituted(text, thousands, lambda match: "".join(filter(str.isdigit, match.group())))
    written = str(text)
    if language == "ne":
        return substituted(text, _DIGIT, lambda match: chr(0x966 + unicodedata.digit(match.group())))
    if written.isascii():
        return text
    text = substituted(text, _DIGIT, lambda match: str(unicodedata.digit(match.group())))

    def apart(match: re.Match[str]) -> str:
        before, after = match.string[: match.start()], match.string[match.end() :]
        return (
            (" " if before and not before[-1].isspace() else "")
            + _TONES.sub("", match.group())
            + (" " if after and not after[0].isspace() else "")
        )

    text = substituted(text, _EMOJI, apart)
    return substituted(text, re.compile(" {2,}"), lambda match: " ")


def _composed(text: str) -> Iterator[tuple[str, int, int]]:
    """Pieces of the canonical composition (NFC) of a text."""
    start = 0
    while start < len(text):
        end = start + 1
        # A piece may end before a character that begins one, and composes with nothing before it.
        while end < len(text) and not _begins_piece(text[end]):
            end += 1
        yield unicodedata.normalize("NFC", text[start:end]), start, end
        start = end


def _begins_piece(character: str) -> bool:
    if character.isascii():
        return True
    point = ord(character)
    is_vowel_or_final_of_hangul = 0x1160 <= point <= 0x11FF
    return (
        unicodedata.combining(character) == 0
        and not is_vowel_or_final_of_hangul
        and (unicodedata.category(character)[0] != "M")
    )


def folded_to(text: Spanned, alphabet: Container[str]) -> Spanned:
    """A text for a voice that reads letters: what its alphabet lacks as the nearest that it has.

    An accented letter is composed or decomposed, and capitals are small, whichever the alphabet has; an apostrophe
    becomes the one it has; white space, a dash, a slash, or a mark between two letters that it lacks becomes a space.
    What is lacking still stays as it is.
    """

    def known(piece: str) -> bool:
        return all(character in alphabet for character in piece)

    def cluster(match: re.Match[str]) -> str | None:
        piece = match.group()
        if known(piece):
            return None
        composed, decomposed = unicodedata.normalize("NFC", piece), unicodedata.normalize("NFD", piece)
        for candidate in (composed, decomposed, piece.lower(), composed.lower(), decomposed.lower()):
            if known(candidate):
                return candidate
        return None

    apostrophe = next((character for character in APOSTROPHES if character in alphabet), None)

    def mark(match: re.Match[str]) -> str | None:
        piece = match.group()
        if known(piece):
            return None
        if apostrophe is not None and piece in APOSTROPHES:
            return apostrophe
        if piece.isspace():
            return " "
        written = match.string
        between = (
            written[match.start() - 1 : match.start()].isalnum() and written[match.end() : match.end() + 1].isalnum()
        )
        if unicodedata.category(piece) == "Pd" or piece in "/\\_" or (between and piece not in APOSTROPHES):
            return " "
        return None

    text = substituted(text, _CLUSTER, cluster)
    text = substituted(text, re.compile(r"[\W_]"), mark)
    return substituted(text, re.compile(r" {2,}"), lambda match: " ")
