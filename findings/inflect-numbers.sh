#!/usr/bin/env bash
# inflect 7.6.0: number_to_words, which the text cleaners of the original VITS family call, reads any string, and drops
# from it what is no digit.
#
# "3/4" is thirty-four, "10:30" one thousand and thirty, "1e3" thirteen, "½" zero, and a decimal comma vanishes. A
# whole float is read with "point zero".
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv inflect==7.6.0 <<'PY'
import inflect

said = {text: inflect.engine().number_to_words(text) for text in ("3/4", "10:30", "5-6", "1e3", "1,5", "½", 1e6)}
for text, words in said.items():
    print(text, words, sep="   ")
assert said == {
    "3/4": "thirty-four",
    "10:30": "one thousand and thirty",
    "5-6": "fifty-six",
    "1e3": "thirteen",
    "1,5": "fifteen",
    "½": "zero",
    1e6: "one million point zero",
}
PY
