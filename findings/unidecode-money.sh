#!/usr/bin/env bash
# Unidecode 1.4.0: pounds become "PS", yen "Y=" and cents "C/", while euros become "EUR".
#
# The text cleaners of the original VITS and of its ancestors make ASCII first and look for the pound sign afterwards, so
# that "£5" is read as "ps five". A degree is "deg" without a space, and the sign of infinity is nothing at all.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv Unidecode==1.4.0 <<'PY'
from unidecode import unidecode

found = {text: unidecode(text) for text in ("£5", "€5", "¥5", "5¢", "₩5", "20°C", "‰", "∞")}
for text, ascii_text in found.items():
    print(text, ascii_text, sep="   ")
assert found == {
    "£5": "PS5", "€5": "EUR5", "¥5": "Y=5", "5¢": "5C/", "₩5": "W5", "20°C": "20degC", "‰": "%0", "∞": "",
}, found
PY
