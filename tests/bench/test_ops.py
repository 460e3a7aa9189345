"""The benchmarks of the ops as a user runs them, in quick mode."""

from typing import Any

import pytest
import torch

from bench import harness
from bench.ops import accuracy, roofline, run
from bench.ops.costs import Cost
from fastvits_kernels.channels_last import CONVOLUTIONAL
from fastvits_kernels.dispatch import registry
from tests.support.op_cases import CASES, Case


def one_case(op: str) -> Case:
    return next(case for case in CASES if case.op == op)


def test_roofline_takes_the_larger_of_two_times() -> None:
    peaks = roofline.Peaks(bytes_per_second=10.0, flops_per_second=100.0)
    assert peaks.least_seconds(Cost(flops=100, bytes=50)) == 5.0
    assert peaks.bound(Cost(flops=100, bytes=50)) == "memory"
    assert peaks.least_seconds(Cost(flops=1000, bytes=50)) == 10.0
    assert peaks.bound(Cost(flops=1000, bytes=50)) == "compute"


def test_peaks_are_measured() -> None:
    peaks = roofline.measure_peaks("cpu", torch.float32, quick=True)
    assert peaks.bytes_per_second > 0
    assert peaks.flops_per_second > 0


def test_run_prints_times_and_saves_nothing_in_quick_mode(capsys: pytest.CaptureFixture[str]) -> None:
    before = run.OPS.read_bytes() if run.OPS.exists() else None
    assert run.main(["--quick", "--device", "cpu", "--op", "conv1d", "--backend", "eager", "--backend", "triton"]) == 0
    out = capsys.readouterr().out
    assert "GFLOP/s" in out
    assert " ms " in out
    assert "not available: Triton is timed on a GPU only" in out
    assert (run.OPS.read_bytes() if run.OPS.exists() else None) == before


def test_run_refuses_a_time_to_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    op = registry.ops()["layer_norm"]
    wrong = registry.Implementation(lambda *arguments: 1.001 * op.reference(*arguments))
    monkeypatch.setitem(op.implementations, "onednn", wrong)
    assert run.main(["--quick", "--device", "cpu", "--op", "layer_norm", "--backend", "onednn"]) == 1
    line = next(line for line in capsys.readouterr().out.splitlines() if "onednn" in line)
    assert "refused: error" in line
    assert " ms" not in line


@pytest.mark.parametrize(("seconds", "sizes"), [(0.01, ["512", "1024", "2048"]), (1.0, ["512"])])
def test_peaks_of_a_slow_dtype_are_of_small_products(
    seconds: float, sizes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "time_in_turn", lambda candidates, **options: {name: [seconds] for name in candidates})
    peaks = roofline.measure_peaks("cpu", torch.bfloat16)
    assert peaks.flops_per_second == 2 * int(sizes[-1]) ** 3 / seconds


def test_tf32_is_refused_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (run.main, roofline.main):
        with pytest.raises(SystemExit, match="2"):
            command(["--quick", "--device", "cpu", "--dtype", "tf32"])
        assert "dtype tf32 is for GPUs; device cpu has float32, float16, bfloat16" in capsys.readouterr().err
    assert roofline.modes_for("cpu", None, list(roofline.MODES)) == list(roofline.DTYPES)
    assert roofline.modes_for("cuda", None, list(roofline.MODES)) == list(roofline.MODES)


@pytest.mark.parametrize("dtype", ["float32", "tf32"])
def test_a_row_is_of_the_flags_that_its_dtype_names(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case, seen = one_case("layer_norm"), set()
    op = registry.ops()[case.op]

    def rounded(*arguments: Any) -> Any:
        seen.add((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
        return 1.0005 * op.reference(*arguments)  # as near as TF32 may be, and not as near as float32 is

    monkeypatch.setitem(op.implementations, "onednn", registry.Implementation(rounded))
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    (row,) = run.measure(case, dtype, "cpu", ["onednn"], peaks=None, budget=0.0, rounds=1)
    assert seen == {(dtype == "tf32",) * 2}
    assert (row["dtype"], row["status"]) == (dtype, "ok" if dtype == "tf32" else "refused")
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


@pytest.mark.parametrize("op", CONVOLUTIONAL)
def test_channels_last_convolutions_compute_the_same(op: str) -> None:
    arguments = one_case(op).arguments(torch.float32, "cpu")
    candidates, missing = run.candidates_of(registry.ops()[op], arguments, ["channels_last"])
    assert not missing
    assert all(found.passed for found in run.check(registry.ops()[op], arguments, "float32", candidates).values())


def test_run_compares_with_another_commit(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--quick", "--device", "cpu", "--op", "gated_activation", "--backend", "eager", "--base", "HEAD"]
    assert run.main(command) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "gated_activation" in line]
    assert [" base " in line or " here " in line for line in lines] == [True, True]


def test_accuracy_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    before = accuracy.ACCURACY.read_bytes() if accuracy.ACCURACY.exists() else None
    assert accuracy.main(["--quick", "--device", "cpu", "--op", "layer_norm"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("layer_norm")] == list(roofline.DTYPES)
    assert (accuracy.ACCURACY.read_bytes() if accuracy.ACCURACY.exists() else None) == before
