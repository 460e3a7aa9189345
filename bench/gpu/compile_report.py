"""Compile every kernel that can run, for every GPU it is meant for, on a machine without one.

    python -m bench.compile_report [--json FILE] [--quick] [--op OP ...] [--target TARGET ...] [--jobs N]

What is compiled is what the launchers launch: the published and the bundled configuration run on tensors without memory
at 1 to 30 seconds, batch 1 and 32, in float32 (IEEE and TF32), float16 and bfloat16, and their launches are recorded
instead of launched. Every tile of `tuned/*.json` that this leaves out is compiled too. `--quick` keeps one
configuration for each op and dtype, and some of the targets.

A row: op, config, target, registers (a thread's), stack_bytes and local_bytes (a thread's spills; 0 where all is well),
shared_bytes, tensor_cores, wgmma, compile_seconds. The exit status is 1 if a kernel does not compile, spills, needs
more shared memory than its target has, or multiplies float16, bfloat16 or TF32 matrices without tensor cores. IEEE
float32 products have no tensor cores and spill early: they are exempt from the first and the last.
"""

import argparse
import functools
import importlib
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from bench.gpu.compile_plan import TARGETS, Configuration, plan, quick_plan
from fastvits_kernels.dispatch import registry
from fastvits_kernels.launch import jit

SHARED_LIMITS = {
    "sm_80": 163 * 1024,
    "sm_86": 99 * 1024,
    "sm_89": 99 * 1024,
    "sm_90": 227 * 1024,
    "sm_100": 227 * 1024,
    "sm_120": 99 * 1024,
    "gfx942": 64 * 1024,
}
"""Bytes of shared memory that one block can have (CUDA C++ programming guide, table of compute capabilities; CDNA 3
ISA).
"""


def compile_one(configuration: Configuration, target: str) -> dict[str, Any]:
    """Compile a configuration for a target and read what the binary needs; a row without op."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(importlib.import_module(configuration.module), configuration.kernel)
    names = [name for name, _ in configuration.signature]
    source = ASTSource(
        fn=jit.built(kernel),
        signature=dict(configuration.signature),
        constexprs={(names.index(name),): value for name, value in configuration.constants},
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in configuration.divisible},
    )
    options = jit.compiling_options(configuration.num_warps, configuration.num_stages)
    amd = target.startswith("gfx")
    gpu = GPUTarget("hip", target, 64) if amd else GPUTarget("cuda", int(target.removeprefix("sm_")), 32)
    start = time.perf_counter()
    compiled = triton.compile(source, target=gpu, options=options)
    seconds = time.perf_counter() - start
    usage = _amd_usage(compiled.asm["amdgcn"]) if amd else _nvidia_usage(compiled.asm["cubin"])
    instructions = compiled.asm["amdgcn" if amd else "ptx"]
    return {
        "config": configuration.as_dict() | {"products": _products(compiled.asm["ttir"])},
        "target": target,
        **usage,
        "shared_bytes": compiled.metadata.shared,
        "tensor_cores": re.search(r"\bv_mfma_|\bmma\.sync|\bwgmma\.mma_async|\btcgen05\.mma", instructions) is not None,
        "wgmma": "wgmma.mma_async" in instructions,
        "compile_seconds": round(seconds, 3),
    }


def _products(ttir: str) -> list[str]:
    """How the kernel multiplies matrices: `ieee` or `tf32` for float32 operands, else the operands' type."""
    found = set()
    for line in ttir.splitlines():
        if "tt.dot " in line:
            operand = re.search(r": tensor<[\dx]+x(\w+)", line)
            precision = re.search(r"inputPrecision = (\w+)", line)
            assert operand is not None
            found.add((precision[1] if precision else "ieee") if operand[1] == "f32" else operand[1])
    return sorted(found)


def _nvidia_usage(cubin: bytes) -> dict[str, int]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(_cuobjdump()), "--dump-resource-usage", file.name]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", text)
    if found is None:
        raise RuntimeError(f"cuobjdump says nothing of resources: {text!r}")
    registers, stack, local = map(int, found.groups())
    return {"registers": registers, "stack_bytes": stack, "local_bytes": local}


@functools.lru_cache
def _cuobjdump() -> Path:
    """The program that comes in the triton wheel."""
    import triton.backends.nvidia

    return Path(triton.backends.nvidia.__file__).parent / "bin" / "cuobjdump"


def _amd_usage(assembly: str) -> dict[str, int]:
    def number(name: str) -> int:
        found = re.search(rf"^\s*\.{name}:\s+(\d+)", assembly, re.MULTILINE)
        if found is None:
            raise RuntimeError(f"the assembly says nothing of {name}")
        return int(found[1])

    return {
        "registers": number("vgpr_count"),
        "stack_bytes": number("private_segment_fixed_size"),
        "local_bytes": 4 * number("vgpr_spill_count"),
    }


