#!/usr/bin/env bash
# piper-tts 1.8.0: a title, an initial or an abbreviation before a capital ends the sentence.
#
# "Mr. Smith" is two sentences, with falling pitch after "Mister." and a pause before "Smith"; "J. R. R. Tolkien"
# is four. espeak-ng expands the abbreviation rightly and still reports an end of sentence there.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv piper-tts==1.8.0 <<'PY'
from piper.phonemize_espeak import EspeakPhonemizer

phonemize = EspeakPhonemizer().phonemize
found = {
    text: ["".join(sentence) for sentence in phonemize("en-us", text)]
    for text in ("Mr. Smith", "Dr. Smith", "St. James", "No. 5", "J. R. R. Tolkien", "U.S. Army", "e.g. Smith", "5 p.m. today")
}
for text, sentences in found.items():
    print(text, sentences)
assert found["Mr. Smith"] == ["mˈɪstɚ.", "smˈɪθ"]
counts = {text: len(sentences) for text, sentences in found.items()}
assert counts == {
    "Mr. Smith": 2, "Dr. Smith": 2, "St. James": 2, "No. 5": 2, "J. R. R. Tolkien": 4, "U.S. Army": 2,
    "e.g. Smith": 2, "5 p.m. today": 1,
}, counts
PY
