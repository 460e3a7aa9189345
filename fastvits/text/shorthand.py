"""What English texts abbreviate with signs, in words: "$1.2M", "24/7", "50-50", "10km/h".

Numbers stay digits: espeak-ng reads them, and voices of letters have theirs said by `number_words`.
"""

from __future__ import annotations

import re

from .spans import Spanned, substituted

__all__ = ["spelt_out"]

_MAGNITUDES = {
    "k": "thousand", "thousand": "thousand", "m": "million", "mn": "million", "mio": "million", "million": "million",
    "b": "billion", "bn": "billion", "billion": "billion", "t": "trillion", "tn": "trillion", "trillion": "trillion",
}  # fmt: skip
_CURRENCIES = {
    "$": ("dollar", "dollars"), "US$": ("US dollar", "US dollars"), "€": ("euro", "euros"), "£": ("pound", "pounds"),
    "¥": ("yen", "yen"), "₹": ("rupee", "rupees"), "₽": ("rouble", "roubles"),
}  # fmt: skip
_CENTS = {"£": ("penny", "pence"), "₹": ("paisa", "paise"), "₽": ("kopeck", "kopecks")}
_FRACTIONS = {
    "½": "one half", "1/2": "one half", "⅓": "one third", "1/3": "one third", "⅔": "two thirds", "2/3": "two thirds",
    "¼": "one quarter", "1/4": "one quarter", "¾": "three quarters", "3/4": "three quarters", "⅛": "one eighth",
    "1/8": "one eighth", "⅕": "one fifth", "1/5": "one fifth",
}  # fmt: skip
_UNITS = {
    "km/h": "kilometres per hour", "kmh": "kilometres per hour", "kph": "kilometres per hour",
    "mph": "miles per hour", "m/s": "metres per second", "km": "kilometres", "cm": "centimetres", "mm": "millimetres",
    "kg": "kilograms", "mg": "milligrams", "ml": "millilitres", "kWh": "kilowatt hours", "kW": "kilowatts",
    "GHz": "gigahertz", "MHz": "megahertz", "kHz": "kilohertz", "Hz": "hertz", "GB": "gigabytes", "MB": "megabytes",
    "KB": "kilobytes", "TB": "terabytes", "°C": "degrees Celsius", "°F": "degrees Fahrenheit", "°": "degrees",
    "m²": "square metres", "m2": "square metres", "km²": "square kilometres", "km2": "square kilometres",
    "m³": "cubic metres", "lbs": "pounds", "lb": "pounds", "oz": "ounces", "ft": "feet", "hrs": "hours",
    "mins": "minutes", "secs": "seconds", "ms": "milliseconds",
}  # fmt: skip

_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
_MONEY = re.compile(
    rf"(?P<sign>US\$|[$€£¥₹₽])\s?(?P<number>{_NUMBER})\s?(?P<magnitude>(?:thousand|million|billion|trillion|[kKmMbBtT]|"
    r"mn|bn|tn|mio)\b)"
)
_SUM = re.compile(r"(?P<sign>US\$|[$€£¥₹₽])\s?(?P<number>\d+(?:,\d{3})*)(?:\.(?P<cents>\d\d))?(?![\w%]|[.,]\d)")
_MAGNITUDE = re.compile(rf"(?<![\w.,$€£])(?P<number>{_NUMBER})(?P<magnitude>bn|tn|mn|M|B|K|k)\b(?!/)")
_ANY_UNIT = "|".join(sorted(map(re.escape, _UNITS), key=len, reverse=True))
_UNIT = re.compile(rf"(?<![\w.,])(?P<number>{_NUMBER})\s?(?P<unit>{_ANY_UNIT})(?!\w)")
_FRACTION = re.compile(r"(?<![\w./])(?P<whole>\d+\s?)?(?P<fraction>[½⅓⅔¼¾⅛⅕]|(?<!\d)(?:1/[23458]|2/3|3/4))(?![\w/])")
_ALWAYS_OPEN = re.compile(r"(?<![\w/])24/7(?:/365)?(?![\w/])")
_RANGE = re.compile(r"(?<![\w.,/–-])(?P<first>\d{1,4})(?P<dash>\s?[–-]\s?)(?P<second>\d{1,4})(?![\w/–-]|[.,]\d)")
_SHARES = frozenset(["50-50", "60-40", "70-30", "80-20", "90-10", "50–50", "60–40", "80–20"])


def _is_one(number: str) -> bool:
    return number == "1"


def _large_sum(match: re.Match[str]) -> str:
    magnitude = _MAGNITUDES[match["magnitude"].lower()]
    return f"{match['number']} {magnitude} {_CURRENCIES[match['sign']][1]}"


def _sum(match: re.Match[str]) -> str:
    one, several = _CURRENCIES[match["sign"]]
    said = f"{match['number']} {one if _is_one(match['number']) else several}"
    cents = (match["cents"] or "").lstrip("0")
    if not cents:
        return said
    small = _CENTS.get(match["sign"], ("cent", "cents"))
    return f"{said} and {cents} {small[cents != '1']}"


def _fraction(match: re.Match[str]) -> str:
    words = _FRACTIONS[match["fraction"]]
    if not match["whole"]:
        return words
    return f"{match['whole'].strip()} and {'a' if words.startswith('one ') else ''}{words.removeprefix('one')}"


def _unit(match: re.Match[str]) -> str:
    unit = _UNITS[match["unit"]]
    if _is_one(match["number"]):
        first, *rest = unit.split(" ", 1)
        if first == "feet":
            first = "foot"
        elif first in ("square", "cubic") and rest:
            rest = [rest[0].removesuffix("s")]
        else:
            first = first.removesuffix("s") if first != "hertz" else first
        unit = " ".join([first, *rest])
    return f"{match['number']} {unit}"


def _range(match: re.Match[str]) -> str | None:
    first, second = match["first"], match["second"]
    if match.group() in _SHARES:
        return f"{first} {second}"
    if "–" in match["dash"] and int(first) < int(second):
        return f"{first} to {second}"
    if match["dash"] == "-" and len(first) == len(second) == 4 and int(first) < int(second):
        return f"{first} to {second}"  # years
    return None


def spelt_out(text: Spanned) -> Spanned:
    """An English text with sums of money, magnitudes, units, ranges and "24/7" in words."""
    written = str(text)
    if not any(map(str.isnumeric, written)):
        return text
    text = substituted(text, _ALWAYS_OPEN, lambda match: match.group().replace("/", " "))
    text = substituted(text, _MONEY, _large_sum)
    text = substituted(text, _SUM, _sum)
    text = substituted(text, _FRACTION, _fraction)
    text = substituted(text, _MAGNITUDE, lambda match: f"{match['number']} {_MAGNITUDES[match['magnitude'].lower()]}")
    text = substituted(text, _UNIT, _unit)
    return substituted(text, _RANGE, _range)
