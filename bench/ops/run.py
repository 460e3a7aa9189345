"""Time the ops: check first, then time, all providers in turn.

    python -m bench.run [--op NAME ...] [--case TEXT] [--backend NAME ...] [--device DEVICE] [--dtype DTYPE ...]
                        [--base REV] [--quick] [--no-save]

The cases are those of `tests/support/op_cases` that have the shapes of the models. The providers, which `--backend`
narrows:

    eager          the reference in plain torch
    compile        torch.compile of the reference
    channels_last  the reference, its convolutions as channels-last images: oneDNN's or cuDNN's own way
    onednn         the implementation for CPUs
    triton         the kernels, on a GPU only

The dtype `tf32` is float32 with torch's flags for TF32 set, on a GPU only; float32 is IEEE float32.

What is further from float64 than `tests/support/tolerances.py` allows gets no time. Each row has p20, p50 and p80 of
the time, and the share of the roofline that was reached (`bench/ops/roofline.py`). Rows are appended to
`bench/results/ops.jsonl`; not with `--no-save`, `--base` or `--quick` (one small case an op, to see whether all runs).

`--base REV` times the kernels of another commit beside those here: both are run in turn, by this harness, in processes
of their own.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench import harness
from bench.ops.costs import Cost, cost_of
from bench.ops.roofline import PEAKS, TF32, Peaks, measure_peaks, modes_for, peak_row
from fastvits.planning.tuning import MODES, allowing_tf32
from fastvits_kernels.dispatch import registry
from fastvits_kernels.launch import jit
from tests.support.numerics import allowed_error, errors_of, truth
from tests.support.op_cases import CASES, MODEL_CASES, Case

PROVIDERS = ("eager", "compile", "channels_last", "onednn", "triton")
OPS = harness.RESULTS / "ops.jsonl"


def candidates_of(
    op: registry.Op, arguments: tuple[Any, ...], providers: Sequence[str]
) -> tuple[dict[str, Callable[[], Any]], dict[str, str]]:
    """What can be run for these arguments, by provider, and why the others cannot."""
    device = next(registry.tensors_in(arguments)).device
    found: dict[str, Callable[[], Any]] = {}
    missing: dict[str, str] = {}
    for provider in providers:
        if provider == "eager":
            found[provider] = partial(op.reference, *arguments)
        elif provider == "compile":
            reason = _cannot_compile(device)
            if reason is not None:
                missing[provider] = reason
                continue
            torch._dynamo.reset()
            compiled = torch.compile(op.reference, dynamic=False)
            found[provider] = partial(compiled, *arguments)
        elif provider == "triton" and (device.type != "cuda" or jit.interpreting()):
            missing[provider] = "Triton is timed on a GPU only"
        elif provider not in op.implementations:
            missing[provider] = f"{op.name} has no {provider} implementation"
        else:
            implementation = op.implementations[provider]
            reason = implementation.supports(*arguments)
            if reason is not None:
                missing[provider] = reason
                continue
            found[provider] = partial(implementation.run, *arguments)
    return found, missing


def _cannot_compile(device: torch.device) -> str | None:
    if device.type == "cpu" and not any(
        shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")
    ):
        return "torch.compile needs a C++ compiler"
    return None


@dataclass(frozen=True)
class Check:
    """A provider's distance from float64, and what is allowed."""

    error: float
    allowed: float

    @property
    def passed(self) -> bool:
        return self.error <= self.allowed


def check(
    op: registry.Op, arguments: tuple[Any, ...], dtype: str, candidates: dict[str, Callable[[], Any]]
) -> dict[str, Check]:
    """The distance of every candidate from the reference in float64, the worst of its outputs; `dtype` is a name."""
    found = {}
    expected = truth(op, arguments)
    plain = errors_of(op.reference(*arguments), expected)
    for name, run in candidates.items():
        # The output with the least room decides.
        pairs = [
            (error, allowed_error(eager, MODES[dtype][0], tf32=dtype == TF32))
            for error, eager in zip(errors_of(run(), expected), plain, strict=True)
        ]
        found[name] = Check(*max(pairs, key=lambda pair: pair[0] / pair[1]))
    return found


