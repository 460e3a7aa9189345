#!/usr/bin/env bash
# torch 2.13.0: `with torch.device(...)` remembers, at its first use in a process, which functions make tensors. If one of
# them is replaced at that moment (as tests do that fill new memory with NaN), the real one is forgotten for good: later
# `with torch.device("meta")` blocks allocate real memory by it.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv torch==2.13.0 numpy==2.4.6 <<'PY'
from unittest.mock import patch

import torch


def devices():
    with torch.device("meta"):
        return torch.empty(2).device.type, torch.zeros(2).device.type, torch.nn.Embedding(2, 2).weight.device.type


real = torch.empty
with patch.object(torch, "empty", lambda *sizes, **options: real(*sizes, **options)), torch.device("cpu"):
    torch.zeros(2)
assert torch.empty is real
after = devices()
print("empty, zeros and an embedding on the meta device, afterwards:", *after)
torch.utils._device._device_constructors.cache_clear()
fresh = devices()
print("the same when the memory is cleared:", *fresh)
assert fresh == ("meta", "meta", "meta")
assert after == ("cpu", "meta", "cpu")
PY
