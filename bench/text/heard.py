"""What a recogniser hears of texts as people type them: `python -m bench.heard_text [--seeds N]`.

The English lines of `tests/text/typed`, and twenty plain sentences, are said by the bundled voice: as published and
prepared. Told are the shares of the words that are wanted which the recogniser gets wrong. Exit status 1 where
preparation makes that share larger by more than `ALLOWED_POINTS`.
"""

from __future__ import annotations

import argparse
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from fastvits import pipeline
from fastvits.text.preparation import AS_PUBLISHED, Preparation
from tests.support.recogniser import SENTENCES, heard, word_error_rate
from tests.support.typed_lines import typed_lines

ALLOWED_POINTS = 1.0
WAYS = {"as published": AS_PUBLISHED, "prepared": Preparation()}


def words(text: str) -> str:
    """A text as the recogniser writes: small letters and spaces, apostrophes within words."""
    plain = unicodedata.normalize("NFKD", text.lower().replace("’", "'"))
    return " ".join(re.sub(r"[^a-z' ]+", " ", re.sub("[\u0300-\u036f]", "", plain)).split())


def texts() -> dict[str, list[tuple[str, str]]]:
    """What is typed and what is wanted, by where it comes from."""
    typed = [(line.typed, words(line.wanted)) for line in typed_lines() if line[1:3] == ("letters", "eng")]
    return {"typed lines": typed, "plain sentences": [(f"{text.capitalize()}.", text) for text in SENTENCES]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Say, hear and print; 1 if preparation costs too many words."""
    parser = argparse.ArgumentParser(prog="python -m bench.heard_text", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1, help="how often each text is said (default: %(default)s)")
    options = parser.parse_args(arguments)
    say = pipeline()
    failed = False
    for name, pairs in texts().items():
        rates = {}
        for way, preparation in WAYS.items():
            spoken: list[np.ndarray] = []
            for seed in range(options.seeds):
                for text, _ in pairs:
                    pieces = [one.audio_with_pause for one in say.sentences(text, seed=seed, preparation=preparation)]
                    spoken.append(np.concatenate(pieces))
            rates[way] = word_error_rate(
                [wanted for _, wanted in pairs] * options.seeds, heard(spoken, say.sampling_rate)
            )
        points = 100 * (rates["prepared"] - rates["as published"])
        failed |= points > ALLOWED_POINTS
        told = ", ".join(f"{way} {rate:.1%}" for way, rate in rates.items())
        print(f"{name:<16} ({len(pairs)} x {options.seeds}) words wrong: {told} ({points:+.1f} points)")
    return 1 if failed else 0
