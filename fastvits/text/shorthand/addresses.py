"""Addresses of web pages and mail boxes, read mark by mark: "example dot org slash news"."""

from __future__ import annotations

import re

from ..spans import Spanned, substituted
from .forms import Words

__all__ = ["addresses_in_words"]

_LABEL = r"[^\W_](?:[\w-]*[^\W_])?"
# Endings that tell an address from two sentences without a space between them: none that is an English word.
_ENDINGS = "com|org|net|edu|gov|info|io|dev|app|de|fr|es|pt|ru|uk|eu|ch|nl|pl|br|mx|ca|au|jp|cn|tv|ai"
_PATH = r"(?:[/?#][^\s<>\"'“”«»]*)?"
_PAGE = rf"(?:https?://|ftp://|www\.)(?:{_LABEL}\.)*{_LABEL}(?::\d+)?{_PATH}|(?<![\w.@-])(?:{_LABEL}\.)+(?:{_ENDINGS})(?![\w-]){_PATH}"
_MACHINE = r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?(?![\w]|\.\d)"
_MAIL = rf"(?:mailto:)?[\w.+-]*\w@(?:{_LABEL}\.)+[^\W\d_]{{2,}}"
_ADDRESS = re.compile(rf"(?P<mail>{_MAIL})|(?P<machine>{_MACHINE})|(?P<page>{_PAGE})")
_SCHEME = re.compile(r"^(?:https?://|ftp://|mailto:)")
_END = ".,;:!?)]}…"


def addresses_in_words(text: Spanned, words: Words) -> Spanned:
    """A text whose addresses are read mark by mark, without "https://" and the slash at the end.

    Marks that end the sentence rather than the address stay. A mark without a name is a space.
    """
    written = str(text)
    if "." not in written:
        return text

    def said(match: re.Match[str]) -> str | None:
        whole = match.group()
        address = whole.rstrip(_END)
        rest = whole[len(address) :]
        inner = _SCHEME.sub("", address).rstrip("/")
        if not inner:
            return None
        parts = re.split(r"([^\w]|_)", inner)
        spoken = (words.marks.get(part, "") if re.fullmatch(r"\W|_", part) else part for part in parts)
        return " ".join(part for part in spoken if part) + rest

    return substituted(text, _ADDRESS, said)
