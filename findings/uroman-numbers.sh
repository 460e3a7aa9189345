#!/usr/bin/env bash
# uroman 1.3.1.1: numbers are romanised each in its own way, so that a reader of the result is told different things.
#
# An Arabic decimal becomes a comma (3,14, a thousand's mark in English), Chinese numerals become digits, and Roman
# numerals and superscripts stay as they are, beyond ASCII. Japanese is read as Chinese unless a language is named.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv uroman==1.3.1.1 <<'PY'
from uroman import Uroman

romanize = Uroman().romanize_string
found = {text: romanize(text) for text in ("٣٫١٤", "三十五", "①", "½", "Ⅷ", "²", "東京")}
for text, roman in found.items():
    print(text, roman)
assert found == {"٣٫١٤": "3,14", "三十五": "35", "①": "1", "½": "1/2", "Ⅷ": "Ⅷ", "²": "²", "東京": "dongjing"}
PY
