"""Compile every kernel that can run, for every GPU it is meant for, on a machine without one.

    python -m bench.compile_report [--json FILE] [--quick] [--op OP ...] [--target TARGET ...] [--jobs N]

What is compiled is what the launchers launch: the published and the bundled configuration run on tensors without memory
at 1 to 30 seconds, batch 1 and 32, in float32 (IEEE and TF32), float16 and bfloat16, and their launches are recorded
instead of launched. Every tile of `tuned/*.json` that this leaves out is compiled too. `--quick` keeps one
configuration for each op, dtype and target.

A row: op, config, target, registers (a thread's), stack_bytes and local_bytes (a thread's spills; 0 where all is well),
shared_bytes, tensor_cores, wgmma, compile_seconds. The exit status is 1 if a kernel does not compile, spills, needs
more shared memory than its target has, or multiplies float16, bfloat16 or TF32 matrices without tensor cores. IEEE
float32 products have no tensor cores and spill early: they are exempt from the first and the last.
"""

import argparse
import functools
import importlib
import json
import math
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.configurations import CONFIGURATIONS, meta_model, utterances
from fastvits.planning.explain import planned_calls
from fastvits.planning.tuning import MODES, tf32_allowed
from fastvits_kernels.dispatch import registry
from fastvits_kernels.launch import jit, tiles

TARGETS = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120", "gfx942")

FEW_TARGETS = ("sm_80", "gfx942")
"""The oldest GPU of one maker, with the least shared memory for its registers, and the one of the other."""

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

SECONDS = tuple(range(1, 31))
BATCHES = (1, 32)


@dataclass(frozen=True)
class Configuration:
    """One launch of an op, with all that decides its binary."""

    op: str
    mode: str
    module: str
    kernel: str
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Any], ...]
    divisible: tuple[str, ...]
    num_warps: int
    num_stages: int

    @property
    def binary(self) -> tuple[Any, ...]:
        """What two configurations of one binary have in common."""
        fields = (self.module, self.kernel, self.signature, self.constants, self.divisible)
        return (*fields, self.num_warps, self.num_stages)

    @property
    def chosen(self) -> tuple[str, tuple[tuple[str, Any], ...]]:
        """What a launcher decides: the kernel and its constants."""
        return self.kernel, self.constants

    def as_dict(self) -> dict[str, Any]:
        return {
            "dtype": self.mode,
            "kernel": self.kernel,
            "constants": dict(self.constants),
            "signature": {name: kind for name, kind in self.signature if kind != "constexpr"},
            "divisible_by_16": list(self.divisible),
            "num_warps": self.num_warps,
            "num_stages": self.num_stages,
        }


def configuration_of(launch: jit.Launch, mode: str) -> Configuration:
    return Configuration(
        launch.op,
        mode,
        launch.source.fn.__module__,
        launch.kernel,
        launch.signature,
        launch.constants,
        launch.divisible,
        launch.num_warps,
        launch.num_stages,
    )


def calls_of_the_models(
    seconds: Sequence[int], batches: Sequence[int] = BATCHES
) -> Iterator[tuple[str, registry.Call]]:
    """The distinct calls of ops that the two configurations make, each with the mode it is made in."""
    for settings in CONFIGURATIONS.values():
        for dtype in dict.fromkeys(dtype for dtype, _ in MODES.values()):
            modes = [mode for mode, (other, _) in MODES.items() if other == dtype]
            model = meta_model(settings, dtype)
            seen: set[Any] = set()
            for sizes in utterances(settings, seconds, batches):
                with registry.use_backend("eager"):
                    calls = planned_calls(model, **vars(sizes))
                for call in calls:
                    # In half precision the text encoder and the duration predictor are as in the float32 model.
                    if dtype != torch.float32 and all(t.dtype != dtype for t in registry.tensors_in(call.args)):
                        continue
                    key = call.op.name, _key(call.args)
                    if key in seen:
                        continue
                    seen.add(key)
                    # With `output_attentions` the model makes another op's call with the same arguments.
                    named = (WEIGHTS_OF[call.op.name],) if call.op.name in WEIGHTS_OF else ()
                    for op in (call.op, *(registry.ops()[name] for name in named)):
                        for mode in modes:
                            yield mode, registry.Call(op, call.args, call.decision)


