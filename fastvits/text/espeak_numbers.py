"""Numbers put so that espeak-ng 1.52 says all of them: a mark that it reads before decimals, no hyphen as a minus."""

from __future__ import annotations

import re

from .number_data import MINUS
from .number_signs import decimal_mark
from .shorthand import LANGUAGES
from .spans import Spanned, substituted

__all__ = ["numbers_for_espeak"]

# What stands for the mark before decimals where a voice is silent at the one that its language writes: the other mark,
# or a word where it is silent at both.
_SAID_FOR_MARK = {
    **dict.fromkeys("ba gn grc hyw ka kk ku ky tk".split(), "."),  # noqa: SIM905
    "af": " komma ", "be": " коска ", "ia": " virgula ", "ja": "てん", "ko": " 점 ", "lb": " Komma ", "th": " จุด ",
    "uk": " кома ", "uz": " butun ", "yue": "點",
}  # fmt: skip
# Voices that are silent at a point, in languages that write a comma.
_SILENT_POINT = frozenset("an az be ia kl lb nl pap pl pt qdb ro sq tt uk uz".split())  # noqa: SIM905
# Voices that say "minus" for every hyphen before a digit.
_HYPHEN_IS_MINUS = frozenset("an bn el eo hu lb ne pt uk".split())  # noqa: SIM905
_DECIMALS = {mark: re.compile(rf"(?<![\w.,])(?P<whole>\d+)\{mark}(?=\d+(?![\d.,]*[.,]\d))") for mark in ".,"}
_BELOW_ONE = re.compile(r"(?<![\w.,])0\.(?=\d+(?![\d.,]*[.,]\d))")
_ARABIC_MARK = re.compile(r"(?<=\d)\u066b(?=\d)")
_HYPHEN = re.compile(r"(?<=\S)-(?=\d)")


def numbers_for_espeak(text: Spanned, language: str) -> Spanned:
    """A text with decimals and hyphens as a voice of espeak-ng wants them.

    Minus signs (U+2212) for which no word is known are hyphens, before a number silent in such voices: espeak-ng says
    them in English.

    Args:
        text: the text, its signs in words as far as they are known.
        language: a two-letter code, or the name of a voice that has a country in it.
    """
    written = str(text)
    language = language.partition("-")[0]
    if language not in MINUS and language not in LANGUAGES and "\u2212" in written:
        text = substituted(text, re.compile("\u2212"), lambda match: "-")
    if not any(map(str.isdigit, written)):
        return text
    if language != "fa":  # which reads it
        text = substituted(text, _ARABIC_MARK, lambda match: ".")
    mark = decimal_mark(language)
    if mark == "," and language in _SILENT_POINT:
        text = substituted(text, _BELOW_ONE, lambda match: "0,")
    said = _SAID_FOR_MARK.get(language)
    if said is not None:
        text = substituted(text, _DECIMALS[mark], lambda match: match["whole"] + said)
    if language in _HYPHEN_IS_MINUS:
        text = substituted(text, _HYPHEN, lambda match: "\u2013")
    return text
