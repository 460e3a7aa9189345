"""Timestamps as JSON, SubRip and WebVTT: valid times, lines that can be read, nothing lost."""

import itertools
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastvits import TimeSpan
from fastvits.speech.subtitles import LONGEST_CUE, LONGEST_LINE, cues, to_json, to_srt, to_webvtt, write_timestamps
from fastvits.text.words import word_spans


def words_of(text, times=None):
    """Words of a text, by default half a second each with a tenth of a second between them."""
    spans = word_spans(text)
    times = times or [(0.6 * number, 0.6 * number + 0.5) for number in range(len(spans))]
    return [
        TimeSpan("word", text[first:last], start, end, first, last)
        for (first, last), (start, end) in zip(spans, times, strict=True)
    ]


def seconds(clock):
    hours, minutes, rest = re.fullmatch(r"(\d\d+):([0-5]\d):([0-5]\d[.,]\d{3})", clock).groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(rest.replace(",", "."))


def read_srt(content):
    """The cues of a SubRip file as `(start, end, text)`, its form checked."""
    found = []
    for number, block in enumerate(content.split("\n\n"), 1):
        head, times, *lines = block.rstrip("\n").split("\n")
        assert head == str(number)
        assert len(lines) == 1
        start, end = times.split(" --> ")
        assert "," in start
        found.append((seconds(start), seconds(end), lines[0]))
    return found


def read_webvtt(content):
    head, *blocks = content.split("\n\n")
    assert head == "WEBVTT"
    found = []
    for block in blocks:
        times, *lines = block.rstrip("\n").split("\n")
        assert len(lines) == 1
        assert "-->" not in lines[0]
        assert re.fullmatch(r"(?:[^&<>]|&amp;|&lt;|&gt;)+", lines[0])
        start, end = times.split(" --> ")
        assert "." in start
        text = lines[0].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        found.append((seconds(start), seconds(end), text))
    return found


def test_lines_end_with_sentences_pauses_and_width():
    text = "One two three. Four five six seven eight nine ten eleven twelve.\n\nAfter a pause"
    times = [(0.1 * n, 0.1 * n + 0.1) for n in range(3)]
    times += [(0.5 + 0.1 * n, 0.6 + 0.1 * n) for n in range(9)]
    times += [(3.0, 3.1), (3.1, 3.2), (4.0, 4.5)]
    assert [(cue.text, cue.start, cue.end) for cue in cues(words_of(text, times), text)] == [
        ("One two three.", 0.0, 0.3),
        ("Four five six seven eight nine ten eleven", 0.5, 1.3),
        ("twelve.", 1.3, 1.4),
        ("After a", 3.0, 3.2),
        ("pause", 4.0, 4.5),
    ]


def test_an_abbreviation_without_a_pause_goes_on():
    text = "Dr. Smith"
    assert [cue.text for cue in cues(words_of(text, [(0.0, 0.5), (0.55, 1.0)]), text)] == [text]


def test_a_line_stands_six_seconds_at_most():
    text = "la la la la la"
    found = cues(words_of(text, [(2.0 * n, 2.0 * n + 1.9) for n in range(5)]), text)
    assert [cue.text for cue in found] == ["la la la", "la la"]


def test_words_with_one_time_are_shown_together_or_in_turn():
    text = "a" * 30 + " " + "b" * 30 + " c"
    found = cues(words_of(text, [(0.0, 1.0), (0.0, 1.0), (1.0, 2.0)]), text)
    assert [(cue.start, cue.end) for cue in found] == [(0.0, 1.0), (1.0, 2.0)]
    assert " ".join(cue.text for cue in found) == text


def test_scripts_without_spaces_have_none():
    text = "你好，世界。 abc"
    assert [cue.text for cue in cues(words_of(text), text)] == ["你好，世界。", "abc"]
    assert [cue.text for cue in cues(words_of(text))] == ["你好，世界。", "abc"]


def test_marks_are_escaped():
    text = "x<y & y>z --> w"
    spans = words_of(text)
    assert "x&lt;y &amp; y&gt;z --&gt; w\n" in to_webvtt(spans, text)
    assert "x‹y & y›z --› w\n" in to_srt(spans, text)


def test_nothing_to_show():
    assert to_srt([]) == ""
    assert to_webvtt([]) == "WEBVTT\n"
    assert json.loads(to_json([])) == {"text": None, "tokens": [], "characters": [], "words": []}


def test_times_go_beyond_an_hour():
    text = "late"
    assert "00:59:59,999 --> 101:00:00,500" in to_srt(words_of(text, [(3599.999, 363600.5)]), text)


@settings(max_examples=150, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1, max_size=50),
            st.sampled_from([0.0, 0.0001, 0.0004, 0.05, 0.1, 0.5, 1.0, 5.0, 7.0]),
            st.sampled_from([0.0, 0.0, 0.0003, 0.01, 0.2, 1.0]),
        ),
        max_size=12,
    )
)
def test_any_words_make_valid_files(words):
    text = " ".join(word for word, _, _ in words)
    times = []
    clock = 0.0
    runs = word_spans(text)
    for number in range(len(runs)):
        _, length, pause = words[number % len(words)]
        times.append((clock, clock + length))
        clock += length + pause
    spans = words_of(text, times)
    subtitles = read_webvtt(to_webvtt(spans, text)) if words else []
    srt = to_srt(spans, text)
    assert [cue[:2] for cue in (read_srt(srt) if srt else [])] == [cue[:2] for cue in subtitles]
    assert "".join("".join(shown.split()) for _, _, shown in subtitles) == "".join(text.split())
    assert all(start < end for start, end, _ in subtitles)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(subtitles))
    for cue in cues(spans, text):
        if " " in cue.text and cue.end - cue.start > LONGEST_CUE:
            # Only words that are too short to be shown alone may stand beside one that is too long.
            assert min(length for _, length, _ in words) < 0.001
        if len(cue.text) > LONGEST_LINE:
            assert (
                any(len(word) > LONGEST_LINE for word in cue.text.split())
                or min(length for _, length, _ in words) < 0.001
            )


@pytest.mark.parametrize(("ending", "begins"), [(".json", "{"), (".srt", "1\n"), (".VTT", "WEBVTT\n")])
def test_a_file_has_the_format_of_its_name(tmp_path, ending, begins):
    text = "Grüße, 世界"
    path = tmp_path / f"times{ending}"
    write_timestamps(path, words_of(text), text)
    content = path.read_bytes().decode("utf-8")
    assert content.startswith(begins)
    assert "Grüße" in content
    with pytest.raises(ValueError, match=r"must end with \.json, \.srt, \.vtt"):
        write_timestamps(tmp_path / "times.txt", [], text)
    with pytest.raises(OSError, match="none"):
        write_timestamps(tmp_path / "none" / "times.srt", [], text)


def test_json_tells_everything():
    spans = [
        TimeSpan("token", "a", 0.0, 1 / 3, 0, 1),
        TimeSpan("character", "A", 0.0, 1 / 3, 0, 1),
        TimeSpan("word", "A", 0.0, 1 / 3, 0, 1),
    ]
    content = json.loads(to_json(spans, "A"))
    row = {"start": 0.0, "end": 0.333333, "text_start": 0, "text_end": 1}
    assert content == {
        "text": "A",
        "tokens": [{"text": "a", **row}],
        "characters": [{"text": "A", **row}],
        "words": [{"text": "A", **row}],
    }
