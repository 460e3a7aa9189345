"""What Czech and Slovak texts abbreviate. Dates are said in the genitive, as an answer to "when"."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..spans import Spanned, substituted
from .forms import Words

__all__ = ["CZECH", "SLOVAK"]


@dataclass(frozen=True)
class _Grammar:
    """What is said for ordinals, and where.

    Attributes:
        months: in the genitive.
        units, tens: ordinals from the first to the nineteenth, and the twentieth and the thirtieth, in the masculine.
        endings: of the masculine, and for it those of the genitive, of the locative, and of the neuter.
        century: the word for century: a pattern of its cases.
        inside, of: prepositions with the locative, and with the genitive.
    """

    months: list[str]
    units: list[str]
    tens: list[str]
    endings: dict[str, tuple[str, str, str]]
    century: str
    inside: str
    of: str
    date: re.Pattern[str] = field(init=False)
    centuries: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        months = "|".join(self.months)
        spaces = r"[ \u00a0\u202f]?"
        object.__setattr__(
            self,
            "date",
            re.compile(
                rf"(?<![\w.,])(?P<day>\d{{1,2}})\.{spaces}(?:(?P<name>{months})\b"
                rf"|(?P<month>\d{{1,2}})\.(?:{spaces}(?P<year>\d{{4}})(?![\w.])|(?=\s+[^\W\d_]|$)))"
            ),
        )
        object.__setattr__(
            self,
            "centuries",
            re.compile(
                rf"(?P<before>\b(?:{self.inside}|{self.of})\s+)?(?<![\w.,])(?P<number>\d{{1,2}})\.(?=\s+{self.century})"
            ),
        )

    def ordinal(self, number: int, case: int | None) -> str:
        """An ordinal up to 39 in the masculine, or in the case of this place in `endings`."""
        if number < 20:
            words = [self.units[number - 1]]
        else:
            words = [self.tens[number // 10 - 2], *([self.units[number % 10 - 1]] if number % 10 else [])]
        if case is None:
            return " ".join(words)
        return " ".join(self._bent(word, case) for word in words)

    def _bent(self, word: str, case: int) -> str:
        ending = next(ending for ending in sorted(self.endings, key=len, reverse=True) if word.endswith(ending))
        return word.removesuffix(ending) + self.endings[ending][case]

    def said_date(self, day: int, month: int, year: str | None) -> str:
        """A date in words; the year in digits."""
        return f"{self.ordinal(day, 0)} {self.months[month - 1]}" + (f" {year}" if year else "")

    def own_signs(self, text: Spanned) -> Spanned:
        """Dates with stops, centuries, and "250,-"."""
        text = substituted(text, self.date, self._date)
        text = substituted(text, self.centuries, self._century)
        return substituted(text, _WHOLE_SUM, lambda match: "")

    def _date(self, match: re.Match[str]) -> str | None:
        day, month = int(match["day"]), match["month"]
        if not 1 <= day <= 31:
            return None
        if month is None:
            return f"{self.ordinal(day, 0)} {match['name']}"
        if not 1 <= int(month) <= 12:
            return None
        ends = match["year"] is None and match.end() == len(match.string)
        return self.said_date(day, int(month), match["year"]) + ("." if ends else "")

    def said_roman(self, before: str, value: int, following: str) -> str | None:
        """Ordinals of rulers and centuries, which have a stop; numbers behind other words."""
        if following.startswith("."):
            if re.match(rf"\.\s+{self.century}", following):
                preposition = re.search(rf"\b(?:(?P<inside>{self.inside})|(?P<of>{self.of}))\s+$", before)
                return self.ordinal(value, 2 if preposition is None else 1 if preposition["inside"] else 0)
            ruler = _RULERS.search(before)
            if ruler is not None:
                return self.ordinal(value, None if ruler["nominative"] else 0)
        if value == 1 or not re.search(r"[^\W\d_][ \u00a0]$", before):
            return None
        return str(value)

    def _century(self, match: re.Match[str]) -> str | None:
        number, before = int(match["number"]), match["before"] or ""
        if not 1 <= number <= 39:
            return None
        case = 2 if not before else 1 if re.fullmatch(self.inside, before.strip(), re.IGNORECASE) else 0
        return before + self.ordinal(number, case)


# "250,-" and "250,–": no hundredths.
_WHOLE_SUM = re.compile(r"(?<=\d),\s?[-–](?=\s?(?:Kč|€|EUR|\s|$|[.!?]))")

_NAMES = (
    "Václav Jan Ján František Josef Jozef Rudolf Ludvík Jindřich Petr Alexandr Vilém Filip Otakar Zikmund Ferdinand "
)
_NAMES += "Leopold Fridrich Gustav Vladislav Boleslav Karol Benedikt Urban Inocenc Klement Richard Eduard"
_RULERS = re.compile(
    rf"\b(?:(?P<nominative>Karel|Pavel|Matyáš|Jiří|Pius|{_NAMES.replace(' ', '|')})"
    rf"|(?:Karla|Pavla|Matyáše|Pia|(?:{_NAMES.replace(' ', '|')})a))\s+$"
)

_CZECH = _Grammar(
    months="ledna února března dubna května června července srpna září října listopadu prosince".split(),  # noqa: SIM905
    units="první druhý třetí čtvrtý pátý šestý sedmý osmý devátý desátý jedenáctý dvanáctý třináctý čtrnáctý patnáctý "  # noqa: SIM905
    "šestnáctý sedmnáctý osmnáctý devatenáctý".split(),
    tens=["dvacátý", "třicátý"],
    endings={"ý": ("ého", "ém", "é"), "í": ("ího", "ím", "í")},
    century="století",
    inside="[Vv]e?|[Nn]a|[Pp]o|[Oo]",
    of="[Dd]o|[Zz]e?|[Oo]d|[Bb]ěhem|[Kk]once|[Kk]oncem|[Zz]ačátku|[Zz]ačátkem|[Pp]olovin[aěuy]",
)
_SLOVAK = _Grammar(
    months="januára februára marca apríla mája júna júla augusta septembra októbra novembra decembra".split(),  # noqa: SIM905
    units="prvý druhý tretí štvrtý piaty šiesty siedmy ôsmy deviaty desiaty jedenásty dvanásty trinásty štrnásty "  # noqa: SIM905
    "pätnásty šestnásty sedemnásty osemnásty devätnásty".split(),
    tens=["dvadsiaty", "tridsiaty"],
    endings={"ý": ("ého", "om", "é"), "y": ("eho", "om", "e"), "í": ("ieho", "om", "ie")},
    century="storoč(?:ie|ia|í|iu)",
    inside="[Vv]o?|[Nn]a|[Pp]o|[Oo]",
    of="[Dd]o|[Zz]o?|[Oo]d|[Pp]očas|[Kk]onca|[Kk]oncom|[Zz]ačiatku|[Zz]ačiatkom|[Pp]olovic[aeiu]",
)


def _clock(hour: int, minute: int, two: str, few: str, many: str) -> str:
    """Hours are feminine, digits are read as masculine."""
    several = f"{two if hour == 2 else hour} {few if 2 <= hour <= 4 else many}"
    hours = "jedna hodina" if hour == 1 else several
    return hours + (f" {minute}" if minute else "")


CZECH = Words(
    language="cs",
    point=",",
    minus="mínus",
    plus="plus",
    to="až",
    marks={".": "tečka", "@": "zavináč", "/": "lomítko", "-": "pomlčka", "_": "podtržítko", "?": "otazník",
           "=": "rovná se", "&": "a", "#": "mřížka", ":": "dvojtečka", "%": "procent", "+": "plus", "~": "vlnovka"},
    signs="a|rovná se|plus|krát|děleno|plus minus|přibližně|menší nebo rovno|"
    "větší nebo rovno|promile|paragraf|číslo|číslo|menší než|větší než|na druhou",
    currencies={
        "Kč": ("jedna koruna|koruny|korun", "jeden haléř|haléře|haléřů"),
        "CZK": ("jedna koruna|koruny|korun", "jeden haléř|haléře|haléřů"),
        "€": ("jedno euro|eura|eur", "jeden cent|centy|centů"),
        "EUR": ("jedno euro|eura|eur", "jeden cent|centy|centů"),
        "$": ("jeden dolar|dolary|dolarů|dolaru", "jeden cent|centy|centů"),
        "£": ("jedna libra|libry|liber", "jedna pence|pence|pencí"),
    },
    joint=" ",
    magnitudes={"tis.": "jeden tisíc|tisíce|tisíc|tisíce", "tisíc": "jeden tisíc|tisíce|tisíc|tisíce",
                "mil.": "jeden milion|miliony|milionů|milionu", "milionů": "jeden milion|miliony|milionů|milionu",
                "miliony": "jeden milion|miliony|milionů|milionu", "mld.": "jedna miliarda|miliardy|miliard",
                "miliard": "jedna miliarda|miliardy|miliard", "miliardy": "jedna miliarda|miliardy|miliard"},
    units={
        "km/h": "jeden kilometr za hodinu|kilometry za hodinu|kilometrů za hodinu|kilometru za hodinu",
        "m/s": "jeden metr za sekundu|metry za sekundu|metrů za sekundu|metru za sekundu",
        "km": "jeden kilometr|kilometry|kilometrů|kilometru", "m": "jeden metr|metry|metrů|metru",
        "cm": "jeden centimetr|centimetry|centimetrů|centimetru", "mm": "jeden milimetr|milimetry|milimetrů|milimetru",
        "km²": "jeden kilometr čtvereční|kilometry čtvereční|kilometrů čtverečních|kilometru čtverečního",
        "m²": "jeden metr čtvereční|metry čtvereční|metrů čtverečních|metru čtverečního",
        "m³": "jeden metr krychlový|metry krychlové|metrů krychlových|metru krychlového",
        "kg": "jeden kilogram|kilogramy|kilogramů|kilogramu", "g": "jeden gram|gramy|gramů|gramu",
        "mg": "jeden miligram|miligramy|miligramů|miligramu", "t": "jedna tuna|tuny|tun",
        "l": "jeden litr|litry|litrů|litru", "ml": "jeden mililitr|mililitry|mililitrů|mililitru",
        "kWh": "jedna kilowatthodina|kilowatthodiny|kilowatthodin",
        "kW": "jeden kilowatt|kilowatty|kilowattů|kilowattu",
        "GB": "jeden gigabajt|gigabajty|gigabajtů|gigabajtu", "MB": "jeden megabajt|megabajty|megabajtů|megabajtu",
        "°C": "jeden stupeň Celsia|stupně Celsia|stupňů Celsia|stupně Celsia",
        "°": "jeden stupeň|stupně|stupňů|stupně", "%": "jedno procento|procenta|procent",
        "min": "jedna minuta|minuty|minut", "hod.": "jedna hodina|hodiny|hodin",
    },
    fractions={"½": "půl", "1/2": "půl", "⅓": "třetina", "1/3": "třetina", "⅔": "dvě třetiny", "2/3": "dvě třetiny",
               "¼": "čtvrt", "1/4": "čtvrt", "¾": "tři čtvrtě", "3/4": "tři čtvrtě", "⅛": "osmina", "1/8": "osmina"},
    half=" a ",
    date=_CZECH.said_date,
    clock=lambda hour, minute: _clock(hour, minute, "dvě", "hodiny", "hodin"),
    clock_pattern=r"(?P<hour>\d{1,2})[:.](?P<minute>\d\d)[ \u00a0](?:hod\.|hodin\b|h\b)"
    r"|(?P<hour2>\d{1,2}):(?P<minute2>\d\d)",
    roman=_CZECH.said_roman,
    before=_CZECH.own_signs,
    stop_makes_ordinals=True,
    two="dvě",
)  # fmt: skip

SLOVAK = Words(
    language="sk",
    point=",",
    minus="mínus",
    plus="plus",
    to="až",
    marks={".": "bodka", "@": "zavináč", "/": "lomka", "-": "pomlčka", "_": "podčiarkovník", "?": "otáznik",
           "=": "rovná sa", "&": "a", "#": "mriežka", ":": "dvojbodka", "%": "percent", "+": "plus", "~": "vlnovka"},
    signs="a|rovná sa|plus|krát|delené|plus mínus|približne|menšie alebo rovné|"
    "väčšie alebo rovné|promile|paragraf|číslo|číslo|menšie ako|väčšie ako|na druhú",
    currencies={
        "€": ("jedno euro|eurá|eur|eura", "jeden cent|centy|centov"),
        "EUR": ("jedno euro|eurá|eur|eura", "jeden cent|centy|centov"),
        "Kč": ("jedna koruna|koruny|korún", "jeden halier|haliere|halierov"),
        "Sk": ("jedna koruna|koruny|korún", "jeden halier|haliere|halierov"),
        "$": ("jeden dolár|doláre|dolárov|dolára", "jeden cent|centy|centov"),
        "£": ("jedna libra|libry|libier", "jedna penca|pence|pencí"),
    },
    joint=" ",
    magnitudes={"tis.": "jeden tisíc|tisíce|tisíc|tisíca", "tisíc": "jeden tisíc|tisíce|tisíc|tisíca",
                "mil.": "jeden milión|milióny|miliónov|milióna", "miliónov": "jeden milión|milióny|miliónov|milióna",
                "mld.": "jedna miliarda|miliardy|miliárd", "miliárd": "jedna miliarda|miliardy|miliárd"},
    units={
        "km/h": "jeden kilometer za hodinu|kilometre za hodinu|kilometrov za hodinu|kilometra za hodinu",
        "m/s": "jeden meter za sekundu|metre za sekundu|metrov za sekundu|metra za sekundu",
        "km": "jeden kilometer|kilometre|kilometrov|kilometra", "m": "jeden meter|metre|metrov|metra",
        "cm": "jeden centimeter|centimetre|centimetrov|centimetra",
        "mm": "jeden milimeter|milimetre|milimetrov|milimetra",
        "km²": "jeden štvorcový kilometer|štvorcové kilometre|štvorcových kilometrov|štvorcového kilometra",
        "m²": "jeden štvorcový meter|štvorcové metre|štvorcových metrov|štvorcového metra",
        "m³": "jeden kubický meter|kubické metre|kubických metrov|kubického metra",
        "kg": "jeden kilogram|kilogramy|kilogramov|kilogramu", "g": "jeden gram|gramy|gramov|gramu",
        "mg": "jeden miligram|miligramy|miligramov|miligramu", "t": "jedna tona|tony|ton",
        "l": "jeden liter|litre|litrov|litra", "ml": "jeden mililiter|mililitre|mililitrov|mililitra",
        "kWh": "jedna kilowatthodina|kilowatthodiny|kilowatthodín",
        "kW": "jeden kilowatt|kilowatty|kilowattov|kilowattu",
        "GB": "jeden gigabajt|gigabajty|gigabajtov|gigabajtu", "MB": "jeden megabajt|megabajty|megabajtov|megabajtu",
        "°C": "jeden stupeň Celzia|stupne Celzia|stupňov Celzia|stupňa Celzia",
        "°": "jeden stupeň|stupne|stupňov|stupňa", "%": "jedno percento|percentá|percent|percenta",
        "min": "jedna minúta|minúty|minút", "hod.": "jedna hodina|hodiny|hodín",
    },
    fractions={"½": "pol", "1/2": "pol", "⅓": "tretina", "1/3": "tretina", "⅔": "dve tretiny", "2/3": "dve tretiny",
               "¼": "štvrť", "1/4": "štvrť", "¾": "tri štvrte", "3/4": "tri štvrte", "⅛": "osmina", "1/8": "osmina"},
    half=" a ",
    date=_SLOVAK.said_date,
    clock=lambda hour, minute: _clock(hour, minute, "dve", "hodiny", "hodín"),
    clock_pattern=r"(?P<hour>\d{1,2})[:.](?P<minute>\d\d)[ \u00a0](?:hod\.|hodín\b|h\b)"
    r"|(?P<hour2>\d{1,2}):(?P<minute2>\d\d)",
    roman=_SLOVAK.said_roman,
    before=_SLOVAK.own_signs,
    stop_makes_ordinals=True,
    two="dve",
)  # fmt: skip
