"""Tile choices measured on this machine's GPU: what `fastvits tune` writes.

For every op that a model calls, at texts of several lengths, the tiles that other shapes use and their neighbours (half
and double the warps, a stage more or less, half and double a side) are checked against the reference, then timed in
turn with it. The fastest becomes a row of `tuned/<arch>.json`, with `winner` saying whether Triton, eager, or eager
with channels-last convolutions won. See `fastvits_kernels.launch.tiles` for the file.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastvits_kernels.dispatch import devices, registry
from fastvits_kernels.dispatch.registry import Call
from fastvits_kernels.launch import jit, tiles
from fastvits_kernels.launch.ahead import compile_ahead

from ..configuration import VitsConfig
from ..models.vits import VitsModel
from ..storage import write_text
from .explain import planned_calls

__all__ = ["MODES", "SIZES", "Shape", "Size", "candidates", "shapes_of", "time_on_gpu", "tune", "write_table"]

MODES = {
    "float32": (torch.float32, False),
    "tf32": (torch.float32, True),
    "float16": (torch.float16, False),
    "bfloat16": (torch.bfloat16, False),
}
"""What is tuned for: a model's dtype, and whether torch's flags allow TF32."""

_AT_ONCE = 16
"""Tiles of a shape that are compiled together, before they are tried one by one."""

Timer = Callable[[Sequence[Callable[[], Any]]], list[float]]
"""Seconds that each function takes, measured in turn."""


@dataclass(frozen=True)
class Size:
    """A call to tune for: a text of `tokens` that lasts `frames`, `batch` times."""

    tokens: int
    frames: int
    batch: int


SIZES = (Size(30, 64, 1), Size(115, 250, 1), Size(460, 1000, 1), Size(920, 2000, 1), Size(115, 250, 32))
"""About 1, 4, 16 and 32 seconds alone, and 4 seconds in a batch of 32."""


@dataclass(frozen=True)
class Shape:
    """What a table looks tiles up by, and a call of that shape; the call's tensors have no memory."""

    op: str
    dtype: str
    channels: int
    kernel_size: int
    work: int
    tile: tiles.Tile
    call: Call
    tf32: bool

    @property
    def when(self) -> dict[str, Any]:
        """The conditions of the row for this shape."""
        return {
            "dtype": [self.dtype],
            "channels": self.channels,
            "kernel_size": self.kernel_size,
            "work": tiles.bucket(self.work),
        }


def shapes_of(
    configs: Iterable[VitsConfig],
    device: torch.device,
    *,
    ops: Sequence[str] | None = None,
    modes: Iterable[str] = MODES,
    sizes: Iterable[Size] = SIZES,
) -> list[Shape]:
    """The shapes that models of these configurations call Triton's ops at, one for each row that a table can have."""
    found: dict[str, Shape] = {}
    sizes = tuple(sizes)
    for config in configs:
        for mode in modes:
            dtype, tf32 = MODES[mode]
            with torch.device("meta"):
                model = VitsModel(config, inference_only=True).eval().to(dtype)
            for size in sizes:
                with registry.use_backend("eager"):
                    calls = planned_calls(model, masked=False, **vars(size))
                for call in chain.from_iterable(map(_to_time, calls)):
                    implementation = call.op.implementations.get("triton")
                    if implementation is None or implementation.prefers is None:
                        continue
                    with allowing_tf32(tf32), devices.assume(device), tiles.observing() as choices, jit.recording():
                        if implementation.supports(*call.args) is None:
                            # What is made of others looks its tiles up where it launches.
                            look_up = implementation.prefers if call.op.composed is None else implementation.run
                            look_up(*call.args)
                    for choice in choices:
                        if ops is not None and choice.op not in ops and call.op.name not in ops:
                            continue
                        looked_up = (choice.channels, choice.kernel_size, choice.work)
                        shape = Shape(choice.op, choice.dtype, *looked_up, choice.tile, call, tf32)
                        key = json.dumps([shape.op, shape.when])
                        # The largest of a bucket stands for it: there a wrong tile costs the most.
                        if key not in found or found[key].work < shape.work:
                            found[key] = shape
    return list(found.values())


def _to_time(call: Call) -> list[Call]:
    """What to time for the tiles of a call: of an op made of others, alone what it does once, and then the whole, for
    what it does several times and reads as the whole stores it."""
    parts = call.op.parts(*call.args)
    names = [part.op.name for part in parts]
    return [*(part for part in parts if names.count(part.op.name) == 1), call]


