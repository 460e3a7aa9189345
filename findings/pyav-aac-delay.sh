#!/usr/bin/env bash
# PyAV 18.1.0: AAC in MP4 begins 1,024 samples late where the frames have no time stamp, and on time where they have.
#
# A frame made from an array has none (pts is None), and encoding works. MP4 then lacks the list that tells players to
# skip what the encoder puts before the sound: 64 ms at 16 kHz, enough to part subtitles from speech. MP3 is not
# concerned, and AAC as a stream (ADTS) is late always.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv av==18.1.0 numpy==2.4.6 <<'PY'
import io

import av
import numpy as np

click = np.zeros((1, 16000), np.float32)
click[0, 4000:4100] = 0.9 * np.hanning(100)


def late(container, codec, pts):
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(click, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, pts
        resampler = av.AudioResampler(stream.format, "mono", 16000)
        for part in resampler.resample(frame) + resampler.resample(None) + [None]:
            output.mux(stream.encode(part))
    file.seek(0)
    with av.open(file) as input:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in input.decode(audio=0)])
    return int(np.abs(heard).argmax() - click.argmax())


kinds = [("mp4", "aac", None), ("mp4", "aac", 0), ("adts", "aac", 0), ("mp3", "libmp3lame", None)]
found = {kind: late(*kind) for kind in kinds}
for (container, _, pts), samples in found.items():
    print(f"{container}, pts {pts}: {samples} samples late")
assert [round(samples, -2) for samples in found.values()] == [1000, 0, 1000, 0]
PY
