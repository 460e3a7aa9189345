"""How many cores a process may use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastvits.runtime.cores import usable_cores

ALLOWED = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/cpu,cpuacct"


def system(root: Path, groups: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {}, None),
        ("0::/\n", {f"{V2}/cpu.max": "max 100000\n"}, None),
        ("0::/\n", {f"{V2}/cpu.max": "150000 100000\n"}, 1),
        ("0::/\n", {f"{V2}/cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {f"{V2}/cpu.max": "200000 100000\n"}, 2),
        ("0::/a/b\n", {f"{V2}/a/cpu.max": "100000 100000\n", f"{V2}/a/b/cpu.max": "max 100000\n"}, 1),
        ("0::/a/b\n", {f"{V2}/a/cpu.max": "300000 100000\n", f"{V2}/a/b/cpu.max": "100000 100000\n"}, 1),
        ("0::/the/hosts/path\n", {f"{V2}/cpu.max": "100000 100000\n"}, 1),
        ("4:cpu,cpuacct:/d\n0::/\n", {f"{V1}/d/cpu.cfs_quota_us": "100000", f"{V1}/d/cpu.cfs_period_us": "100000"}, 1),
        ("4:cpu,cpuacct:/d\n", {f"{V1}/d/cpu.cfs_quota_us": "-1", f"{V1}/d/cpu.cfs_period_us": "100000"}, None),
        ("4:memory:/d\n", {f"{V1}/d/cpu.cfs_quota_us": "100000", f"{V1}/d/cpu.cfs_period_us": "100000"}, None),
        ("0::/\n", {f"{V2}/cpu.max": "what\n"}, None),
        ("0::/\n", {f"{V2}/cpu.max": "100000 0\n"}, None),
    ],
)
def test_control_groups_limit_it(tmp_path: Path, groups: str, files: dict[str, str], expected: int | None) -> None:
    found = usable_cores(system(tmp_path, groups, files))
    assert found == (ALLOWED if expected is None else min(expected, ALLOWED))


def test_elsewhere_it_is_what_the_process_may_run_on(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == ALLOWED
    assert 1 <= usable_cores() <= ALLOWED


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system holds no process to some cores")
@pytest.mark.parametrize(("variable", "expected"), [(None, 1), ("3", 3)])
def test_a_command_takes_no_more_threads(variable: str | None, expected: int) -> None:
    """Where torch would: it counts the machine's cores before the process is held to one."""
    code = (
        "import os, torch; torch.set_num_threads(3); torch.get_num_threads()\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from fastvits.cli import main; main(['voices']); print(torch.get_num_threads())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if variable is not None:
        environment["OMP_NUM_THREADS"] = variable
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str(expected)
