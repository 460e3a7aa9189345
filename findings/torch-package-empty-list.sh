#!/usr/bin/env bash
# torch 2.13.0: a package of AOTInductor hands an empty list of tensors to a custom operator as None, and the operator
# refuses it. The same exported program, run by torch, hands on the list.
#
# An operator whose list may be empty ("no second convolutions") passes every test under torch.compile and torch.export,
# and fails in the package.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv torch==2.13.0 numpy==2.4.6 setuptools==80.9.0 <<'PY'
import tempfile
from pathlib import Path

import torch
from torch import Tensor


@torch.library.custom_op("finding::total", mutates_args=())
def total(x: Tensor, others: list[Tensor]) -> Tensor:
    return sum(others, x.clone())


@total.register_fake
def _(x, others):
    return torch.empty_like(x)


class Model(torch.nn.Module):
    def __init__(self, count):
        super().__init__()
        self.count = count

    def forward(self, x):
        return torch.ops.finding.total(x, [x] * self.count) * 2


x = torch.ones(3)
outcomes = {}
for count in (2, 0):
    exported = torch.export.export(Model(count), (x,))
    assert torch.equal(exported.module()(x), x * 2 * (count + 1))
    with tempfile.TemporaryDirectory() as folder:
        path = torch._inductor.aoti_compile_and_package(exported, package_path=str(Path(folder) / "model.pt2"))
        package = torch._inductor.aoti_load_package(path)
        try:
            outcomes[count] = package(x).tolist()
        except RuntimeError as error:
            outcomes[count] = next(line for line in str(error).splitlines() if "NoneType" in line)
    print(f"a list of {count}:", outcomes[count])
assert outcomes[2] == [6.0, 6.0, 6.0]
assert "others" in outcomes[0] and "NoneType" in outcomes[0]
PY
