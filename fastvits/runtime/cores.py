"""How many processor cores this process may use: not how many the machine has."""

import os
from collections.abc import Callable
from pathlib import Path

import torch


def usable_cores(root: Path = Path("/")) -> int:
    """The cores that this process may use, at least 1.

    The smallest of: those that it may run on (`sched_getaffinity`, as `taskset` and Kubernetes' static policy set it);
    and on Linux the quota of its control group and of all above it (`docker run --cpus`, Kubernetes' CPU limit,
    systemd's `CPUQuota`), rounded down: a thread more than the quota pays for would stop all of them for a while, again
    and again. `root` is where the file system begins.
    """
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(root)
    return found if quota is None else max(min(found, int(quota)), 1)


def use_usable_cores() -> None:
    """Have torch take no more threads than there are usable cores, unless `OMP_NUM_THREADS` says how many.

    For programs. A library leaves such a setting, which is the whole process's, to them.
    """
    cores = usable_cores()
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > cores:
        torch.set_num_threads(cores)


def _quota(root: Path) -> float | None:
    """The cores that control groups leave this process; None where they set no limit."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    found = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            found += [_limit(folder, _version_2) for folder in _above(root / "sys/fs/cgroup", path)]
        elif "cpu" in controllers.split(","):
            tops = {root / "sys/fs/cgroup" / name for name in (controllers, "cpu")}
            found += [_limit(folder, _version_1) for top in tops for folder in _above(top, path)]
    return min((quota for quota in found if quota is not None), default=None)


def _above(top: Path, path: str) -> list[Path]:
    """The group's folder and those above it. In a container the path may be the host's, and not be there."""
    inside = top / path.lstrip("/")
    return [inside, *(folder for folder in inside.parents if folder.is_relative_to(top))]


def _limit(folder: Path, read: Callable[[Path], tuple[str, str]]) -> float | None:
    try:
        quota, period = map(int, read(folder))
    except (OSError, ValueError):  # no such file, or "max"
        return None
    return quota / period if quota > 0 and period > 0 else None


def _version_1(folder: Path) -> tuple[str, str]:
    return (folder / "cpu.cfs_quota_us").read_text(), (folder / "cpu.cfs_period_us").read_text()


def _version_2(folder: Path) -> tuple[str, str]:
    quota, _, period = (folder / "cpu.max").read_text().partition(" ")
    return quota, period
