"""The signs of a text in the words of a language: what all languages have in common."""

from __future__ import annotations

import re
from functools import lru_cache

from ..genders import is_feminine
from ..number_data import HEADING
from ..number_signs import minus_in_words
from ..spans import Spanned, substituted
from .forms import SIGNS, Words, counted
from .telephones import telephones_in_words

__all__ = ["signs_in_words"]

_ISO_DATE = re.compile(r"(?<![\w.,/-])(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)(?![\w/-])")
_DATE = re.compile(
    r"(?<![\w.,/-])(?P<day>\d{1,2})(?P<sign>[./-])(?P<month>\d{1,2})(?P=sign)(?P<year>\d{4}|\d\d(?=(?:\D|$)))(?![\w/-]|\.\d)"
)
_RANGE = re.compile(
    r"(?<![\w.,:/–-])(?P<first>\d{1,4}(?:[.,]\d+)?)(?P<dash>\s?[–-]\s?)(?P<second>\d{1,4}(?:[.,]\d+)?)(?![\w/–-]|[.,:]\d)"
)
_DIFFERENCE = re.compile(r"(?<=\d)\s?[-−–]\s?(?=\d+(?:[.,]\d+)?\s*=)")
_ROMAN = re.compile(
    r"(?P<roman>(?<![\w.&'’-])(?:X{1,3}(?:IX|IV|V?I{0,3})|IX|IV|VI{0,3}|I{1,3}))(?P<ending>[eᵉº°ª]|er|ème|[.])?(?![\w'’&-]|\.\w)"
)
_SPACES = " \u00a0\u202f\u2009"


@lru_cache(maxsize=16)
def _patterns(language: str, point: str, currencies: str, magnitudes: str, units: str) -> dict[str, re.Pattern[str]]:
    group = "," if point == "." else "."
    number = rf"\d{{1,3}}(?:[{group}{_SPACES}'’]\d{{3}})+(?!\d)(?:[{point}]\d+)?|\d+(?:[{point}]\d+)?"
    number = rf"(?<![\w{point}{group}])(?P<number>{number})"
    before = number.replace("?P<number>", "").replace(r"(?<![\w" + point + group + "])", "")
    return {
        "sum behind": re.compile(
            rf"{number}[{_SPACES}]?(?:(?P<magnitude>{magnitudes})[{_SPACES}]?)?(?P<sign>{currencies})(?!\w)"
        ),
        "sum before": re.compile(
            rf"(?<![^\W_])(?P<sign>{currencies})[{_SPACES}]?(?P<number>{before})(?:[{_SPACES}](?P<magnitude>{magnitudes})(?!\w))?(?![\w%])"
        ),
        "magnitude": re.compile(rf"{number}[{_SPACES}]?(?P<magnitude>{magnitudes})(?!\w)"),
        "unit": re.compile(rf"{number}[{_SPACES}]?(?P<unit>{units})(?![\w²³/])"),
    }


def _any(names: object) -> str:
    """A pattern for any of some names, the longest first; nothing where there are none."""
    return "|".join(sorted(map(re.escape, names), key=len, reverse=True)) or "(?!)"  # type: ignore[call-overload]


def signs_in_words(text: Spanned, words: Words) -> Spanned:
    """A text with dates, times, money, units, fractions, ranges, minus signs and Roman numerals in words."""
    text = substituted(text, _ROMAN, lambda match: _roman(match, words))
    if not any(map(str.isnumeric, str(text))):
        return _signs(minus_in_words(text, words.language, words.minus), words)
    text = substituted(text, _ISO_DATE, lambda match: _date(match, words))
    if words.day_comes_first:
        text = substituted(text, _DATE, lambda match: _date(match, words))
    if words.clock is not None:
        pattern = re.compile(rf"(?<![\w.,:])(?:{words.clock_pattern})(?![\w:]|[.,]\d)")
        text = substituted(text, pattern, lambda match: _clock(match, words))
    text = telephones_in_words(text, words)
    # Before all that puts a number in words: "-1 €" is "minus ein Euro".
    text = minus_in_words(text, words.language, words.minus)
    if words.before is not None:
        text = words.before(text)
    found = _patterns(words.language, words.point, _any(words.currencies), _any(words.magnitudes), _any(words.units))
    text = substituted(text, _DIFFERENCE, lambda match: f" {words.minus} ")
    text = substituted(text, _RANGE, lambda match: _range(match, words))
    for name in ("sum behind", "sum before"):
        if words.currencies:
            text = substituted(text, found[name], lambda match: _sum(match, words))
    text = substituted(
        text, found["magnitude"], lambda match: counted(match["number"], words.magnitudes[match["magnitude"]], words)
    )
    text = substituted(text, found["unit"], lambda match: _unit(match, words))
    if words.fractions:
        pattern = re.compile(
            rf"(?<![\w./])(?P<whole>\d+\s?)?(?P<fraction>(?<!\d)(?:{_any(words.fractions)}))(?![\w/]|[.,]\d)"
        )
        text = substituted(text, pattern, lambda match: _fraction(match, words))
    return _signs(text, words)


