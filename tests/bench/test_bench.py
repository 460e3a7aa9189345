"""The benchmarks as a user runs them, in quick mode, and the report against the results."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench import harness
from bench.gpu import compiling, launches
from bench.ops import accuracy, roofline, run
from bench.ops.costs import Cost, cost_of
from bench.processes import scaling
from bench.report import pages, plots, tables
from bench.report.results import Results, devices
from bench.utterances import end_to_end, quality, streaming
from fastvits_kernels.channels_last import CONVOLUTIONAL
from fastvits_kernels.dispatch import registry
from tests.support.op_cases import CASES, MODEL_CASES, Case, model_cases
from tests.support.tolerances import RECOGNISER_WORD_ERROR_POINTS

WITHOUT_LENGTHS = ("gated_activation", "left_align", "rational_quadratic_spline")
COUNTED = [case for case in CASES if "ragged" in case.name or case.op in WITHOUT_LENGTHS]


def one_case(op: str) -> Case:
    return next(case for case in CASES if case.op == op)


@pytest.mark.parametrize("case", COUNTED, ids=lambda case: case.id)
def test_declared_operations_are_those_that_torch_counts(case: Case) -> None:
    op = registry.ops()[case.op]
    arguments = case.arguments(torch.float32, "cpu")
    with FlopCounterMode(display=False) as counter:
        op.reference(*arguments)
    assert cost_of(op, *arguments).flops == counter.get_total_flops()


def test_every_op_is_counted_and_timed() -> None:
    for device in ("cpu", "cuda"):
        assert {case.op for case in model_cases(device)} == {case.op for case in COUNTED} == set(registry.ops())
    cpu, cuda = ({case.id for case in model_cases(device)} for device in ("cpu", "cuda"))
    assert {f"{name}-activated" for name in cpu - cuda} == cuda - cpu
    assert len(cpu - cuda) == 2 * 10, "a stage's two ops, the waveform, and the bundled voice's step, at two lengths"
    for case in MODEL_CASES:
        if "-32x" not in case.name:
            assert cost_of(registry.ops()[case.op], *case.arguments(torch.float32, "meta")).bytes > 0


DECLARED_BYTES: dict[str, tuple[tuple[Any, ...], int]] = {
    # By op: shapes and settings of small inputs, and the elements of the inputs and (behind them) of the outputs, where
    # they are no whole numbers.
    # x [2, 5, 3], weight [3, 3, 4], bias [4] -> [2, 5, 4]
    "conv1d": (((2, 5, 3), (3, 3, 4), (4,), None, None, None, 1, 1, 1.0, "none", 1.0), 30 + 36 + 4 + 40),
    # x [2, 5, 3], weight [3, 3, 4], bias [4], residual [2, 5, 4], norm [4] twice -> [2, 5, 4]
    "conv1d_layer_norm": (
        ((2, 5, 3), (3, 3, 4), (4,), (2, 5, 4), (4,), (4,), None, 1, 1e-5), 30 + 36 + 4 + 40 + 8 + 40
    ),
    # the same with a projection [4, 6] and its bias [6] -> [2, 5, 4] and [2, 5, 6]
    "conv1d_layer_norm_projection": (
        ((2, 5, 3), (3, 3, 4), (4,), (2, 5, 4), (4,), (4,), (4, 6), (6,), None, 1, 1e-5),
        30 + 36 + 4 + 40 + 8 + 24 + 6 + 40 + 60,
    ),
    # x [1, 5, 3], weight [4, 3, 2], bias [2] -> [1, 10, 2]
    "conv_transpose1d": (((1, 5, 3), (4, 3, 2), (2,), None, 2, 1, 0.1), 15 + 24 + 2 + 20),
    # x [1, 5, 4], depthwise [3, 4], pointwise [4, 4], two biases and two norms [4] -> [1, 5, 4]
    "depth_separable_layer": (
        ((1, 5, 4), (3, 4), (4,), (4,), (4,), (4, 4), (4,), (4,), (4,), None, 1, 1e-5), 20 + 12 + 16 + 6 * 4 + 20
    ),
    # log durations [2, 5] and rates [2]
    "durations": (((2, 5), (2,), None), 10 + 2),
    # x [2, 7, 8] and the gate's half of it
    "gated_activation": (((2, 7, 8), None), 112 + 56),
    # x and residual [1, 4, 6], weight and bias [6] -> [1, 4, 6]
    "layer_norm": (((1, 4, 6), (1, 4, 6), (6,), (6,), None, 1e-5), 24 + 24 + 6 + 6 + 24),
    # nothing but whole numbers
    "left_align": ((torch.zeros(2, 5, dtype=torch.long), torch.zeros(2, 5, dtype=torch.long), 9), 0),
    # means and scales [1, 3, 4], durations [1, 3] of eight bytes, noise [1, 9, 4], a scale [1] -> [1, 9, 4]
    "length_regulator": (
        ((1, 3, 4), (1, 3, 4), torch.zeros(1, 3, dtype=torch.long), (1, 9, 4), (1,)), 24 + 36 + 1 + 36
    ),
    # scores [2, 3, 5], lengths of eight bytes
    "monotonic_alignment": (
        ((2, 3, 5), torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long)), 30
    ),
    # x [2, 3], widths and heights [2, 3, 4], derivatives [2, 3, 3] -> [2, 3] twice
    "rational_quadratic_spline": (((2, 3), (2, 3, 4), (2, 3, 4), (2, 3, 3), 5.0, True), 6 + 24 + 24 + 18 + 12),
    # q, k and v [1, 3, 2, 4], tables [3, 4] -> [1, 3, 2, 4] and, of the second op, weights [1, 2, 3, 3]
    "relative_attention": (((1, 3, 2, 4),) * 3 + ((3, 4),) * 2 + (None,), 72 + 24 + 24),
    "relative_attention_weights": (((1, 3, 2, 4),) * 3 + ((3, 4),) * 2 + (None,), 72 + 24 + 24 + 18),
    # x [1, 1, 5, 2] for both branches, weights [3, 2, 2] and [5, 2, 2], biases [2] -> [2, 1, 5, 2]
    "resblock_step": (
        ((1, 1, 5, 2), None, [(3, 2, 2), (5, 2, 2)], [(2,), (2,)], None, [1, 1], 0.1, False), 10 + 12 + 20 + 4 + 20
    ),
    # the same twice, the mean of the branches [1, 5, 2] coming out; what lies in between is not counted
    "resblock_pair": (
        ((1, 1, 5, 2), *([(3, 2, 2), (5, 2, 2)], [(2,), (2,)]) * 2, None, [1, 1], 0.1, True), 10 + 2 * 36 + 10
    ),
    # h [1, 3, 2], weight [2, 11] for four bins of one channel, bias [11], x [1, 3, 1] -> [1, 3, 1] and log determinants
    "spline_coupling": (((1, 3, 2), (2, 11), (11,), (1, 3, 1), None, 4, 5.0, True), 6 + 22 + 11 + 3 + 3 + 3),
    # x and skip [1, 5, 2], in [3, 2, 4], bias [4], cond [1, 4], out [2, 4], bias [4] -> [1, 5, 4]
    "wavenet_layer": (
        ((1, 5, 2), (1, 5, 2), (3, 2, 4), (4,), (1, 4), (2, 4), (4,), None, 1), 20 + 24 + 4 + 4 + 8 + 4 + 20
    ),
}  # fmt: skip

WHOLE_NUMBERS = {
    # Outputs of eight bytes: durations [2, 5] and frames [2]; ids [2, 5], lengths [2], places [2, 2, 5] and faults [2];
    # durations [2, 3].
    "durations": 10 + 2,
    "left_align": 10 + 2 + 20 + 2,
    "monotonic_alignment": 6,
}


def drawn(argument: Any, dtype: torch.dtype) -> Any:
    """Zeros for a shape, for each of a list of shapes, and anything else as it is."""
    if isinstance(argument, list) and isinstance(argument[0], tuple):
        return [torch.zeros(shape, dtype=dtype) for shape in argument]
    return torch.zeros(argument, dtype=dtype) if isinstance(argument, tuple) else argument


@pytest.mark.parametrize("op", registry.ops())
def test_declared_bytes(op: str) -> None:
    arguments, elements = DECLARED_BYTES[op]
    whole_numbers = 8 * (sum(a.numel() for a in arguments if isinstance(a, torch.Tensor)) + WHOLE_NUMBERS.get(op, 0))
    for dtype, size in ((torch.float32, 4), (torch.bfloat16, 2)):
        cost = cost_of(registry.ops()[op], *(drawn(a, dtype) for a in arguments))
        assert cost.bytes == size * elements + whole_numbers


def test_a_tensor_passed_twice_is_read_once() -> None:
    x, parameter = torch.zeros(1, 4, 6), torch.zeros(6)
    assert cost_of(registry.ops()["layer_norm"], x, x, parameter, parameter, None, 1e-5).bytes == 4 * (24 + 6 + 24)


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


def test_candidates_are_timed_in_turn() -> None:
    order: list[str] = []
    samples = harness.time_in_turn(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3, warmup=0, flush=False
    )
    assert order == ["a", "b"] * 3
    assert [len(times) for times in samples.values()] == [3, 3]


def test_percentiles() -> None:
    assert harness.percentiles([5, 1, 4, 2, 3, 6]) == {"p20": 2, "p50": 3.5, "p80": 5, "runs": 6}
    with pytest.raises(ValueError, match="no samples"):
        harness.percentiles([])


def test_environment_says_of_what_and_where() -> None:
    found = harness.environment("cpu")
    assert json.loads(json.dumps(found)) == found
    assert found["device"] == harness.device_name("cpu")
    assert found["versions"]["torch"].startswith(torch.__version__.partition("+")[0])
    assert {"commit", "dirty", "clocks", "threads", "time"} <= set(found)


def test_results_are_only_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "results" / "rows.jsonl"
    harness.append(path, [{"a": 1}])
    before = path.read_bytes()
    harness.append(path, [{"a": 2}])
    assert path.read_bytes().startswith(before)
    assert harness.read(path) == [{"a": 1}, {"a": 2}]


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


def test_scaling_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    before = scaling.SCALING.read_bytes() if scaling.SCALING.exists() else None
    assert scaling.main(["--quick", "--device", "cpu", "--candidates", "fastvits"]) == 0
    assert "MiB at most" in capsys.readouterr().out
    assert (scaling.SCALING.read_bytes() if scaling.SCALING.exists() else None) == before


@pytest.mark.parametrize("candidate", scaling.CANDIDATES)
def test_scaling_measures_every_candidate_at_the_length_asked_for(candidate: str) -> None:
    found = scaling.measure_here(candidate, "cpu", 0.1, 2)
    assert found["audio_seconds"] == 0.096  # three tokens, six frames
    assert found["time"] > 0


def test_scaling_leaves_out_what_is_too_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The slow candidate takes a second for each second of audio, the other one tenth."""

    def measure(candidate: str, device: str, seconds: float, batch: int) -> dict[str, float]:
        pace = 1.0 if candidate == "transformers" else 0.1
        return {"time": pace * seconds * batch, "audio_seconds": seconds, "peak_bytes": 1}

    monkeypatch.setattr(scaling, "measure", measure)
    monkeypatch.setattr(scaling, "SCALING", tmp_path / "scaling.jsonl")
    command = ["--device", "cpu", "--candidates", "fastvits", "transformers", "--patience", "120"]
    assert scaling.main([*command, "--seconds", "60", "600", "--batches", "1", "64"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "    600 s, batch   1, transformers: left out: too slow",
        "      3 s, batch  64, transformers: left out: too slow",
    ]
    rows = [(row["candidate"], row["seconds"], row["batch"]) for row in harness.read(scaling.SCALING)]
    assert rows == [
        ("fastvits", 60, 1), ("transformers", 60, 1), ("fastvits", 600, 1),
        ("fastvits", 3, 1), ("transformers", 3, 1), ("fastvits", 3, 64),
    ]  # fmt: skip


def test_whole_utterances_are_saved_unless_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bundled(options: Any) -> Any:
        yield [{"kind": "end_to_end", "seconds": second} for second in options.seconds]

    monkeypatch.setattr(end_to_end, "bundled", bundled)
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    assert end_to_end.main(["--models", "bundled", "--quick"]) == 0
    assert not list(tmp_path.iterdir())
    assert end_to_end.main(["--models", "bundled", "--seconds", "5"]) == 0
    assert [row["seconds"] for row in harness.read(tmp_path / "end_to_end.jsonl")] == [5.0]


def test_fitted_exponent() -> None:
    assert tables.fitted_exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)


