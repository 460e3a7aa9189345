#!/usr/bin/env bash
# wetext 0.1.8: the English normaliser reads decades as seconds, and loses the "one" of a thousand with a comma.
#
# "the 1990s" is "one thousand nine hundred and ninety seconds", "1,234" begins with "thousand", "1.5M" keeps its
# point as a mark, and 1905 is "nineteen zero five". In Chinese "100-200" is a subtraction and "3-5个" a range.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv wetext==0.1.8 <<'PY'
from wetext import Normalizer

english, chinese = Normalizer(lang="en", operator="tn"), Normalizer(lang="zh", operator="tn")
said = {text: english.normalize(text) for text in ("the 1990s", "1,234", "1.5M", "in 1905", "No. 5")}
said |= {text: chinese.normalize(text) for text in ("100-200", "3-5个")}
for text, words in said.items():
    print(text, words, sep="   ")
assert said == {
    "the 1990s": "the one thousand nine hundred and ninety seconds",
    "1,234": "thousand two hundred and thirty four",
    "1.5M": "one.five M",
    "in 1905": "in nineteen zero five",
    "No. 5": "Number. five",
    "100-200": "一百减两百",
    "3-5个": "三到五个",
}, said
PY
