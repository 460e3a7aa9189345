"""The ops under pytest-benchmark: `pytest bench/ --benchmark-only`. Cases and checks are those of `bench.run`."""

from typing import Any

import pytest
import torch

from bench.ops.run import PROVIDERS, candidates_of, check
from fastvits.planning.tuning import allowing_tf32
from fastvits_kernels.dispatch import registry
from tests.support.op_cases import MODEL_CASES, Case

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TIMED = [case for case in MODEL_CASES if DEVICE == "cuda" or "-32x" not in case.name]


@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name != "compile"])
@pytest.mark.parametrize("case", TIMED, ids=lambda case: case.id)
def test_op(case: Case, provider: str, benchmark: Any) -> None:
    op, benchmark.group = registry.ops()[case.op], case.id
    arguments = case.arguments(torch.float32, DEVICE)
    candidates, missing = candidates_of(op, arguments, [provider])
    if missing:
        pytest.skip(missing[provider])
    with torch.no_grad(), allowing_tf32(False):
        found = check(op, arguments, "float32", candidates)[provider]
        assert found.passed, f"refused: error {found.error:.2g}, allowed {found.allowed:.2g}"

        def timed() -> None:
            candidates[provider]()
            if DEVICE == "cuda":
                torch.cuda.synchronize()

        benchmark.pedantic(timed, rounds=5, warmup_rounds=1)
