#!/usr/bin/env bash
# transformers 5.23.0 with phonemizer 3.4.0: VitsTokenizer reads every language with American English phonemes.
#
# `language` is kept and saved, but the phonemes are always made by the voice en-us: German text comes out as an American
# would read it, with no warning.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv transformers==5.23.0 phonemizer==3.4.0 espeakng-loader==0.2.4 <<'PY'
import json
from pathlib import Path

import espeakng_loader
from phonemizer import phonemize
from phonemizer.backend.espeak.wrapper import EspeakWrapper
from transformers import VitsTokenizer

EspeakWrapper.set_library(espeakng_loader.get_library_path())
EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
Path("vocab.json").write_text(json.dumps({letter: number for number, letter in enumerate("_abc")}))


def said(language):
    tokenizer = VitsTokenizer("vocab.json", language=language, phonemize=True, pad_token="_")
    return tokenizer.prepare_for_tokenization("Guten Tag")[0]


english = said("eng")
print("eng:", english, "deu:", said("deu"), "de:", said("de"), "espeak-ng's German:", phonemize("Guten Tag", "de", strip=True))
assert english == said("deu") == said("de") == "ɡjˈuːʔn̩ tˈæɡ"
PY
