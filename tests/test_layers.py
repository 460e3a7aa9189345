"""Rooms import downwards only and in no circle, and the contract in pyproject.toml notices where one does not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter")

ROOT = Path(__file__).parents[1]

UPWARDS = "\nfrom typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from ..models.vits import VitsModel\n"
"""At the end of a file of `runtime`: an import that no interpreter runs."""

ROUND = "\n\ndef late():\n    from .graphs import GraphCache\n\n    return GraphCache\n"
"""At the end of `runtime/recorder.py`, which `runtime/graphs.py` imports."""


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the two packages below a folder against the contract there."""
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(folder / "kernels")])},
        capture_output=True,
        text=True,
        check=False,
    )


def test_rooms_import_downwards_and_in_no_circle() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "addition", "broken"),
    [
        ("fastvits/runtime/backend.py", UPWARDS, "fastvits.runtime.backend -> fastvits.models.vits"),
        ("fastvits/runtime/recorder.py", ROUND, "fastvits.runtime"),
        ("kernels/fastvits_kernels/dispatch/devices.py", "\nimport fastvits\n", "fastvits_kernels.dispatch.devices"),
        ("fastvits/attic.py", "", "attic"),
    ],
)
def test_a_violation_is_refused(tmp_path: Path, file: str, addition: str, broken: str) -> None:
    only_code = shutil.ignore_patterns("__pycache__", "*.json")
    for package in ("fastvits", "kernels/fastvits_kernels"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=only_code)
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    with open(tmp_path / file, "a", encoding="utf-8") as changed:
        changed.write(addition)
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stderr
    assert broken in done.stdout
