"""The benchmark of a crowded machine."""

import subprocess
import threading
import time

import pytest

from bench.processes import crowded


def test_callers_wait_for_their_own_calls_and_begun_ones_are_finished() -> None:
    inside, most, lock = 0, 0, threading.Lock()

    def speak() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.05)
        with lock:
            inside -= 1

    times, lasted = crowded.waits(speak, callers=3, seconds=0.12)
    assert most == 3
    assert len(times) >= 6
    assert min(times) >= 0.05
    assert lasted >= 0.12
    assert inside == 0


def test_neighbours_are_busy_inside_the_block_and_gone_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def noted(*args: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **options))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(crowded.subprocess, "Popen", noted)
    with crowded.busy(2):
        assert [process.poll() for process in started] == [None, None]
    assert [process.returncode for process in started] == [-9, -9]


def test_a_summary_takes_all_calls_and_the_median_round() -> None:
    rounds = [{"times": [1.0, 2.0], "throughput": 10.0}, {"times": [3.0], "throughput": 30.0}]
    rounds.append({"times": [4.0, 5.0], "throughput": 20.0})
    assert crowded.summary(rounds) == {"calls": 5, "throughput": 20.0, "p50": 3.0, "p95": pytest.approx(4.8)}


def test_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    before = crowded.RESULTS.read_bytes() if crowded.RESULTS.exists() else None
    assert crowded.main(["--quick", "--systems", "onnxruntime", "--threads", "1"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "s of audio a second" in line]
    assert [line[:1] for line in lines] == ["0", "0", "1", "1"]
    assert ["one process" in line for line in lines] == [True, False] * 2
    assert (crowded.RESULTS.read_bytes() if crowded.RESULTS.exists() else None) == before


def test_bad_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for options, message in (
        (["--callers", "0"], "--callers must be at least 1, got 0"),
        (["--neighbours", "-1"], "--neighbours must be at least 0, got -1"),
        (["--duration", "0"], "--duration must be positive, got 0"),
    ):
        with pytest.raises(SystemExit, match="2"):
            crowded.main(options)
        assert message in capsys.readouterr().err
