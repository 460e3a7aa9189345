#!/usr/bin/env bash
# espeak-ng 1.52.0 (espeakng-loader 0.2.4): in most languages a frost of -5 degrees is read as 5 degrees, and .5 as 5.
#
# Of 40 languages, 23 say nothing for the hyphen that everyone types before a negative number, Spanish, French, Russian,
# Hindi and Chinese among them. The true minus, U+2212, is heard in all but Portuguese, but 22 of those 23 use the
# English word and phonemes for it. 24 drop the point of ".5". A dash before a number, "–5", is silent in all.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv espeakng-loader==0.2.4 <<'PY'
import ctypes
import os

import espeakng_loader

espeak = ctypes.CDLL(espeakng_loader.get_library_path())
espeak.espeak_Info.restype = espeak.espeak_TextToPhonemes.restype = ctypes.c_char_p
espeak.espeak_Initialize(2, 0, os.fsencode(espeakng_loader.get_data_path()), 0)


def said(text, voice):
    assert espeak.espeak_SetVoiceByName(voice.encode()) == 0
    pointer, clauses = ctypes.c_char_p(text.encode()), []
    while pointer.value is not None:
        clauses.append((espeak.espeak_TextToPhonemes(ctypes.byref(pointer), 1, 2) or b"").decode())
    return " ".join(clauses)


VOICES = (
    "ar bg bn ca cmn cs cy da de el en-us es eu fa fi fr he hi hu id is it ka kk ko lb lv ml ne nl pl pt ro ru sk sl "
    "sv sw tr uk"
).split()
print(espeak.espeak_Info(None).decode())
for voice in ("en-us", "fr"):
    print(voice, *(f"{text}: {said(text, voice)}" for text in ("-5", "−5", "–5", ".5", "5")), sep="   ")
lost = {text: [v for v in VOICES if said(text, v) == said("5", v)] for text in ("-5", "−5", "–5", ".5")}
for text, voices in lost.items():
    print(text, "is read as 5 in", len(voices), "of", len(VOICES), *voices)
native = [v for v in lost["-5"] if "(en)" not in said("−5", v)]
print("of those of the hyphen, the true minus is a word of their own in", *native)
assert lost["-5"] == "ar bg ca cmn cy da es eu fa fr he hi is ka kk ko ml pl ru sk sl sw tr".split()
assert native == ["sk"]
assert lost[".5"] == "ar bg bn ca cmn da de eu fi fr hi id is it kk ko lb lv ml ru sk sl sw tr".split()
assert lost["−5"] == ["pt"] and lost["–5"] == VOICES
PY
