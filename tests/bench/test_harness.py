"""What every benchmark shares."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from bench import harness
from bench.report.__main__ import add


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


def test_rows_of_a_tree_with_changes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    monkeypatch.setattr(harness, "changes", lambda: " M fastvits/hub.py")
    with pytest.raises(SystemExit, match=r"are not kept: commit them first, or keep no rows \(fastvits/hub.py\)"):
        harness.Run(keep=True)
    changed = harness.Run(keep=False)
    changed.keep(path, [{"a": 1}])
    assert not path.exists()
    with pytest.raises(ValueError, match=f"a row of run {changed.name} is of .* with changes"):
        harness.keep(path, [changed.stamped({"a": 1})])
    assert not path.exists()
    monkeypatch.setattr(harness, "changes", lambda: "")
    run = harness.Run(keep=True)
    run.keep(path, [{"a": 1}])
    assert harness.read(path) == [{"a": 1, "run": run.name, "environment": run.environment}]


def test_rows_of_another_machine_are_added_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results, evidence = tmp_path / "results", tmp_path / "evidence"
    monkeypatch.setattr(harness, "RESULTS", results)
    clean = {"kind": "peaks", "run": "a", "environment": {"dirty": False, "commit": "c", "device": "gpu"}}
    harness.append(evidence / "peaks.jsonl", [clean])
    harness.append(evidence / "evidence.jsonl", [{"kind": "step"}])
    assert add(evidence) == ["1 rows of peaks"]
    assert harness.read(results / "peaks.jsonl") == [clean]
    with pytest.raises(ValueError, match="run a is there already"):
        add(evidence)
    harness.append(
        evidence / "ops.jsonl", [{**clean, "run": "b", "environment": {**clean["environment"], "dirty": True}}]
    )
    harness.append(evidence / "peaks.jsonl", [{**clean, "run": "b"}])
    with pytest.raises(ValueError, match="with changes"):
        add(evidence)
    assert [path.name for path in results.iterdir()] == ["peaks.jsonl"]
    with pytest.raises(ValueError, match="has no rows"):
        add(tmp_path / "nothing")


COMMANDS = {
    "gpu": ("compile_report", "compiling", "launches"),
    "ops": ("accuracy", "roofline", "run"),
    "processes": ("crowded", "scaling", "startup"),
    "utterances": ("end_to_end", "quality", "streaming"),
}


@pytest.mark.parametrize(("folder", "name"), [(folder, name) for folder, names in COMMANDS.items() for name in names])
def test_every_command_has_its_door(folder: str, name: str) -> None:
    door, room = importlib.import_module(f"bench.{name}"), importlib.import_module(f"bench.{folder}.{name}")
    assert door.main is room.main
    assert room.__doc__ is not None
    assert f"python -m bench.{name}" in room.__doc__


def test_the_other_doors() -> None:
    assert importlib.import_module("bench.gpu_evidence").main is importlib.import_module("bench.gpu.evidence").main
    assert callable(importlib.import_module("bench.report.__main__").main)


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD  EPYC\n", "AMD EPYC (family 25, model 17)"),
        ("cpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Intel(R) Xeon(R) CPU @ 2.80GHz\n", None),
        ("model name\t: ARM Neoverse\n", "ARM Neoverse"),
    ],
)
def test_generations_of_processors_have_names_of_their_own(
    told: str, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.Path, "read_text", lambda path: told)
    harness._cpu_model.cache_clear()
    try:
        assert harness.device_name("cpu").rpartition(", ")[0] == (name or "Intel(R) Xeon(R) CPU @ 2.80GHz")
    finally:
        harness._cpu_model.cache_clear()
