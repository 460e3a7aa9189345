"""Where the parts of `bench.gpu_evidence` run and leave their rows, what the device is and can do, and how it fails.

Rows of kinds that `bench.report` knows go to files of the same names as in `bench/results/`; all others to
`evidence.jsonl`.
"""

import gc
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from bench import harness
from bench.ops import roofline
from fastvits.planning import tuning

STARTED = "FASTVITS_EVIDENCE_STARTED"
"""The environment variable with the time at which a process was started."""


@dataclass
class Context:
    """Where and for how long an item runs."""

    device: torch.device
    output: Path
    run: str
    quick: bool
    deadline: float

    @property
    def left(self) -> float:
        """Seconds until the step has to end."""
        return self.deadline - time.time()

    @property
    def fast_backend(self) -> str:
        """The backend that is checked: Triton, or a CPU's own."""
        return "triton" if self.device.type == "cuda" else "onednn"

    @cached_property
    def environment(self) -> dict[str, Any]:
        return harness.environment(self.device)

    def write(self, name: str, **row: Any) -> None:
        """Add a row to `NAME.jsonl`."""
        harness.append(self.output / f"{name}.jsonl", [{**row, "run": self.run, "environment": self.environment}])

    def note(self, kind: str, **row: Any) -> None:
        """Add a row to `evidence.jsonl`, whose rows share the environment of the run's first."""
        harness.append(self.output / "evidence.jsonl", [{"kind": kind, **row, "run": self.run}])

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def peak_items(quick: bool) -> list[str]:
    return ["float32"] if quick else ["float16", "float32", "tf32", "bfloat16"]


def peak(context: Context, mode: str) -> None:
    """The device's memory and matrix rates in one mode."""
    if not any(row["kind"] == "environment" and row["run"] == context.run for row in _rows(context, "evidence")):
        context.note("environment", **context.environment, **_gpu(context.device))
    dtype, tf32 = tuning.MODES[mode]
    peaks = roofline.measure_peaks(context.device, dtype, quick=context.quick, tf32=tf32)
    context.write("peaks", **roofline.peak_row(peaks, mode))


def _gpu(device: torch.device) -> dict[str, Any]:
    """The driver, the memory, and the clocks and limits that `nvidia-smi` shows."""
    found: dict[str, Any] = {"driver": None}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {"memory_bytes": properties.total_memory, "multiprocessors": properties.multi_processor_count}
        fields = "driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu"
        query = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader", "-i", str(device.index or 0)]
        try:
            text = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
            found |= dict(zip(fields.split(","), (value.strip() for value in text.split(",")), strict=True))
            found["driver"] = found.pop("driver_version")
        except (OSError, subprocess.SubprocessError, ValueError):
            pass
    return found


def _rows(context: Context, name: str) -> list[dict[str, Any]]:
    return [row for row in harness.read(context.output / f"{name}.jsonl") if row["run"] == context.run]


def peaks_found(context: Context) -> dict[str, roofline.Peaks]:
    """The peaks that this run measured, by mode."""
    return {
        row["dtype"]: roofline.Peaks(row["bytes_per_second"], row["flops_per_second"])
        for row in _rows(context, "peaks")
    }


@contextmanager
def profiling(context: Context) -> Iterator[Any]:
    activities = [torch.profiler.ProfilerActivity.CPU]
    if context.device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        yield profile
        context.synchronize()


def free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def is_lost(error: BaseException, device: torch.device) -> bool:
    """Whether the device refuses all further work of this process, as after an illegal access."""
    if device.type != "cuda" or isinstance(error, torch.OutOfMemoryError):
        return False
    try:
        torch.cuda.synchronize(device)
    except Exception:
        return True
    return False


def status_of(error: BaseException) -> str:
    """What a row says of it: a lack of memory is a finding, all else a failure."""
    return "out of memory" if isinstance(error, torch.OutOfMemoryError) else "failed"


def last_line(error: BaseException) -> str:
    """The last line of a traceback."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:500]
