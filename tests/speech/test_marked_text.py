"""Marked-up texts and poems, spoken: the pauses between their parts and places in the source."""

import pytest

from fastvits.speech.marked_text import parse_markup

POEM = "Tyger Tyger, burning bright\nIn the forests of the night\n\nWhat immortal hand or eye"


def test_lines_of_a_poem_end_like_sentences():
    assert [one.text for one in parse_markup(POEM).passages] == [POEM]
    passages = parse_markup(POEM, lines=True).passages
    assert [one.text for one in passages] == [line for line in POEM.split("\n") if line]
    assert [one.ends for one in passages] == ["sentence", "paragraph", None]


def test_headings_and_items_end_like_sentences():
    source = "# One\n\n- two\n- *three*\n\nf&#111;ur"
    script = parse_markup(source, "markdown")
    assert [(one.text, one.ends) for one in script.passages] == [
        ("One", "paragraph"), ("two", "sentence"), ("three", "paragraph"), ("four", None),
    ]  # fmt: skip
    assert script.written == source
    for passage in script.passages:
        pairs = zip(passage.text, passage.places, strict=True)
        assert all(source[first:last] == character for character, (first, last) in pairs if last - first == 1)
    first, last = script.passages[-1].places[1]
    assert source[first:last] == "&#111;"


def test_nothing_to_say_is_refused():
    with pytest.raises(ValueError, match="nothing to say"):
        parse_markup("<p> </p>", "html")
    with pytest.raises(TypeError, match="text must be a str"):
        parse_markup(b"x")
