#!/usr/bin/env bash
# pysbd 0.3.4 and sentencex 1.0.32: splitters that are told the language end a sentence at its commonest titles.
#
# pysbd keeps "Dr." and "Sra." together with a Spanish name and cuts "Sr." off; Dutch and Polish lose "Dr." and "Prof.",
# French "Mme." and German "Hr.". sentencex cuts at the French "M.", which pysbd does not. A voice then drops its pitch
# and pauses between title and name.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv pysbd==0.3.4 sentencex==1.0.32 <<'PY'
import pysbd
from sentencex import segment

NAMES = {
    "de": ("Dr. Müller ging.", "Hr. Müller ging."),
    "es": ("El Dr. López vino.", "La Sra. López vino.", "El Sr. López vino."),
    "fr": ("M. Dupont part.", "Mme. Dupont part."),
    "nl": ("Dr. Jansen gaat.", "Dhr. Jansen gaat.", "Prof. Jansen gaat."),
    "pl": ("Pan dr. Nowak mówi.", "Prof. Nowak mówi."),
}
cut = {"pysbd": [], "sentencex": []}
for language, texts in NAMES.items():
    pysbd_segment = pysbd.Segmenter(language=language, clean=False).segment
    for text in texts:
        cut["pysbd"] += [text] if len(pysbd_segment(text)) > 1 else []
        cut["sentencex"] += [text] if len(list(segment(language, text))) > 1 else []
for library, texts in cut.items():
    print(library, "cuts", *texts)
assert cut["pysbd"] == [
    "Hr. Müller ging.", "El Sr. López vino.", "Mme. Dupont part.", "Dr. Jansen gaat.", "Dhr. Jansen gaat.",
    "Prof. Jansen gaat.", "Pan dr. Nowak mówi.", "Prof. Nowak mówi.",
]
assert cut["sentencex"] == ["M. Dupont part.", "Mme. Dupont part.", "Pan dr. Nowak mówi."]
PY
