#!/usr/bin/env bash
# pypinyin 0.55.0: words in traditional characters are read character by character.
#
# "Bank" is yínháng in simplified characters, and yínxíng in traditional ones; "music" is yīnyuè and yīnlè. Tones that
# depend on what follows are changed in some words and not in others: "one" has its second tone in 一个 without being
# asked, while 你好 needs tone_sandhi=True; and that gives January, 一月, the tone of "one month".
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv pypinyin==0.55.0 <<'PY'
from pypinyin import Style, lazy_pinyin


def said(text, **options):
    return " ".join(lazy_pinyin(text, style=Style.TONE3, **options))


found = {text: said(text) for text in ("银行", "銀行", "音乐", "音樂", "一个", "你好")}
changed = {text: said(text, tone_sandhi=True) for text in ("你好", "一月一日")}
print(found, "with tone_sandhi:", changed)
assert found == {
    "银行": "yin2 hang2", "銀行": "yin2 xing2", "音乐": "yin1 yue4", "音樂": "yin1 le4", "一个": "yi2 ge4",
    "你好": "ni3 hao3",
}
assert changed == {"你好": "ni2 hao3", "一月一日": "yi2 yue4 yi1 ri4"}
PY
