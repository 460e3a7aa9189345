"""Whole utterances, texts and processes, measured as a user does, in quick mode."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import harness
from bench.gpu import compiling
from bench.processes import scaling
from bench.utterances import end_to_end, streaming
from fastvits import VitsTokenizer
from fastvits.voices.folders import voice_folder
from tests.support.tolerances import PIPER_AGAINST_ONNXRUNTIME


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
    monkeypatch.setattr(harness, "changes", lambda: "")
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
    monkeypatch.setattr(harness, "changes", lambda: "")
    assert end_to_end.main(["--models", "bundled", "--quick"]) == 0
    assert not list(tmp_path.iterdir())
    assert end_to_end.main(["--models", "bundled", "--seconds", "5"]) == 0
    assert [row["seconds"] for row in harness.read(tmp_path / "end_to_end.jsonl")] == [5.0]


def test_growth_of_a_long_text_counts_from_its_tenth_minute() -> None:
    marks = [(1, 500.0), (10, 800.0), (30, 810.0), (60.0, 820.0)]
    assert streaming.growth([{"minutes": m, "peak_mib": p} for m, p in marks]) == pytest.approx(0.025)
    # Of six minutes, from the first on.
    assert streaming.growth([{"minutes": m, "peak_mib": p} for m, p in ((1, 500.0), (6.0, 600.0))]) == pytest.approx(
        0.2
    )


def test_compiling_counts_the_same_kernels_in_either_order(tmp_path: Path) -> None:
    (one_by_one, together) = compiling.measure(["float16"], 1, tmp_path)
    assert (one_by_one["order"], together["order"]) == compiling.ORDERS
    assert one_by_one["kernels"] == together["kernels"] > 30
    assert all(seconds > 0 for seconds in one_by_one["seconds"] + together["seconds"])


def test_the_peers_say_the_same_and_one_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = voice_folder()
    tokenizer = VitsTokenizer.from_pretrained(folder)
    ids = tokenizer("Good morning.", return_tensors="pt")["input_ids"]
    assert isinstance(ids, torch.Tensor)
    found = {peer.name: peer for peer in end_to_end.installed_peers(1)}
    assert list(found) == ["onnxruntime", "openvino", "sherpa-onnx"]
    outputs = {name: peer(ids) for name, peer in found.items()}
    assert end_to_end.faults(outputs, "onnxruntime", PIPER_AGAINST_ONNXRUNTIME) == {}
    two = tokenizer("Good morning. So it is.", return_tensors="pt")["input_ids"]
    assert found["sherpa-onnx"].unable(two) == "it speaks one sentence at a time"
    assert found["sherpa-onnx"].unable(ids.expand(2, -1)) == "it speaks one text at a time"
    assert found["openvino"].unable(two) is None

    monkeypatch.setitem(sys.modules, "openvino", None)
    assert [peer.name for peer in end_to_end.installed_peers(1)] == ["onnxruntime", "sherpa-onnx"]
    assert capsys.readouterr().out.startswith("openvino is left out: ")