def test_the_report_follows_from_the_results() -> None:
    assert pages.outdated(pages.rendered(Results())) == []


def test_a_changed_result_makes_the_report_outdated(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"# Title\n\n{pages.BEGIN}\n{pages.END}\n")
    results = tmp_path / "results"
    environment = harness.environment("cpu")
    row = {
        "kind": "end_to_end", "model": "standard", "candidate": "fastvits", "baseline": "fastvits", "seconds": 3,
        "audio_seconds": 3.0, "batch": 1, "times": [0.5, 0.5], "ratios": [1.0, 1.0], "run": "a",
        "environment": environment,
    }  # fmt: skip
    harness.append(results / "end_to_end.jsonl", [row, {**row, "seconds": 1, "audio_seconds": 1.0}])
    files = pages.rendered(Results(results), tmp_path)
    pages.write(files, tmp_path)
    assert pages.outdated(pages.rendered(Results(results), tmp_path), tmp_path) == []
    assert "6.0 ×" in (tmp_path / "README.md").read_text()
    assert "not measured" in (tmp_path / "README.md").read_text()
    assert "Not measured: no result of a GPU" in (tmp_path / "BENCHMARKS.md").read_text()

    harness.append(results / "end_to_end.jsonl", [{**row, "times": [0.25, 0.25]}])
    wrong = pages.outdated(pages.rendered(Results(results), tmp_path), tmp_path)
    assert {"BENCHMARKS.md", "README.md"} < set(wrong)
    assert any(path.endswith(".svg") for path in wrong)