def candidates(shape: Shape, device: torch.device) -> list[tiles.Tile]:
    """Tiles to try: the one in use, those of the op's other rows for the dtype, the one in use with one side halved or
    doubled, then the neighbours of the first two in warps and stages."""
    rows = tiles.table(tiles.arch_of(device)).get(shape.op, [])
    known = [shape.tile]
    known += [tiles.tile_of(row) for row in rows if shape.dtype in row.get("when", {}).get("dtype", [shape.dtype])]
    found: dict[str, tiles.Tile] = {}
    # The tiles themselves before their neighbours: the last ones may not be tried.
    for tile in (*known, *_resized(shape.tile)):
        _keep(found, tile, tile.num_warps, tile.num_stages)
    for more_warps, more_stages in product((1, 2, 0.5), (0, 1, -1)):
        for tile in known:
            _keep(found, tile, int(tile.num_warps * more_warps), tile.num_stages + more_stages)
    return list(found.values())


def _resized(tile: tiles.Tile) -> Iterator[tiles.Tile]:
    """`tile` with one size halved, a block to 16 at least, or doubled, to 512 at most (what is no block: 1 and 16)."""
    for name, size in tile.sizes.items():
        least, most = (16, 512) if name.startswith("BLOCK_") else (1, 16)
        for other in (size // 2, size * 2):
            if (least if other < size else 0) <= other <= most:
                yield replace(tile, sizes={**tile.sizes, name: other})


def _keep(found: dict[str, tiles.Tile], tile: tiles.Tile, warps: int, stages: int) -> None:
    """Add `tile` with these warps and stages to `found`, if a launch may have as many."""
    if 1 <= warps <= 16 and 1 <= stages <= 5:
        other = replace(tile, num_warps=warps, num_stages=stages, winner="triton", measured=True)
        found.setdefault(json.dumps([other.sizes, warps, stages]), other)


def time_on_gpu(functions: Sequence[Callable[[], Any]], *, rounds: int = 15, warm_up: int = 2) -> list[float]:
    """The median seconds of each function on the current CUDA device, in turn, with an L2 cache that has been
    flushed."""
    flushed = torch.empty(256 * 2**20, dtype=torch.int8, device="cuda")
    taken: list[list[float]] = [[] for _ in functions]
    for round_ in range(warm_up + rounds):
        for function, times in zip(functions, taken, strict=True):
            flushed.zero_()
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            function()
            end.record()
            end.synchronize()
            if round_ >= warm_up:
                times.append(start.elapsed_time(end) / 1e3)
    return [statistics.median(times) for times in taken]


def tune(
    configs: Iterable[VitsConfig],
    device: torch.device,
    *,
    ops: Sequence[str] | None = None,
    modes: Iterable[str] = MODES,
    sizes: Iterable[Size] = SIZES,
    timer: Timer = time_on_gpu,
    progress: Callable[[int, int], None] | None = None,
    finished: Callable[[dict[str, Any]], None] | None = None,
    patience: Callable[[], float] | None = None,
) -> dict[str, Any]:
    """Measure tiles for models of these configurations on `device`, and return the table for `write_table`.

    A tile counts if it launches, and if its result is as near to the reference in float64 as twice the distance of the
    reference in the call's own dtype. `progress` is called with the shapes done and the shapes in all,
    `finished` with a table of one row for each shape that gets one. `patience` says, asked before each shape, after how
    many seconds no further tile of it is tried; one always is.

    Raises `BackendError` where Triton cannot run on the device, ValueError for an unknown op or mode.
    """
    unknown = [name for name in ops or () if name not in registry.ops()]
    if unknown:
        raise ValueError(f"unknown op {unknown[0]!r}; the ops are {', '.join(sorted(registry.ops()))}")
    modes = tuple(modes)
    if not set(modes) <= set(MODES):
        raise ValueError(f"modes are {', '.join(MODES)}, got {', '.join(modes)}")
    _check_device(device)
    shapes = shapes_of(configs, device, ops=ops, modes=modes, sizes=sizes)
    rows: dict[str, list[dict[str, Any]]] = {}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    about = f"Measured on {name} with torch {torch.__version__} on {time.strftime('%Y-%m-%d')}."
    with torch.no_grad():
        for done, shape in enumerate(shapes):
            if progress is not None:
                progress(done, len(shapes))
            row = _best(shape, device, timer, None if patience is None else time.monotonic() + patience())
            if row is not None:
                rows.setdefault(shape.op, []).append(row)
                if finished is not None:
                    finished({"about": about, "ops": {shape.op: [row]}})
    if progress is not None:
        progress(len(shapes), len(shapes))
    for found in rows.values():
        # Upper bounds, the first fitting row wins: the narrow ones go first.
        found.sort(key=lambda row: [row["when"][name] for name in ("dtype", "channels", "kernel_size", "work")])
    return {"about": about, "ops": dict(sorted(rows.items()))}


def _check_device(device: torch.device) -> None:
    """Raise `BackendError` where Triton's kernels cannot run."""
    if device.type == "cuda" and not torch.cuda.is_available():
        raise registry.BackendError("tuning needs a GPU: torch finds none here")
    probe = torch.empty(1, 1, 2, device="meta")
    with registry.use_backend("triton"), devices.assume(device):
        registry.ops()["gated_activation"].resolve(probe, None)


def _best(shape: Shape, device: torch.device, timer: Timer, until: float | None) -> dict[str, Any] | None:
    """The row for a shape; None where no tile is right there, so that what other tables say holds on. No
    tile but the first is tried past `until` (`time.monotonic`)."""
    op, run = shape.call.op, shape.call.op.implementations["triton"].run
    plain = {"eager": op.reference}
    if "channels_last" in op.implementations:
        plain["channels_last"] = op.implementations["channels_last"].run
    generator = torch.Generator().manual_seed(0)
    arguments = tuple(_with_memory(argument, device, generator) for argument in shape.call.args)
    with allowing_tf32(shape.tf32):
        expected = _outputs(op.reference(*_in_float64(arguments)))
        eager_outputs = _outputs(op.reference(*arguments))
        round_off = max(torch.finfo(tensor.dtype).eps for tensor in eager_outputs)
        limit = 2 * _distance(eager_outputs, expected) + 4 * round_off
        right: list[tiles.Tile] = []
        tried = candidates(shape, device)
        for at, tile in enumerate(tried):
            if at and until is not None and time.monotonic() > until:
                break
            if at % _AT_ONCE == 0:
                compile_ahead(partial(_run_forced, run, arguments, shape.op, tried[at : at + _AT_ONCE]), device)
            with tiles.forced_tile(shape.op, tile):
                try:
                    found = _outputs(run(*arguments))
                except Exception:  # Triton raises types of its own, by version, for tiles that a GPU has no room for
                    continue
            if _distance(found, expected) <= limit:
                right.append(tile)
        if not right:
            return None
        plain = {name: way for name, way in plain.items() if _distance(_outputs(way(*arguments)), expected) <= limit}
        del expected, eager_outputs

        def forced(tile: tiles.Tile) -> Callable[[], Any]:
            def call() -> Any:
                with tiles.forced_tile(shape.op, tile):
                    return run(*arguments)

            return call

        times = timer([*(partial(way, *arguments) for way in plain.values()), *map(forced, right)])
    fast = times[len(plain) :]
    tile = right[fast.index(min(fast))]
    # The order breaks ties.
    seconds = {"triton": min(fast), **dict(zip(plain, times, strict=False))}
    return {
        "when": shape.when,
        "tile": {**tile.sizes, "num_warps": tile.num_warps, "num_stages": tile.num_stages},
        "winner": min(seconds, key=lambda name: seconds[name]),
        "measured": True,
        "microseconds": {name: round(taken * 1e6, 2) for name, taken in seconds.items()},
    }


def _run_forced(run: Callable[..., Any], arguments: tuple[Any, ...], op: str, some: Sequence[tiles.Tile]) -> None:
    for tile in some:
        with tiles.forced_tile(op, tile):
            run(*arguments)


def _distance(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest relative RMS distance of the outputs; infinite where there is a NaN."""
    distances = []
    for one, other in zip(found, expected, strict=True):
        scale = float(other.double().norm()) or 1.0
        distance = float((one.double() - other.double()).norm()) / scale
        distances.append(distance if distance == distance else float("inf"))
    return max(distances)


def _outputs(result: Any) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else tuple(result)


def _in_float64(arguments: Any) -> Any:
    if isinstance(arguments, Tensor):
        return arguments.double() if arguments.is_floating_point() else arguments
    return type(arguments)(map(_in_float64, arguments)) if isinstance(arguments, (list, tuple)) else arguments


def _with_memory(argument: Any, device: torch.device, generator: torch.Generator) -> Any:
    """A meta tensor as a real one of the same strides: small numbers, and for integers (durations) two frames each."""
    if isinstance(argument, (list, tuple)) and argument and isinstance(argument[0], Tensor):
        return [_with_memory(item, device, generator) for item in argument]
    if not isinstance(argument, Tensor):
        return argument
    out = torch.empty_strided(argument.shape, argument.stride(), dtype=argument.dtype, device=device)
    if argument.is_floating_point():
        return out.copy_(torch.randn(argument.shape, generator=generator) * 0.1)
    return out.fill_(2)


@contextmanager
def allowing_tf32(allowed: bool) -> Iterator[None]:
    """Set torch's two flags for TF32 inside the block."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def write_table(table: Mapping[str, Any], path: Path) -> None:
    """Write a table as `tuned/<arch>.json` is laid out, a row a line, whole or not at all."""
    lines = ["{", f' "about": {json.dumps(table["about"])},', ' "ops": {']
    ops = list(table["ops"].items())
    for number, (name, rows) in enumerate(ops):
        lines.append(f"  {json.dumps(name)}: [")
        lines += [f"   {json.dumps(row)}{',' if at + 1 < len(rows) else ''}" for at, row in enumerate(rows)]
        lines.append("  ]," if number + 1 < len(ops) else "  ]")
    lines += [" }", "}"]
    write_text(path, "\n".join(lines) + "\n")