def faults(row: dict[str, Any]) -> list[str]:
    """What is wrong with a row; an empty list where nothing is."""
    found = []
    products = row["config"]["products"]
    exempt = products == ["ieee"]
    if (row["stack_bytes"] or row["local_bytes"]) and not exempt:
        found.append(f"spills: {row['stack_bytes']} bytes of stack, {row['local_bytes']} of local memory")
    if row["shared_bytes"] > SHARED_LIMITS[row["target"]]:
        limit = SHARED_LIMITS[row["target"]]
        found.append(f"needs {row['shared_bytes']} bytes of shared memory, {row['target']} has {limit}")
    if set(products) - {"ieee"} and not row["tensor_cores"]:
        found.append(f"multiplies {', '.join(products)} without tensor cores")
    return found


def _worker(cache: str) -> None:
    # Compile times mean nothing when a cache answers.
    os.environ["TRITON_CACHE_DIR"] = cache
    torch.set_num_threads(1)


def report(
    configurations: dict[Configuration, list[str]], jobs: int, progress: bool = False
) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows, sorted, and a line for each binary that does not compile."""
    shared: dict[tuple[Any, ...], list[Configuration]] = {}
    for configuration, targets in configurations.items():
        for target in targets:
            shared.setdefault((configuration.binary, target), []).append(configuration)
    rows, failures = [], []
    with (
        tempfile.TemporaryDirectory() as cache,
        ProcessPoolExecutor(jobs, multiprocessing.get_context("fork"), _worker, (cache,)) as pool,
    ):
        futures = {pool.submit(compile_one, same[0], target): (same, target) for (_, target), same in shared.items()}
        for done, future in enumerate(as_completed(futures), 1):
            same, target = futures[future]
            error = future.exception()
            if error is not None:
                reason = str(error).strip().splitlines() or [type(error).__name__]
                failures.append(f"{same[0].op} for {target} does not compile: {reason[-1]} ({same[0].as_dict()})")
            else:
                row = future.result()
                products = row["config"]["products"]
                rows += [{"op": c.op, **row, "config": c.as_dict() | {"products": products}} for c in same]
            if progress:
                end = "\n" if done == len(futures) else ""
                print(f"\r{done} of {len(futures)} compiled", end=end, file=sys.stderr, flush=True)
    rows.sort(key=lambda row: (row["op"], json.dumps(row["config"], sort_keys=True), TARGETS.index(row["target"])))
    return rows, failures


def as_line(row: dict[str, Any]) -> str:
    """A row for people."""
    config = row["config"]
    names = {name: value for name, value in config["constants"].items() if value is not None and name.isupper()}
    tile = " ".join(f"{name}={value}" for name, value in names.items())
    matrix = "wgmma" if row["wgmma"] else "tensor cores" if row["tensor_cores"] else "-"
    return (
        f"{row['op']:<28} {row['target']:<7} {config['dtype']:<9} regs {row['registers']:>3}"
        f"  stack {row['stack_bytes']:>4}  local {row['local_bytes']:>4}  shared {row['shared_bytes']:>6}"
        f"  {matrix:<12} {row['compile_seconds']:>6.2f} s"
        f"  warps={config['num_warps']} stages={config['num_stages']} {tile}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile, print and write the report; 1 if something is wrong, else 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.compile_report", description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the rows there, a list of objects")
    parser.add_argument("--quick", action="store_true", help="one configuration for each op and dtype")
    parser.add_argument("--op", action="append", metavar="OP", help="only this op; can be repeated")
    parser.add_argument("--target", action="append", choices=TARGETS, help="only this target; can be repeated")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes that compile")
    options = parser.parse_args(arguments)
    if jit.interpreting():
        parser.error("nothing is compiled in Triton's interpreter: unset TRITON_INTERPRET")
    unknown = sorted(set(options.op or ()) - set(registry.ops()))
    if unknown:
        parser.error(f"unknown op {unknown[0]}; the ops are {', '.join(sorted(registry.ops()))}")

    targets = options.target or TARGETS
    configurations = quick_plan(targets) if options.quick else plan(targets)
    configurations = {
        c: t for c, t in configurations.items() if not options.op or c.op.removesuffix("_backward") in options.op
    }
    rows, failures = report(configurations, options.jobs, progress=sys.stderr.isatty())
    for row in rows:
        print(as_line(row))
    for row in rows:
        failures += [f"{fault}\n    {as_line(row)}" for fault in faults(row)]
    missing = sorted(name for name, op in registry.ops().items() if "triton" not in op.implementations)
    if missing:
        print(f"without a Triton kernel: {', '.join(missing)}")
    for failure in failures:
        print(failure, file=sys.stderr)
    print(f"{len(rows)} rows, {len(failures)} faults")
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
