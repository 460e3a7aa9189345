"""Telephone numbers, digit by digit where a number would be read as thousands."""

from __future__ import annotations

import re

from ..spans import Spanned, substituted
from .forms import Words

__all__ = ["telephones_in_words"]

# A plus and a country, or a zero first, and at least seven digits in all; or groups as North America writes them.
_TELEPHONE = re.compile(
    r"(?<![\w.,+/:-])(?:\+\d{1,3}(?:[ \-/.]?\(?\d{1,5}\)?){2,6}|\(?0\d{1,5}\)?(?:[ \-/]{1,3}\d{2,}){1,5}"
    r"|8[ -]?\(\d{3,5}\)[ -]?\d{2,3}-\d\d-\d\d|(?:1[-. ])?(?:\(\d{3}\)\s?|\d{3}[-. ])\d{3}[-.]\d{4}"
    r"|(?P<local>\d{3}[-.]\d{4}))(?![\w-]|[.,:/]\d)"
)


def telephones_in_words(text: Spanned, words: Words) -> Spanned:
    """A text whose telephone numbers have a space between their digits and a comma between their groups.

    Groups of two digits stay as they are where a language says them in pairs.
    """
    if not any(map(str.isdigit, str(text))):
        return text

    def said(match: re.Match[str]) -> str | None:
        number = match.group()
        groups = re.findall(r"\d+", number)
        # Without an area's number only English texts have them so; elsewhere they are a range.
        if len("".join(groups)) < 7 or (match["local"] and words.language != "en"):
            return None
        spoken = [
            group if words.telephone_pairs and len(group) == 2 and group[0] != "0" else " ".join(group)
            for group in groups
        ]
        return (f"{words.plus} " if number.startswith("+") else "") + ", ".join(spoken)

    return substituted(text, _TELEPHONE, said)
