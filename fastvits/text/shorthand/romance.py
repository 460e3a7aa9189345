"""What French, Spanish, Italian and Portuguese texts abbreviate."""

from __future__ import annotations

import re
from dataclasses import replace

from ..number_words import said
from .forms import Words

__all__ = ["BRAZILIAN", "FRENCH", "ITALIAN", "PORTUGUESE", "SPANISH"]

_MONTHS = {
    "fr": [
        "janvier",
        "février",
        "mars",
        "avril",
        "mai",
        "juin",
        "juillet",
        "août",
        "septembre",
        "octobre",
        "novembre",
        "décembre",
    ],
    "es": [
        "enero",
        "febrero",
        "marzo",
        "abril",
        "mayo",
        "junio",
        "julio",
        "agosto",
        "septiembre",
        "octubre",
        "noviembre",
        "diciembre",
    ],
    "it": [
        "gennaio",
        "febbraio",
        "marzo",
        "aprile",
        "maggio",
        "giugno",
        "luglio",
        "agosto",
        "settembre",
        "ottobre",
        "novembre",
        "dicembre",
    ],
    "pt": [
        "janeiro",
        "fevereiro",
        "março",
        "abril",
        "maio",
        "junho",
        "julho",
        "agosto",
        "setembro",
        "outubro",
        "novembro",
        "dezembro",
    ],
}
_BEHIND_A_WORD = re.compile(r"[^\W\d_][ \u00a0]$")


def _french_date(day: int, month: int, year: str | None) -> str:
    return f"{'1er' if day == 1 else day} {_MONTHS['fr'][month - 1]}" + (f" {year}" if year else "")


def _spanish_date(day: int, month: int, year: str | None) -> str:
    return f"{day} de {_MONTHS['es'][month - 1]}" + (f" de {year}" if year else "")


def _italian_date(day: int, month: int, year: str | None) -> str:
    return f"{'primo' if day == 1 else day} {_MONTHS['it'][month - 1]}" + (f" {year}" if year else "")


def _portuguese_date(day: int, month: int, year: str | None) -> str:
    return f"{'primeiro' if day == 1 else day} de {_MONTHS['pt'][month - 1]}" + (f" de {year}" if year else "")


def _french_clock(hour: int, minute: int) -> str:
    hours = "une heure" if hour == 1 else "0 heure" if hour == 0 else f"{hour} heures"
    return hours + (f" {minute}" if minute else "")


def _spanish_clock(hour: int, minute: int) -> str:
    return ("una" if hour == 1 else str(hour)) + (f" y {minute}" if minute else " en punto" if hour <= 12 else " horas")


def _italian_clock(hour: int, minute: int) -> str:
    return ("una" if hour == 1 else str(hour)) + (f" e {minute}" if minute else "")


def _portuguese_clock(hour: int, minute: int) -> str:
    # Hours are feminine, digits are read as masculine.
    hours = {1: "uma hora", 2: "duas horas", 21: "vinte e uma horas", 22: "vinte e duas horas"}.get(
        hour, f"{hour} horas"
    )
    return hours + (f" e {minute}" if minute else "")


