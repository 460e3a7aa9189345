"""Texts that nobody would type, through every front end: `python -m bench.fuzz_text [--count N] [--seed N]`.

A half of the texts is made by hypothesis of any characters, a half of lines that people type (`tests/text/typed`) which
are cut, doubled, joined, decomposed and mixed. Each goes through every front end, as published and prepared, through
the readers of Markdown, HTML and lines (which refuse a text that says nothing), and through the splitter of sentences.

espeak-ng reads in a process of its own, for some texts end it: those are counted apart, and are no faults of ours.
Told is every exception, every span that lies outside its text, goes back, or is a token's and empty, and every text for
which eight copies take much more than eight times as long. Exit status 1 where there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import logging
import random
import sys
import tempfile
import time
import traceback
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from fastvits import VitsTokenizer
from fastvits.speech.marked_text import parse_markup
from fastvits.text.espeak_process import EspeakDied, espeak_apart
from fastvits.text.preparation import AS_PUBLISHED, Preparation
from fastvits.text.sentences import split_sentences
from fastvits.voices.folders import DEFAULT_VOICE, voice_folder
from tests.support.tokenizers import write_vocabulary
from tests.support.typed_lines import typed_lines

# Voices of espeak-ng that phonemes are asked of in turn.
VOICES = ("en-us", "de", "fr-fr", "es", "it", "pt", "ru", "pl", "tr", "hu", "cmn", "ja", "ko", "hi", "ar", "el", "am")
# MMS languages in turn, for the words of numbers.
LANGUAGES = ("eng", "deu", "fra", "spa", "ita", "por", "rus", "kor", "jpn", "ara", "tha", "vie", "pol", "hin", "lao")
MARKUPS = ("markdown", "html", "lines")
COPIES = 8
# Eight copies of a text may take three times as long for each, and a twentieth of a second more.
ALLOWED_GROWTH, ALLOWED_SECONDS = 3.0, 0.05
# So many of the slowest texts are tried in eight copies.
SLOWEST = 20


def front_ends(folder: Path) -> dict[str, Callable[[int], VitsTokenizer]]:
    """A tokenizer of every family, by name: a function of a number, which chooses the language."""
    mms, ipa = write_vocabulary(folder, "mms"), write_vocabulary(folder, "ipa")
    bundled = voice_folder(DEFAULT_VOICE)

    @functools.cache
    def piper(voice: str) -> VitsTokenizer:
        return VitsTokenizer.from_pretrained(bundled, espeak_voice=voice)

    @functools.cache
    def mms_voice(language: str, is_uroman: bool) -> VitsTokenizer:
        return VitsTokenizer(mms, pad_token="k", phonemize=False, language=language, is_uroman=is_uroman)

    @functools.cache
    def phonemes(voice: str, with_symbols: bool) -> VitsTokenizer:
        more = {"frontend": "symbols", "cleaners": [*steps, "phonemize"]} if with_symbols else {}
        return VitsTokenizer(ipa, pad_token="_", espeak_voice=voice, **more)

    def voice(number: int) -> str:
        return VOICES[number % len(VOICES)]

    def language(number: int) -> str:
        return LANGUAGES[number % len(LANGUAGES)]

    steps = ["compose", "lowercase", "expand_abbreviations", "replace_punctuation", "collapse_whitespace", "strip"]
    letters = VitsTokenizer.from_pretrained(bundled, phonemize=False)
    return {
        "characters": lambda number: mms_voice(language(number), False),
        "uroman": lambda number: mms_voice(language(number), True),
        "phonemizer": lambda number: phonemes(voice(number), False),
        "piper": lambda number: piper(voice(number)),
        "piper-letters": lambda number: letters,
        "symbols": lambda number: phonemes(voice(number), True),
    }


class Trial:
    """Every way of a text, each a function of it, with what it took.

    Attributes:
        faults: what went wrong, a line each.
        ended: the texts that ended espeak-ng, a line each.
        slowest: seconds for each character, the way and the text, the slowest last.
    """

    def __init__(self, folder: Path) -> None:
        self.faults: list[str] = []
        self.slowest: list[tuple[float, str, str]] = []
        self.ended: list[str] = []
        self._families = front_ends(folder)
        self.count = 0

    def ways(self, number: int) -> Iterator[tuple[str, Callable[[str], Any]]]:
        """Names of ways, and functions that give the spans of a text's tokens, or of its parts."""
        for family, tokenizer_of in self._families.items():
            tokenizer = tokenizer_of(number)
            for name, preparation in (("published", AS_PUBLISHED), ("prepared", Preparation())):
                front_end = tokenizer.prepared_front_end(preparation)
                yield f"{family}, {name}", lambda text, read=front_end: [span for _, span in read.pieces(text)]
        for markup in MARKUPS:
            yield markup, lambda text, markup=markup: _passages(text, markup)
        language = VOICES[number % len(VOICES)].split("-")[0]
        yield "sentences", lambda text: _sentences(text, language)

    def __call__(self, text: str) -> None:
        """Take a text through all ways."""
        self.count += 1
        for name, way in self.ways(self.count):
            started = time.perf_counter()
            try:
                spans = way(text)
            except EspeakDied as error:
                self.ended.append(f"{name}: {text!r}: {error}")
                continue
            except Exception as error:
                if name in MARKUPS and isinstance(error, ValueError) and "nothing to say" in str(error):
                    continue
                self.faults.append(f"{name}: {text!r}: {traceback.format_exc(limit=-2)}")
                continue
            took = (time.perf_counter() - started) / (len(text) + 10)
            if len(self.slowest) < SLOWEST or took > self.slowest[0][0]:
                self.slowest = sorted([*self.slowest, (took, name, text)])[-SLOWEST:]
            fault = misplaced(spans, len(text), empty=name in MARKUPS)
            if fault is not None:
                self.faults.append(f"{name}: {text!r}: {fault}")

    def check_growth(self) -> None:
        """Try the slowest texts in several copies."""
        for _, name, text in self.slowest:
            for way_name, way in self.ways(1):
                if way_name == name:
                    once = min(_seconds(way, text + "\n") for _ in range(2))
                    many = min(_seconds(way, (text + "\n") * COPIES) for _ in range(2))
                    if many > ALLOWED_GROWTH * COPIES * once + ALLOWED_SECONDS:
                        self.faults.append(f"{name}: {text!r}: {COPIES} copies take {many:.3f} s, one {once:.3f} s")


