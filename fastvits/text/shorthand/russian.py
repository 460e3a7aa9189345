"""What Russian texts abbreviate. Dates are said in the genitive, as an answer to "when"."""

from __future__ import annotations

import re

from ..number_words import said
from .forms import Words

__all__ = ["WORDS"]

_MONTHS = [
    "января",
    "февраля",
    "марта",
    "апреля",
    "мая",
    "июня",
    "июля",
    "августа",
    "сентября",
    "октября",
    "ноября",
    "декабря",
]


def _date(day: int, month: int, year: str | None) -> str | None:
    spoken = said("ru", day, "ordinal", case="genitive")
    if spoken is None:
        return None
    date = f"{spoken} {_MONTHS[month - 1]}"
    if year is None:
        return date
    spoken_year = said("ru", int(year), "ordinal", case="genitive")
    return None if spoken_year is None else f"{date} {spoken_year} года"


def _clock(hour: int, minute: int) -> str:
    if minute == 0:
        return f"{hour} ноль ноль"
    return f"{hour} ноль {minute}" if minute < 10 else f"{hour} {minute}"


# Rulers' names: the stem, and the endings of nominative and genitive.
_RULERS = re.compile(
    r"\b(?P<name>Людовик|Никола(?:й|я|ю|ем|е)|П[её]тр|Александр|Пав(?:ел|ла|лу|лом|ле)|Иван|Карл|Генрих|Филипп|Фридрих"
    r"|Вильгельм|Георг|Эдуард|Пий|Пия|Лев|Екатерин(?=[аыеой])|Елизавет(?=[аыеой])|Анн(?=[аыеой]))(?P<ending>[а-яё]*)\s+$"
)
_CASES = {"": "nominative", "а": "genitive", "я": "genitive", "у": "dative", "ю": "dative", "ом": "instrumental",
          "ем": "instrumental", "е": "prepositional"}  # fmt: skip
_FEMININE_CASES = {"а": "nominative", "ы": "genitive", "е": "dative", "ой": "instrumental", "у": "accusative"}
_CENTURY = re.compile(r"(?:-?(?:й|го|му|м))?[ \u00a0](?:век(?P<ending>а|у|ом|е)?|столети(?P<other>е|я|ю|ем|и))(?!\w)")


def _roman(before: str, value: int, following: str) -> str | None:
    century = _CENTURY.match(following)
    if century is not None:
        if century["other"]:
            case = {"е": "nominative", "я": "genitive", "ю": "dative", "ем": "instrumental", "и": "prepositional"}
            return said("ru", value, "ordinal", case=case[century["other"]], gender="n")
        return said("ru", value, "ordinal", case=_CASES[century["ending"] or ""])
    ruler = _RULERS.search(before)
    if ruler is not None:
        name, ending = ruler["name"], ruler["ending"]
        if name.startswith(("Екат", "Елиз", "Анн")):
            return said("ru", value, "ordinal", case=_FEMININE_CASES.get(ending, "nominative"), gender="f")
        if name.startswith(("Никола", "Пав", "Пи")):
            ending = "" if name in ("Николай", "Павел", "Пий") else re.sub("^(?:Никола|Павл|Пи)", "", name)
        return said("ru", value, "ordinal", case=_CASES.get(ending, "nominative"))
    if value == 1 or not re.search(r"[^\W\d_][ \u00a0]$", before):
        return None
    return str(value)


_PREPOSITION = re.compile(r"(?:^|\s)(?:от|с|около|до|в|на|по|за|через|из|для|к)\s+$", re.IGNORECASE)


def _range(before: str, first: str, second: str) -> str:
    spoken = [said("ru", int(end), case="genitive") if end.isdigit() else None for end in (first, second)]
    if None in spoken or _PREPOSITION.search(before):
        return f"{first}, {second}"
    return f"от {spoken[0]} до {spoken[1]}"


WORDS = Words(
    language="ru",
    point=",",
    minus="минус",
    plus="плюс",
    to="до",
    marks={".": "точка", "@": "собака", "/": "слэш", "-": "дефис", "_": "подчёркивание", "?": "вопросительный знак",
           "=": "равно", "&": "и", "#": "решётка", ":": "двоеточие", "%": "процент", "+": "плюс", "~": "тильда"},
    signs="и|равно|плюс|умножить на|разделить на|плюс-минус|примерно|меньше или равно|"
    "больше или равно|промилле|параграф|номер|номер|меньше|больше|в квадрате",
    currencies={
        "₽": ("один рубль|рубля|рублей", "одна копейка|копейки|копеек"),
        "руб.": ("один рубль|рубля|рублей", "одна копейка|копейки|копеек"),
        "руб": ("один рубль|рубля|рублей", "одна копейка|копейки|копеек"),
        "€": ("один евро|евро|евро", "один цент|цента|центов"),
        "$": ("один доллар|доллара|долларов", "один цент|цента|центов"),
        "£": ("один фунт|фунта|фунтов", "один пенс|пенса|пенсов"),
        "¥": ("одна иена|иены|иен", "один сен|сена|сенов"),
    },
    magnitudes={"тыс.": "одна тысяча|тысячи|тысяч", "тыс": "одна тысяча|тысячи|тысяч",
                "млн": "один миллион|миллиона|миллионов", "млн.": "один миллион|миллиона|миллионов",
                "млрд": "один миллиард|миллиарда|миллиардов", "млрд.": "один миллиард|миллиарда|миллиардов"},
    units={
        "км/ч": "один километр в час|километра в час|километров в час",
        "м/с": "один метр в секунду|метра в секунду|метров в секунду", "км": "один километр|километра|километров",
        "м": "один метр|метра|метров", "см": "один сантиметр|сантиметра|сантиметров",
        "мм": "один миллиметр|миллиметра|миллиметров", "кг": "один килограмм|килограмма|килограммов",
        "мг": "один миллиграмм|миллиграмма|миллиграммов", "г": "один грамм|грамма|граммов",
        "т": "одна тонна|тонны|тонн", "л": "один литр|литра|литров", "мл": "один миллилитр|миллилитра|миллилитров",
        "м²": "один квадратный метр|квадратных метра|квадратных метров",
        "м³": "один кубический метр|кубических метра|кубических метров",
        "кВт": "один киловатт|киловатта|киловатт", "ГБ": "один гигабайт|гигабайта|гигабайт",
        "МБ": "один мегабайт|мегабайта|мегабайт", "мин": "одна минута|минуты|минут", "мин.": "одна минута|минуты|минут",
        "сек": "одна секунда|секунды|секунд", "сек.": "одна секунда|секунды|секунд",
        "°C": "один градус Цельсия|градуса Цельсия|градусов Цельсия",
        "°С": "один градус Цельсия|градуса Цельсия|градусов Цельсия", "°": "один градус|градуса|градусов",
        "%": "один процент|процента|процентов",
    },
    fractions={"½": "одна вторая", "1/2": "одна вторая", "⅓": "одна треть", "1/3": "одна треть",
               "⅔": "две трети", "2/3": "две трети", "¼": "одна четверть", "1/4": "одна четверть",
               "¾": "три четверти", "3/4": "три четверти", "⅛": "одна восьмая", "1/8": "одна восьмая"},
    half=" и ",
    date=_date,
    clock=_clock,
    roman=_roman,
    range_of=_range,
    is_no_unit=lambda number, unit, following: unit == "г" and (len(number) == 4 or following.startswith(".")),
)  # fmt: skip
