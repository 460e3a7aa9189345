"""The signs of numbers in words: a minus where one is meant, and a zero before a point that begins a number.

A minus sign (U+2212) is always one, but between two years. A hyphen or an en dash is one before a number and behind
nothing that it could join to it: in "-5 °C", "(-5)" and "x=-5", but not in "5-3", "1990-1995", "A-5" and "5%-7%".
With a space before the dash alone, numbers that rise are a range: "10 -15".
"""

from __future__ import annotations

import re

from .number_data import DECIMAL_POINT, LESS, MINUS, WITHOUT_SPACES
from .spans import Spanned, substituted

__all__ = ["decimal_mark", "minus_in_words", "with_leading_zeros"]

_MINUS_SIGN = "\u2212"
_EN_DASHES = "\u2012\u2013"
_HYPHENS = "\\-\u2010\u2011\ufe63\uff0d" + _EN_DASHES
_CURRENCY = "[$\u00a2-\u00a5\u20a0-\u20c0]"

_SIGN = re.compile(
    rf"(?P<before>[ \u00a0]?){_MINUS_SIGN}(?P<behind>[ \u00a0]?)"
    rf"|(?P<dash>[{_HYPHENS}])(?=(?:{_CURRENCY}[ \u00a0]?)?(?:[.,]?\d|[\u00bc-\u00be\u2150-\u215e]))"
)
_SIGN_BEHIND_CURRENCY = re.compile(rf"(?<!\w)(?<!\d[ \u00a0]){_CURRENCY}[ \u00a0]?[{_HYPHENS}{_MINUS_SIGN}](?=[.,]?\d)")
_OPERATORS = "<>=\u2248~\u00b1\u00d7*\u00f7\u00b7^"
_OPENING = _OPERATORS + "([{|\u2014\u2026\u201c\u201e\u00ab\u2039\u2018\u00bf\u00a1"
_SEPARATING = ",;:/"
_NUMBER_BEFORE = re.compile(rf"(?P<sign>[{_HYPHENS}{_MINUS_SIGN}])?(?<!\d)(?P<number>\d+(?:[.,]\d+)?)[ \u00a0]$")
_NUMBER_BEHIND = re.compile(rf"(?:{_CURRENCY}[ \u00a0]?)?(?P<number>\d+(?:[.,]\d+)?)")
_YEAR_BEFORE, _YEAR_BEHIND = re.compile(r"(?<!\d)\d{4}$"), re.compile(r"\d{4}(?!\d)")
# An en dash that closes what another one opened: "the children –5 of them– slept".
_CLOSING_DASH = re.compile(rf"[^.!?\n]{{,80}}?\w[{_EN_DASHES}](?=[\s,.;:!?)]|$)")
# Behind an ideograph a hyphen may name something, a rocket of the fifth kind; before a temperature it is a sign.
_IDEOGRAPH, _DEGREES = (
    re.compile("[\u3040-\u30ff\u3400-\u9fff]"),
    re.compile(r"\d+(?:\.\d+)?\s?(?:[\u00b0\u2103%\u2030]|\u5ea6)"),
)
# So far back a number is looked for, that a long text takes no longer than its parts.
_LONGEST_NUMBER = 24
# Names of clocks, behind which a hyphen is a sign: "UTC-5".
_CLOCKS = ("UTC", "GMT")
# Behind what a text can begin a number with its point. Files are called ".7z" and the like.
_POINT = re.compile(
    rf"(?:^|(?<=[\s(\[{{<>=\u2248~\u00b1\u00d7*\u00f7/|\u201c\u201e\u00ab\u2018{_HYPHENS}{_MINUS_SIGN}])"
    rf"|(?<={_CURRENCY})|(?<=\s[\"'])|(?<=^[\"']))\.(?=\d+(?![\d.]*\.\d))(?!(?:7z|3gp|3g2|3ds|3mf)\b)"
)
_SIGNED_COMMA = re.compile(
    rf"(?:(?<=^[{_HYPHENS}{_MINUS_SIGN}])|(?<=[\s(][{_HYPHENS}{_MINUS_SIGN}])),(?=\d+(?![\d,]*,\d))"
)


def decimal_mark(language: str) -> str:
    """The mark that a language writes before decimals, a point or a comma."""
    return "." if language.partition("-")[0] in DECIMAL_POINT else ","


def with_leading_zeros(text: Spanned, language: str) -> Spanned:
    """A text with "0.5" for ".5", and "0,5" in a language that writes a comma, where ".5" and "-,5" are that too."""
    if not any(map(str.isdigit, str(text))):
        return text
    mark = decimal_mark(language)
    text = substituted(text, _POINT, lambda match: f"0{mark}")
    return text if mark == "." else substituted(text, _SIGNED_COMMA, lambda match: "0,")


def minus_in_words(text: Spanned, language: str, word: str | None = None) -> Spanned:
    """A text with the word of a language for a minus; as it is in a language of which none is known.

    Args:
        text: the text.
        language: a two-letter code.
        word: the word, where it is not the one of `number_data.MINUS`.
    """
    word = word or MINUS.get(language)
    if word is None:
        return text
    joint = "" if language in WITHOUT_SPACES else " "
    text = substituted(text, _SIGN_BEHIND_CURRENCY, lambda match: match.group()[-1] + match.group()[:-1])

    def said(match: re.Match[str]) -> str | None:
        written, start, end = match.string, match.start(), match.end()
        before = written[start - 1 : start]
        lead = joint if before and (before.isalnum() or before in _SEPARATING + _OPERATORS) else ""
        if match["dash"]:
            return lead + word + joint if _is_sign(written, start) else None
        if _YEAR_BEFORE.search(written, max(0, start - 5), start) and _YEAR_BEHIND.match(written, end):
            return match["before"] + "\u2013" + match["behind"]
        between = before.isalnum() or (before and before in ")]}%\u00b0\u00b2\u00b3")
        if not between or (match["before"] and not match["behind"]):
            return (match["before"] or lead) + word + (joint if end < len(written) else match["behind"])
        return joint + LESS.get(language, word) + (joint if end < len(written) else match["behind"])

    return substituted(text, _SIGN, said)


def _is_sign(written: str, place: int) -> bool:
    """Whether the hyphen or en dash `written[place]`, which stands before a number, is its sign."""
    before = written[place - 1 : place]
    if written[place] in _EN_DASHES and _CLOSING_DASH.match(written, place + 1):
        return False
    if before in "\"'":  # nothing, or a quote: one that closes has a word before it
        return not written[max(0, place - 2) : max(0, place - 1)].isalnum()
    if before in " \u00a0":
        first = _NUMBER_BEFORE.search(written, max(0, place - _LONGEST_NUMBER), place)
        second = _NUMBER_BEHIND.match(written, place + 1)
        return (
            first is None
            or second is None
            or bool(first["sign"])
            or _value(first["number"]) >= _value(second["number"])
        )
    if _IDEOGRAPH.match(before):
        return _DEGREES.match(written, place + 1) is not None
    if before in _SEPARATING:  # within a list, "3,-5", but not in ":-3"
        return bool(written[max(0, place - 2) : place - 1].strip())
    return before.isspace() or before in _OPENING or written.endswith(_CLOCKS, 0, place)


def _value(number: str) -> float:
    return float(number.replace(",", "."))