def test_several_devices_and_runs(tmp_path: Path) -> None:
    """Every device is in BENCHMARKS.md, the last of each type in README.md, and of each the latest run."""
    (tmp_path / "README.md").write_text(f"# Title\n\n{pages.BEGIN}\n{pages.END}\n")
    before = harness.environment("cpu")

    def rows(device: str, run: str, day: int, candidates: dict[str, float], kind: str = "cpu") -> list[dict[str, Any]]:
        environment = {**before, "device": device, "device_type": kind, "time": f"2026-01-{day:02}T00:00:00+00:00"}
        shared = {"kind": "end_to_end", "model": "standard", "baseline": "peer", "audio_seconds": 3.0, "batch": 1}
        return [
            {**shared, "candidate": name, "seconds": 3, "times": [time], "ratios": [1.0], "run": run,
             "environment": environment}
            for name, time in candidates.items()
        ]  # fmt: skip

    results = tmp_path / "results"
    for found in (
        rows("EPYC, 2 threads", "first", 3, {"peer": 0.011, "left out later": 0.012}),
        rows("Xeon, 2 threads", "second", 1, {"peer": 0.021}),
        rows("EPYC, 2 threads", "third", 4, {"peer": 0.031}),
        rows("GPU", "fourth", 2, {"peer": 0.041}, "cuda"),
        rows("Large EPYC, 2 threads", "fifth", 2, {"peer": 0.051}),
    ):
        harness.append(results / "end_to_end.jsonl", found)
    assert devices(Results(results).all) == [
        "GPU", "EPYC, 2 threads", "Large EPYC, 2 threads", "Xeon, 2 threads"
    ]  # fmt: skip
    files = pages.rendered(Results(results), tmp_path)
    benchmarks, readme = files[Path("BENCHMARKS.md")], files[Path("README.md")]
    assert [time for time in ("11 ms", "21 ms", "31 ms", "41 ms", "51 ms") if f"| {time} |" in benchmarks] == [
        "21 ms", "31 ms", "41 ms", "51 ms"
    ]  # fmt: skip
    assert "left out later" not in benchmarks
    assert [time for time in ("21 ms", "31 ms", "41 ms", "51 ms") if f"| {time} |" in readme] == ["31 ms", "41 ms"]
    assert "Measured too: Large EPYC, 2 threads; Xeon, 2 threads." in readme
    assert "not measured" not in readme
    section = benchmarks.partition("## EPYC, 2 threads\n")[2].partition("\n## ")[0]
    assert "![Latency: standard model, EPYC, 2 threads](docs/plots/latency-standard-epyc-2-threads.svg)" in section
    assert "large-epyc" not in section


