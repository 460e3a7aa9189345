"""Checkpoints of a run: whole or not there, checked when they are read, never silently passed over.

A checkpoint is a folder `checkpoints/step-00001000` with `state.pt` (both networks, optimisers, schedules, counters)
and `complete.json` (the hash of that file). It is written under another name, brought to the disk and renamed.
"""

import hashlib
import os
import pickle
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..storage import read_json, write_json
from .settings import TrainingSettings

__all__ = ["load_newest", "newest", "save"]

_NAME = re.compile(r"step-(\d{8})")
_STATE, _SEAL = "state.pt", "complete.json"


def _folder(output: Path) -> Path:
    return output / "checkpoints"


def newest(output: Path) -> Path | None:
    """The newest checkpoint of a run's folder, or None."""
    found = [path for path in _folder(output).glob("step-*") if _NAME.fullmatch(path.name)]
    return max(found, default=None)


def save(output: Path, step: int, state: dict[str, Any], kept: int) -> Path:
    """Write a checkpoint, and remove the oldest beyond the `kept` newest ones.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    folder = _folder(output)
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"step-{step:08d}"
    temporary = folder / f".partial-{step:08d}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    with open(temporary / _STATE, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    write_json(temporary / _SEAL, {"step": step, "sha256": _hash(temporary / _STATE)})
    shutil.rmtree(place, ignore_errors=True)
    temporary.rename(place)
    _sync(folder)
    every = sorted(path for path in folder.glob("step-*") if _NAME.fullmatch(path.name))
    for old in every[:-kept]:
        shutil.rmtree(old, ignore_errors=True)
    for leftover in folder.glob(".partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    return place


def load_newest(output: Path) -> dict[str, Any] | None:
    """The state of the newest checkpoint; None where there is none.

    Raises:
        ValueError: it is damaged. Nothing older is taken in its place, and nothing begins anew.
    """
    place = newest(output)
    if place is None:
        return None
    advice = f"remove {place} to go on from the one before, or choose another output folder"
    try:
        seal = read_json(place / _SEAL)
        if seal.get("sha256") != _hash(place / _STATE):
            raise ValueError(f"the checkpoint {place} is damaged: its hash is not that of when it was saved; {advice}")
        state = torch.load(place / _STATE, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"the checkpoint {place} is damaged ({str(error).splitlines()[0]}); {advice}") from None
    if not isinstance(state, dict) or seal.get("step") != state.get("step"):
        raise ValueError(f"the checkpoint {place} is none of this program's; {advice}")
    return state


def _hash(file: Path) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _sync(folder: Path) -> None:
    """Bring the folder's names to the disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_another_run(output: Path, settings: TrainingSettings, identity: Mapping[str, Any], state: Any) -> None:
    """Raise ValueError where a checkpoint is not of the run with these settings and this identity."""
    kept = state.get("identity") or {}
    advice = "choose another output folder, or run it as it was begun"
    different = settings.differences(kept.get("settings") or {})
    if different:
        raise ValueError(f"the run in {output} was begun with other settings ({', '.join(different)}): {advice}")
    for name, what in (("data", "data"), ("config", "architecture"), ("world", "processes")):
        if kept.get(name) != identity[name]:
            raise ValueError(f"the run in {output} was begun with other {what}: {advice}")
    if state["step"] > settings.steps:
        raise ValueError(f"the run in {output} has made {state['step']} updates, more than {settings.steps}")
