#!/usr/bin/env bash
# triton 3.9.0 in its interpreter (TRITON_INTERPRET=1): numbers that a compiled kernel treats otherwise.
#
# A float beyond the range of int32, and NaN, become the smallest int32 whatever the sign; a GPU saturates, and makes 0
# of NaN. And a thing that is so compiled too: -7 // 2 is -3 where -7 is an argument and -4 where it is a constexpr, for
# one is C's division and the other Python's.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv torch==2.13.0 triton==3.9.0 numpy==2.4.6 <<'PY'
import os

os.environ["TRITON_INTERPRET"] = "1"
import torch
import triton
import triton.language as tl


@triton.jit
def cast(x_ptr, out_ptr, N: tl.constexpr):
    offsets = tl.arange(0, N)
    tl.store(out_ptr + offsets, tl.load(x_ptr + offsets).to(tl.int32))


@triton.jit
def halve(out_ptr, number, NUMBER: tl.constexpr):
    tl.store(out_ptr, number // 2)
    tl.store(out_ptr + 1, NUMBER // 2)


x, out = torch.tensor([1e10, -1e10, float("nan"), 7.9]), torch.zeros(4, dtype=torch.int32)
cast[(1,)](x, out, 4)
print("1e10, -1e10, NaN, 7.9 as int32:", out.tolist())
assert out.tolist() == [-(2**31), -(2**31), -(2**31), 7]
halves = torch.zeros(2, dtype=torch.int32)
halve[(1,)](halves, -7, -7)
print("-7 // 2, argument and constexpr:", halves.tolist())
assert halves.tolist() == [-3, -4]
PY
