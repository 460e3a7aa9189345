"""Tile choices, read from data: `tuned/<arch>.json`, and `tuned/default.json` for GPUs without a file.

A file maps an op to rows, the first of which that fits is taken. A row's `when` gives upper bounds (`channels`,
`kernel_size`, `work`: outputs' steps times batch, each inclusive) and lists (`dtype`); its `tile` the compile-time
sizes with `num_warps` and `num_stages`; `winner` (`triton`, `eager`, `channels_last`) and `measured` say what `auto`
should take there and whether a measurement on that GPU says so. No length is a key: work is taken in powers of four, so
that a new length compiles nothing.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ..dispatch.devices import stands_for

TUNED = Path(__file__).parents[1] / "tuned"
_target: ContextVar[str | None] = ContextVar("fastvits_target", default=None)
_forced: ContextVar[dict[str, "Tile"] | None] = ContextVar("fastvits_forced_tiles", default=None)
_observer: ContextVar[list["Choice"] | None] = ContextVar("fastvits_tile_observer", default=None)


@dataclass(frozen=True)
class Tile:
    """Compile-time sizes for one launch."""

    sizes: dict[str, int]
    num_warps: int
    num_stages: int
    winner: str
    measured: bool


@contextmanager
def target_arch(arch: str) -> Iterator[None]:
    """Choose tiles as on the GPU architecture `arch` (`sm_90`, `gfx942`), whatever the machine has."""
    token = _target.set(arch)
    try:
        yield
    finally:
        _target.reset(token)


@dataclass(frozen=True)
class Choice:
    """One look-up: what `choose` was asked and what it answered."""

    op: str
    dtype: str
    channels: int
    kernel_size: int
    work: int
    tile: Tile


@contextmanager
def observing() -> Iterator[list[Choice]]:
    """Collect the look-ups made inside the block."""
    choices: list[Choice] = []
    token = _observer.set(choices)
    try:
        yield choices
    finally:
        _observer.reset(token)


@contextmanager
def forced_tile(op: str, tile: Tile) -> Iterator[None]:
    """Take `tile` for every launch of `op` inside the block, whatever the tables say: to tune, and to check all of
    them.
    """
    token = _forced.set({**(_forced.get() or {}), op: tile})
    try:
        yield
    finally:
        _forced.reset(token)


def arch_of(device: torch.device) -> str:
    """The architecture's name for a device: `sm_<major><minor>`, `gfx...`, or `default` without a GPU."""
    forced = _target.get()
    if forced is not None:
        return forced
    device = stands_for(device)
    if device.type != "cuda":
        return "default"
    return _arch_of_index(device.index)


@lru_cache
def _arch_of_index(index: int | None) -> str:
    if not torch.cuda.is_available():
        return "default"
    properties = torch.cuda.get_device_properties(index)
    if torch.version.hip:
        return str(properties.gcnArchName).split(":")[0]
    return f"sm_{properties.major}{properties.minor}"


@lru_cache
def table(arch: str) -> dict[str, list[dict[str, Any]]]:
    """The rows by op for an architecture, its own before the default's."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for path in dict.fromkeys((TUNED / f"{arch}.json", TUNED / "default.json")):
        if path.exists():
            for op, found in json.loads(path.read_text())["ops"].items():
                rows.setdefault(op, []).extend(found)
    return rows


def bucket(work: int) -> int:
    """`work` rounded up to a power of four."""
    size = 1
    while size < work:
        size *= 4
    return size


def choose(
    op: str,
    device: torch.device,
    dtype: torch.dtype,
    *,
    channels: int,
    kernel_size: int = 1,
    work: int,
    precision: str = "ieee",
) -> Tile:
    """The tile for an op on a device; raises KeyError if the tables have no row that fits (the default has one for
    all).

    `precision` is what `jit.dot_precision` says: float32 multiplied as TF32 uses tensor cores, IEEE float32 does not,
    so rows name the former by a dtype of its own, `tf32`.
    """
    name = "tf32" if precision == "tf32" else str(dtype).removeprefix("torch.")
    forced, observer = _forced.get(), _observer.get()
    if forced is not None and op in forced:
        tile = forced[op]
    else:
        tile = _choose(op, arch_of(device), name, channels, kernel_size, bucket(work))
    if observer is not None:
        observer.append(Choice(op, name, channels, kernel_size, work, tile))
    return tile


def preference(tile: Tile) -> tuple[str, str, bool]:
    """What `Implementation.prefers` answers for a tile: which backend won there, and whether that was measured."""
    return tile.winner, "measured" if tile.measured else "not measured", tile.measured


def fit(block: int, size: int, smallest: int = 16) -> int:
    """`block`, halved until blocks of it cover `size` with at most an eighth of padding, or else with the least.

    So one row of a table serves channel counts that are no power of two: 64 covers 192, 32 covers 96. The result is
    no less than `smallest`.
    """
    blocks = [block]
    while blocks[-1] // 2 >= smallest:
        blocks.append(blocks[-1] // 2)
    covered = {candidate: -(-size // candidate) * candidate for candidate in blocks}
    enough = [candidate for candidate in blocks if 8 * covered[candidate] <= 9 * size]
    return enough[0] if enough else min(blocks, key=lambda candidate: (covered[candidate], -candidate))


def tile_of(row: dict[str, Any]) -> Tile:
    """The `Tile` that a row of a table describes."""
    sizes = dict(row["tile"])
    warps, stages = sizes.pop("num_warps"), sizes.pop("num_stages")
    return Tile(sizes, warps, stages, row.get("winner", "triton"), row.get("measured", False))


@lru_cache(maxsize=4096)
def _choose(op: str, arch: str, dtype: str, channels: int, kernel_size: int, work: int) -> Tile:
    values = {"channels": channels, "kernel_size": kernel_size, "work": work}
    for row in table(arch).get(op, []):
        when = row.get("when", {})
        if dtype in when.get("dtype", [dtype]) and all(values[key] <= when[key] for key in values if key in when):
            return tile_of(row)
    raise KeyError(f"no tile for {op} at {values} and {dtype} on {arch}")
