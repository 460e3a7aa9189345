"""Independent pieces of work on the cores of a CPU: each is computed by one thread, and waits for no other.

torch splits every operation over all threads, which meet at its end: hundreds of times in a short sentence. On a busy
machine, where a thread now and then has to wait for its core, all of them wait with it. Pieces that depend on nothing
meet once, at the end, and who has a core takes the next one.

On a quiet machine the threads are those that torch computes with anyway, of GNU's OpenMP library: others would have to
share the cores with them, for these keep a core busy for a while after each operation. On a busy machine that very
habit has the system put them last; there, threads of a pool take the pieces, and torch's rest meanwhile. Which it is,
shows in how much of its time the caller had a core. Which pieces there are does not depend on it, nor do the samples.
"""

import contextvars
import ctypes
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache
from pathlib import Path

import torch

from fastvits_kernels.dispatch import packing, registry
from fastvits_kernels.dispatch.devices import has_matrix_units

MAX_WORKERS = 8
"""Where torch has more threads, each operation is split over them instead: Python starts one operation at a time, which
takes some 10 us of the 200 us and more that it lasts, and would keep many threads waiting."""

BUSY, QUIET = 0.65, 0.8
"""Shares of its time for which a thread that computes has a core: below, the machine is busy, above it is quiet, and in
between it is what it was. Seen on two cores, half of the calls: 0.86 to 0.99 alone, where the rest is waiting for
Python's lock; 0.26 to 0.52 beside three busy processes."""

_Region = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_busy = False
_lock = threading.Lock()
_known = threading.local()
_pools: dict[int, ThreadPoolExecutor] = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)  # the threads stay behind in the parent


