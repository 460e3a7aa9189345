"""What every benchmark shares: the record of the environment, timing in turn, and results that are only appended to.

A row of `bench/results/*.jsonl` is one JSON object. `kind` says what was measured, `run` which run of a command wrote
it, and `environment` holds what `environment()` found.
"""

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"

_PACKAGES = ("torch", "triton", "numpy", "transformers", "onnxruntime", "piper-tts", "onnx")


def environment(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Where and of what a measurement is: commit and whether the tree differs from it, device, threads, versions, load.

    `device` names the processor that did the work, and is what results are grouped by.
    """
    device = torch.device(device)
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(changes()),
        "device_type": device.type,
        "device": device_name(device),
        "clocks": _clocks(device),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **_versions()},
    }


def changes() -> str:
    """The files in which the tree differs from its commit, as git tells them; results being added to do not count."""
    return _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results") or ""


def device_name(device: torch.device | str) -> str:
    """The model of a GPU, or of the CPU with its threads, as reports show it."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_cpu_model()}, {threads} thread{'s' if threads != 1 else ''}"


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@lru_cache
def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@lru_cache
def _cpu_model() -> str:
    """The processor's name; where that is one of many generations (virtual machines say "AMD EPYC"), with the numbers
    that tell them apart."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    found: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), " ".join(value.split()))
    name = found.get("model name")
    if not name:
        return platform.processor() or platform.machine()
    if any(character.isdigit() for character in name) or "cpu family" not in found:
        return name
    return f"{name} (family {found['cpu family']}, model {found.get('model', '?')})"


def _clocks(device: torch.device) -> dict[str, float] | None:
    """Current clocks in MHz where they are readable."""
    if device.type == "cuda":
        query = [
            "nvidia-smi",
            "--query-gpu=clocks.sm,clocks.mem",
            "--format=csv,noheader,nounits",
            "-i",
            str(device.index or 0),
        ]
        try:
            text = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout
            sm, memory = (float(value) for value in text.strip().split(","))
        except (OSError, subprocess.SubprocessError, ValueError):
            return None
        return {"sm_mhz": sm, "memory_mhz": memory}
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    clocks = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    return {"cpu_mhz": round(statistics.mean(clocks), 1)} if clocks else None


def percentiles(samples: Iterable[float]) -> dict[str, float]:
    """`p20`, `p50` and `p80` of the samples, and how many there are."""
    ordered = sorted(samples)
    if not ordered:
        raise ValueError("no samples to summarise")

    def at(share: float) -> float:
        position = share * (len(ordered) - 1)
        low = int(position)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (position - low) * (ordered[high] - ordered[low])

    return {"p20": at(0.2), "p50": at(0.5), "p80": at(0.8), "runs": len(ordered)}


class CacheFlush:
    """Overwrites a buffer larger than the device's last cache, so that the next run finds its inputs in memory."""

    def __init__(self, device: torch.device | str) -> None:
        device = torch.device(device)
        size = torch.cuda.get_device_properties(device).L2_cache_size if device.type == "cuda" else _last_cache_bytes()
        # Half of a server's cache is often another tenant's: no more than 256 MiB is worth the time.
        self._buffer = torch.empty(min(2 * size, 256 << 20), dtype=torch.int8, device=device)

    def __call__(self) -> None:
        self._buffer.fill_(1)


@lru_cache
def _last_cache_bytes() -> int:
    sizes = [32 << 20]
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text().strip()
        unit = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:], 1)
        sizes.append(int(text.rstrip("KM")) * unit)
    return max(sizes)


def time_in_turn(
    candidates: Mapping[str, Callable[[], Any]],
    *,
    device: torch.device | str = "cpu",
    rounds: int = 20,
    warmup: int = 2,
    budget: float | None = None,
    flush: bool = True,
    pause: float = 0.0,
) -> dict[str, list[float]]:
    """Seconds of each run of each candidate, taken in turn: a slow moment of the machine hits all of them alike.

    Ends after `rounds` rounds, or after at least 3 once `budget` seconds are spent. With `flush` caches are cold for
    every run. Before each run nothing is done for `pause` seconds: a library's threads spin for a while after its work,
    on the cores that the next candidate wants. A GPU is timed by its own events. Inputs belong into the closures, made
    before.
    """
    device = torch.device(device)
    clear = CacheFlush(device) if flush else None
    for run in candidates.values():
        for _ in range(warmup):
            run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    begin = time.perf_counter()
    for done in range(rounds):
        if budget is not None and done >= 3 and time.perf_counter() - begin > budget:
            break
        for name, run in candidates.items():
            if clear is not None:
                clear()
            if pause:
                time.sleep(pause)
            samples[name].append(_time_once(run, device))
    return samples


def _time_once(run: Callable[[], Any], device: torch.device) -> float:
    if device.type != "cuda":
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    run()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1e3


def new_run() -> str:
    """A name for one run of a command, which its rows share."""
    return uuid.uuid4().hex[:12]


class Run:
    """One run of a command: what its rows share, and whether they are kept.

    Args:
        device: what does the work.
        keep: whether rows go to files of results. A tree that differs from its commit is refused then, before anything
            is measured (SystemExit with the reason): nobody could repeat its figures.
    """

    def __init__(self, device: torch.device | str = "cpu", *, keep: bool) -> None:
        self.name, self.environment, self.keeps = new_run(), environment(device), keep
        if keep and self.environment["dirty"]:
            files = ", ".join(line.split(maxsplit=1)[-1] for line in changes().splitlines()[:5])
            raise SystemExit(f"rows of a tree with changes are not kept: commit them first, or keep no rows ({files})")

    def stamped(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with the run's name and environment."""
        return {**row, "run": self.name, "environment": self.environment}

    def keep(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add the rows, stamped, to a file of results; nothing where the run keeps none."""
        if self.keeps:
            keep(path, [self.stamped(row) for row in rows])


def keep(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows to a file of results; raises ValueError, and adds none, where one is of a tree with changes."""
    rows = list(rows)
    refuse_changed(rows)
    append(path, rows)


def refuse_changed(rows: Iterable[Mapping[str, Any]]) -> None:
    """Raise ValueError for a row of a tree with changes."""
    changed = next((row for row in rows if row["environment"]["dirty"]), None)
    if changed is not None:
        commit = (changed["environment"]["commit"] or "an unknown commit")[:10]
        raise ValueError(f"a row of run {changed['run']} is of {commit} with changes; rows of such trees are not kept")


def append(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows to a JSONL file of results; existing ones are never touched.

    They are on the disk when this returns, and in one piece: several processes may add to one file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    with path.open("ab", buffering=0) as file:
        file.write(lines.encode())
        os.fsync(file.fileno())


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file of results, oldest first; none where there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
