"""The words of a language that stand for signs, and which form of them a number wants."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..spans import Spanned

__all__ = ["SIGNS", "Forms", "Words", "counted"]

SIGNS = "& = + × ÷ ± ≈ ≤ ≥ ‰ § № # < > ²".split()  # noqa: SIM905
"""Signs of arithmetic and reference, in the order of `Words.signs`."""

Forms = str
"""The forms of a noun, parted by bars: with the number one, which is a part of it ("ein Euro"), with several ("Euro"),
and where a language has a third form, with few and with many ("один рубль|рубля|рублей")."""


@dataclass(frozen=True)
class Words:
    """What is said for signs in a language.

    Attributes:
        language: its two-letter code.
        point: the sign before decimals, "." or ",".
        one_below_two: whether "1,5" takes the singular.
        stop_makes_ordinals: whether a number with a stop behind it is an ordinal.
        minus, plus, to: words for the signs, and for the dash of a range.
        marks: words for the marks of addresses.
        signs: words for each of `SIGNS`, parted by bars.
        currencies: of each sign the forms of the unit and of its hundredth.
        joint: what stands between euros and cents.
        joint_of_magnitude: what stands between "millions" and the currency: a function of the currency.
        magnitudes, units: forms by how they are abbreviated.
        is_no_unit: whether what looks like a unit is none: of the number, the unit, and the text behind.
        fractions: words by what is written.
        half: what stands between a whole number and a fraction behind it.
        halves: "½" before a masculine noun, before a feminine one, and behind a whole number.
        date: day, month, year or None, in words and digits; None where it cannot be said.
        day_comes_first: whether "03.05.2024" is the third of May; None where nobody knows.
        clock: hour and minute in words and digits.
        clock_pattern: a clock time with groups `hour` and `minute`, and what belongs to it.
        roman: the text before, the value, what follows: what is said for a Roman numeral; None leaves it.
        before: what is done first, for what only this language has.
        range_of: what is said for a range: of the text before and its two ends; None puts `to` between them.
        two: "two" before a noun that is no masculine, where only the numbers from two to four take the form for few
            (Czech, Slovak); None where the last digit counts (Russian), or where there are two forms only.
        telephone_pairs: whether telephone numbers are said in pairs of digits.
    """

    language: str
    point: str
    minus: str
    plus: str
    to: str
    marks: Mapping[str, str]
    signs: str
    currencies: Mapping[str, tuple[Forms, Forms]] = field(default_factory=dict)
    joint: str = " "
    joint_of_magnitude: Callable[[str], str] = lambda currency: " "
    magnitudes: Mapping[str, Forms] = field(default_factory=dict)
    units: Mapping[str, Forms] = field(default_factory=dict)
    is_no_unit: Callable[[str, str, str], bool] = lambda number, unit, following: False
    fractions: Mapping[str, str] = field(default_factory=dict)
    half: str = " "
    halves: tuple[str, str, str] | None = None
    date: Callable[[int, int, str | None], str | None] = lambda day, month, year: None
    day_comes_first: bool | None = True
    clock: Callable[[int, int], str] | None = None
    clock_pattern: str = r"(?P<hour>\d{1,2}):(?P<minute>\d\d)"
    roman: Callable[[str, int, str], str | None] = lambda before, value, following: None
    before: Callable[[Spanned], Spanned] | None = None
    range_of: Callable[[str, str, str], str] | None = None
    one_below_two: bool = False
    stop_makes_ordinals: bool = False
    two: str | None = None
    telephone_pairs: bool = False


def counted(number: str, forms: Forms, words: Words) -> str:
    """A number as it is written and a noun in the form that it wants: "ein Euro", "1,5 million", "2 рубля".

    A noun that is feminine in Russian has its last one or two in words, for digits are read as masculine ones.
    """
    one, *others = forms.split("|")
    several = others[0] if others else one
    if number == "1":
        return one
    noun = one.partition(" ")[2]
    if len(others) < 2:
        whole = number.partition(words.point)[0]
        return f"{number} {noun if words.one_below_two and whole in ('0', '1') else several}"
    if re.search(r"[.,]\d+$", number):
        return f"{number} {others[-1] if len(others) > 2 else several}"  # "2,5 рубля"
    if words.two is not None:
        if number not in ("2", "3", "4"):
            return f"{number} {others[1]}"
        return f"{words.two if number == '2' and not one.startswith('jeden ') else number} {several}"
    digits = re.sub(r"\D", "", number)
    last, tens = int(digits[-1]), digits[-2:-1]
    if tens == "1" or last in (0, 5, 6, 7, 8, 9):
        return f"{number} {others[1]}"
    is_feminine = one.startswith("одна ")
    if is_feminine and last in (1, 2):
        spoken = ("одна", "две")[last - 1]
        rest = number[:-1] + "0" if digits[:-1].strip("0") else ""
        number = f"{rest} {spoken}".strip()
    return f"{number} {noun if last == 1 else several}"
