"""Markdown, HTML and texts in lines as scripts: what is said of them, and the pauses between."""

from __future__ import annotations

import re
from typing import Literal

from ..text.markup import Markup, spoken_text
from .script import Place, Script, ScriptBuilder

__all__ = ["parse_markup"]

# Behind a line, or behind an empty one, of what is said.
_BREAK = re.compile(r"[^\S\n]*\n\s*")


def parse_markup(text: str, markup: Markup = "plain", *, lines: bool = False) -> Script:
    """What a marked-up text says, as a script that knows where every character stands in it.

    A heading, an item of a list, a row of a table and a line broken on purpose end with the pause of a sentence, a
    paragraph with its own.

    Args:
        text: the text.
        markup: "markdown", "html", or "plain", which has no marks.
        lines: a plain text's lines end like sentences, as those of poems and lists do.

    Raises:
        TypeError: `text` is no str.
        ValueError: another markup, or nothing to say.
        ImportError: Markdown without the package `markdown-it-py`.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {type(text).__name__}")
    said = spoken_text(text, markup)
    written = str(said)
    places: list[Place] = []
    for span in said.spans():
        behind = places[-1][1] if places else 0
        places.append((behind, behind) if span is None else span)
    builder = ScriptBuilder(text)
    position = 0
    for match in _BREAK.finditer(written) if lines or markup != "plain" else ():
        builder.put(written[position : match.start()], places[position : match.start()])
        is_empty_line = match.group().count("\n") > 1
        ends: Literal["sentence", "paragraph"] = "paragraph" if is_empty_line else "sentence"
        builder.end(ends)
        position = match.end()
    builder.put(written[position:], places[position:])
    return builder.script()
