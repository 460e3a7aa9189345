"""The evidence for a GPU, gathered as a user does, in the small mode that needs none."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import harness
from bench.gpu import checks, evidence, models, steps, timing
from bench.gpu.context import Context
from bench.ops.accuracy import SMALL
from bench.report import pages
from bench.report.results import Results
from fastvits import VitsConfig


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command leaves behind, run from another folder and without anything in the path."""
    folder = tmp_path_factory.mktemp("evidence")
    command = [sys.executable, "-m", "bench.gpu_evidence", "--output", str(folder), "--minutes", "4", "--device", "cpu"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=harness.ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith((folder / "summary.txt").read_text() + "\n")
    return folder


def rows(folder: Path, name: str, kind: str | None = None) -> list[dict[str, Any]]:
    return [row for row in harness.read(folder / f"{name}.jsonl") if kind in (None, row["kind"])]


def test_every_step_leaves_rows(output: Path) -> None:
    assert len(rows(output, "evidence", "environment")) == 1
    assert {row["status"] for row in rows(output, "evidence", "op check")} <= {"ok", "not available"}
    assert len(rows(output, "evidence", "op check")) == len(checks.op_items(True))
    stages = {(row["stage"], row["dtype"]): row for row in rows(output, "evidence", "stage")}
    names = ("text encoder", "durations", "latents", "waveform")
    assert set(stages) == {(name, mode) for name in names for mode in ("float32", "bfloat16")}
    assert all(row["status"] == "ok" for row in stages.values())
    # Half precision was heard: the waveform is not what float32 says.
    assert stages["waveform", "bfloat16"]["error"] > 100 * stages["waveform", "float32"]["error"]
    assert all(row["status"] == "ok" for row in rows(output, "evidence", "invariance"))
    assert [row["state"] for row in rows(output, "evidence", "startup")] == ["cold", "warmed"]
    assert rows(output, "evidence", "startup")[1]["warmup_seconds"] > 0
    # Two frames for each of 24 tokens.
    samples = 48 * math.prod(VitsConfig(**SMALL).upsample_rates)
    assert [row["samples"] for row in rows(output, "evidence", "startup")] == [samples] * 2
    calls = rows(output, "evidence", "call")
    assert [row["status"] for row in calls] == ["ok"] * len(rows(output, "end_to_end"))
    assert all(row["operators"] > 0 for row in calls)
    assert {row["part"] for row in rows(output, "evidence", "part")} >= {"text_encoder", "decoder"}
    assert rows(output, "evidence", "profile")
    pieces = rows(output, "evidence", "pieces")
    assert [row["piece_bytes"] >> 10 for row in pieces] == [256, 64, 32, 16, 8, 4]
    assert all(row["status"] == "ok" and row["p50"] > 0 for row in pieces)
    assert rows(output, "evidence", "step") == []
    assert "aten::" in (output / "profile.txt").read_text()


def test_candidates_are_timed_beside_the_peer(output: Path) -> None:
    found = {row["candidate"]: row for row in rows(output, "end_to_end") if row["model"] == "small"}
    assert set(found) == {
        "transformers eager", "fastvits eager float32", "fastvits channels-last float32", "fastvits auto float32",
    }  # fmt: skip
    for row in found.values():
        assert row["passed"]
        assert len(row["times"]) == len(row["ratios"]) >= 3
        assert 0 < row["p50"] <= row["p95"]
        assert row["least_seconds"] > 0
    assert found["transformers eager"]["ratios"] == [1.0] * len(found["transformers eager"]["times"])
    voice = {row["candidate"]: row for row in rows(output, "end_to_end") if row["model"] == "bundled"}
    assert set(voice) == {"fastvits eager float32", "fastvits channels-last float32", "fastvits auto float32"}
    assert all(row["passed"] and row["baseline"] == "fastvits eager float32" for row in voice.values())


def test_what_is_timed_may_take_graphs() -> None:
    """Models whose parameters were made in inference mode take none, and derive their weights anew at every call."""
    device = torch.device("cpu")
    for model in (*models.speakers_for(device, True).own.values(), models.unsettled(True, device)):
        assert not any(parameter.is_inference() for parameter in model.parameters())
    ids = models.spoken_for(device, True, "standard", 1, 0.2)[0].ids
    assert not ids.is_inference()


def test_few_and_small_files(output: Path) -> None:
    files = list(output.iterdir())
    assert len(files) <= 7  # and a table of tiles on a GPU
    assert all(file.is_file() and file.stat().st_size < 16 << 20 for file in files)


def test_the_report_shows_the_rows(output: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"{pages.BEGIN}\n{pages.END}\n")
    files = pages.rendered(Results(output), tmp_path)
    text = "".join(page for path, page in files.items() if path.parent == pages.PAGES)
    for heading in ("## Whole utterances", "## Ops", "## Accuracy"):
        assert heading in text
    assert "fastvits channels-last float32" in files[Path("README.md")]
    assert "The bundled model" in text
    assert "The small model" not in text


def plan(folder: Path, **other: Any) -> dict[str, Any]:
    shared = {"output": str(folder), "run": "a", "device": "cpu", "quick": True, "variables": {}}
    return {**shared, "deadline": time.time() + 120, **other}


def test_a_failed_item_costs_only_itself(tmp_path: Path) -> None:
    tasks = [("op checks", "no-such-case float32"), ("op checks", checks.op_items(True)[0])]
    evidence.supervise(tasks, plan(tmp_path), tmp_path, processes=1, stall=100)
    assert [(row["kind"], row["status"]) for row in rows(tmp_path, "evidence")] == [
        ("step", "failed"),
        ("op check", "ok"),
    ]


def test_a_process_that_dies_costs_the_item_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deadly = tmp_path / "deadly"
    deadly.write_text("#!/bin/sh\necho a fault\nkill -SEGV $$\n")
    deadly.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(deadly))
    evidence.supervise([("ops", "1"), ("ops", "2")], plan(tmp_path), tmp_path, processes=1, stall=100)
    found = rows(tmp_path, "evidence")
    assert [(row["item"], row["status"]) for row in found] == [("1", "failed"), ("2", "failed")]
    assert found[0]["reason"] == "the process ended with -11; last words: a fault"


