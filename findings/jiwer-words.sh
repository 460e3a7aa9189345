#!/usr/bin/env bash
# jiwer 4.0.0: only the plain space parts words; a line break, a tab or a space that does not break does not.
#
# "one\ntwo" for "one two" is a word error rate of 1, as bad as no word right, and so is "café" with its accent as a mark
# of its own.
# Removing punctuation joins the words beside a dash without spaces, and possessives are expanded: "the dog's bone"
# becomes "the dog is bone".
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv jiwer==4.0.0 <<'PY'
import jiwer

pairs = [("one two", "one\ntwo"), ("one two", "one\ttwo"), ("one two", "one\u00a0two"), ("café", "cafe\u0301")]
rates = [jiwer.wer(first, second) for first, second in pairs]
for pair, rate in zip(pairs, rates):
    print(*map(ascii, pair), rate)
assert rates == [1.0, 1.0, 1.0, 1.0]
joined = jiwer.RemovePunctuation()("stop—now")
expanded = jiwer.ExpandCommonEnglishContractions()("the dog's bone")
print(joined, "/", expanded)
assert joined == "stopnow" and expanded == "the dog is bone"
PY