_CENTURY = {"fr": "siècle", "es": "siglo", "it": "secolo", "pt": "século"}
_KINGS = {
    "fr": r"Louis|Charles|Henri|François|Philippe|Napoléon|Jean|Paul|Pie|Benoît|Léon|Grégoire|Édouard|Georges|Guillaume"
    r"|Élisabeth|Elizabeth|Catherine|Nicolas|Alexandre|Pierre|Frédéric|Léopold|Albert|Baudouin|Ferdinand",
    "es": r"Felipe|Carlos|Fernando|Alfonso|Juan|Pablo|Pío|Benedicto|León|Gregorio|Enrique|Isabel|Luis|Jorge|Eduardo"
    r"|Francisco|Napoleón|Pedro|Catalina|Nicolás|Alejandro|Guillermo|Clemente|Sancho|Jaime",
    "it": r"Luigi|Carlo|Enrico|Vittorio|Emanuele|Umberto|Giovanni|Paolo|Pio|Benedetto|Leone|Gregorio|Clemente|Federico"
    r"|Francesco|Elisabetta|Giorgio|Edoardo|Napoleone|Pietro|Caterina|Nicola|Alessandro|Guglielmo|Filippo|Ferdinando",
    "pt": r"João|Pedro|Manuel|Afonso|Sancho|Dinis|José|Luís|Carlos|Paulo|Pio|Bento|Leão|Gregório|Henrique|Isabel|Maria"
    r"|Filipe|Jorge|Eduardo|Francisco|Napoleão|Catarina|Nicolau|Alexandre|Guilherme|Sebastião|Duarte|Fernando",
}
_FEMALE = re.compile(r"(?:Élisabeth|Elizabeth|Catherine|Isabel|Catalina|Elisabetta|Caterina|Catarina|Maria)\s+$")


def _ordinal(language: str, value: int, is_female: bool) -> str | None:
    ordinal = said(language, value, "ordinal")
    if ordinal is None or not is_female or language == "fr":
        return ordinal
    return " ".join(re.sub("o$", "a", word) for word in ordinal.split())


def _roman(language: str, before: str, value: int, following: str) -> str | None:
    """Ordinals of rulers up to the tenth (in Italian all, in French the first alone) and of centuries."""
    century = _CENTURY[language]
    behind = re.match(rf"(?:[eᵉº°]|er|ème)?[ \u00a0]{century}s?\b", following)
    if language in ("fr", "it") and behind is not None:
        if language == "fr":
            return f"{value}{'er' if value == 1 else 'e'}"
        return _ordinal("it", value, False)
    if re.match(r"(?:[eᵉº°ª]|er|ème)", following):
        return None if language == "fr" and value != 1 else _ordinal(language, value, following.startswith("ª"))
    ruler = re.search(rf"\b(?:{_KINGS[language]})\s+$", before)
    if ruler is not None:
        last = {"fr": 1, "it": 1000}.get(language, 10)
        is_female = _FEMALE.search(ruler.group()) is not None
        said_so = _ordinal(language, value, is_female) if value <= last else str(value)
        return said_so
    if value == 1 or _BEHIND_A_WORD.search(before) is None:
        return None
    if language in ("es", "pt") and re.search(rf"\b{century}\s+$", before) and value <= 10 and language == "pt":
        return _ordinal("pt", value, False)
    return str(value)


def _french_of(currency: str) -> str:
    return " d'" if currency[0] in "aeiou" else " de "


_DOTS = {"fr": "point", "es": "punto", "it": "punto", "pt": "ponto"}
_CELSIUS = "°C"

