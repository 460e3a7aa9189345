#!/usr/bin/env bash
# gruut 2.4.0: digits beside a letter or a stroke are not spoken, and nothing says so.
#
# "1990s", "5G" and "H2O" are guessed letter by letter without their digits, "1/2" has no phonemes at all, and -0.5 is
# read without its sign, although -5 keeps it. A street is a street even before a name: "St. James" is "Street James".
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv gruut==2.4.0 <<'PY'
from gruut import sentences


def said(text):
    words = [word for sentence in sentences(text, lang="en-us") for word in sentence]
    return " ".join("".join(word.phonemes or []) for word in words).strip(" ‖|")


found = {text: said(text) for text in ("1990s", "5G", "H2O", "1/2", "-0.5", "-5", "St. James")}
for text, phonemes in found.items():
    print(text, phonemes, sep="   ")
assert found == {
    "1990s": "ˈɚz",
    "5G": "ɪɡ",
    "H2O": "hoʊ",
    "1/2": "",
    "-0.5": "zˈɪɹoʊ pˈɔɪnt fˈaɪv",
    "-5": "mˈaɪnəs fˈaɪv",
    "St. James": "stɹˈit d͡ʒˈeɪmz",
}, found
PY
