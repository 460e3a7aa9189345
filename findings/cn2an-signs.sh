#!/usr/bin/env bash
# cn2an 0.5.24: `transform`, which makes Chinese text ready for speech, reads the hyphen of a range, a date, a telephone
# number or a name as a minus, and leaves a real minus before degrees as a sign.
#
# "Pages 100-200" becomes "one hundred minus two hundred", "F-16" "F minus sixteen"; "3-5个" is read as a range. The
# other way, "万一" is kept, but "一起" (together) becomes "1起" and "十分好" (very good) "10分好".
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv cn2an==0.5.24 <<'PY'
import cn2an

to_words = {text: cn2an.transform(text, "an2cn") for text in ("100-200", "3-5个", "2024-01-02", "F-16", "-5℃", "12:30")}
to_digits = {text: cn2an.transform(text, "cn2an") for text in ("万一", "一起", "十分好")}
for text, said in (to_words | to_digits).items():
    print(text, said)
assert to_words == {
    "100-200": "一百负二百",
    "3-5个": "三到五个",
    "2024-01-02": "二千零二十四负一负二",
    "F-16": "F负十六",
    "-5℃": "-五摄氏度",
    "12:30": "十二:三十",
}
assert to_digits == {"万一": "万一", "一起": "1起", "十分好": "10分好"}
PY