WEIGHTS_OF = {"relative_attention": "relative_attention_weights"}


def _key(argument: Any) -> Any:
    """All that a launcher can see of an argument."""
    if isinstance(argument, torch.Tensor):
        return argument.dtype, argument.shape, argument.stride(), argument.storage_offset()
    return tuple(map(_key, argument)) if isinstance(argument, (list, tuple)) else argument


def calls_of_the_cases(ops: Iterable[str], modes: Iterable[str] = MODES) -> Iterator[tuple[str, registry.Call]]:
    """For ops that the models do not call: the calls that they are tested at."""
    from tests.support.op_cases import CASES

    wanted = set(ops)
    for case in CASES:
        if case.op in wanted:
            for mode in modes:
                op = registry.ops()[case.op]
                arguments = case.arguments(MODES[mode][0], "meta")
                yield mode, registry.Call(op, arguments, registry.Decision(case.op, "triton", "", False))


def launches_of(call: registry.Call, mode: str, target: str) -> list[Configuration]:
    """What a call's Triton implementation launches on a GPU of architecture `target`; nothing where it declines the
    call.
    """
    implementation = call.op.implementations.get("triton")
    if implementation is None:
        return []
    with tf32_allowed(MODES[mode][1]), tiles.target_arch(target), jit.recording() as launches:
        if implementation.supports(*call.args) is None:
            implementation.run(*call.args)
    return [configuration_of(launch, mode) for launch in launches]


def plan(targets: Sequence[str] = TARGETS, seconds: Sequence[int] = SECONDS) -> dict[Configuration, list[str]]:
    """Every configuration to compile, and the targets to compile it for."""
    found: dict[Configuration, dict[str, None]] = {}
    # Targets without a table of their own launch the same.
    groups: dict[str, list[str]] = {}
    for target in targets:
        own = target if (tiles.TUNED / f"{target}.json").exists() else "default"
        groups.setdefault(own, []).append(target)

    calls = list(calls_of_the_models(seconds))
    called = {call.op.name for _, call in calls}
    calls += calls_of_the_cases(set(registry.ops()) - called)
    # For each op and dtype of a table's row: a call that looks there, by channels and kernel size. The models' come
    # last and take the place of the others.
    samples: dict[tuple[str, str], dict[tuple[int, int], tuple[str, registry.Call]]] = {}
    for mode, call in calls_of_the_cases(called):
        with tiles.observing() as choices:
            launches_of(call, mode, "default")
        for choice in choices:
            samples.setdefault((choice.op, choice.dtype), {})[choice.channels, choice.kernel_size] = mode, call
    for arch, group in groups.items():
        used: set[tuple[str, str, str]] = set()
        for mode, call in calls:
            with tiles.observing() as choices:
                configurations = launches_of(call, mode, arch)
            for choice in choices:
                used.add((choice.op, choice.dtype, repr(choice.tile)))
                samples.setdefault((choice.op, choice.dtype), {})[choice.channels, choice.kernel_size] = mode, call
            for configuration in configurations:
                found.setdefault(configuration, {}).update(dict.fromkeys(group))
        for op, dtype, tile, when in _rows(arch):
            if (op, dtype, repr(tile)) in used or (op, dtype) not in samples:
                continue
            mode, call = _fitting(samples[op, dtype], when)
            with tiles.forced_tile(op, tile):
                for configuration in launches_of(call, mode, arch):
                    found.setdefault(configuration, {}).update(dict.fromkeys(group))
    return {configuration: list(group) for configuration, group in found.items()}


