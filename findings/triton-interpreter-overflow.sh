#!/usr/bin/env bash
# triton 3.9.0 in its interpreter (TRITON_INTERPRET=1): overflow of integers is computed at every sum, and not reported.
#
# The options say `sanitize_overflow=True`. So each sum and product of 32-bit integers is evaluated in 64 bits too and
# compared with both limits; but the answer goes to an assertion that only `debug=True` makes, and the sum wraps
# silently. The comparisons are counted below. Without them a kernel of small tiles takes about half the time.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv torch==2.13.0 triton==3.9.0 numpy==2.4.6 <<'PY'
import dataclasses
import os
import time

os.environ["TRITON_INTERPRET"] = "1"
import torch
import triton
import triton.language as tl
from triton.language.semantic import TritonSemantic
from triton.runtime.interpreter import interpreter_builder as builder


@triton.jit
def add(x_ptr, ROUNDS: tl.constexpr, N: tl.constexpr):
    offsets = tl.arange(0, N)
    x = tl.load(x_ptr + offsets)
    for _ in range(ROUNDS):
        x = x + 1
    tl.store(x_ptr + offsets, x)


comparisons = 0
less_equal = TritonSemantic.less_equal


def counted(self, *operands):
    global comparisons
    comparisons += 1
    return less_equal(self, *operands)


TritonSemantic.less_equal = counted
ROUNDS, seconds = 200, {}
for sanitize in (True, False):
    builder.options = dataclasses.replace(builder.options, sanitize_overflow=sanitize)
    x, comparisons = torch.full((16,), 2**31 - 1, dtype=torch.int32), 0
    start = time.process_time()
    add[(1,)](x, ROUNDS, 16)
    seconds[sanitize] = time.process_time() - start
    print(f"sanitize_overflow={sanitize}: {comparisons} comparisons for {ROUNDS} sums, the first element is {x[0]}")
    assert x[0] == -(2**31) + ROUNDS - 1, "an overflow is no longer silent"
    assert comparisons == (ROUNDS if sanitize else 0), "the number of comparisons is another"
print(f"time with the checks against without: {seconds[True] / seconds[False]:.1f}")
PY
