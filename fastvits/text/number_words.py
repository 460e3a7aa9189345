"""Numbers in words, for voices that read letters and have no digits, or know none of them.

The words are those of the package `num2words` (extra `text`). Numbers in every script's digits, decimals, grouped
thousands, ordinals, years, clock times, dates, fractions, percentages, telephone numbers, Roman numerals behind a word
and money are read; what the package does not know stays as it is, and the tokenizer reports it.
"""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from functools import lru_cache
from typing import Any

from .spans import Spanned, substituted

__all__ = ["knows_numbers", "numbers_in_words", "said"]

# espeak-ng's short codes that num2words spells differently.
_CODES = {"nb": "no", "nn": "no", "kk": "kz"}
# Languages that write a point before decimals and a comma between thousands.
_POINT = frozenset(["en", "he", "ja", "ko", "th", "te", "kn", "bn", "am"])
# Languages whose money num2words says with the right names; elsewhere it may take a currency for another one.
_MONEY = frozenset(["en", "de", "fr", "es", "it", "pt", "nl", "ru", "pl", "uk"])
# Languages in which a year is said otherwise than a number.
_YEARS = frozenset(["en", "de"])
_CURRENCIES = {"$": "USD", "€": "EUR", "£": "GBP"}
_PERCENT = {
    "ca": "per cent", "cs": "procent", "da": "procent", "de": "Prozent", "en": "percent", "eo": "procentoj",
    "es": "por ciento", "fi": "prosenttia", "fr": "pour cent", "hu": "százalék", "id": "persen", "it": "per cento",
    "lt": "procentų", "lv": "procenti", "nl": "procent", "no": "prosent", "pl": "procent", "pt": "por cento",
    "ro": "la sută", "ru": "процентов", "sk": "percent", "sl": "odstotkov", "sr": "posto", "sv": "procent",
    "th": "เปอร์เซ็นต์", "uk": "відсотків", "vi": "phần trăm", "ar": "بالمئة", "he": "אחוז", "fa": "درصد",
    "ja": "パーセント", "ko": "퍼센트",
}  # fmt: skip
# What follows a number that makes it an ordinal.
_ORDINALS = {
    "ca": "[rnta]|è",
    "de": r"\.(?=\s+(?:Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember)\b)",
    "en": "st|nd|rd|th",
    "es": r"\.?[ºª°]|er|ro|do|ra|da",
    "fr": "er|ère|re|e|ème|eme",
    "it": "[º°ª]",
    "nl": "e|ste|de",
    "pt": r"\.?[ºª°]",
    "ru": "-?(?:й|я|е|го|му|м|ая|ый|ой)",
    "sv": ":?[ae]",
    "uk": "-?(?:й|а|е|го|му)",
}
# German ordinals bend behind these.
_GERMAN_DATIVE = re.compile(r"(?:am|vom|zum|beim|bis|den|dem|im|ab|seit)\s+$", re.IGNORECASE)
# The word for the sign before decimals, where num2words fails on them or leaves them out.
_POINT_WORDS = {
    "ar": "فاصلة", "ca": "coma", "da": "komma", "es": "coma", "it": "virgola", "no": "komma", "pt": "vírgula",
    "ro": "virgulă", "sv": "komma", "tr": "virgül", "vi": "phẩy",
}  # fmt: skip

_SPACE_IN_NUMBER = " \u00a0\u2009\u202f"
_SIGN = r"(?P<money>[$€£%]\s?)?(?P<sign>(?<![\w.])[+\-−–](?=\d))?"
_CLOCK_OR_DATE = re.compile(r"(?<!\d)\d{1,4}(?:[:/]\d{1,2}){1,2}(?:[:/]\d{2,4})?(?!\d)|(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)")
_TELEPHONE = re.compile(
    r"(?<![\w.,])(?<!\d[ \u00a0\u202f\u2009'])(?:(?:\+\d{1,3}|\(?0\d*\)?)(?:[ \-/().]{0,2}\d{2,})+"
    r"|(?:\d{3}[-. ])?\d{3}[-.]\d{4})(?![\w]|[.,]\d)"
)
_ROMAN = re.compile(r"(?<=[^\W\d_]\s)(?P<roman>(?:X{1,3}(?:IX|IV|V?I{0,3})|IX|IV|VI{0,3}|I{2,3}))(?![\w'’])")