@lru_cache
def _openmp() -> ctypes.CDLL | None:
    """GNU's OpenMP library where torch computes with it, else None. Its number of threads is each thread's own:
    `torch.set_num_threads` would change it for threads that start later, too."""
    if not torch.backends.openmp.is_available():
        return None
    library = ctypes.CDLL(None)
    try:
        library.GOMP_parallel.argtypes = [_Region, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        library.GOMP_parallel.restype = None
        return library if library.omp_get_max_threads() == torch.get_num_threads() else None
    except AttributeError:
        return None


def _mkl_threads(number: int) -> int:
    """Have MKL, which torch is built with, take so many threads in this thread (0: as in others), whatever
    `torch.set_num_threads` said for all; returns what it was."""
    setting = _mkl_setting()
    return 0 if setting is None else int(setting(number))


@lru_cache
def _mkl_setting() -> Callable[[int], int] | None:
    if not torch.backends.mkl.is_available():
        return None
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        return library.MKL_Set_Num_Threads_Local
    except (OSError, AttributeError):
        return None


def workers() -> int:
    """How many threads `spread` would take here and now: 1 where it runs one job after the other.

    So it does with gradients, and while anything traces, compiles or replaces operations, which are one thread's.
    """
    threads = torch.get_num_threads()
    if not 1 < threads <= MAX_WORKERS or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return 1
    if torch._C._is_tracing() or torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack():
        return 1
    if registry.is_dry_run():
        return 1
    library = _openmp()
    return 1 if library is None or library.omp_in_parallel() else threads


def _threads_pay(dtype: torch.dtype) -> bool:
    """Whether pieces that threads compute apart are faster, on a quiet machine, than operations that all threads share.

    Not where matrix units (AMX) compute in half precision: an operation there is over before Python has begun another
    one for the second thread, and what pieces compute twice is not won back. On two threads of an Intel Xeon pieces
    take longer in bfloat16: 10 s of audio in the bundled voice 1.35 times, in the standard configuration 1.14. In
    float32 both take about as long there, and beside a busy process pieces two thirds of the time.
    """
    return dtype == torch.float32 or not has_matrix_units()


def piece_workers(dtype: torch.dtype) -> int:
    """How many threads work in `dtype` is to be cut for: those of `spread`, or 1 where that does not pay."""
    return workers() if _threads_pay(dtype) else 1


def spread(jobs: Sequence[Callable[[], None]]) -> None:
    """Run jobs that do not depend on each other, each on one thread, in the caller's context. Raises what the first one
    to fail raised, when no other runs any more."""
    number = min(workers(), len(jobs))
    library = _openmp()
    if number <= 1 or library is None:
        for job in jobs:
            job()
        return
    work = _Work(jobs, number)
    (_by_pool if _busy else _by_openmp)(library, work, number)
    if work.faults:
        raise work.faults[0]


@contextmanager
def alone(small: bool) -> Iterator[None]:
    """A block that this thread computes by itself, as a job of `spread`, if its operations are small: these are no
    faster on several threads, which on a busy machine wait for each other hundreds of times."""
    library = _openmp() if small and workers() > 1 else None
    with nullcontext() if library is None else _one_thread(library):
        yield


class _Work:
    """Jobs, for several threads to take."""

    def __init__(self, jobs: Sequence[Callable[[], None]], number: int) -> None:
        self._left = deque(jobs)
        self.faults: list[BaseException] = []
        self._inference, self._call = torch.is_inference_mode_enabled(), packing.current_call()
        self._contexts = [contextvars.copy_context() for _ in range(number - 1)]

    def lead(self) -> None:
        """The caller's share; sees how busy the machine is."""
        global _busy
        began, had = time.perf_counter(), time.thread_time()
        self._take()
        passed = time.perf_counter() - began
        share = (time.thread_time() - had) / passed if passed else 1.0
        if not BUSY <= share <= QUIET:
            _busy = share < BUSY

    def help(self) -> None:
        """That of another thread, in the caller's context."""
        self._contexts.pop().run(self._take_inside)

    def _take_inside(self) -> None:
        with torch.inference_mode(self._inference), torch.no_grad(), packing.during(self._call):
            self._take()

    def _take(self) -> None:
        while True:
            try:
                job = self._left.popleft()
            except IndexError:
                return
            try:
                job()
            except BaseException as fault:  # which cannot be raised through the library
                self._left.clear()  # nobody is to begin another job
                self.faults.append(fault)


def _by_openmp(library: ctypes.CDLL, work: _Work, number: int) -> None:
    """In a parallel region, inside which torch, oneDNN and MKL compute each operation on the thread that asks."""
    caller = threading.get_ident()

    def region(_: int | None) -> None:
        _compute_alone(library)
        if threading.get_ident() == caller:
            work.lead()
        else:
            _stay()
            work.help()

    library.GOMP_parallel(_Region(region), None, number, 0)


def _stay() -> None:
    """Have Python keep what it knows of this thread, which it did not start, when it leaves: the memory that ops keep
    for their next call in this thread."""
    if not hasattr(_known, "kept"):
        _known.kept = ctypes.pythonapi.PyGILState_Ensure()


def _by_pool(library: ctypes.CDLL, work: _Work, number: int) -> None:
    """By threads of a pool, to each of which torch has one thread."""
    helpers: list[Future[None]] = []
    with suppress(RuntimeError):  # the interpreter is ending, and starts nothing more: this thread does it all
        for _ in range(number - 1):
            helpers.append(_pool(number - 1).submit(work.help))
    try:
        with _one_thread(library):
            work.lead()
    finally:
        for helper in helpers:
            helper.cancel()  # one that has not begun would find nothing to do
        wait(helpers)


@contextmanager
def _one_thread(library: ctypes.CDLL) -> Iterator[None]:
    threads = torch.get_num_threads()
    _compute_alone(library)
    of_mkl = _mkl_threads(1)
    try:
        yield
    finally:
        _mkl_threads(of_mkl)
        library.omp_set_num_threads(threads)


def _pool(helpers: int) -> ThreadPoolExecutor:
    with _lock:
        if helpers not in _pools:
            _pools[helpers] = ThreadPoolExecutor(helpers, "fastvits-piece", initializer=_start)
        return _pools[helpers]


def _start() -> None:
    library = _openmp()
    assert library is not None
    _compute_alone(library)
    _mkl_threads(1)


def _compute_alone(library: ctypes.CDLL) -> None:
    """Have this thread, in a parallel region until that ends, compute with one thread: oneDNN plans for as many as
    there may be, and rounds otherwise for two."""
    torch.get_num_threads()  # the first question in a thread sets its number to the process's
    library.omp_set_num_threads(1)
