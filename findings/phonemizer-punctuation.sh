#!/usr/bin/env bash
# phonemizer 3.4.0 with espeakng-loader 0.2.4: preserve_punctuation cuts words apart, abbreviations and times too.
#
# The text is cut at every mark and espeak-ng reads the parts alone. The mark of an abbreviation, which espeak-ng alone
# does not speak as a pause, comes back as a full stop: "Dr. No" has two sentences, "U.S.A." three.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv phonemizer==3.4.0 espeakng-loader==0.2.4 <<'PY'
import espeakng_loader
from phonemizer import phonemize
from phonemizer.backend.espeak.wrapper import EspeakWrapper

EspeakWrapper.set_library(espeakng_loader.get_library_path())
EspeakWrapper.set_data_path(espeakng_loader.get_data_path())


def said(text, preserve):
    return phonemize(text, language="en-us", backend="espeak", preserve_punctuation=preserve, strip=True)


found = {text: (said(text, False), said(text, True)) for text in ("Dr. No", "U.S.A.", "It's 5:30.")}
for text, both in found.items():
    print(text, *both, sep="   ")
assert found == {
    "Dr. No": ("dɑːktɚ noʊ", "dɑːktɚ. noʊ"),
    "U.S.A.": ("juː ɛs eɪ", "juː.ɛs.eɪ."),
    "It's 5:30.": ("ɪts faɪv θɜːɾi", "ɪts faɪv:θɜːɾi."),
}, found
PY
