"""The benchmark of servers: what it takes for right, and what for a fault."""

import asyncio
import collections
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.serving import __main__ as serving
from bench.serving import fuzz
from bench.serving.load import Tally, soak_faults, summary
from bench.serving.processes import Server, fastvits_command, free_port, is_healthy, running
from bench.serving.systems import SYSTEMS, ask_http, is_right, require
from tests.support.small_voices import save_small_voice


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    folder, port, other = save_small_voice(tmp_path_factory.mktemp("voice")), free_port(), free_port()
    command = fastvits_command(port, "--voice", f"one={folder}", "--wyoming-port", str(other))
    with running(command, port, other_port=other, threads=1, ready=is_healthy) as made:
        yield made


def test_requests_that_make_no_sense_find_no_fault(server: Server) -> None:
    found = asyncio.run(fuzz.fuzz(server, 250, seed=0, voices=["one"], seconds=60))
    assert found.faults == []
    assert sum(found.answers.values()) == 250
    assert {status for _, status in found.answers} >= {200, 400, 404, None}
    assert len({kind for kind, _ in found.answers}) >= 11


def test_clients_that_vanish_leave_nothing(server: Server) -> None:
    found = asyncio.run(fuzz.vanish(server, 20))
    assert found["heard"] > 10
    assert found["after"]["files"] <= found["before"]["files"] + 2
    assert found["after"]["threads"] <= found["before"]["threads"] + 6


def test_an_answer_is_measured(server: Server) -> None:
    answer = asyncio.run(ask_http(server.port, "hello my dog"))
    assert answer.samples is not None
    assert len(answer.samples) > 1000
    assert 0 < answer.first <= answer.seconds
    with pytest.raises(ValueError, match="status 400"):
        asyncio.run(ask_http(server.port, "..."))


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (400, {"error": {"message": "m", "type": "t", "param": None, "code": None}}, None),
        (400, {"error": "m"}, "with a body that is no error"),
        (500, {"error": {"message": "m", "type": "t", "param": None, "code": None}}, "status 500"),
        (None, {}, "no answer"),
        (200, {}, "status 200"),
    ],
)
def test_what_is_a_fault(status: int | None, body: dict[str, object], fault: str | None) -> None:
    request = fuzz.Request("unknown keys", fuzz.http("POST", "/", b"{}"), frozenset({400}))
    found = fuzz.judge(request, status, json.dumps(body).encode())
    assert found is None if fault is None else fault in str(found)


def test_requests_come_from_their_seed() -> None:
    made = [[fuzz.Maker(seed, ["one"], True)().data for _ in range(3)] for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def test_what_is_right_of_each_system() -> None:
    expected = np.sin(np.arange(1000, dtype=np.float32)) * 0.5
    ours, theirs = SYSTEMS["fastvits"], SYSTEMS["piper"]
    plain, scaled = np.rint(expected * 32767), np.rint(expected / np.abs(expected).max() * 32767)
    assert is_right(ours, plain, expected)
    assert not is_right(ours, plain + 2, expected)
    assert not is_right(ours, plain[:-1], expected)
    assert is_right(theirs, scaled, expected)
    assert not is_right(theirs, scaled * 1.01, expected)
    assert not is_right(theirs, plain, expected)


def test_a_summary() -> None:
    tally = Tally(audio_seconds=20.0, seconds=4.0, first=[0.1, 0.2, 0.3], whole=[1.0, 2.0, 3.0], memory=[1, 5, 2])
    found = summary(tally)
    assert (found["throughput"], found["first_p50"], found["whole_p95"]) == (5.0, 0.2, 2.9)
    assert (found["memory_first"], found["memory_peak"], found["memory_last"]) == (1, 5, 2)
    assert summary(Tally(seconds=1.0, memory=[1]))["first_p50"] is None


def test_what_a_long_run_must_not_have() -> None:
    assert soak_faults(Tally(whole=[1.0], refused=9, memory=[100, 104, 103])) == []
    assert soak_faults(Tally(memory=[100])) == ["there was no answer"]
    found = soak_faults(Tally(whole=[1.0], wrong=2, errors=collections.Counter(x=3), memory=[100, 106, 103]))
    assert found[:2] == ["3 times x", "2 answers are not what the library says"]
    assert "grew by 6.0%" in found[2]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImportError, match="cannot import no_such_module"):
        require(sys.executable, "no_such_module")
    never = running(fastvits_command(free_port(), "--workers", "0"), free_port(), log=tmp_path / "log")
    with pytest.raises(RuntimeError, match="ended with 2"), never:
        pass


def test_growth_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    before = {"resident": 10**8, "threads": 6, "files": 9}
    assert serving.left_behind(before, {"resident": 10**8 + 5, "threads": 7, "files": 9}) == []
    assert serving.left_behind(before, {"resident": 4 * 10**8, "threads": 7, "files": 19}) == [
        "resident grew from 100,000,000 to 400,000,000",
        "files grew from 9 to 19",
    ]
