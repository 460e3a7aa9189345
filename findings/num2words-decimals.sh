#!/usr/bin/env bash
# num2words 0.5.14: the sign of a number between -1 and 0 is lost, and some languages read the wrong decimals.
#
# -0.5 and 0.5 are the same words in 19 of the 24 languages tried, English, German and French among them; Italian,
# Hungarian, Thai, Arabic and Indonesian keep the sign. Turkish and Vietnamese read 1.05 as "one point five" and 1.5 as "one point fifty".
# Vietnamese reads -1.5 as "nineteen point fifty".
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv num2words==0.5.14 <<'PY'
from num2words import num2words

LANGUAGES = "en de fr es pt it tr ru pl nl sv da fi cs uk ro hu ja ko ar he vi th id".split()
lost = [name for name in LANGUAGES if num2words(-0.5, lang=name) == num2words(0.5, lang=name)]
print("the sign of -0.5 is lost in", *lost)
assert lost == "en de fr es pt tr ru pl nl sv da fi cs uk ro ja ko he vi".split()
said = {(name, value): num2words(value, lang=name) for name in ("tr", "vi") for value in (1.05, 1.5, -1.5)}
for key, words in said.items():
    print(*key, words)
assert said == {
    ("tr", 1.05): "birvirgülbeş", ("tr", 1.5): "birvirgülelli", ("tr", -1.5): "eksibirvirgülelli",
    ("vi", 1.05): "một phẩy năm", ("vi", 1.5): "một phẩy năm mươi", ("vi", -1.5): "mười chín phẩy năm mươi",
}
PY
