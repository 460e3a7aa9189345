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

from .genders import agreed
from .number_data import (
    CODES,
    CURRENCIES,
    FEMININE,
    GERMAN_DATIVE,
    HALVES,
    HEADING,
    HUNDREDS,
    MONEY,
    ORDINALS,
    PERCENT,
    POINT,
    POINT_WORDS,
    RUSSIAN_ENDINGS,
    WHOLES,
    YEARS,
)
from .spans import Spanned, substituted

__all__ = ["knows_numbers", "numbers_in_words", "said"]

_SPACE_IN_NUMBER = " \u00a0\u2009\u202f"
_SIGN = r"(?P<money>[$€£₪₸₴₽%]\s?)?(?P<sign>(?<![\w.])[+\-−–](?=\d))?"
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
    return CODES.get(language, language)


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
    words = unicodedata.normalize("NFC", " ".join(words.replace(",", " ").split()))
    return _mended(words, language) or None


_VIETNAMESE_GAP = re.compile(r"(?<=nghìn|triệu) lẻ (?=\w+ mươi|mười)")
_TURKISH = "altmış|altı|bin|bir|beş|dokuz|doksan|dört|elli|iki|kırk|milyar|milyon|on|otuz|sekiz|seksen|trilyon|üç"
_TURKISH_JOINT = re.compile(rf"({_TURKISH}|yedi|yetmiş|yirmi|yüz)(?=(?:{_TURKISH}|yedi|yetmiş|yirmi|yüz))")
_KANNADA_VOWEL_APART = re.compile("\u0ccd ?(?P<vowel>[\u0c85-\u0c94])")


def _mended(words: str, language: str) -> str:
    """What the package writes otherwise than the language does: a missing hundred, "and" apart, a vowel apart."""
    if language == "vi":
        return re.sub(r"(?<=nghìn|triệu) lẻ ", " không trăm linh ", _VIETNAMESE_GAP.sub(" không trăm ", words))
    if language == "ar":
        return words.replace(" و ", " و")
    if language == "tr":
        return _TURKISH_JOINT.sub(r"\1 ", words)
    if language == "sv":
        return words.replace("etttusen", "ett tusen")
    if language == "kn":
        return _KANNADA_VOWEL_APART.sub(lambda match: _vowel_sign(match["vowel"]), words)
    return words


def _vowel_sign(letter: str) -> str:
    name = unicodedata.name(letter).replace("LETTER", "VOWEL SIGN")
    return "" if letter == "\u0c85" else unicodedata.lookup(name)


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
    text = substituted(
        text, re.compile(r"(?P<whole>\d+\s?)?(?P<fraction>[¼-¾⅐-⅞])"), lambda match: _vulgar_fraction(match, code)
    )
    text = substituted(text, _CLOCK_OR_DATE, lambda match: _parts(match.group(), code))
    text = substituted(text, _TELEPHONE, lambda match: _digits(match.group(), code))
    text = substituted(text, _ROMAN, lambda match: _roman(match, code))
    return substituted(text, _numbers(code), lambda match: _in_words(match, code))


@lru_cache(maxsize=64)
def _numbers(language: str) -> re.Pattern[str]:
    """Numbers with what belongs to them in a language: a sign, a currency, the ending of an ordinal."""
    ordinal = ORDINALS.get(language, "(?!)")
    group = "," if language in POINT else "."
    digits = rf"\d{{1,3}}(?:[{group}'’٬{_SPACE_IN_NUMBER}]\d{{3}})+(?!\d)(?:[.,٫]\d+)?|\d+(?:[.,٫]\d+)?"
    currency = r"[%٪€£$₪₸₴₽]|(?:zł|грн|руб|kr|Ft|lei|RSD)(?!\w)"
    behind = rf"(?P<ordinal>(?:{ordinal})(?![^\W\d_]))|(?P<behind>\s?(?:{currency}))|(?P<letter>(?=[^\W\d_]))"
    return re.compile(rf"{_SIGN}(?P<number>{digits})(?:{behind})?", re.IGNORECASE)


def _in_words(match: re.Match[str], language: str) -> str | None:
    """A number and what belongs to it, said."""
    before = match.string[: match.start()]
    symbol, behind = (match["money"] or "").strip(), (match["behind"] or "").strip()
    whole, decimals = _value(match["number"], language)
    lead = (" " if before[-1:].isalpha() else "") + (match["sign"] if match["sign"] in ("+", "–") else "")
    trail = " " if match["letter"] is not None else ""
    if match["ordinal"] is not None:
        words = _ordinal(language, whole, match["ordinal"])
        if words is not None and language == "de" and GERMAN_DATIVE.search(before):
            words += "n"
        return None if words is None else lead + words
    currency = CURRENCIES.get(symbol) or CURRENCIES.get(behind) or CURRENCIES.get(behind.lower())
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
        percent = PERCENT.get(language)
        words = f"yüzde {words}" if language == "tr" else f"{words} {percent or '%'}"
        symbol = behind = ""
    if not decimals and not symbol and not behind:
        words = agreed(words, language, match.string[match.end() :])
    return lead + (f"{symbol} " if symbol else "") + words + (f" {behind}" if behind else "") + trail