def measure(
    case: Case, dtype: str, device: str, providers: Sequence[str], *, peaks: Peaks | None, budget: float, rounds: int
) -> Iterator[dict[str, Any]]:
    """The rows of one case: timed, refused or not available, with all samples."""
    op = registry.ops()[case.op]
    arguments = case.arguments(MODES[dtype][0], device)
    cost = cost_of(op, *arguments)
    row = {"kind": "op", "op": case.op, "case": case.name, "dtype": dtype, "flops": cost.flops, "bytes": cost.bytes}
    candidates, missing = candidates_of(op, arguments, providers)
    for name, reason in missing.items():
        yield {**row, "backend": name, "status": "not available", "reason": reason}
    with torch.no_grad(), allowing_tf32(dtype == TF32):
        checks = check(op, arguments, dtype, candidates)
        right = {name: run for name, run in candidates.items() if checks[name].passed}
        samples = harness.time_in_turn(right, device=device, budget=budget, rounds=rounds) if right else {}
    for name, result in checks.items():
        judged = {**row, "backend": name, "error": result.error, "allowed_error": result.allowed}
        if not result.passed:
            yield {**judged, "status": "refused"}
        else:
            yield {**judged, "status": "ok", **_summary(samples[name], cost, peaks), "samples": samples[name]}


def _summary(samples: Sequence[float], cost: Cost, peaks: Peaks | None) -> dict[str, Any]:
    summary: dict[str, Any] = {"seconds": harness.percentiles(samples)}
    if peaks is not None:
        summary |= {"roofline": peaks.least_seconds(cost) / summary["seconds"]["p50"], "bound": peaks.bound(cost)}
    return summary


def as_line(row: dict[str, Any]) -> str:
    """A row for people."""
    start = f"{row['op']:<28} {row['case']:<34} {row['dtype']:<8} {row.get('version', ''):<5}{row['backend']:<13}"
    if row["status"] == "refused":
        return f"{start} refused: error {row['error']:.2g}, allowed {row['allowed_error']:.2g}"
    if row["status"] != "ok":
        return f"{start} {row['status']}: {row['reason']}"
    times = "  ".join(f"{1e3 * row['seconds'][name]:9.3f}" for name in ("p20", "p50", "p80"))
    share = f"{row['roofline']:6.1%} of {row['bound']}" if "roofline" in row else ""
    return f"{start} {times} ms  error {row['error']:.1e}  {share}".rstrip()


def chosen_cases(options: argparse.Namespace) -> list[Case]:
    """The cases that the options ask for; large batches are for GPUs, where they are asked for by nothing else."""
    cases = list(MODEL_CASES)
    if options.quick:
        cases = list({case.op: case for case in reversed(CASES) if case.name != "empty-batch"}.values())
    elif options.case is None and torch.device(options.device).type == "cpu":
        cases = [case for case in cases if "-32x" not in case.name]
    return [
        case
        for case in sorted(cases, key=lambda case: case.op)
        if (not options.op or case.op in options.op) and (options.case is None or options.case in case.name)
    ]


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The peaks' rows, then those of every case, as they come."""
    for dtype in options.dtype:
        peaks = None
        if not options.worker:
            peaks = measure_peaks(options.device, MODES[dtype][0], quick=options.quick, tf32=dtype == TF32)
            yield peak_row(peaks, dtype)
        for case in chosen_cases(options):
            yield from measure(
                case,
                dtype,
                options.device,
                options.backend or PROVIDERS,
                peaks=peaks,
                budget=0.2 if options.quick else options.seconds,
                rounds=5 if options.quick else 50,
            )


