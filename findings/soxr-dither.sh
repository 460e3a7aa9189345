#!/usr/bin/env bash
# soxr 1.1.0: resampling int16 adds noise, to digital silence too.
#
# Integers are dithered: zeros come back as -1, 0 and 1, and a stream in pieces differs from the whole by up to 2. Float32
# has none of it: silence stays silent and pieces equal the whole. No argument turns it off.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv soxr==1.1.0 numpy==2.4.6 <<'PY'
import numpy as np
import soxr


def in_pieces(samples, kind):
    stream = soxr.ResampleStream(22050, 16000, 1, dtype=kind)
    pieces = [samples[start : start + 1000] for start in range(0, len(samples), 1000)]
    return np.concatenate([stream.resample_chunk(piece, last=piece is pieces[-1]) for piece in pieces])


silence = np.zeros(22050, np.int16)
levels = np.unique(soxr.resample(silence, 22050, 16000)).tolist()
print("silence in int16 has the levels", levels, "and in float32", np.unique(soxr.resample(silence / np.float32(1), 22050, 16000)))
assert levels == [-1, 0, 1]
assert not soxr.resample(silence.astype(np.float32), 22050, 16000).any()
sound = (3000 * np.random.default_rng(0).standard_normal(22050)).astype(np.int16)
apart = {}
for kind in ("int16", "float32"):
    samples = sound.astype(kind)
    apart[kind] = float(np.abs(in_pieces(samples, kind).astype(float) - soxr.resample(samples, 22050, 16000)).max())
print("pieces and the whole are apart by", apart)
assert apart["float32"] == 0 < apart["int16"] <= 3
PY
