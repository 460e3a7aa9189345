#!/usr/bin/env bash
# espeak-ng 1.52.0 (espeakng-loader 0.2.4): thousands parted by the right kind of space are read digit by digit.
#
# Of 15 languages that part thousands by a space, ten read "12 000" with a plain space as one number. With a space that
# does not break the line, which word processors and number formatters put there, it is twelve, zero zero zero in all.
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
    pointer = ctypes.c_char_p(text.encode())
    return espeak.espeak_TextToPhonemes(ctypes.byref(pointer), 1, 2).decode()


# Languages that part thousands by a space.
VOICES = "bg cs de et fi fr hu lv nb nl pl ru sk sv uk".split()
SPACES = {"plain": "12 000", "no break": "12\u00a0000", "narrow, no break": "12\u202f000"}
print(espeak.espeak_Info(None).decode())
for name, text in SPACES.items():
    print(f"{name}: {said(text, 'fr')}")
whole = {name: [v for v in VOICES if said(text, v) == said("12000", v)] for name, text in SPACES.items()}
for name, voices in whole.items():
    print(f"read as one number, {name}:", *voices)
assert whole["plain"] == "bg de et fi fr hu nb nl pl sv".split()
assert whole["no break"] == whole["narrow, no break"] == []
PY