def _roman(match: re.Match[str], words: Words) -> str | None:
    value = _roman_value(match["roman"])
    ending = match["ending"] or ""
    said = words.roman(match.string[: match.start()], value, ending + match.string[match.end() :])
    if said is None:
        return None
    if match["roman"] in ("V", "X") and said.isdigit() and HEADING.search(match.string[: match.start()]) is None:
        return None  # "Malcolm X"
    # A stop ends the sentence, but for the one that makes a German ordinal within it.
    is_ordinal = words.stop_makes_ordinals and not said.isdigit() and match.string[match.end() :].strip()
    return said + ("." if ending == "." and not is_ordinal else "")


def _roman_value(numeral: str) -> int:
    values = {"I": 1, "V": 5, "X": 10}
    total = 0
    for character, following in zip(numeral, [*numeral[1:], ""], strict=True):
        value = values[character]
        total += -value if following and values[following] > value else value
    return total


def _date(match: re.Match[str], words: Words) -> str | None:
    day, month = int(match["day"]), int(match["month"])
    if not (1 <= day <= 31 and 1 <= month <= 12):
        return None
    if len(match["year"]) == 2 and (len(match["day"]) < 2 or len(match["month"]) < 2):
        return None
    return words.date(day, month, match["year"])


def _clock(match: re.Match[str], words: Words) -> str | None:
    groups = match.groupdict()
    hour = next((groups[name] for name in ("hour", "hour2") if groups.get(name)), None)
    minute = next((groups[name] for name in ("minute", "minute2") if groups.get(name)), "00")
    if hour is None or int(hour) > 24 or int(minute) > 59 or words.clock is None:
        return None
    return words.clock(int(hour), int(minute))


def _sum(match: re.Match[str], words: Words) -> str:
    units, cents = words.currencies[match["sign"]]
    number = match["number"]
    if match["magnitude"]:
        plural = units.split("|")[:3][-1]
        amount = counted(number, words.magnitudes[match["magnitude"]], words)
        return amount + words.joint_of_magnitude(plural) + plural
    whole, _, decimals = number.partition(words.point)
    if len(decimals) != 2:
        return counted(number, units, words)
    said = counted(whole, units, words)
    few = str(int(decimals))
    if few == "0":
        return said
    return (f"{said}{words.joint}" if whole != "0" else "") + counted(few, cents, words)


def _unit(match: re.Match[str], words: Words) -> str | None:
    number, unit = match["number"], match["unit"]
    if words.is_no_unit(number, unit, match.string[match.end() :]):
        return None
    return counted(number, words.units[unit], words)


def _fraction(match: re.Match[str], words: Words) -> str:
    said = words.fractions[match["fraction"]]
    whole = (match["whole"] or "").strip()
    if words.halves is not None and match["fraction"] in ("½", "1/2"):
        masculine, feminine, behind = words.halves
        if whole:
            return f"{whole}{words.half}{behind}"
        return feminine if is_feminine(words.language, match.string[match.end() :]) else masculine
    if not whole:
        return said
    return words.fractions.get(f"{whole} {match['fraction']}") or f"{whole}{words.half}{said}"


def _range(match: re.Match[str], words: Words) -> str | None:
    first, second = match["first"], match["second"]
    low, high = (float(each.replace(",", ".")) for each in (first, second))
    if low < high and not (first[0] == "0" and first.isdigit() and len(first) > 1):
        if words.range_of is not None:
            return words.range_of(match.string[: match.start()], first, second)
        return f"{first} {words.to} {second}"
    if ("-" in match["dash"] or low == high) and len(second) < 3:
        return f"{first} {second}"  # "50-50", a result of "3-2"
    return None


_SQUARE = re.compile(r"(?<=\w)²")
# Plus, number, less and greater are read beside numbers only, "and" between words: "C++" and "->" are something else.
_SIGN = re.compile(
    r"[=×÷±≈≤≥‰§№]|(?<=[\s\w])&(?=[\s\w])|(?:(?<=[\s\d])|^)\+(?=\s?\d)|(?:(?<=[\s(])|^)#(?=\d)"
    r"|(?<=[\s\d])[<>](?=\s?\d)"
)


def _signs(text: Spanned, words: Words) -> Spanned:
    """Signs of arithmetic and reference in words."""
    said = dict(zip(SIGNS, words.signs.split("|"), strict=True))

    def word(match: re.Match[str]) -> str:
        before, after = match.string[: match.start()], match.string[match.end() :]
        return (
            ("" if not before or before[-1].isspace() else " ")
            + said[match.group()]
            + ("" if not after or after[0].isspace() else " ")
        )

    return substituted(substituted(text, _SQUARE, word), _SIGN, word)