def _rows(arch: str) -> Iterator[tuple[str, str, tiles.Tile, dict[str, Any]]]:
    """Every row of an architecture's table, once for each dtype it serves; not where an earlier row serves all it
    could.
    """
    for op, rows in tiles.table(arch).items():
        for dtype in MODES:
            earlier: list[dict[str, Any]] = []
            for row in rows:
                when = row.get("when", {})
                if dtype in when.get("dtype", MODES):
                    if not any(_covers(other, when) for other in earlier):
                        yield op, dtype, tiles.tile_of(row), when
                    earlier.append(when)


def _covers(wide: dict[str, Any], narrow: dict[str, Any]) -> bool:
    """Whether the upper bounds of `wide` let in all that those of `narrow` do."""
    bounds = ("channels", "kernel_size", "work")
    return all(narrow.get(name, float("inf")) <= wide[name] for name in bounds if name in wide)


def _fitting(
    calls: dict[tuple[int, int], tuple[str, registry.Call]], when: dict[str, Any]
) -> tuple[str, registry.Call]:
    """The call with the most channels that a row is for; any call if the row is for none of them."""
    channels, kernel_size = when.get("channels", float("inf")), when.get("kernel_size", float("inf"))
    fitting = [key for key in calls if key[0] <= channels and key[1] <= kernel_size]
    return calls[max(fitting or calls)]


def quick_plan(targets: Sequence[str] = TARGETS) -> dict[Configuration, list[str]]:
    """One configuration for each op and dtype: the largest that a text of ten seconds launches.

    The models call the ops of the text encoder in float32 only: in half precision these are there with the same shapes.
    Ops that they never call are there with their smallest test case. Of both, to save time, what is not float32 is
    compiled for `FEW_TARGETS` only.
    """
    calls = list(calls_of_the_models((10,)))
    chosen: dict[tuple[str, str], Configuration] = {}
    for configuration in _launched(calls):
        key = configuration.op, configuration.mode
        if key not in chosen or _size(configuration) > _size(chosen[key]):
            chosen[key] = configuration
    called = {call.op.name for _, call in calls}
    narrow = {(op, mode) for op in called for mode in ("float16", "bfloat16") if (op, mode) not in chosen}
    rest: dict[tuple[str, str], Configuration] = {}
    for configuration in _launched(
        (mode, _narrowed(call, MODES[mode][0])) for op, mode in narrow for name, call in calls if call.op.name == op
    ):
        key = configuration.op, configuration.mode
        if key not in rest or _size(configuration) > _size(rest[key]):
            rest[key] = configuration
    for configuration in _launched(calls_of_the_cases(set(registry.ops()) - called)):
        key = configuration.op, configuration.mode
        if key not in rest or _size(configuration) < _size(rest[key]):
            rest[key] = configuration
    few = [target for target in targets if target in FEW_TARGETS]
    found = {configuration: list(targets) for configuration in chosen.values()}
    found |= {c: list(targets) if c.mode in ("float32", "tf32") else few for c in rest.values()}
    return {configuration: group for configuration, group in found.items() if group}


def _narrowed(call: registry.Call, dtype: torch.dtype) -> registry.Call:
    """A call with its floating-point tensors in another dtype."""
    arguments = [
        argument.to(dtype) if isinstance(argument, torch.Tensor) and argument.is_floating_point() else argument
        for argument in call.args
    ]
    return registry.Call(call.op, tuple(arguments), call.decision)


def _launched(calls: Iterable[tuple[str, registry.Call]]) -> Iterator[Configuration]:
    for mode, call in calls:
        yield from launches_of(call, mode, "default")


def _size(configuration: Configuration) -> tuple[float, str]:
    """How much one thread has to do, by the sides of the tile: what makes a kernel spill, and compile slowly."""
    sides = [value for name, value in configuration.constants if name.startswith("BLOCK_")]
    return math.prod(sides) / configuration.num_warps, repr(configuration)


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
    parser.add_argument("--quick", action="store_true", help="one configuration for each op, dtype and target")
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
    configurations = {c: t for c, t in configurations.items() if not options.op or c.op in options.op}
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