def test_every_kind_of_result_has_its_section(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"# Title\n\n{pages.BEGIN}\n{pages.END}\n")
    shared = {"run": "a", "environment": harness.environment("cpu"), "model": "bundled"}
    process = dict.fromkeys(("import_seconds", "load_seconds", "first_call_seconds", "steady_call_seconds"), 0.25)
    rows = {
        "startup": [{"kind": "startup", "candidate": "fastvits bundled", "seconds": 10,
                     "rounds": [{**process, "peak_bytes": 300 << 20}, {**process, "peak_bytes": 200 << 20}]}],
        "quality": [
            {"kind": "quality", "text": "A row without a way of speaking.", "equal_lengths": True},
            {"kind": "quality", "way": "bfloat16", "sentences": 20, "equal_lengths": True, "word_error_rate": 0.125,
             "relative_rms": 0.04, "log_mel_db": 0.7},
        ],
        "streaming": [
            {"kind": "streaming", "audio_seconds": 10.0, "times": {"first piece": [0.1], "whole": [0.8]},
             "ratios": [0.125]},
            {"kind": "long_text", "audio_seconds": 3600.0, "memory": [{"minutes": 10, "peak_mib": 700.0},
                                                                      {"minutes": 60.0, "peak_mib": 710.0}]},
        ],
        "launches": [{"kind": "launches", "candidate": "fastvits triton", "masked": True,
                      "launches": {stage: 5 for stage in launches.STAGES.values()} | {"rest": 6, "total": 31}}],
        "compiling": [{"kind": "compiling", "dtype": "float16", "order": "together", "kernels": 38, "processors": 4,
                       "seconds": [4.5, 4.0, 9.0]}],
    }  # fmt: skip
    for name, found in rows.items():
        harness.append(tmp_path / "results" / f"{name}.jsonl", [{**row, **shared} for row in found])
    text = pages.rendered(Results(tmp_path / "results"), tmp_path)[Path("BENCHMARKS.md")]
    for line in (
        "| fastvits bundled | 10 s | 250 ms | 250 ms | 250 ms | 250 ms | 200 MiB |",
        "| bfloat16 | 20 | yes | 4.0e-02 | 0.70 dB | 12.5% |",
        "| bundled | 10.0 s | 100 ms | 800 ms | 12.5% |",
        "| bundled | 60 | 710 MiB |",
        "| float16 | together | 38 | 4 | 4.5 s |",
        "| fastvits triton | yes | 5 | 5 | 5 | 5 | 5 | 6 | 31 |",
    ):
        assert line in text
    assert "without a way" not in text


