#!/usr/bin/env bash
# epitran 1.35.3: Turkish capitals are read as other vowels than the small letters.
#
# "I" is the capital of "ı" and "İ" that of "i" in Turkish, and both are lowered as in English: "Işık" begins with
# another vowel than "ışık", and "İzmir" carries a dot of its own, U+0307, that is no phoneme. A sentence begins with a
# capital, so it happens all the time.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv epitran==1.35.3 setuptools==80.9.0 <<'PY'
from epitran import Epitran

turkish = Epitran("tur-Latn")
said = {word: turkish.transliterate(word) for word in ("ışık", "Işık", "IŞIK", "izmir", "İzmir")}
for word, phonemes in said.items():
    print(word, phonemes, ascii(phonemes))
assert said == {"ışık": "ɯʃɯk", "Işık": "iʃɯk", "IŞIK": "iʃik", "izmir": "izmiɾ", "İzmir": "i\u0307zmiɾ"}
PY