@contextmanager
def worktree(revision: str) -> Iterator[Path]:
    """A checkout of another commit in a folder of its own, gone behind the block."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "base"
        add = ["git", "worktree", "add", "--quiet", "--detach", str(path), revision]
        done = subprocess.run(add, cwd=harness.ROOT, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"git cannot check out {revision!r}: {done.stderr.strip()}")
        try:
            yield path
        finally:
            remove = ["git", "worktree", "remove", "--force", str(path)]
            subprocess.run(remove, cwd=harness.ROOT, capture_output=True, check=False)


def compare(options: argparse.Namespace, arguments: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The kernels of `options.base` and those here, in turn, each twice; a row for each version, its samples pooled."""
    pooled: dict[tuple[str, ...], dict[str, Any]] = {}
    with worktree(options.base) as base:
        kernels = {"base": base / "kernels", "here": harness.ROOT / "kernels"}
        for _ in range(2):
            for version, path in kernels.items():
                for row in _work(arguments, path):
                    key = tuple(row[name] for name in ("op", "case", "dtype", "backend"))
                    known = pooled.setdefault((*key, version), row)
                    if known is row:
                        row["version"] = version
                    elif known["status"] == row["status"] == "ok":
                        known["samples"] += row["samples"]
    for key in sorted(pooled):
        row = pooled[key]
        if row["status"] == "ok":
            row["seconds"] = harness.percentiles(row["samples"])
        yield row


def _work(arguments: Sequence[str], kernels: Path) -> list[dict[str, Any]]:
    """The rows of a process that has another checkout's kernels."""
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as file:
        path = os.pathsep.join([str(harness.ROOT), str(kernels)])
        command = [sys.executable, "-m", "bench.run", *arguments, "--worker", file.name]
        subprocess.run(command, cwd=harness.ROOT, env={**os.environ, "PYTHONPATH": path}, check=True)
        return [json.loads(line) for line in file]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__.splitlines()[0])
    parser.add_argument("--op", action="append", choices=sorted(registry.ops()), help="only this op; can be repeated")
    parser.add_argument("--case", metavar="TEXT", help="only cases whose name has this in it")
    parser.add_argument("--backend", action="append", choices=PROVIDERS, help="only this one; can be repeated")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--dtype", action="append", choices=MODES, help="can be repeated; default: float32 on a CPU, all on a GPU"
    )
    parser.add_argument("--base", metavar="REV", help="compare with the kernels of this commit")
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="for how long each case is timed, about (default: 4)"
    )
    parser.add_argument("--quick", action="store_true", help="one small case an op; nothing is saved")
    parser.add_argument("--no-save", action="store_true", help="only print")
    parser.add_argument("--worker", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    on_cpu = torch.device(options.device).type == "cpu"
    try:
        options.dtype = modes_for(options.device, options.dtype, ["float32"] if on_cpu else list(MODES))
    except ValueError as error:
        parser.error(str(error))
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and append; 1 if a provider was refused its time, else 0."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = parse(arguments)
    record = harness.Run(options.device, keep=not (options.quick or options.no_save or options.base or options.worker))
    if options.base is not None:
        position = next(i for i, a in enumerate(arguments) if a == "--base" or a.startswith("--base="))
        del arguments[position : position + (2 if arguments[position] == "--base" else 1)]
        rows = compare(options, arguments)
    else:
        rows = run(options)
    refused = 0
    with open(options.worker, "w") if options.worker else nullcontext() as file:
        for row in rows:
            if row["kind"] == "peaks":
                print(
                    f"measured peaks, {row['dtype']}: {row['bytes_per_second'] / 1e9:.1f} GB/s copied, "
                    f"{row['flops_per_second'] / 1e9:.1f} GFLOP/s in a matrix product"
                )
                record.keep(PEAKS, [row])
                continue
            refused += row["status"] == "refused"
            if file is not None:
                file.write(json.dumps(row) + "\n")
            else:
                print(as_line(row), flush=True)
            record.keep(OPS, [{name: value for name, value in row.items() if name != "samples"}])
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
