#!/usr/bin/env bash
# pydub 0.25.1: set_frame_rate has no filter, so that high tones come back as low ones.
#
# A tone of 7 kHz at 22,050 Hz cannot exist at 8,000 Hz. It is heard there at 1 kHz, 2.8 dB below what it was: hiss of s
# and f lands in the middle of the speech that a voice is trained on.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv pydub==0.25.1 numpy==2.4.6 "audioop-lts; python_version >= '3.13'" <<'PY'
import numpy as np
from pydub import AudioSegment

tone = (16000 * np.sin(2 * np.pi * 7000 * np.arange(22050) / 22050)).astype(np.int16)
segment = AudioSegment(tone.tobytes(), frame_rate=22050, sample_width=2, channels=1).set_frame_rate(8000)
heard = np.array(segment.get_array_of_samples(), dtype=float)
loudest = int(np.abs(np.fft.rfft(heard)).argmax() * 8000 / len(heard))
level = 10 * np.log10((heard**2).mean() / (tone.astype(float) ** 2).mean())
print(f"7,000 Hz at 22,050 Hz becomes {loudest} Hz at 8,000 Hz, {level:.1f} dB")
assert loudest == 1000 and -4 < level < -2
PY
