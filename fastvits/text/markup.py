"""Marked-up texts as what is to be said: Markdown by markdown-it-py, HTML by Python's own parser.

Marks, tags and addresses behind links are not said. A heading, an item of a list, a row of a table and a line that is
broken on purpose end with a line break, and a paragraph with an empty line. Every character knows where it stands in
the source.
"""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any, Literal, get_args

from .spans import Original, Rewritten, Spanned

__all__ = ["MARKUPS", "Markup", "spoken_text"]

logger = logging.getLogger("fastvits")

Markup = Literal["plain", "markdown", "html"]
"""How a text is marked up."""
MARKUPS: tuple[Markup, ...] = get_args(Markup)

_WIKI_LINK = re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]+)\]\]")
# Elements that stand in a line of their own, those that part paragraphs, and those whose text is not said.
_LINES = frozenset((
    "br", "li", "dt", "dd", "tr", "option", "figcaption", "caption", "summary", "legend", "address",
))  # fmt: skip
_PARAGRAPHS = frozenset((
    "p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "blockquote", "section",
    "article", "header", "footer", "nav", "main", "aside", "pre", "hr", "form", "figure", "body", "html",
    "details", "fieldset",
))  # fmt: skip
_UNSAID = frozenset((
    "script", "style", "head", "title", "template", "noscript", "svg", "math", "iframe", "object", "textarea",
    "select",
))  # fmt: skip
_CELLS = frozenset(["td", "th"])


def spoken_text(text: str, markup: Markup) -> Spanned:
    """What of a text is to be said.

    Args:
        text: the source.
        markup: "plain" says it as it is, "markdown" or "html" without its marks. Code in blocks is left out, which is
            logged.

    Raises:
        ValueError: another markup.
        ImportError: Markdown without the package `markdown-it-py`.
    """
    if markup not in MARKUPS:
        raise ValueError(f"markup must be one of {', '.join(map(repr, MARKUPS))}, got {markup!r}")
    if markup == "plain":
        return Original(text)
    page = _Page(text)
    if markup == "html":
        _HtmlReader(page, 0).read(text)
    else:
        _read_markdown(page)
    return page.finished()