def _ordinal(language: str, value: int, ending: str) -> str | None:
    """An ordinal in the case and gender of the ending that is written."""
    ending = ending.lower().lstrip("-.'’")
    if language == "ru" and ending in RUSSIAN_ENDINGS:
        case, gender = RUSSIAN_ENDINGS[ending]
        return _said(language, value, "ordinal", case=case, gender=gender)
    words = _said(language, value, "ordinal")
    if words is None or language not in FEMININE:
        return words
    endings, *changes = FEMININE[language]
    if ending in endings:
        for pattern, replacement in changes:
            changed = [re.sub(pattern, replacement, word) for word in words.split()]
            if changed != words.split():
                return " ".join(changed)
    return words


def _value(number: str, language: str) -> tuple[int, str]:
    """The whole part of a number and the digits of its decimals."""
    point = "." if language in POINT else ","
    group = "," if language in POINT else "."
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
        if written.isdigit() and len(written) == 4 and 1100 <= whole < 2100 and language in YEARS:
            return _said(language, whole, "year")
        if written.isdigit() and len(written) == 4 and 1100 <= whole < 2000 and language in HUNDREDS:
            hundreds, rest = _said(language, whole // 100), _said(language, whole % 100) if whole % 100 else ""
            return None if hundreds is None or rest is None else hundreds + HUNDREDS[language] + rest
        return _said(language, whole)
    if language in WHOLES and whole < 100:
        one, two, few, many = WHOLES[language]
        number = _said(language, whole)
        form = {1: one, 2: two}.get(whole) or f"{number} {few if whole in (3, 4) else many}"
        digits = _said(language, int(decimals)) if decimals[0] != "0" else _digits(decimals, language)
        return None if number is None or digits is None else f"{form} {digits}"
    if language not in POINT_WORDS:
        words, alone = _said(language, f"{whole}.{decimals}"), _said(language, whole)
        if words is not None and alone is not None and len(words) > len(alone):
            return words
    # Decimals digit by digit, behind the whole number.
    parts = _said(language, whole), POINT_WORDS.get(language, ""), _digits(decimals, language)
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
        _said(language, int(part), "year" if len(part) == 4 and language in YEARS else "cardinal") for part in found
    ]
    return None if None in words else " ".join(map(str, words))


def _money(language: str, whole: int, decimals: str, currency: str) -> str | None:
    if currency not in MONEY.get(language, ()) or len(decimals) > 2:
        return None
    if decimals.strip("0"):
        return _said(language, float(f"{whole}.{decimals}"), "currency", currency=currency)
    # A whole sum without its cents: as the package says it, up to where they begin.
    words = _said(language, float(whole), "currency", currency=currency)
    cents = _said(language, 0)
    if words is None or cents is None:
        return words
    for joint in (" and ", " und ", " et ", " con ", " e ", " y ", " en ", " ja ", " și ", " amb ", " ו", " "):
        head, found, _ = words.rpartition(joint + cents + " ")
        if found:
            return head
    return words


def _vulgar_fraction(match: re.Match[str], language: str) -> str | None:
    """`½` and `2½` as decimal numbers, said."""
    if match["fraction"] == "½" and not match["whole"] and language in HALVES:
        return HALVES[language]
    value = int(match["whole"] or 0) + unicodedata.numeric(match["fraction"])
    whole, _, decimals = f"{value:.3f}".rstrip("0").partition(".")
    return _decimal(language, int(whole), decimals, f"{whole}.{decimals}")


def _roman(match: re.Match[str], language: str) -> str | None:
    """A Roman numeral as a number; of single letters only those behind a word such as "chapter"."""
    if match["roman"] in ("V", "X") and HEADING.search(match.string[: match.start()]) is None:
        return None
    return _said(language, _roman_value(match["roman"]))


def _roman_value(numeral: str) -> int:
    values = {"I": 1, "V": 5, "X": 10}
    total = 0
    for character, following in zip(numeral, [*numeral[1:], ""], strict=True):
        value = values[character]
        total += -value if following and values[following] > value else value
    return total
