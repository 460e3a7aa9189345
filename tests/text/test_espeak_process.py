"""espeak-ng in a process of its own: the same phonemes, and a death that costs one text."""

import logging
import os
import signal
import subprocess
import sys

import pytest

import fastvits
from fastvits.cli import main
from fastvits.text import espeak_process
from fastvits.text.espeak import spoken_lines
from fastvits.text.espeak_clauses import phonemes_of_clauses
from fastvits.text.espeak_process import EspeakDied, espeak_apart, is_apart
from tests.support.small_voices import save_small_voice
from tests.support.tokenizers import write_vocabulary

# A process whose espeak-ng dies of one word, hangs at another, and prints where answers go.
FRAGILE = espeak_process._START.replace(
    "answer_requests()\n",
    """
import os, time
from fastvits.text import espeak_reader
read = espeak_reader._read
def fragile(what, texts, *more):
    os.write(1, b"a message of the library's")
    if "lethal" in texts[0]:
        os.abort()
    if "endless" in texts[0]:
        time.sleep(1000)
    return read(what, texts, *more)
espeak_reader._read = fragile
answer_requests()
""",
)


@pytest.fixture
def own_reader(monkeypatch):
    """A reader that no other test has, and no variable that says where to read."""
    monkeypatch.delenv("FASTVITS_ESPEAK", raising=False)
    reader = espeak_process._Reader()
    monkeypatch.setattr(espeak_process, "_reader", reader)
    yield reader
    reader.close()


@pytest.fixture
def fragile(own_reader, monkeypatch):
    monkeypatch.setattr(espeak_process, "_START", FRAGILE)
    return own_reader


@pytest.fixture(scope="module")
def small_voice(tmp_path_factory):
    """A small voice of phonemes."""
    folder = tmp_path_factory.mktemp("voice")
    tokenizer = fastvits.VitsTokenizer(write_vocabulary(folder, "ipa"), pad_token="_", espeak_voice="en-us")
    save_small_voice(folder, vocab_size=len(tokenizer))
    tokenizer.save_pretrained(folder)
    return folder


TEXTS = ["Hello, my dog is cute.", "a\n\nb \0 c", "\ud800 x", "…", "", "Москва 3 [x]"]


def test_the_phonemes_are_the_same(own_reader):
    inside = [(phonemes_of_clauses(text, voice), voice) for text in TEXTS for voice in ("en-us", "de")]
    lines = spoken_lines(["Hello, dog!", "one (two)"], "en-us")
    with espeak_apart():
        assert is_apart()
        assert [(phonemes_of_clauses(text, voice), voice) for text in TEXTS for voice in ("en-us", "de")] == inside
        assert spoken_lines(["Hello, dog!", "one (two)"], "en-us") == lines
        with pytest.raises(ValueError, match="has no voice 'xx'"):
            phonemes_of_clauses("Hello", "xx")
        process = own_reader.process._process.pid
        assert phonemes_of_clauses("x", "en-us")
        assert own_reader.process._process.pid == process
    assert not is_apart()


def test_the_variable_wins(own_reader, monkeypatch):
    monkeypatch.setenv("FASTVITS_ESPEAK", "inside")
    with espeak_apart():
        assert not is_apart()
    monkeypatch.setenv("FASTVITS_ESPEAK", "apart")
    assert is_apart()
    monkeypatch.setenv("FASTVITS_ESPEAK", "maybe")
    with pytest.raises(ValueError, match="auto, inside or apart, got 'maybe'"):
        phonemes_of_clauses("x", "en-us")


def test_a_program_that_python_is_built_into_is_not_started_twice(own_reader, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/opt/app/speaker")
    with espeak_apart():
        assert not is_apart()
    monkeypatch.setenv("FASTVITS_ESPEAK", "apart")
    with pytest.raises(OSError, match="cannot be started in a process of its own"):
        phonemes_of_clauses("x", "en-us")


def test_who_was_killed_is_started_anew_and_reads_again(own_reader, caplog):
    with espeak_apart(), caplog.at_level(logging.WARNING, logger="fastvits"):
        before = phonemes_of_clauses("Hello.", "en-us")
        process = own_reader.process._process
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert phonemes_of_clauses("Hello.", "en-us") == before
    assert "was started anew" in caplog.text


def test_a_text_that_ends_it_is_refused_by_name_and_others_are_read(fragile):
    with espeak_apart():
        with pytest.raises(EspeakDied, match=r"the text 'lethal word' in the voice 'en-us': it ended \(SIGABRT\)"):
            phonemes_of_clauses("lethal word", "en-us")
        with pytest.raises(EspeakDied, match="lethal"):
            spoken_lines(["lethal"], "en-us")
        assert phonemes_of_clauses("Hello.", "en-us")


def test_a_reading_without_an_end_is_ended(fragile, monkeypatch):
    with espeak_apart():
        phonemes_of_clauses("Hello.", "en-us")
        monkeypatch.setattr(espeak_process, "PATIENCE", 0.2)
        fragile.close()
        with pytest.raises(EspeakDied, match="SIGKILL"):
            phonemes_of_clauses("endless", "en-us")


def test_a_row_of_a_corpus_ends_no_corpus(fragile, small_voice, tmp_path):
    speaker = fastvits.Speaker(str(small_voice))
    report = fastvits.synthesize(["one", "a lethal text", "two"], tmp_path / "out", model=speaker)
    assert report.done == 2
    (failure,) = report.failures
    assert failure.row == 2
    assert "a lethal text" in failure.message


def test_the_command_line_says_it_in_a_line(fragile, small_voice, tmp_path, capsys):
    arguments = ["--voice", str(small_voice), "--output", str(tmp_path / "out.wav")]
    assert main(["say", "a lethal text", *arguments]) == 2
    assert "espeak-ng cannot read the text" in capsys.readouterr().err
    assert main(["say", "Hello.", *arguments]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_its_own():
    script = """
import os
from fastvits.text import espeak_process
from fastvits.text.espeak_clauses import phonemes_of_clauses
with espeak_process.espeak_apart():
    said = phonemes_of_clauses("Hello.", "en-us")
    first = espeak_process._reader.process._process.pid
    child = os.fork()
    same = phonemes_of_clauses("Hello.", "en-us") == said
    other = espeak_process._reader.process._process.pid
    if child == 0:
        os._exit(0 if same and other != first else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert same and other == first
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=120)
