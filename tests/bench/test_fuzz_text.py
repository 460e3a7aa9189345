"""Texts that nobody would type: a few of those that `python -m bench.fuzz_text` takes through every front end."""

import logging

import pytest

from bench.text.fuzz import Trial, fuzz, main, misplaced


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.CRITICAL, logger="fastvits")


def test_no_text_breaks_a_front_end(tmp_path):
    trial = fuzz(60, 7, tmp_path)
    assert trial.count == 60
    assert trial.faults == []


@pytest.mark.parametrize(
    "text",
    [
        "(?<![\\w", "a <![if x]> b", "<![cdata[", "x <![foo[ y ]]> z",  # HTML's parser of Python 3.11 asserted
        "\rk", "a\r\nb\rc", "+\rx",  # Markdown counts a carriage return as the end of a line
        "", " ", "[[", "]]", "[[a", "\u0300", "\u200d", "\0", "1\u20e3", "½½", "XIVXIV", "1-2-3-4", "..", "@.", "http://",
        "٣½", "0" * 40, "3.3.3.3.3", "12:99", "99/99/9999", "-−-5", "۱۲۳٬۴۵۶٫۷",
    ],
)  # fmt: skip
def test_texts_that_were_found_or_are_odd(trial, text):
    trial(text)
    assert trial.faults == []


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    return Trial(tmp_path_factory.mktemp("fuzz"))


def test_faults_are_told(tmp_path, monkeypatch, capsys):
    assert misplaced([(0, 1), None, (0, 2), (3, 4)], 4) is None
    assert "inside" in misplaced([(0, 5)], 4)
    assert "inside" in misplaced([(2, 2)], 4)
    assert misplaced([(2, 2)], 4, empty=True) is None
    assert "behind" in misplaced([(1, 2), (0, 2)], 4)

    def ways(self, number):
        yield "broken", lambda text: [(0, 99)]
        yield "failing", lambda text: 1 / 0

    monkeypatch.setattr(Trial, "ways", ways)
    assert main(["--count", "4", "--seed", "1"]) == 1
    told = capsys.readouterr().out
    assert "ZeroDivisionError" in told
    assert "not inside the text" in told
