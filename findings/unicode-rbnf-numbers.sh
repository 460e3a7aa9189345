#!/usr/bin/env bash
# unicode-rbnf 2.4.1: negative decimals end at the sign or the point, Russian and Polish ones lose all their digits, and
# Chinese and Japanese years lose their zeros.
#
# -0.5 is "minus" and -1.5 "minus one" in English as in all 17 languages tried. 1.5 is read in Russian and Polish with a
# zero for the five, 1905 in Chinese and Japanese as "one nine five" and 2024 as "two two four".
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv unicode-rbnf==2.4.1 <<'PY'
from unicode_rbnf import FormatPurpose, RbnfEngine

LANGUAGES = "en de fr es it pt nl sv da fi hu ru pl tr vi zh ja".split()
engines = {language: RbnfEngine.for_language(language) for language in LANGUAGES}


def said(number, language, purpose=FormatPurpose.CARDINAL):
    return engines[language].format_number(number, purpose).text


print("-1.5, -0.5:", said(-1.5, "en"), "/", said(-0.5, "en"))
assert [v for v in LANGUAGES if said(-1.5, v) == said(-1, v)] == LANGUAGES
assert all(said(-1, v).startswith(said(-0.5, v)) for v in LANGUAGES)
same = [v for v in LANGUAGES if said(1.5, v) == said(1.7, v)]
print("1.5 and 1.7 are the same words in", *same, "-", *(said(1.5, v) for v in same), sep="   ")
assert same == ["ru", "pl"]
years = {(v, year): said(year, v, FormatPurpose.YEAR) for v in ("zh", "ja") for year in (1905, 2024)}
print("years:", years)
assert set(years.values()) == {"一九五", "二二四"}
PY
