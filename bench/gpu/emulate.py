"""Execute the machine code of Triton's kernels where no GPU is: `python -m bench.emulate --tinygrad PATH`.

Every op is compiled for AMD GPUs as the launcher compiles it, and its code is executed by the emulator in a checkout of
tinygrad, which is on no package index: `git clone https://github.com/tinygrad/tinygrad`. It needs clang. The cases are
the small, odd and ragged ones that the ops are tested at; each is held to the same rule against float64 as there:
error, fences around the memory, unchanged inputs, zeros beyond the lengths, two equal runs.

Some things differ from what a GPU is given, for the emulator's sake. Loads and stores go by addresses
(`AMDGCN_USE_BUFFER_OPS=0`): it knows no buffer instructions, which Triton uses on these GPUs by default. Matrices are
multiplied in tiles of 16 x 16 on gfx942: it lays those of 32 x 32 out otherwise than the GPU. And exchanges between
lanes that it lacks, or executes otherwise than a GPU, are assembled as equal ones (`for_emulator`).

A case takes seconds to minutes. What the emulator cannot run is listed by its reason, most often an instruction. Exit
status 1 where a result is wrong.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bench.gpu.amd_emulator import WAVE, Emulator, EmulatorError, for_emulator, load_emulator
from fastvits.planning.tuning import MODES, allowing_tf32
from fastvits_kernels.dispatch import registry
from fastvits_kernels.launch import jit, tiles
from tests.support.numerics import assert_as_good_as_eager
from tests.support.op_cases import CASES, Case

MATRICES: dict[str, dict[str, Any]] = {"gfx942": {"matrix_instr_nonkdim": 16}}
"""Options of Triton's compiler, by target, for what the emulator can multiply."""
_compiling_options = jit.compiling_options


def chosen_cases(ops: Sequence[str], limit: int | None) -> list[Case]:
    """The cases of ops that are not empty, of each the smallest `limit`."""

    def sizes(case: Case) -> list[int]:
        return [tensor.numel() for tensor in registry.tensors_in(case.arguments(torch.float32, "meta"))]

    found = []
    for op in ops:
        cases = sorted(
            (case for case in CASES if case.op == op and all(sizes(case))), key=lambda case: sum(sizes(case))
        )
        found += cases[:limit]
    return found


def use(driver: Emulator, cache: str) -> None:
    """From here on Triton compiles and launches for the driver's GPU, and tensors on the CPU lie there.

    Args:
        driver: the GPU.
        cache: a folder of its own for what is compiled: it is assembled otherwise than for a GPU.
    """
    from triton import knobs
    from triton.backends.amd.compiler import HIPBackend
    from triton.runtime import driver as drivers

    knobs.cache.dir = cache
    drivers.set_active(driver)
    assemble = HIPBackend.make_hsaco

    def assembled(source: str, metadata: Any, options: Any) -> Any:
        return assemble(for_emulator(source), metadata, options)

    HIPBackend.make_hsaco = staticmethod(assembled)
    jit.compiling_options = lambda *sizes: {**_compiling_options(*sizes), **MATRICES.get(driver.target, {})}
    # The emulator knows no loads and stores through buffer descriptors.
    knobs.amd.use_buffer_ops = False
    jit.compiles_for = lambda device: True
    jit._unavailable_on = lambda device, interpreted: None  # type: ignore[assignment]


def outcome(case: Case, mode: str, driver: Emulator) -> tuple[str, str]:
    """What became of a case: "right", "wrong", "declined" (nothing is launched) or "not run", and why."""
    op = registry.ops()[case.op]
    implementation = op.implementations["triton"]
    dtype, tf32 = MODES[mode]
    before = driver.launches
    with allowing_tf32(tf32), tiles.target_arch(driver.target):
        arguments = case.arguments(dtype, "cpu")
        reason = implementation.supports(*arguments)
        if reason is not None:
            return "declined", reason
        try:
            error, eager = assert_as_good_as_eager(op, implementation.run, arguments, dtype, tf32=tf32)
        except EmulatorError as failure:
            return "not run", _shortest(str(failure))
        except AssertionError as failure:
            return "wrong", str(failure).splitlines()[0]
    if driver.launches == before:
        return "declined", "there is nothing to launch"
    return "right", f"error {error:.1e}, eager {eager:.1e}"


def _shortest(message: str) -> str:
    """The instruction of an emulator's message, without its operands."""
    found = re.search(r"(?:Failed to compile|unimplemented instruction type:?)\s*([\w.]+)(?:\(op=)?([\w.]*)", message)
    return message.splitlines()[0][:120] if found is None else " ".join(part for part in found.groups() if part)


def run_all(
    emulator: Any, cache: str, targets: Sequence[str], cases: Sequence[Case], modes: Sequence[str]
) -> Counter[str]:
    """Run and print every case; how many there were of each outcome."""
    totals: Counter[str] = Counter()
    for target in targets:
        driver = Emulator(emulator, target)
        use(driver, cache)
        missing: Counter[str] = Counter()
        for case in cases:
            for mode in modes:
                started = time.perf_counter()
                found, why = outcome(case, mode, driver)
                totals[found] += 1
                if found == "not run":
                    missing[why] += 1
                seconds = time.perf_counter() - started
                print(f"{target:<8} {case.id:<50} {mode:<9} {found:<8} {why} ({seconds:.1f} s)", flush=True)
        for reason, count in missing.most_common():
            print(f"{target}: {count} cases not run for {reason}")
    return totals


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases and print what became of them."""
    parser = argparse.ArgumentParser(prog="python -m bench.emulate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tinygrad", type=Path, required=True, metavar="PATH", help="a checkout of tinygrad")
    parser.add_argument("--target", action="append", choices=WAVE, help="only this target; can be repeated")
    parser.add_argument("--op", action="append", metavar="OP", help="only this op; can be repeated")
    parser.add_argument("--mode", action="append", choices=MODES, help="only this precision; can be repeated")
    parser.add_argument("--cases", type=int, metavar="N", help="of each op the N smallest cases only")
    options = parser.parse_args(arguments)
    if jit.interpreting():
        parser.error("nothing is compiled in Triton's interpreter: unset TRITON_INTERPRET")
    known = sorted(name for name, op in registry.ops().items() if "triton" in op.implementations)
    unknown = sorted(set(options.op or ()) - set(known))
    if unknown:
        parser.error(f"no op with a Triton kernel is called {unknown[0]}; there are {', '.join(known)}")
    modes = options.mode or [mode for mode in MODES if mode != "tf32"]
    try:
        emulator = load_emulator(options.tinygrad)
    except (ImportError, OSError) as error:
        parser.error(str(error))
    with tempfile.TemporaryDirectory() as cache:
        totals = run_all(
            emulator, cache, options.target or list(WAVE), chosen_cases(options.op or known, options.cases), modes
        )
    print(", ".join(f"{count} {found}" for found, count in totals.items()))
    return 1 if totals["wrong"] else 0