FRENCH = Words(
    language="fr",
    point=",",
    minus="moins",
    plus="plus",
    to="à",
    marks={".": "point", "@": "arobase", "/": "slash", "-": "tiret", "_": "tiret bas", "?": "point d'interrogation",
           "=": "égale", "&": "et", "#": "dièse", ":": "deux-points", "%": "pour cent", "+": "plus", "~": "tilde"},
    signs="et|égale|plus|fois|divisé par|plus ou moins|environ|inférieur ou égal à|"
    "supérieur ou égal à|pour mille|paragraphe|numéro|numéro|inférieur à|supérieur à|au carré",
    currencies={"€": ("un euro|euros", "un centime|centimes"), "EUR": ("un euro|euros", "un centime|centimes"),
                "$": ("un dollar|dollars", "un cent|cents"), "£": ("une livre|livres", "un penny|pence"),
                "¥": ("un yen|yens", "un sen|sens"), "CHF": ("un franc|francs", "un centime|centimes")},
    joint=" et ",
    joint_of_magnitude=_french_of,
    magnitudes={"Md": "un milliard|milliards", "Mds": "un milliard|milliards", "M": "un million|millions",
                "millions": "un million|millions", "million": "un million|millions",
                "milliards": "un milliard|milliards", "milliard": "un milliard|milliards"},
    units={"km/h": "un kilomètre par heure|kilomètres par heure", "m/s": "un mètre par seconde|mètres par seconde",
           "km": "un kilomètre|kilomètres", "m": "un mètre|mètres", "cm": "un centimètre|centimètres",
           "mm": "un millimètre|millimètres", "km²": "un kilomètre carré|kilomètres carrés",
           "m²": "un mètre carré|mètres carrés", "m³": "un mètre cube|mètres cubes", "kg": "un kilo|kilos",
           "g": "un gramme|grammes", "mg": "un milligramme|milligrammes", "t": "une tonne|tonnes",
           "l": "un litre|litres", "L": "un litre|litres", "ml": "un millilitre|millilitres",
           "kWh": "un kilowattheure|kilowattheures", "kW": "un kilowatt|kilowatts", "W": "un watt|watts",
           "°C": "un degré Celsius|degrés Celsius", "°": "un degré|degrés", "Go": "un gigaoctet|gigaoctets",
           "Mo": "un mégaoctet|mégaoctets", "GHz": "un gigahertz|gigahertz", "min": "une minute|minutes"},
    fractions={"½": "un demi", "1/2": "un demi", "⅓": "un tiers", "1/3": "un tiers", "⅔": "deux tiers",
               "2/3": "deux tiers", "¼": "un quart", "1/4": "un quart", "¾": "trois quarts", "3/4": "trois quarts",
               "⅛": "un huitième", "1/8": "un huitième"},
    half=" et ",
    halves=("un demi", "une demi", "demi"),
    date=_french_date,
    clock=_french_clock,
    clock_pattern=r"(?P<hour>\d{1,2}):(?P<minute>\d\d)"
    r"|(?P<hour2>\d{1,2})[ \u00a0\u202f]?h(?:[ \u00a0\u202f]?(?P<minute2>\d\d))?(?!\w)",
    roman=lambda before, value, following: _roman("fr", before, value, following),
    one_below_two=True,
    telephone_pairs=True,
)  # fmt: skip

SPANISH = Words(
    language="es",
    point=",",
    minus="menos",
    plus="más",
    to="a",
    marks={".": "punto", "@": "arroba", "/": "barra", "-": "guion", "_": "guion bajo", "?": "interrogación",
           "=": "igual", "&": "y", "#": "almohadilla", ":": "dos puntos", "%": "por ciento", "+": "más", "~": "tilde"},
    signs="y|igual a|más|por|entre|más menos|aproximadamente|menor o igual que|"
    "mayor o igual que|por mil|sección|número|número|menor que|mayor que|al cuadrado",
    currencies={"€": ("un euro|euros", "un céntimo|céntimos"), "EUR": ("un euro|euros", "un céntimo|céntimos"),
                "$": ("un dólar|dólares", "un centavo|centavos"), "£": ("una libra|libras", "un penique|peniques"),
                "¥": ("un yen|yenes", "un sen|senes"), "US$": ("un dólar|dólares", "un centavo|centavos")},
    joint=" con ",
    joint_of_magnitude=lambda currency: " de ",
    magnitudes={"millones": "un millón|millones", "M": "un millón|millones", "mill.": "un millón|millones"},
    units={"km/h": "un kilómetro por hora|kilómetros por hora", "m/s": "un metro por segundo|metros por segundo",
           "km": "un kilómetro|kilómetros", "m": "un metro|metros", "cm": "un centímetro|centímetros",
           "mm": "un milímetro|milímetros", "km²": "un kilómetro cuadrado|kilómetros cuadrados",
           "m²": "un metro cuadrado|metros cuadrados", "m³": "un metro cúbico|metros cúbicos",
           "kg": "un kilo|kilos", "g": "un gramo|gramos", "mg": "un miligramo|miligramos",
           "l": "un litro|litros", "ml": "un mililitro|mililitros", "kWh": "un kilovatio hora|kilovatios hora",
           "kW": "un kilovatio|kilovatios", "W": "un vatio|vatios", "°C": "un grado Celsius|grados Celsius",
           "ºC": "un grado Celsius|grados Celsius", "°": "un grado|grados", "GB": "un gigabyte|gigabytes",
           "MB": "un megabyte|megabytes", "min": "un minuto|minutos"},
    fractions={"½": "un medio", "1/2": "un medio", "⅓": "un tercio", "1/3": "un tercio", "⅔": "dos tercios",
               "2/3": "dos tercios", "¼": "un cuarto", "1/4": "un cuarto", "¾": "tres cuartos",
               "3/4": "tres cuartos", "⅛": "un octavo", "1/8": "un octavo"},
    half=" y ",
    halves=("medio", "media", "medio"),
    date=_spanish_date,
    clock=_spanish_clock,
    clock_pattern=r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?:[ \u00a0](?:h|hs|hrs?|horas)\b\.?)?",
    roman=lambda before, value, following: _roman("es", before, value, following),
)  # fmt: skip

