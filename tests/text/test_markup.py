"""Marked-up texts: what is said of them, where it stands in the source, and the lines it has."""

import html
import itertools
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastvits.text.markup import spoken_text


def lines_of(source, markup):
    return [line.strip() for line in str(spoken_text(source, markup)).split("\n") if line.strip()]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("# Heading\nText here.", ["Heading", "Text here."]),
        ("- one\n- two", ["one", "two"]),
        ("1. first\n2. second\n\nEnd", ["first", "second", "End"]),
        ("Some *very* **bold** `code` and ~~gone~~.", ["Some very bold code and gone."]),
        ("A [link](https://example.org/a_b) and ![a cat](cat.png).", ["A link and a cat."]),
        ("See [[Meeting notes]] and [[page|that one]].", ["See Meeting notes and that one."]),
        ("Tom &amp; Jerry\\*", ["Tom & Jerry*"]),
        ("one  \ntwo\nthree", ["one", "two three"]),
        ("> quoted\n\nnot quoted", ["quoted", "not quoted"]),
        ("| a | b |\n|---|---|\n| 1 | 2 |", ["a, b", "1, 2"]),
        ("before\n\n```\nx = 1\n```\n\nafter", ["before", "after"]),
        ("a<br>b <em>c</em>", ["a", "b c"]),
        ("<p>Hello &amp; bye</p>\n\n* * *\n\nlast", ["Hello & bye", "last"]),
    ],
)
def test_markdown(source, said):
    assert lines_of(source, "markdown") == said


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("<p>Hello &amp; bye&nbsp;now</p>", ["Hello & bye now"]),
        ("<h1>Title</h1><p>One.</p><p>Two</p>", ["Title", "One.", "Two"]),
        ("<ul><li>one<li>two</ul>", ["one", "two"]),
        ("a<br/>b", ["a", "b"]),
        ("<style>p {}</style><script>x()</script>Text<!-- no -->", ["Text"]),
        ("<table><tr><td>a<td>b</tr></table>&lt;i&gt; caf&eacute; &#233;", ["a, b", "<i> café é"]),
        ('An <img alt="old cat" src=x> <b>b</b>old', ["An old cat bold"]),
        ("AT&T 1 < 2", ["AT&T 1 < 2"]),
    ],
)
def test_html(source, said):
    assert lines_of(source, "html") == said


def test_code_that_is_not_said_is_told_of(caplog):
    with caplog.at_level(logging.WARNING, logger="fastvits"):
        spoken_text("a\n\n    code\n", "markdown")
    assert "1 blocks of code" in caplog.text
    with pytest.raises(ValueError, match="markup must be one of 'plain', 'markdown', 'html'"):
        spoken_text("a", "rst")


MARKS = st.lists(
    st.sampled_from(["# ", "\n", "\n\n", "- ", "*", "**", "`", "```\n", "[a](b)", "[[", "]]", "|", "&amp;", "&#233;",
                     "<p>", "</p>", "<br>", "<b", ">", "word", " ", "\\", "é", "<!--", "-->", "<script>", "&", ";",
                     "1. ", "    "]),
    max_size=14,
).map("".join)  # fmt: skip


@settings(max_examples=200, derandomize=True)
@given(source=MARKS, markup=st.sampled_from(["plain", "markdown", "html"]))
def test_spans_are_inside_the_source_and_in_order(source, markup):
    text = spoken_text(source, markup)
    spans = [span for span in text.spans() if span is not None]
    assert all(0 <= first < last <= len(source) for first, last in spans)
    assert all(a[0] <= b[0] for a, b in itertools.pairwise(spans))


@settings(max_examples=100, derandomize=True)
@given(text=st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20))
def test_escaped_text_is_said_as_it_is(text):
    source = f"<p>{html.escape(text)}</p>"
    assert str(spoken_text(source, "html")).strip() == text
