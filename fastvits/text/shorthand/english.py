"""What English texts abbreviate: "$1.2M", "24/7", "10km/h", "10:00", "Henry VIII"."""

from __future__ import annotations

import re

from ..number_words import said
from ..spans import Spanned, substituted
from .forms import Words

__all__ = ["WORDS"]

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


def _own_signs(text: Spanned) -> Spanned:
    """Sums of money, magnitudes, fractions, units and "24/7" in words."""
    written = str(text)
    if not any(map(str.isnumeric, written)):
        return text
    text = substituted(text, _DECADE, _decade)
    text = substituted(text, _SLASHED_DATE, lambda match: match.group().replace("/", " "))
    text = substituted(text, _ALWAYS_OPEN, lambda match: match.group().replace("/", " "))
    text = substituted(text, _MONEY, _large_sum)
    text = substituted(text, _SUM, _sum)
    text = substituted(text, _FRACTION, _fraction)
    text = substituted(text, _MAGNITUDE, lambda match: f"{match['number']} {_MAGNITUDES[match['magnitude'].lower()]}")
    text = substituted(text, _FULL_HOUR, lambda match: "")
    return substituted(text, _UNIT, _unit)


# "1990s", "'90s": the century and the tens.
_DECADE = re.compile(r"(?<![\w.,])(?P<century>1[1-9]|20)?(?P<mark>(?<!\w)['’])?(?P<ten>\d)0(?:['’]?s)(?!\w)")
_TENS = (
    "hundreds",
    "tens",
    "twenties",
    "thirties",
    "forties",
    "fifties",
    "sixties",
    "seventies",
    "eighties",
    "nineties",
)


def _decade(match: re.Match[str]) -> str | None:
    century, ten = match["century"] or "", int(match["ten"])
    if ten == 0:
        return {"": None, "20": "two thousands"}.get(century, f"{century} hundreds")
    return f"{century} {_TENS[ten]}".strip()


# Month and day, or day and month: nobody knows which.
_SLASHED_DATE = re.compile(r"(?<![\w/.,])\d{1,2}/\d{1,2}/(?:\d{4}|\d\d)(?![\w/]|[.,]\d)")
_FULL_HOUR = re.compile(r"(?<=\d):00(?=\s?[ap]\.?m\b)")
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


def _date(day: int, month: int, year: str | None) -> str:
    ending = "th" if 10 < day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{_MONTHS[month - 1]} {day}{ending}" + (f", {year}" if year else "")


def _clock(hour: int, minute: int) -> str:
    if minute == 0:
        return f"{hour} o'clock" if 1 <= hour <= 12 else f"{hour} hundred" if hour else "midnight"
    return f"{hour} oh {minute}" if minute < 10 else f"{hour} {minute}"


_RULERS = re.compile(
    r"\b(?:Henry|Louis|Charles|George|Edward|James|William|Elizabeth|Philip|John|Paul|Pius|Benedict|Leo|Gregory|Clement"
    r"|Innocent|Alexander|Nicholas|Peter|Catherine|Frederick|Francis|Ferdinand|Napoleon|Wilhelm|Richard|Mary|Ramses"
    r"|Ramesses|Ptolemy|Robert|Alfonso|Otto|Boniface|Urban|Sixtus|Julius|Gustav|Christian|Umberto)\s+$"
)


# Behind "Charles I" a sentence ends, or "of England" follows: "Mary I love you" is something else.
_NOT_ME = re.compile(r"\s*(?:[.,;:!?)]|$|of\b)")


def _roman(before: str, value: int, following: str) -> str | None:
    if _RULERS.search(before) and (value > 1 or _NOT_ME.match(following)):
        ordinal = said("en", value, "ordinal")
        return None if ordinal is None else f"the {ordinal}"
    if value == 1 or not re.search(r"[^\W\d_][ \u00a0]$", before):
        return None
    return str(value)


WORDS = Words(
    language="en",
    point=".",
    minus="minus",
    plus="plus",
    to="to",
    marks={".": "dot", "@": "at", "/": "slash", "-": "dash", "_": "underscore", "?": "question mark", "=": "equals",
           "&": "and", "#": "hash", ":": "colon", "%": "percent", "+": "plus", "~": "tilde"},
    signs="and|equals|plus|times|divided by|plus or minus|about|less than or equal to|"
    "greater than or equal to|per mille|section|number|number|less than|greater than|squared",
    date=_date,
    day_comes_first=None,
    clock=_clock,
    clock_pattern=r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?!\s?[ap]\.?m)",
    roman=_roman,
    before=_own_signs,
)  # fmt: skip
