#!/usr/bin/env bash
# pykakasi 2.3.0: dates and particles are not read as they are said.
#
# "April the first", 四月一日, becomes the family name Watanuki, "this year", 今年, konnen for kotoshi. Digits stay: 3日
# is "3 nichi" and not "mikka". The particles は and へ are spelt ha and he for wa and e, so that a voice that reads the
# letters says them wrong in nearly every sentence.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv pykakasi==2.3.0 setuptools==80.9.0 <<'PY'
import pykakasi

convert = pykakasi.kakasi().convert
found = {
    text: " ".join(part["hepburn"] for part in convert(text))
    for text in ("四月一日", "一日", "今年", "3日", "私は東京へ行きました")
}
for text, letters in found.items():
    print(text, letters, sep="   ")
assert found == {
    "四月一日": "watanuki",
    "一日": "tsuitachi",
    "今年": "konnen",
    "3日": "3 nichi",
    "私は東京へ行きました": "watashi ha toukyou he iki mashita",
}, found
PY
