#!/usr/bin/env bash
# monotonic-alignment-search 0.2.1 with torch 2.13.0: where scores tie, the last token takes all the frames it can.
#
# Three tokens and six frames that all score 0 give the first two tokens a frame each and the last one four. Ties are
# common for silence in the first steps of training, so durations there lean on the end of the text.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv monotonic-alignment-search==0.2.1 torch==2.13.0 numpy==2.4.6 <<'PY'
import torch
from monotonic_alignment_search import maximum_path

frames = maximum_path(torch.zeros(1, 3, 6), torch.ones(1, 3, 6))[0].sum(1).int().tolist()
print("frames of three equal tokens:", frames)
assert frames == [1, 1, 4]
# Where one token is better by anything, it gets its frames.
scores = torch.zeros(1, 3, 6)
scores[0, 0, :3] = 1e-3
frames = maximum_path(scores, torch.ones(1, 3, 6))[0].sum(1).int().tolist()
print("frames where the first token is better:", frames)
assert frames == [3, 1, 2]
PY
