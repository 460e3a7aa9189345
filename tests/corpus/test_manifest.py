"""Manifests as people write them: quotes that are never closed, JSON lists, LJSpeech's tables."""

import io
import itertools

import pytest

from fastvits.corpus import Failure, read_manifest


def read(text, manifest_format=None):
    return list(read_manifest(io.BytesIO(text.encode()), manifest_format))


def shown(rows):
    return [(row.row, row.message) if isinstance(row, Failure) else (row["row"], row["text"]) for row in rows]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('id,text\na,"One\nb,Two\nc,"Three"\nd,Four\n', [None, "Two", "Three", "Four"]),
        ('id,text\na,One\nb,"Two\nc,Three', ["One", None, "Three"]),
        ('id,text\na,"One\nb,"Two\nc,"Three\n', [None, None, None]),
        ('id,text\r\na,"One\r\nmore ""and"" more"\r\nb,Two\r\n', ['One\r\nmore "and" more', "Two"]),
        ('id,text\na,"One" said loosely\nb,5" of rain\n', ["One said loosely", '5" of rain']),
    ],
)
def test_a_quote_that_is_never_closed_fails_its_row_alone(text, expected):
    found = shown(read(text, "csv"))
    closed = [
        (row, "cannot be read: its quote is never closed" if text is None else text)
        for row, text in zip(itertools.count(1), expected)
    ]
    assert found == closed


def test_a_quote_that_swallows_many_rows_is_read_in_linear_time():
    rows = 30_000
    text = 'text\n"never closed\n' + "plain\n" * rows
    assert len(read(text, "csv")) == rows + 1


def test_a_json_list(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('\ufeff["One", {"text": "Two", "speaker_id": 1, "id": "b"}, 3]', "utf-8")
    first, second, third = read_manifest(path)
    assert first == {"text": "One", "row": 1}
    assert second == {"text": "Two", "speaker_id": 1, "id": "b", "row": 2}
    assert (third.row, third.message) == (3, "must be a JSON object, got int")
    for wrong, message in {
        '{"text": "One"}': "holds no JSON list but a dict",
        '{"text": "One"}\n{"text": "Two"}': "is no JSON",
        "[" * 100_000: "is no JSON",
    }.items():
        path.write_text(wrong)
        with pytest.raises(ValueError, match=rf"{message}.*belong into a \.jsonl file"):
            list(read_manifest(path))


def test_a_table_of_ljspeech(tmp_path):
    path = tmp_path / "metadata.csv"
    path.write_text('LJ1|"Quoted, he said|"Quoted, he said\nLJ2|In 1450|In fourteen fifty\nLJ3|Alone|\n\nLJ4|a|b|c\n')
    *rows, last = read_manifest(path)
    assert [(row["id"], row["text"]) for row in rows] == [
        ("LJ1", '"Quoted, he said'),
        ("LJ2", "In fourteen fifty"),
        ("LJ3", "Alone"),
    ]
    assert "has 4 columns" in last.message
    assert shown(read("LJ1|One\nLJ2|Two\n", "csv")) == shown(read("LJ1|One\nLJ2|Two\n", "ljspeech"))
    # With a header it is a CSV as any other.
    assert read("id|text\na|One\n", "csv") == [{"id": "a", "text": "One", "row": 1}]
    with pytest.raises(ValueError, match="no column 'text'; its header names id, transcription"):
        read("id|transcription\na|One\n", "csv")
