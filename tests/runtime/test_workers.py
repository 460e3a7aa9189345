"""Pieces that each one thread computes."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from itertools import accumulate, count
from types import SimpleNamespace

import pytest
import torch

import fastvits_kernels as kernels
from fastvits.models.pieces import Pieces
from fastvits.runtime import workers as module
from fastvits.runtime.workers import MAX_WORKERS, spread, workers
from fastvits_kernels.dispatch import packing, registry


@pytest.fixture(params=["quiet 2", "quiet 4", "busy 2", "busy 4"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A number of threads, on a machine that is found quiet or busy whatever it is."""
    kind, number = request.param.split()
    monkeypatch.setattr(module, "_busy", kind == "busy")
    monkeypatch.setattr(module, "BUSY", -1.0)
    monkeypatch.setattr(module, "QUIET", 1e9)
    before = torch.get_num_threads()
    torch.set_num_threads(int(number))
    yield int(number)
    torch.set_num_threads(before)


def test_each_job_runs_once_on_one_thread_of_several(threads: int) -> None:
    seen: list[tuple[int, int, bool]] = []
    meet = threading.Barrier(threads, timeout=60)
    library = module._openmp()
    assert library is not None

    def job(number: int) -> None:
        if number < threads:
            meet.wait()  # so that every worker takes one
        alone = library.omp_in_parallel() or torch.get_num_threads() == 1
        seen.append((number, threading.get_ident(), bool(alone)))

    with torch.no_grad():
        assert workers() == threads
        spread([lambda number=number: job(number) for number in range(20)])
    assert sorted(number for number, _, _ in seen) == list(range(20))
    assert len({ident for _, ident, _ in seen}) == threads
    assert all(alone for _, _, alone in seen)  # where torch splits no operation
    assert torch.get_num_threads() == threads
    found = []
    other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert found == [threads]  # a thread that starts later computes with all of them


def test_a_busy_machine_is_told_from_a_quiet_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the caller's share of its time, whatever this machine does meanwhile."""
    before = torch.get_num_threads()
    ways: list[str] = []
    for name in ("_by_openmp", "_by_pool"):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, real=real, name=name: ways.append(name) or real(*a))
    monkeypatch.setattr(module, "_busy", False)
    shares = [1.0, 0.5, 0.7, 0.5, 0.9, 0.7, 0.7]
    passed, had = count(), accumulate(share for each in shares for share in (0.0, each))
    clocks = SimpleNamespace(perf_counter=partial(next, passed), thread_time=partial(next, had))
    monkeypatch.setattr(module, "time", clocks)
    try:
        torch.set_num_threads(2)
        with torch.no_grad():
            for _ in shares:
                spread([lambda: None] * 4)
    finally:
        torch.set_num_threads(before)
    assert ways == ["_by_openmp"] * 2 + ["_by_pool"] * 3 + ["_by_openmp"] * 2


def test_jobs_have_the_callers_context(threads: int) -> None:
    meet = threading.Barrier(threads, timeout=60)
    found = []

    def job() -> None:
        meet.wait()
        selection = registry.current_selection().backend
        found.append((selection, torch.is_inference_mode_enabled(), torch.is_grad_enabled(), packing.current_call()))

    call = packing.Watch().begin()
    with torch.inference_mode(), kernels.use_backend("eager"), packing.during(call):
        spread([job] * threads)
    assert found == [("eager", True, False, call)] * threads


def test_a_failure_is_raised_when_the_others_have_ended(threads: int) -> None:
    running, ended = threading.Event(), []

    def slow() -> None:
        running.set()
        time.sleep(0.05)
        ended.append(True)

    def failing() -> None:
        running.wait(60)
        raise OverflowError("this one")

    with torch.no_grad(), pytest.raises(OverflowError, match="this one"):
        spread([slow, failing, *[slow] * 200])
    assert 1 <= len(ended) < 200
    before = len(ended)
    time.sleep(0.1)
    assert len(ended) == before
    assert torch.get_num_threads() == threads


def test_nothing_is_spread_where_one_thread_has_the_context(threads: int) -> None:
    with torch.enable_grad():
        assert workers() == 1
    with torch.no_grad():
        with torch.device("cpu"):
            assert workers() == 1
        with registry.dry_run():
            assert workers() == 1
        found = []
        spread([lambda: found.append(workers())] * threads)
    assert found == [1] * threads


def test_many_threads_share_each_operation_instead() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(MAX_WORKERS + 1)
        with torch.no_grad():
            assert workers() == 1
    finally:
        torch.set_num_threads(before)


def test_callers_in_several_threads_do_not_meet(threads: int) -> None:
    found: dict[int, list[int]] = {}

    def call(number: int) -> None:
        torch.set_num_threads(threads)
        with torch.no_grad():
            for _ in range(20):
                done: list[int] = []
                spread([partial(done.append, number * 100 + value) for value in range(8)])
                found[number] = sorted(done)

    callers = [threading.Thread(target=call, args=(number,)) for number in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == {number: [number * 100 + value for value in range(8)] for number in range(6)}


def test_a_thread_that_outlives_the_main_one_goes_on() -> None:
    code = """if True:
        import os, threading, time, torch
        from fastvits.runtime import workers

        def late():
            threading.main_thread().join()
            time.sleep(0.2)
            with torch.no_grad():
                workers.spread([lambda: os.write(1, b"done\\n")] * 3)

        torch.set_num_threads(2)
        workers._busy, workers.QUIET = True, 9
        threading.Thread(target=late).start()
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("done\n" * 3, "")


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("steps", [1, 23, 24, 50, 100, 101, 477, 1000])
def test_pieces_cover_time_once_and_read_what_they_hear(steps: int, workers: int) -> None:
    pieces = Pieces(batch=1, steps=steps, room=100, reach=3, together=1, workers=workers)
    windows = list(pieces.windows())
    assert pieces.one == (len(windows) == 1) or steps in (101,)
    assert [done for _, _, done, _ in windows] == [0, *(upto for _, _, _, upto in windows[:-1])]
    assert windows[-1][3] == steps
    widths = {stop - start for start, stop, _, _ in windows[:-1]}
    assert len(widths) <= 1
    for start, stop, done, upto in windows:
        assert 0 <= max(done - 3, 0) == start
        assert min(upto + 3, steps) <= stop <= steps
        assert stop - start <= 125
    if not pieces.one and workers > 1 and steps >= workers * 12:
        assert len(windows) % workers == 0


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize(("batch", "steps"), [(2, 10), (3, 100), (5, 40), (9, 25), (4, 1000)])
def test_pieces_cover_items_once(batch: int, steps: int, workers: int) -> None:
    pieces = Pieces(batch=batch, steps=steps, room=100, reach=3, together=1, workers=workers)
    taken = [item for some in pieces.items() for item in range(batch)[some]]
    assert taken == list(range(batch))
    if workers <= batch and workers > 1:
        assert not pieces.one
        assert len(list(pieces.items())) >= min(workers, 2)
