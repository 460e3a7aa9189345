"""How long a new process's first utterance on a GPU waits for the compiler: `python -m bench.compiling [--save]`.

Needs no GPU: the kernels that the standard configuration launches for three seconds of audio are compiled for an H100
(sm_90) on this machine's processors, and launching them does nothing. Measured are `one by one`, as launches alone
would have them compiled, and `together`, as `VitsModel` has those of each half of a call compiled ahead
(`fastvits_kernels.launch.ahead`). Every sample is a process of its own with an empty cache, the two in turn. What
only a GPU has is not in it: Triton's driver, loading the binaries, and the launchers that some versions have a C
compiler make.

A row: kind, dtype, order, kernels (distinct binaries), processors, and seconds (a list). With `--save` rows are added
to `bench/results/compiling.jsonl`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from bench import harness
from bench.configurations import CONFIGURATIONS, meta_model
from fastvits.planning.explain import planned_calls
from fastvits.planning.tuning import MODES, allowing_tf32
from fastvits_kernels.dispatch import registry
from fastvits_kernels.launch import tiles
from fastvits_kernels.launch.ahead import compile_ahead, processors

RESULTS = harness.RESULTS / "compiling.jsonl"
ORDERS = ("one by one", "together")
TOKENS, FRAMES = 88, 188
TARGET = "sm_90"


def child(mode: str, order: str) -> dict[str, Any]:
    """One sample, in this process, which must be fresh and have an empty cache."""
    from tests.support.fake_gpu import driver

    dtype, tf32 = MODES[mode]
    model = meta_model(CONFIGURATIONS["standard"], dtype)
    with registry.use_backend("eager"):
        calls = planned_calls(model, tokens=TOKENS, frames=FRAMES, masked=False)
    names = [call.op.name for call in calls]
    halves = names.index("left_align") + 1, names.index("length_regulator") + 1
    start = time.perf_counter()
    with allowing_tf32(tf32), tiles.target_arch(TARGET):
        # A call aligns its text, speaks to the length regulator, and then makes the waveform.
        for part in (calls[: halves[0]], calls[halves[0] : halves[1]], calls[halves[1] :]):

            def launch(part: Sequence[registry.Call] = part) -> None:
                for call in part:
                    call.op.implementations["triton"].run(*call.args)

            if order == "together" and len(part) > 1:
                compile_ahead(launch, torch.device("cpu"))
            launch()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "kernels": len(driver.compiled)}


def in_a_process(mode: str, order: str, cache: Path | None = None) -> dict[str, Any]:
    """`child` in a fresh interpreter with an empty cache, or with the one in a folder."""
    known = filter(None, [os.environ.get("PYTHONPATH")])
    paths = os.pathsep.join([str(harness.ROOT), str(harness.ROOT / "kernels"), *known])
    with tempfile.TemporaryDirectory() as empty:
        environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
        environment |= {"PYTHONPATH": paths, "TRITON_CACHE_DIR": str(cache or empty)}
        command = [sys.executable, "-m", "bench.compiling", "--child", mode, order]
        done = subprocess.run(command, cwd=harness.ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"compiling {mode} {order} failed: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(modes: Sequence[str], rounds: int, cache: Path | None = None) -> list[dict[str, Any]]:
    """The rows of these modes. With a folder for a cache, who only counts kernels has each compiled once: the seconds
    mean nothing then.
    """
    rows = []
    for mode in modes:
        samples: dict[str, list[dict[str, Any]]] = {order: [] for order in ORDERS}
        for _ in range(rounds):
            for order in ORDERS:
                samples[order].append(in_a_process(mode, order, cache))
        for order, found in samples.items():
            kernels = {sample["kernels"] for sample in found}
            if len(kernels) != 1:
                raise RuntimeError(f"{mode} {order}: the samples compiled different numbers of kernels: {kernels}")
            rows.append(
                {
                    "kind": "compiling",
                    "dtype": mode,
                    "order": order,
                    "kernels": kernels.pop(),
                    "processors": processors(),
                    "seconds": [round(sample["seconds"], 3) for sample in found],
                }
            )
    return rows


def as_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line a row."""
    return [
        f"{row['dtype']:<9} {row['order']:<11} {statistics.median(row['seconds']):6.2f} s for {row['kernels']} kernels"
        f" on {row['processors']} processors"
        for row in rows
    ]


def main(arguments: Sequence[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Measure, print and perhaps save."""
    parser = argparse.ArgumentParser(prog="python -m bench.compiling", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dtype", action="append", choices=list(MODES), help="default: float32 and float16")
    parser.add_argument("--rounds", type=int, default=3, help="samples of each (default: 3)")
    parser.add_argument("--json", action="store_true", help="print rows as JSON, one a line")
    parser.add_argument("--save", action="store_true", help=f"add the rows to {RESULTS.relative_to(harness.ROOT)}")
    parser.add_argument("--child", nargs=2, metavar=("DTYPE", "ORDER"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        say(json.dumps(child(*options.child)))
        return 0
    run = harness.Run(keep=options.save)
    rows = measure(options.dtype or ("float32", "float16"), options.rounds)
    for line in [json.dumps(row, sort_keys=True) for row in rows] if options.json else as_lines(rows):
        say(line)
    run.keep(RESULTS, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
