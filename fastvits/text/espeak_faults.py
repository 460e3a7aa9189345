"""What espeak-ng writes that is no phoneme, and what it leaves out.

Words of another language come between flags, "(en)" and "(de)", which may be closed by the name of any voice. Phonemes
that have no IPA come by their ASCII names, in Kyrgyz, Uzbek, Irish and Amharic for instance. And some voices have no
words for digits.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container
from functools import lru_cache

from .espeak_clauses import phonemes_of_clauses
from .spans import MaybeSpan, Rewritten, Spanned, substituted

__all__ = ["corrected", "is_expanded", "unread_digits", "without_flags"]

_FLAG = re.compile(r"\([^)]+\)")

# espeak-ng's own names of phonemes and of their parts, and the IPA of what they mean.
_PLAIN = {
    "[": "\u032a",  # dental: t[ is t̪
    "S": "ʃ",
    "Z": "ʒ",
    "X": "χ",
    "N": "ŋ",
    "A": "ɑ",
    "`": "ʼ",  # ejective
    "^": "ʲ",  # palatal
    "#": "\u0325",  # voiceless: n# is n̥
    '"': "\u0308",  # central
    ":": "ː",
    "-": "",
    "ε": "ɛ",
    "\u1d51": "ŋ",  # prenasal, where a voice has no raised letters
    "\u207f": "n",
    "\u1d50": "m",
    "\u1d5d": "β",
}


def without_flags(phonemes: str) -> str:
    """Phonemes without the flags that espeak-ng surrounds words of other languages by."""
    return _FLAG.sub("", phonemes)


def corrected(text: Spanned, known: Container[str]) -> Spanned:
    """Phonemes without flags, and with IPA for espeak-ng's own names of them.

    Args:
        text: phonemes of a clause, without marks of punctuation.
        known: the phonemes of a voice. What it has stays, but for the colon, which is a mark of punctuation there.
    """
    if "(" in str(text):
        text = substituted(text, _FLAG, lambda match: "")
    return _with_plain_phonemes(text, known)


def _with_plain_phonemes(text: Spanned, known: Container[str]) -> Spanned:
    written = str(text)
    if not any(character in _PLAIN and (character == ":" or character not in known) for character in set(written)):
        return text
    return Rewritten.of(
        text,
        (
            (_plain(character) if character == ":" or character not in known else character, number, number + 1)
            for number, character in enumerate(written)
        ),
    )


def _plain(character: str) -> str:
    return _PLAIN.get(character, character)


@lru_cache(maxsize=4096)
def _is_read(digit: str, voice: str) -> bool:
    return any(clause[0].strip() for clause in phonemes_of_clauses(digit, voice))


def unread_digits(text: str, voice: str) -> dict[str, MaybeSpan]:
    """Digits of a text that a voice of espeak-ng says nothing for, and where the first of each stands."""
    unread: dict[str, MaybeSpan] = {}
    for digit in dict.fromkeys(filter(str.isnumeric, text)):
        if unicodedata.category(digit)[0] != "N":
            continue  # a Chinese numeral is a letter
        try:
            is_read = _is_read(digit, voice)
        except ValueError:  # a voice that phonemizer knows under a name of its own
            return {}
        if not is_read:
            place = text.index(digit)
            unread[digit] = (place, place + 1)
    return unread


@lru_cache(maxsize=4096)
def is_expanded(word: str, voice: str) -> bool:
    """Whether a voice of espeak-ng says an abbreviation otherwise with its stop: "Dr." is "doctor" in Catalan."""
    if not word.isprintable():
        return False

    def sound(text: str) -> str:
        return "".join(clause[0] for clause in phonemes_of_clauses(text, voice)).replace(" ", "")

    try:
        return sound(f"{word}. a") != sound(f"{word} a")
    except ValueError:  # a voice that phonemizer knows under a name of its own
        return False
