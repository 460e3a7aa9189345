"""What German texts abbreviate."""

from __future__ import annotations

import re

from ..number_words import said
from .forms import Words

__all__ = ["WORDS"]

_MONTHS = [
    "Januar",
    "Februar",
    "März",
    "April",
    "Mai",
    "Juni",
    "Juli",
    "August",
    "September",
    "Oktober",
    "November",
    "Dezember",
]


def _date(day: int, month: int, year: str | None) -> str:
    # Behind this the stop makes an ordinal, of espeak-ng's as well as of num2words'.
    return f"{day}. {_MONTHS[month - 1]}" + (f" {year}" if year else "")


def _clock(hour: int, minute: int) -> str:
    return ("ein Uhr" if hour == 1 else f"{hour} Uhr") + (f" {minute}" if minute else "")


_RULERS = re.compile(
    r"(?:Ludwig|Karl|Friedrich|Wilhelm|Heinrich|Otto|Georg|Johannes|Paul|Pius|Benedikt|Leo|Gregor|Elisabeth|Elizabeth"
    r"|Katharina|Philipp|Franz|Josef|Joseph|Ferdinand|Maximilian|Alexander|Nikolaus|Napoleon|Peter|Gustav|Christian|August"
    r"|Leopold|Albrecht|Charles|Konrad|Rudolf|Louis)\s+$"
)


def _roman(before: str, value: int, following: str) -> str | None:
    ruler = _RULERS.search(before)
    is_ordinal = following.startswith(".")
    if ruler is not None:
        article = "die" if ruler.group().startswith(("Elis", "Eliz", "Kath")) else "der"
        ordinal = said("de", value, "ordinal")
        return None if ordinal is None else f"{article} {ordinal}"
    if (
        is_ordinal
        and re.match(r"\.\s+[A-ZÄÖÜ]", following)
        and re.search(r"\b(?:im|das|des|dem|vom)\s+$", before, re.IGNORECASE)
    ):
        ordinal = said("de", value, "ordinal")
        return None if ordinal is None else ordinal + ("" if before.rstrip().lower().endswith("das") else "n")
    if value == 1 or not re.search(r"[^\W\d_][ \u00a0]$", before):
        return None
    return str(value)


WORDS = Words(
    language="de",
    point=",",
    minus="minus",
    plus="plus",
    to="bis",
    marks={".": "Punkt", "@": "at", "/": "Schrägstrich", "-": "Minus", "_": "Unterstrich", "?": "Fragezeichen",
           "=": "gleich", "&": "und", "#": "Raute", ":": "Doppelpunkt", "%": "Prozent", "+": "plus", "~": "Tilde"},
    signs="und|gleich|plus|mal|geteilt durch|plus minus|ungefähr|kleiner oder gleich|"
    "größer oder gleich|Promille|Paragraf|Nummer|Nummer|kleiner als|größer als|hoch zwei",
    currencies={
        "€": ("ein Euro|Euro", "ein Cent|Cent"), "EUR": ("ein Euro|Euro", "ein Cent|Cent"),
        "$": ("ein Dollar|Dollar", "ein Cent|Cent"), "£": ("ein Pfund|Pfund", "ein Penny|Pence"),
        "¥": ("ein Yen|Yen", "ein Sen|Sen"), "CHF": ("ein Franken|Franken", "ein Rappen|Rappen"),
        "Fr.": ("ein Franken|Franken", "ein Rappen|Rappen"),
    },
    joint=" und ",
    magnitudes={"Mio.": "eine Million|Millionen", "Mio": "eine Million|Millionen", "Mrd.": "eine Milliarde|Milliarden",
                "Mrd": "eine Milliarde|Milliarden", "Tsd.": "tausend|tausend", "Millionen": "eine Million|Millionen",
                "Milliarden": "eine Milliarde|Milliarden"},
    units={
        "km/h": "ein Kilometer pro Stunde|Kilometer pro Stunde", "m/s": "ein Meter pro Sekunde|Meter pro Sekunde",
        "km": "ein Kilometer|Kilometer", "m": "ein Meter|Meter", "cm": "ein Zentimeter|Zentimeter",
        "mm": "ein Millimeter|Millimeter", "km²": "ein Quadratkilometer|Quadratkilometer",
        "m²": "ein Quadratmeter|Quadratmeter", "m³": "ein Kubikmeter|Kubikmeter", "kg": "ein Kilogramm|Kilogramm",
        "g": "ein Gramm|Gramm", "mg": "ein Milligramm|Milligramm", "t": "eine Tonne|Tonnen", "l": "ein Liter|Liter",
        "ml": "ein Milliliter|Milliliter", "kWh": "eine Kilowattstunde|Kilowattstunden", "kW": "ein Kilowatt|Kilowatt",
        "W": "ein Watt|Watt", "V": "ein Volt|Volt", "°C": "ein Grad Celsius|Grad Celsius",
        "°": "ein Grad|Grad", "GB": "ein Gigabyte|Gigabyte", "MB": "ein Megabyte|Megabyte",
        "TB": "ein Terabyte|Terabyte", "GHz": "ein Gigahertz|Gigahertz", "MHz": "ein Megahertz|Megahertz",
        "Hz": "ein Hertz|Hertz", "Std.": "eine Stunde|Stunden", "Min.": "eine Minute|Minuten",
    },
    fractions={"1 1/2": "anderthalb", "1 ½": "anderthalb",
               "½": "ein halb", "1/2": "ein halb", "⅓": "ein Drittel", "1/3": "ein Drittel", "⅔": "zwei Drittel",
               "2/3": "zwei Drittel", "¼": "ein Viertel", "1/4": "ein Viertel", "¾": "drei Viertel",
               "3/4": "drei Viertel", "⅛": "ein Achtel", "1/8": "ein Achtel"},
    date=_date,
    clock=_clock,
    clock_pattern=r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?:[ \u00a0]Uhr(?!\w))?"
    r"|(?P<hour2>\d{1,2})\.(?P<minute2>\d\d)[ \u00a0]Uhr(?!\w)",
    roman=_roman,
    stop_makes_ordinals=True,
)  # fmt: skip