@pytest.mark.parametrize(
    ("other", "stall", "status", "reason"),
    [
        ({}, 0.5, "failed", "nothing came for"),
        ({"deadline": 0.0}, 100, "skipped", "its time was over"),
    ],
)
def test_what_hangs_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any], stall: float, status: str, reason: str
) -> None:
    hanging = tmp_path / "hanging"
    hanging.write_text("#!/bin/sh\nsleep 100\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(hanging))
    begin = time.time()
    evidence.supervise([("ops", "1")], plan(tmp_path, **other), tmp_path, processes=1, stall=stall)
    assert time.time() - begin < 50
    assert [row["status"] for row in rows(tmp_path, "evidence")] == [status]
    assert reason in rows(tmp_path, "evidence")[0]["reason"]


def test_without_time_all_is_skipped_and_says_so(tmp_path: Path) -> None:
    now = time.time()
    evidence.measure(plan(tmp_path, quick=False), now, tmp_path)
    found = rows(tmp_path, "evidence")
    assert {row["status"] for row in found} == {"skipped"}
    assert {row["step"] for row in found} == {name for name, step in steps.STEPS.items() if step.items(False)}


def test_the_exit_status_is_for_checks_of_ours(tmp_path: Path) -> None:
    def passed(run: str, **row: Any) -> bool:
        harness.append(tmp_path / "evidence.jsonl", [{"reason": "a fault", "run": run, **row}])
        text, found = evidence.summary(tmp_path, run)
        assert "a fault" in text
        return found

    utterance = {"kind": "utterance", "model": "standard", "candidate": "one", "batch": 1, "seconds": 3}
    assert not passed("ours", **utterance, status="failed")
    assert not passed("wrong", **utterance, status="refused")
    assert passed("peer", **utterance, status="failed peer")
    assert passed("call", **utterance | {"kind": "call"}, status="not measured")
    assert passed("late", **utterance | {"kind": "call"}, status="skipped")
    step = {"kind": "step", "status": "failed"}
    assert not passed("step", **step, step="startup", item="fastvits float16 cold")
    assert passed("first call", **step, step="startup", item="transformers float32 warm")
    assert passed("compiled", **step, step="compiled peers", item="1 3 float16")


def test_a_tuned_row_is_kept_at_once(tmp_path: Path) -> None:
    """Each in a table of its own, beside those before it; one measured anew replaces the old one."""
    context = Context(torch.device("cpu"), tmp_path, "a", False, time.time() + 60)

    def row(work: int, winner: str) -> dict[str, Any]:
        when = {"dtype": ["float32"], "channels": 8, "kernel_size": 1, "work": work}
        return {"when": when, "tile": {}, "winner": winner}

    for op, one in (("b", row(4, "eager")), ("a", row(2, "eager")), ("b", row(2, "eager")), ("b", row(4, "triton"))):
        timing._keep(context, {"about": "", "ops": {op: [one]}})
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_text())["ops"] == {
        "a": [row(2, "eager")],
        "b": [row(2, "eager"), row(4, "triton")],
    }


def test_wrong_peers_are_not_reported(tmp_path: Path) -> None:
    shared = {"kind": "end_to_end", "model": "standard", "run": "a", "environment": {"device": "gpu"}}
    found = [{**shared, "seconds": 3, "batch": 1, "candidate": name} for name in ("right", "wrong")]
    harness.append(tmp_path / "end_to_end.jsonl", [{**row, "passed": row["candidate"] == "right"} for row in found])
    assert [row["candidate"] for row in Results(tmp_path).utterances] == ["right"]


def test_bad_options_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, message in (([], "--output"), (["--output", str(tmp_path), "--minutes", "0"], "must be positive")):
        with pytest.raises(SystemExit):
            evidence.main(options)
        assert message in capsys.readouterr().err
