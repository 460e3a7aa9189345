#!/usr/bin/env bash
# torch 2.13.0 on a CPU: with one seed, a longer draw of randn does not begin with the shorter one.
#
# Below 16 numbers, they are drawn one by one; from 16 on, in blocks of 16 in another order, and where the size is no
# multiple of 16 the last block is drawn anew over the end of the one before. So noise for a text with one more token is
# other noise, unless both sizes are multiples of 16; torch.rand has no such trait. Reported for years:
# https://github.com/pytorch/pytorch/issues/80202
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv torch==2.13.0 numpy==2.4.6 <<'PY'
import torch


def drawn(draw, size):
    torch.manual_seed(0)
    return draw(size)


equal = {
    (short, long): int((drawn(torch.randn, short) == drawn(torch.randn, long)[:short]).sum())
    for short, long in ((8, 15), (15, 16), (16, 20), (20, 40), (16, 32), (32, 48))
}
for (short, long), count in equal.items():
    print(f"of randn({short}), {count} begin randn({long})")
assert equal == {(8, 15): 8, (15, 16): 0, (16, 20): 4, (20, 40): 4, (16, 32): 16, (32, 48): 32}
assert torch.equal(drawn(torch.rand, 20), drawn(torch.rand, 40)[:20])
PY
