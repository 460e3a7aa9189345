#!/usr/bin/env bash
# torch 2.13.0's SummaryWriter with tensorboard 2.21.0: add_audio turns full scale in half precision upside down.
#
# The samples are scaled in their own type. 32767 does not exist in float16 and bfloat16: 1.0 becomes 32768, and as int16
# the lowest number, a click at each loud peak. Samples of int16 become a square wave at full scale, with a printed line
# that says "auto clipped". (Seen on x86: what a number beyond int16 becomes is the processor's choice.)
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv torch==2.13.0 tensorboard==2.21.0 numpy==2.4.6 setuptools==80.9.0 <<'PY'
import io
import tempfile
import wave

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter


def heard(samples):
    with tempfile.TemporaryDirectory() as folder:
        with SummaryWriter(folder) as writer:
            writer.add_audio("sound", samples, sample_rate=22050)
        events = EventAccumulator(folder).Reload()
        with wave.open(io.BytesIO(events.Audio("sound")[0].encoded_audio_string)) as sound:
            return np.frombuffer(sound.readframes(sound.getnframes()), np.int16).tolist()


sound = torch.tensor([0.25, 0.5, 1.0, -1.0])
found = {
    str(kind): heard(sound.to(kind)) for kind in (torch.float32, torch.float16, torch.bfloat16)
} | {"torch.int16": heard((sound * 32767).to(torch.int16))}
for kind, samples in found.items():
    print(kind, samples)
assert found["torch.float32"] == [8191, 16383, 32767, -32767]
assert found["torch.float16"][2] == found["torch.bfloat16"][2] == -32768
assert found["torch.int16"] == [32767, 32767, 32767, -32767]
PY
