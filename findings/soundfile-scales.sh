#!/usr/bin/env bash
# soundfile 0.14.0 (libsndfile 1.2.2): integers go into a file of floats unscaled, and loud floats are clipped silently.
#
# int16 samples written with subtype FLOAT come back as 32767.0, 90 dB too loud for every player; written as PCM_16 they
# come back as 1.0. Floats beyond 1 are cut at full scale in PCM_16 without a word, and kept in FLOAT.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv soundfile==0.14.0 numpy==2.4.6 <<'PY'
import io
import warnings

import numpy as np
import soundfile


def written_and_read(samples, subtype):
    file = io.BytesIO()
    soundfile.write(file, samples, 16000, format="WAV", subtype=subtype)
    file.seek(0)
    return soundfile.read(file)[0].tolist()


warnings.simplefilter("error")
print(soundfile.__version__, soundfile.__libsndfile_version__)
integers = np.array([32767, -32768], dtype=np.int16)
print("int16 as FLOAT:", written_and_read(integers, "FLOAT"))
assert written_and_read(integers, "FLOAT") == [32767.0, -32768.0]
assert written_and_read(integers, "PCM_16") == [32767 / 32768, -1.0]
loud = np.array([1.5, -1.5, 0.5], dtype=np.float32)
print("floats beyond 1 as PCM_16:", written_and_read(loud, "PCM_16"))
assert written_and_read(loud, "PCM_16") == [32767 / 32768, -1.0, 0.5]
assert written_and_read(loud, "FLOAT") == [1.5, -1.5, 0.5]
PY
