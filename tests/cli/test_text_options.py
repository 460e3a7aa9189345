"""`fastvits say` with marked-up texts and the ways to read them, beside the library's own calls."""

import json

import numpy as np
import pytest

from fastvits.speech.marked_text import parse_markup
from fastvits.speech.speaker import Speaker
from fastvits.text.preparation import AS_PUBLISHED
from fastvits.voices.folders import DEFAULT_VOICE, voice_folder
from tests.cli.test_cli import said
from tests.support.small_voices import save_small_voice


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_small_voice(tmp_path_factory.mktemp("voice"))


def spoken(folder, text, **options):
    """The samples of a text by the library, as 16 bits."""
    speaker = Speaker(folder, device="cpu")
    audio = np.concatenate([one.audio_with_pause for one in speaker.sentences(text, seed=1, **options)])
    return np.clip(np.round(audio * 32767), -32768, 32767).astype("<i2")


def test_marks_are_not_said_and_lines_have_pauses(folder, tmp_path):
    source = "# a *b*\n\nc &amp; d"
    plain = said(folder, tmp_path / "a.wav", "--seed", 1, text="a b\n\nc & d")
    for markup, text in (("markdown", source), ("html", "<h1>a <b>b</b></h1><p>c &amp; d</p>")):
        heard = said(folder, tmp_path / "b.wav", "--markup", markup, "--seed", 1, text=text)
        np.testing.assert_array_equal(heard, plain)
    lines = said(folder, tmp_path / "c.wav", "--lines", "--seed", 1, text="one\ntwo")
    np.testing.assert_allclose(lines, spoken(folder, parse_markup("one\ntwo", lines=True)), atol=1)
    together = said(folder, tmp_path / "d.wav", "--seed", 1, text="one\ntwo")
    assert len(lines) != len(together)


def test_timestamps_are_those_of_the_source(folder, tmp_path):
    source = "**one** t&#119;o"
    said(folder, tmp_path / "a.wav", "--markup", "markdown", "--timestamps", tmp_path / "a.json", text=source)
    told = json.loads((tmp_path / "a.json").read_text())
    assert told["text"] == source
    places = [source[word["text_start"] : word["text_end"]] for word in told["words"]]
    assert places == ["one", "t&#119;o"]
    said(folder, tmp_path / "a.wav", "--markup", "markdown", "--timestamps", tmp_path / "a.srt", text=source)
    assert "\none t&#119;o\n" in (tmp_path / "a.srt").read_text()


def test_ways_to_read_numbers(folder, tmp_path):
    heard = {}
    for name, arguments in (("auto", ()), ("off", ("--normalize-numbers", "off")), ("published", ("--as-published",))):
        heard[name] = said(folder, tmp_path / "a.wav", "--seed", 1, *arguments, text="a 1/2 b").tobytes()
    assert len(set(heard.values())) >= 2
    published = spoken(folder, "a 1/2 b", preparation=AS_PUBLISHED)
    np.testing.assert_allclose(np.frombuffer(heard["published"], "<i2"), published, atol=1)


def test_double_brackets_are_text_on_request(tmp_path):
    voice = voice_folder(DEFAULT_VOICE)
    plain = said(voice, tmp_path / "a.wav", "--seed", 1, text="See notes.")
    brackets = said(voice, tmp_path / "b.wav", "--seed", 1, "--no-inline-phonemes", text="See [[notes]].")
    np.testing.assert_array_equal(brackets, plain)
    phonemes = said(voice, tmp_path / "c.wav", "--seed", 1, text="See [[notes]].")
    assert len(phonemes) != len(plain)