ITALIAN = Words(
    language="it",
    point=",",
    minus="meno",
    plus="più",
    to="a",
    marks={".": "punto", "@": "chiocciola", "/": "barra", "-": "trattino", "_": "trattino basso",
           "?": "punto interrogativo", "=": "uguale", "&": "e", "#": "cancelletto", ":": "due punti",
           "%": "per cento", "+": "più", "~": "tilde"},
    signs="e|uguale a|più|per|diviso|più o meno|circa|minore o uguale a|"
    "maggiore o uguale a|per mille|paragrafo|numero|numero|minore di|maggiore di|al quadrato",
    currencies={"€": ("un euro|euro", "un centesimo|centesimi"), "EUR": ("un euro|euro", "un centesimo|centesimi"),
                "$": ("un dollaro|dollari", "un centesimo|centesimi"), "£": ("una sterlina|sterline", "un penny|pence"),
                "¥": ("uno yen|yen", "un sen|sen")},
    joint=" e ",
    joint_of_magnitude=lambda currency: " di ",
    magnitudes={"mln": "un milione|milioni", "milioni": "un milione|milioni", "mld": "un miliardo|miliardi",
                "miliardi": "un miliardo|miliardi"},
    units={"km/h": "un chilometro all'ora|chilometri all'ora", "m/s": "un metro al secondo|metri al secondo",
           "km": "un chilometro|chilometri", "m": "un metro|metri", "cm": "un centimetro|centimetri",
           "mm": "un millimetro|millimetri", "km²": "un chilometro quadrato|chilometri quadrati",
           "m²": "un metro quadrato|metri quadrati", "mq": "un metro quadrato|metri quadrati",
           "m³": "un metro cubo|metri cubi", "kg": "un chilo|chili", "g": "un grammo|grammi",
           "mg": "un milligrammo|milligrammi", "l": "un litro|litri", "ml": "un millilitro|millilitri",
           "kWh": "un chilowattora|chilowattora", "kW": "un chilowatt|chilowatt", "W": "un watt|watt",
           "°C": "un grado Celsius|gradi Celsius", "°": "un grado|gradi", "GB": "un gigabyte|gigabyte",
           "MB": "un megabyte|megabyte", "min": "un minuto|minuti"},
    fractions={"½": "un mezzo", "1/2": "un mezzo", "⅓": "un terzo", "1/3": "un terzo", "⅔": "due terzi",
               "2/3": "due terzi", "¼": "un quarto", "1/4": "un quarto", "¾": "tre quarti", "3/4": "tre quarti",
               "⅛": "un ottavo", "1/8": "un ottavo"},
    half=" e ",
    halves=("mezzo", "mezza", "mezzo"),
    date=_italian_date,
    clock=_italian_clock,
    clock_pattern=r"(?P<hour>\d{1,2}):(?P<minute>\d\d)|(?<=\b[Oo]re )(?P<hour2>\d{1,2})\.(?P<minute2>\d\d)",
    roman=lambda before, value, following: _roman("it", before, value, following),
)  # fmt: skip