def knows_numbers(language: str) -> bool:
    """Whether `num2words` is installed and knows the language, a two-letter code."""
    return importlib.util.find_spec("num2words") is not None and _code(language) in _known_codes()


def _code(language: str) -> str:
    return _CODES.get(language, language)


@lru_cache(maxsize=1)
def _known_codes() -> frozenset[str]:
    from num2words import CONVERTER_CLASSES

    return frozenset(CONVERTER_CLASSES)


def said(language: str, value: int, kind: str = "cardinal", **options: Any) -> str | None:
    """A number in words, a `kind` of num2words'; None where the package is missing, or cannot say it.

    Args:
        language: a two-letter code.
        value: the number.
        kind: "cardinal", "ordinal" or "year".
        **options: what the package knows for a language, such as `case` and `gender`.
    """
    return _said(_code(language), value, kind, **options) if knows_numbers(language) else None


def _said(language: str, value: Any, kind: str = "cardinal", **options: Any) -> str | None:
    """A number in words; None where the package fails, as it does in one way or another for some kinds."""
    from num2words import num2words

    try:
        words = num2words(value, lang=language, to=kind, **options)
    except Exception:  # NotImplementedError, and AttributeError, TypeError, OverflowError, IndexError in its own code
        return None
    words = " ".join(words.replace(",", " ").split())
    return words or None


def numbers_in_words(text: Spanned, language: str) -> Spanned:
    """A text with its numbers in words of a language; as it is where `knows_numbers` is False.

    Args:
        text: the text.
        language: a two-letter code.
    """
    written = str(text)
    if not any(map(str.isnumeric, written)) and _ROMAN.search(written) is None:
        return text
    if not knows_numbers(language):
        return text
    code = _code(language)
    text = substituted(text, re.compile(r"\d"), lambda match: str(unicodedata.digit(match.group())))
    text = substituted(text, re.compile(r"[¼-¾⅐-⅞]"), lambda match: _vulgar_fraction(match.group(), code))
    text = substituted(text, _CLOCK_OR_DATE, lambda match: _parts(match.group(), code))
    text = substituted(text, _TELEPHONE, lambda match: _digits(match.group(), code))
    text = substituted(text, _ROMAN, lambda match: _said(code, _roman_value(match["roman"])))
    return substituted(text, _numbers(code), lambda match: _in_words(match, code))


@lru_cache(maxsize=64)
def _numbers(language: str) -> re.Pattern[str]:
    """Numbers with what belongs to them in a language: a sign, a currency, the ending of an ordinal."""
    ordinal = _ORDINALS.get(language, "(?!)")
    group = "," if language in _POINT else "."
    digits = rf"\d{{1,3}}(?:[{group}'’٬{_SPACE_IN_NUMBER}]\d{{3}})+(?!\d)(?:[.,٫]\d+)?|\d+(?:[.,٫]\d+)?"
    behind = rf"(?P<ordinal>(?:{ordinal})(?![^\W\d_]))|(?P<behind>\s?[%٪€£$])|(?P<letter>(?=[^\W\d_]))"
    return re.compile(rf"{_SIGN}(?P<number>{digits})(?:{behind})?", re.IGNORECASE)


def _in_words(match: re.Match[str], language: str) -> str | None:
    """A number and what belongs to it, said."""
    before = match.string[: match.start()]
    symbol, behind = (match["money"] or "").strip(), (match["behind"] or "").strip()
    whole, decimals = _value(match["number"], language)
    lead = " " if before[-1:].isalpha() else ""
    trail = " " if match["letter"] is not None else ""
    if match["ordinal"] is not None:
        words = _said(language, whole, "ordinal")
        if words is not None and language == "de" and _GERMAN_DATIVE.search(before):
            words += "n"
        return None if words is None else lead + words
    currency = _CURRENCIES.get(symbol) or _CURRENCIES.get(behind)
    words = None if currency is None else _money(language, whole, decimals, currency)
    if words is not None:
        return lead + words + trail
    words = _decimal(language, whole, decimals, match["number"])
    if words is None:
        return None
    if match["sign"] in ("-", "−"):
        negative, one = _said(language, -1), _said(language, 1)
        if negative is not None and one is not None and negative.endswith(one):
            words = negative.removesuffix(one) + words
    if "%" in (symbol, behind) or behind == "٪":
        percent = _PERCENT.get(language)
        words = f"yüzde {words}" if language == "tr" else f"{words} {percent or '%'}"
        symbol = behind = ""
    return lead + (f"{symbol} " if symbol else "") + words + (f" {behind}" if behind else "") + trail