def test_growth_of_a_long_text_counts_from_its_tenth_minute() -> None:
    marks = [(1, 500.0), (10, 800.0), (30, 810.0), (60.0, 820.0)]
    assert streaming.growth([{"minutes": m, "peak_mib": p} for m, p in marks]) == pytest.approx(0.025)
    # Of six minutes, from the first on.
    assert streaming.growth([{"minutes": m, "peak_mib": p} for m, p in ((1, 500.0), (6.0, 600.0))]) == pytest.approx(
        0.2
    )


def test_the_recorded_quality_is_within_its_limits() -> None:
    results = Results()
    assert {row["way"] for row in results.quality} == {quality.PLAIN, "bfloat16", "streamed", "long text"}
    plain = {row["environment"]["device"]: row for row in results.quality if row["way"] == quality.PLAIN}
    for row in results.quality:
        assert row["equal_lengths"]
        points = 100 * (row["word_error_rate"] - plain[row["environment"]["device"]]["word_error_rate"])
        assert abs(points) <= RECOGNISER_WORD_ERROR_POINTS


def test_compiling_counts_the_same_kernels_in_either_order() -> None:
    (one_by_one, together) = compiling.measure(["float16"], 1)
    assert (one_by_one["order"], together["order"]) == compiling.ORDERS
    assert one_by_one["kernels"] == together["kernels"] > 30
    assert all(seconds > 0 for seconds in one_by_one["seconds"] + together["seconds"])


def test_a_plot_is_the_same_twice() -> None:
    rows = [
        {"op": "conv1d", "case": "model-3s", "backend": name, "roofline": share}
        for name, share in (("eager", 0.2), ("onednn", 0.5))
    ]
    assert plots.roofline(rows, "title") == plots.roofline(rows, "title")
    assert "prefers-color-scheme" in plots.roofline(rows, "title")


def test_no_figure_is_quoted_by_hand() -> None:
    assert pages.quoted_figures((harness.ROOT / "README.md").read_text(encoding="utf-8")) == []
    for page in (harness.ROOT / "docs").rglob("*.md"):
        assert pages.quoted_figures(page.read_text(encoding="utf-8"), pages.SPEED) == [], page


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It takes 12.5 ms, 3 × as fast.", ["5 ms", "3 × as fast"]),
        ("It is 3.2 times faster, at 2.9x the speed.", ["2 times faster", "9x the speed"]),
        ("A sentence of 3 s takes 0.2 seconds.", ["3 s", "2 seconds"]),
        ("A real-time factor of 0.047, 40% less.", ["real-time factor of 0", "0%"]),
        ("It needs 500 MiB, and was 3× that.", ["0 MiB", "3×"]),
        ("16 kHz, 22050 samples, 1,100 languages, version 3 or later.", []),
    ],
)
def test_quoted_figures_are_found(text: str, found: list[str]) -> None:
    assert pages.quoted_figures(f"{text}\n{pages.BEGIN}\n90 ms\n{pages.END}\n") == found
