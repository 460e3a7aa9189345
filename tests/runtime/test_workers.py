"""Pieces that each one thread computes."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import torch

import fastvits_kernels as kernels
from fastvits.models.pieces import Pieces
from fastvits.runtime import workers as module
from fastvits.runtime.workers import MAX_WORKERS, spread, workers
from fastvits_kernels.dispatch import packing, registry


@pytest.fixture(params=[2, 4])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_each_job_runs_once_on_one_thread_of_several(threads: int) -> None:
    seen: list[tuple[int, str, int]] = []
    meet = threading.Barrier(threads, timeout=60)

    def job(number: int) -> None:
        if number < threads:
            meet.wait()  # so that every worker takes one
        seen.append((number, threading.current_thread().name, torch.get_num_threads()))

    with torch.no_grad():
        assert workers() == threads
        spread([lambda number=number: job(number) for number in range(20)])
    assert sorted(number for number, _, _ in seen) == list(range(20))
    assert len({name for _, name, _ in seen}) == threads
    assert {inside for _, _, inside in seen} == {1}
    assert torch.get_num_threads() == threads
    found = []
    other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert found == [threads]  # a thread that starts later computes with all of them


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


def test_many_threads_share_the_workers() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2 * MAX_WORKERS)
        found = []
        with torch.no_grad():
            spread([lambda: found.append(torch.get_num_threads())] * 40)
        assert found == [2] * 40
        assert torch.get_num_threads() == 2 * MAX_WORKERS
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_workers_of_its_own(threads: int) -> None:
    with torch.no_grad():
        spread([lambda: None] * threads)
        assert module._pools
        child = os.fork()
        if child == 0:
            os._exit(0 if not module._pools else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_thread_that_outlives_the_main_one_goes_on() -> None:
    code = """if True:
        import threading, time, torch
        from fastvits.runtime.workers import spread

        def late():
            threading.main_thread().join()
            time.sleep(0.2)
            with torch.no_grad():
                spread([lambda: print("done", flush=True)] * 3)

        torch.set_num_threads(2)
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
