"""Independent pieces of work on the cores of a CPU: each is computed by one thread, and waits for no other.

torch splits every operation over all threads, which meet at its end: hundreds of times in a short sentence. On a busy
machine, where a thread now and then has to wait for its core, all of them wait with it. Pieces that depend on nothing
meet once, at the end, and who has a core takes the next one.
"""

import contextvars
import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import lru_cache

import torch

from fastvits_kernels.dispatch import packing, registry

MAX_WORKERS = 8
"""Threads that take pieces at once. Python starts one operation at a time, which takes some 10 us of the 200 us and
more that it lasts; of more threads than these, each computes with several."""

_lock = threading.Lock()
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}
os.register_at_fork(after_in_child=_pools.clear)  # the threads stay behind in the parent


@lru_cache
def _openmp() -> ctypes.CDLL | None:
    """The OpenMP library that torch computes with, in which the number of threads is each thread's own; None where it
    is another one. `torch.set_num_threads` would change it for threads that start later, too."""
    if not torch.backends.openmp.is_available() or not hasattr(os, "register_at_fork"):
        return None
    library = ctypes.CDLL(None)
    try:
        found = library.omp_get_max_threads()
        library.omp_set_num_threads(found + 1)
        followed = torch.get_num_threads() == found + 1
        library.omp_set_num_threads(found)
    except AttributeError:
        return None
    return library if followed else None


@contextmanager
def _threads(library: ctypes.CDLL, number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    library.omp_set_num_threads(number)
    try:
        yield
    finally:
        library.omp_set_num_threads(before)


def _start(number: int) -> None:
    torch.get_num_threads()  # the first question sets a thread's number, by the process's
    library = _openmp()
    assert library is not None
    library.omp_set_num_threads(number)


def _pool(helpers: int, threads: int) -> ThreadPoolExecutor:
    with _lock:
        found = _pools.get((helpers, threads))
        if found is None:
            found = ThreadPoolExecutor(helpers, "fastvits-piece", initializer=_start, initargs=(threads,))
            _pools[helpers, threads] = found
        return found


def workers() -> int:
    """How many threads `spread` would take here and now: 1 where it runs one job after the other.

    So it does with gradients, and while anything traces, compiles or replaces operations, which are one thread's.
    """
    threads = torch.get_num_threads()
    if threads == 1 or torch.is_grad_enabled() or torch.compiler.is_compiling() or torch._C._is_tracing():
        return 1
    if torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack() or registry.is_dry_run():
        return 1
    if _openmp() is None:
        return 1
    return min(threads, MAX_WORKERS)


def spread(jobs: Sequence[Callable[[], None]]) -> None:
    """Run jobs that do not depend on each other, each on one thread, in the caller's context. Raises what the first one
    to fail raised, when no other runs any more."""
    number = min(workers(), len(jobs))
    if number <= 1:
        for job in jobs:
            job()
        return
    library = _openmp()
    assert library is not None
    threads = max(torch.get_num_threads() // number, 1)
    left = deque(jobs)
    inference, call = torch.is_inference_mode_enabled(), packing.current_call()

    def work() -> None:
        while True:
            try:
                job = left.popleft()
            except IndexError:
                return
            try:
                job()
            except BaseException:
                left.clear()  # nobody is to begin another one
                raise

    def help() -> None:
        with torch.inference_mode(inference), torch.no_grad(), packing.during(call):
            work()

    pool = _pool(number - 1, threads)
    helpers: list[Future[None]] = []
    with suppress(RuntimeError):  # the interpreter is ending, and starts nothing more: this thread does it all
        for _ in range(number - 1):
            helpers.append(pool.submit(contextvars.copy_context().run, help))
    try:
        with _threads(library, threads):
            work()
    finally:
        for helper in helpers:
            helper.cancel()  # one that has not begun would find nothing to do
        wait(helpers)
    for helper in helpers:
        if not helper.cancelled():
            helper.result()