def misplaced(spans: Sequence[tuple[int, int] | None], length: int, *, empty: bool = False) -> str | None:
    """What is wrong with the spans of tokens in a text of a length; None where nothing is.

    A space that stands for a line break of Markdown has an empty one.
    """
    known = [span for span in spans if span is not None]
    for first, last in known:
        if not 0 <= first < last + empty <= length + empty:
            return f"the span {(first, last)} is not inside the text of {length} characters"
    for before, after in itertools.pairwise(known):
        if after[0] < before[0] or after[1] < before[1]:
            return f"the span {after} stands behind {before}"
    return None


def _seconds(way: Callable[[str], Any], text: str) -> float:
    started = time.perf_counter()
    way(text)
    return time.perf_counter() - started


def _passages(text: str, markup: str) -> list[tuple[int, int] | None]:
    """Spans of what is said of a marked text."""
    script = parse_markup(text, "plain", lines=True) if markup == "lines" else parse_markup(text, markup)  # type: ignore[arg-type]
    spans: list[tuple[int, int] | None] = []
    for passage in script.passages:
        spans += passage.places
    return spans


def _sentences(text: str, language: str) -> list[tuple[int, int] | None]:
    return [(sentence.start, sentence.end) for sentence in split_sentences(text, language=language)]


LINES = [line.typed for line in typed_lines()]
_ANY = st.characters(exclude_categories=["Cs"])
ANY_TEXT = st.one_of(
    st.text(_ANY, max_size=60),
    # Of one script, marks and digits: letters beside each other that belong together.
    st.sampled_from([0x0, 0x400, 0x600, 0x900, 0xE00, 0xE80, 0x1000, 0x1200, 0x1780, 0x3040, 0x4E00, 0xAC00, 0x1F300])
    .flatmap(lambda first: st.text(st.characters(min_codepoint=first, max_codepoint=first + 0xFF), max_size=40))
    .map(lambda text: "".join(c for c in text if unicodedata.category(c) != "Cs")),
)
_CUT = st.tuples(st.integers(0, 80), st.integers(0, 80))
MUTATION = st.sampled_from(
    ["cut", "double", "join", "decompose", "compose", "upper", "lower", "insert", "swap", "drop"]
)


@st.composite
def mutated(draw: Any) -> str:
    """A line that people type, changed a few times."""
    text = draw(st.sampled_from(LINES))
    for kind in draw(st.lists(MUTATION, max_size=5)):
        first, last = sorted(draw(_CUT))
        if kind == "cut":
            text = text[first:last]
        elif kind == "double":
            text = text[:last] + text[first:]
        elif kind == "join":
            text = (
                text
                + draw(st.sampled_from(["", " ", "\n", "\n\n", "-", ".", "[[", "]]", "\u200d"]))
                + draw(st.sampled_from(LINES))
            )
        elif kind in ("decompose", "compose"):
            text = unicodedata.normalize("NFKD" if kind == "decompose" else "NFKC", text)
        elif kind in ("upper", "lower"):
            text = getattr(text, kind)()
        elif kind == "insert":
            text = text[:first] + draw(_ANY) + text[first:]
        elif kind == "swap":
            text = text[last:] + text[first:last] + text[:first]
        elif kind == "drop":
            text = text[:first] + text[first + 1 :]
    return text[:400]


def fuzz(count: int, seed: int, folder: Path) -> Trial:
    """Take `count` texts through every way; faults are printed as they come."""
    trial = Trial(folder)
    for _, way in trial.ways(0):  # what the first call of each builds is no time of a text's
        with contextlib.suppress(Exception):  # a way that fails is told of with the first text
            way("One, 2.")
    for strategy, share, number in ((ANY_TEXT, count // 2, seed), (mutated(), count - count // 2, seed + 1)):

        @seeded(number)
        @settings(
            max_examples=max(share, 1),
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def take(text: str) -> None:
            before = len(trial.faults)
            trial(text)
            for fault in trial.faults[before:]:  # a run takes an hour: nobody wants to wait for its end
                print(fault, flush=True)
            if trial.count % 1000 == 0:
                print(f"{trial.count} texts, {len(trial.faults)} faults", file=sys.stderr, flush=True)

        take()
    before = len(trial.faults)
    trial.check_growth()
    for fault in trial.faults[before:]:
        print(fault)
    return trial


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz_text", description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=50_000, help="number of texts (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.Random().randrange(2**31), help="default: another each time")
    options = parser.parse_args(arguments)
    logging.getLogger("fastvits").setLevel(logging.ERROR)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, espeak_apart():
        trial = fuzz(options.count, options.seed, Path(folder))
    for text in trial.ended:
        print(f"(ended espeak-ng) {text}")
    took, name, text = trial.slowest[-1]
    print(
        f"seed {options.seed}: {trial.count} texts in {time.perf_counter() - started:.0f} s, "
        f"{len(trial.faults)} faults, {len(trial.ended)} readings that espeak-ng ended in"
    )
    print(f"slowest: {took * 1e3:.2f} ms a character, {name}: {text!r}")
    return 1 if trial.faults else 0