def _value(number: str, language: str) -> tuple[int, str]:
    """The whole part of a number and the digits of its decimals."""
    point = "." if language in _POINT else ","
    group = "," if language in _POINT else "."
    grouped = re.fullmatch(rf"(\d{{1,3}}(?:([{group}'’٬{_SPACE_IN_NUMBER}])\d{{3}})+)(?:[{point}٫](\d+))?", number)
    if grouped is not None:
        return int(re.sub(r"\D", "", grouped[1])), grouped[3] or ""
    parts = re.split(r"[.,٫]", number)
    if len(parts) == 2:
        return int(re.sub(r"\D", "", parts[0]) or 0), parts[1]
    return int(re.sub(r"\D", "", number)), ""


def _decimal(language: str, whole: int, decimals: str, written: str) -> str | None:
    """A number with its decimals; one too long to be a quantity, or with zeros before it, digit by digit."""
    if not decimals:
        if written.isdigit() and (len(written) > 15 or (len(written) > 1 and written[0] == "0")):
            return _digits(written, language)
        if written.isdigit() and len(written) == 4 and 1100 <= whole < 2100 and language in _YEARS:
            return _said(language, whole, "year")
        return _said(language, whole)
    if language not in _POINT_WORDS:
        words, alone = _said(language, f"{whole}.{decimals}"), _said(language, whole)
        if words is not None and alone is not None and len(words) > len(alone):
            return words
    # Decimals digit by digit, behind the whole number.
    parts = _said(language, whole), _POINT_WORDS.get(language, ""), _digits(decimals, language)
    return None if None in parts else " ".join(part for part in parts if part)


def _digits(written: str, language: str) -> str | None:
    """The digits of a number one by one."""
    words = [_said(language, int(digit)) for digit in written if digit.isdigit()]
    return None if None in words else " ".join(map(str, words))


def _parts(written: str, language: str) -> str | None:
    """The numbers of a clock time, a date or a fraction one after another; a full hour's minutes are not said."""
    found = re.findall(r"\d+", written)
    if ":" in written and found[-1] == "00":
        found.pop()
    words = [
        _said(language, int(part), "year" if len(part) == 4 and language in _YEARS else "cardinal") for part in found
    ]
    return None if None in words else " ".join(map(str, words))


def _money(language: str, whole: int, decimals: str, currency: str) -> str | None:
    if language not in _MONEY or len(decimals) > 2:
        return None
    if decimals.strip("0"):
        return _said(language, float(f"{whole}.{decimals}"), "currency", currency=currency)
    # A whole sum without its cents: as the package says it, up to where they begin.
    words = _said(language, float(whole), "currency", currency=currency)
    cents = _said(language, 0)
    if words is None or cents is None:
        return words
    for joint in (" and ", " und ", " et ", " con ", " e ", " y ", " en ", " "):
        head, found, _ = words.rpartition(joint + cents + " ")
        if found:
            return head
    return words


def _vulgar_fraction(character: str, language: str) -> str | None:
    """`½` as a decimal number, said."""
    value = unicodedata.numeric(character)
    whole, _, decimals = f"{value:.3f}".rstrip("0").partition(".")
    words = _decimal(language, int(whole), decimals, f"{whole}.{decimals}")
    return words


def _roman_value(numeral: str) -> int:
    values = {"I": 1, "V": 5, "X": 10}
    total = 0
    for character, following in zip(numeral, [*numeral[1:], ""], strict=True):
        value = values[character]
        total += -value if following and values[following] > value else value
    return total
