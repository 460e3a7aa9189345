"""Kernels compiled before their launches, on all processors at once.

Triton compiles a kernel when it is first launched, so whoever speaks first in a new process waits for all of them, one
after the other. What they are is known without launching any: `jit.recording` tells. And most of a compilation runs
outside of Python's lock, so that threads share the work.
"""

import logging
import os
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from ..dispatch.registry import current_selection
from . import jit

logger = logging.getLogger("fastvits")

_done: set[Hashable] = set()
_compiling = threading.Lock()
"""Held while kernels are compiled: who wants the same ones waits, instead of launching what is half loaded."""


def compile_ahead(run: Callable[[], Any], device: torch.device) -> int:
    """Compile and load what `run` launches on `device`, and return how many kernels were new in this process.

    `run` is called once, without gradients, with its launches recorded instead of launched: what it computes stays as
    it was allocated, and must not decide what it launches. Nothing is done where Triton cannot run or is not asked for,
    and nothing fails here: what does not compile or has no room on the device is left to its launch, which says so.
    """
    selection = current_selection()
    if not {"auto", "triton"} & {selection.backend, *selection.by_op.values()} or not jit.compiles_for(device):
        return 0
    try:
        launches = recorded(run)
        with _compiling:
            wanted = {(device, launch.binary): launch for launch in launches}
            new = {key: launch for key, launch in wanted.items() if key not in _done}
            _compile_all(list(new.values()), device)
            _done.update(new)
    except Exception as error:
        logger.debug("kernels could not be compiled ahead: %s", error)
        return 0
    return len(new)


def recorded(run: Callable[[], Any]) -> list[jit.Launch]:
    """What `run` would launch: it is called without gradients, and without launching anything."""
    with torch.no_grad(), jit.recording() as launches:
        run()
    return launches


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _compile_all(launches: list[jit.Launch], device: torch.device) -> None:
    if not launches:
        return
    from triton.runtime import driver

    # What a kernel keeps for a device is made here: threads would make it twice.
    with _current(device):
        for launch in launches:
            launch.jitted.device_caches[driver.active.get_current_device()]
    with ThreadPoolExecutor(min(len(launches), processors()), "fastvits-compile") as pool:
        for launch in launches:
            pool.submit(_compile, launch, device)


def _compile(launch: jit.Launch, device: torch.device) -> None:
    # Errors stay in the future, which nobody asks: the launch raises them again.
    with _current(device):
        compiled = launch.jitted.warmup(**_stand_ins(launch, device), **launch.options, grid=(1,))
        # Loads the binary and, in some versions of Triton, has a C compiler make its launcher.
        _ = compiled.run


def _current(device: torch.device) -> Any:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _stand_ins(launch: jit.Launch, device: torch.device) -> dict[str, Any]:
    """Arguments by name from which Triton compiles the same binary as from those of `launch`."""
    constants = dict(launch.constants)
    return {
        name: constants[name] if kind == "constexpr" else _stand_in(kind, name in launch.divisible, device)
        for name, kind in launch.signature
    }


def _stand_in(kind: str, divisible: bool, device: torch.device) -> Tensor | int | float | bool:
    if kind.startswith("*"):
        memory = torch.empty(2, dtype=jit.DTYPES[kind[1:]], device=device)
        return memory if divisible else memory[1:]
    if kind == "fp32":
        return 0.5
    if kind == "i1":
        return True
    size = 16 if kind == "i32" else 2**32
    return size if divisible else size + 1