PORTUGUESE = Words(
    language="pt",
    point=",",
    minus="menos",
    plus="mais",
    to="a",
    marks={".": "ponto", "@": "arroba", "/": "barra", "-": "hífen", "_": "sublinhado", "?": "interrogação",
           "=": "igual", "&": "e", "#": "cardinal", ":": "dois pontos", "%": "por cento", "+": "mais", "~": "til"},
    signs="e|igual a|mais|vezes|dividido por|mais ou menos|cerca de|menor ou igual a|"
    "maior ou igual a|por mil|parágrafo|número|número|menor que|maior que|ao quadrado",
    currencies={"€": ("um euro|euros", "um cêntimo|cêntimos"), "EUR": ("um euro|euros", "um cêntimo|cêntimos"),
                "R$": ("um real|reais", "um centavo|centavos"), "$": ("um dólar|dólares", "um cêntimo|cêntimos"),
                "US$": ("um dólar|dólares", "um centavo|centavos"), "£": ("uma libra|libras", "um péni|pence"),
                "¥": ("um iene|ienes", "um sen|senes")},
    joint=" e ",
    joint_of_magnitude=lambda currency: " de ",
    magnitudes={"mi": "um milhão|milhões", "milhões": "um milhão|milhões", "milhão": "um milhão|milhões",
                "bi": "um bilhão|bilhões", "bilhões": "um bilhão|bilhões", "bilhão": "um bilhão|bilhões"},
    units={"km/h": "um quilómetro por hora|quilómetros por hora", "m/s": "um metro por segundo|metros por segundo",
           "km": "um quilómetro|quilómetros", "m": "um metro|metros", "cm": "um centímetro|centímetros",
           "mm": "um milímetro|milímetros", "km²": "um quilómetro quadrado|quilómetros quadrados",
           "m²": "um metro quadrado|metros quadrados", "m³": "um metro cúbico|metros cúbicos", "kg": "um quilo|quilos",
           "g": "um grama|gramas", "mg": "um miligrama|miligramas", "l": "um litro|litros",
           "ml": "um mililitro|mililitros", "kWh": "um quilowatt-hora|quilowatts-hora", "kW": "um quilowatt|quilowatts",
           "W": "um watt|watts", "°C": "um grau Celsius|graus Celsius", "ºC": "um grau Celsius|graus Celsius",
           "°": "um grau|graus", "GB": "um gigabyte|gigabytes", "MB": "um megabyte|megabytes",
           "min": "um minuto|minutos"},
    fractions={"½": "meio", "1/2": "meio", "⅓": "um terço", "1/3": "um terço", "⅔": "dois terços",
               "2/3": "dois terços", "¼": "um quarto", "1/4": "um quarto", "¾": "três quartos", "3/4": "três quartos",
               "⅛": "um oitavo", "1/8": "um oitavo"},
    half=" e ",
    halves=("meio", "meia", "meio"),
    date=_portuguese_date,
    clock=_portuguese_clock,
    clock_pattern=r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?:[ \u00a0]?(?:h|horas)\b)?"
    r"|(?P<hour2>\d{1,2})[ \u00a0]?h(?:[ \u00a0]?(?P<minute2>\d\d))?(?!\w)",
    roman=lambda before, value, following: _roman("pt", before, value, following),
    one_below_two=True,
)  # fmt: skip


def _brazilian(forms: str) -> str:
    return forms.replace("quilómetro", "quilômetro").replace("cêntimo", "centavo").replace("péni", "pêni")


BRAZILIAN = replace(
    PORTUGUESE,
    marks={**PORTUGUESE.marks, "#": "cerquilha"},
    currencies={sign: (_brazilian(unit), _brazilian(part)) for sign, (unit, part) in PORTUGUESE.currencies.items()},
    units={unit: _brazilian(forms) for unit, forms in PORTUGUESE.units.items()},
)
"""As it is spoken and written in Brazil."""