class _Page:
    """What is said, piece by piece, each with where it stands in the source."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.pieces: list[tuple[str, int, int]] = []
        self.position = 0
        self.blocks_of_code = 0
        self._break = ""

    def say(self, text: str, start: int, end: int) -> None:
        """Append a text that stands for `source[start:end]`."""
        if not text:
            return
        if self._break and self.pieces:
            self.pieces.append((self._break, self.position, self.position))
        self._break = ""
        self.pieces.append((text, start, end))
        self.position = max(self.position, end)

    def end_line(self) -> None:
        """What follows stands in a new line."""
        self._break = self._break or "\n"

    def end_paragraph(self) -> None:
        """What follows is a new paragraph."""
        self._break = "\n\n"

    def finished(self) -> Spanned:
        if self.blocks_of_code:
            logger.warning("%d blocks of code are not said.", self.blocks_of_code)
        return Rewritten.of(Original(self.source), self.pieces)


class _HtmlReader(HTMLParser):
    """Says a stretch of HTML that begins at `offset` of the page's source."""

    def __init__(self, page: _Page, offset: int) -> None:
        super().__init__(convert_charrefs=False)
        self.page = page
        self.begin = offset
        self.unsaid: list[str] = []
        self.lines = [0]
        self.cells = 0

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """A section of SGML, "<![CDATA[…]]>"; what only looks like one is a comment, or text if nothing closes it."""
        place = self.lineno, self.offset
        try:
            return super().parse_marked_section(i, report)
        except AssertionError:
            self.lineno, self.offset = place
            end = self.rawdata.find(">", i)
            if end >= 0:
                return end + 1
            self.handle_data("<![")
            return i + 3

    def read(self, text: str) -> None:
        self.lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self.feed(text)
        self.close()

    def _here(self) -> int:
        line, column = self.getpos()
        return self.begin + self.lines[line - 1] + column

    def handle_starttag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        if tag in _UNSAID:
            self.unsaid.append(tag)
        elif tag == "img":
            self._say(dict(attributes).get("alt") or "", len(self.get_starttag_text() or ""))
        elif tag == "tr":
            self.cells = 0
        elif tag in _CELLS:
            if self.cells:
                self._say(", ", 0)
            self.cells += 1
        self._break(tag)

    def handle_startendtag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag in _UNSAID:
            self.unsaid.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in self.unsaid:
            del self.unsaid[len(self.unsaid) - 1 - self.unsaid[::-1].index(tag) :]
        self._break(tag)

    def handle_data(self, data: str) -> None:
        if data.isspace() and "\n" in data:
            data = " "
            self._say(data, 0)
            return
        if self.unsaid:
            return
        here = self._here()
        for match in re.finditer(r"\s+|\S+", data):
            word = match.group()
            self.page.say(" " if word.isspace() else word, here + match.start(), here + match.end())

    def handle_entityref(self, name: str) -> None:
        self._reference(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self._reference(f"&#{name};")

    def _reference(self, written: str) -> None:
        length = len(written)
        here = self._here()
        if self.page.source[here + length - 1 : here + length] != ";":
            length -= 1
        character = html.unescape(self.page.source[here : here + length])
        self._say(" " if character == "\u00a0" else character, length)

    def _say(self, text: str, length: int) -> None:
        if not self.unsaid:
            here = self._here()
            self.page.say(text, here, here + length)

    def _break(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            self.page.end_paragraph()
        elif tag in _LINES:
            self.page.end_line()


def _read_markdown(page: _Page) -> None:
    try:
        from markdown_it import MarkdownIt
    except ImportError as error:
        raise ImportError("Markdown needs the package `markdown-it-py`: install the extra `fastvits[text]`") from error
    lines = [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", page.source))]
    in_row = items = 0
    end = len(page.source)
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(page.source):
        if token.map is not None:
            page.position = max(page.position, lines[token.map[0]])
            end = lines[token.map[1]] if token.map[1] < len(lines) else len(page.source)
        if token.type == "inline":
            _read_inline(page, token.children or [], end)
        elif token.type in ("fence", "code_block"):
            page.blocks_of_code += 1
            page.end_paragraph()
        elif token.type == "html_block":
            start = page.source.find(token.content.split("\n", 1)[0], page.position, end)
            _HtmlReader(page, max(start, 0)).read(page.source[max(start, 0) : end])
        elif token.type == "tr_open":
            in_row = 0
        elif token.type in ("td_open", "th_open"):
            if in_row:
                page.say(", ", page.position, page.position)
            in_row += 1
        elif token.type in ("tr_close", "heading_open", "heading_close", "list_item_open", "list_item_close"):
            items += token.type == "list_item_open"
            page.end_line()
            if token.type.startswith("heading"):
                page.end_paragraph()
        elif token.type in ("paragraph_close", "table_close", "hr") or token.type.endswith("list_close"):
            if token.hidden:
                page.end_line()
            else:
                page.end_paragraph()


def _read_inline(page: _Page, tokens: Sequence[Any], end: int) -> None:
    """The text of a block, which ends at `end` of the source."""
    unsaid: list[str] = []
    for token in tokens:
        content = token.content
        if token.type == "softbreak":
            page.say(" ", page.position, page.position)
        elif token.type == "hardbreak":
            page.end_line()
        elif token.type == "html_inline":
            tag = re.match(r"<(/?)([a-zA-Z][\w-]*)", content)
            if tag is not None and tag[2].lower() == "br":
                page.end_line()
            elif tag is not None and tag[2].lower() in _UNSAID:
                unsaid = unsaid[:-1] if tag[1] else [*unsaid, tag[2]]
        elif token.type == "image":
            _read_inline(page, token.children or [], end)
        elif content and not unsaid:
            _say_found(page, _WIKI_LINK.sub(r"\1", content), end)


def _say_found(page: _Page, content: str, end: int) -> None:
    """Say a text that stands in the source behind the page's position, perhaps with escapes and entities in it."""
    found = page.source.find(content, page.position, end)
    if found >= 0:
        page.say(content, found, found + len(content))
        return
    for character in content:
        found = page.source.find(character, page.position, end)
        if found < 0 or found > page.position + 40:  # an entity
            reference = re.compile(r"&#?\w+;").search(page.source, page.position, end)
            span = reference.span() if reference is not None else (page.position, page.position)
            page.say(character, *span)
        else:
            page.say(character, found, found + 1)
