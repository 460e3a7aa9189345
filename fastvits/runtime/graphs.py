"""Captured CUDA graphs: a stage of a call is recorded once for a padded shape and replayed for every call that fits.

A stage is a function of tensors alone. Its graph reads inputs of a fixed, padded shape (`fastvits.runtime.padding`)
that stay where they are: a call copies its tensors into their beginning, replays, and copies the results out before
anyone else may use the graph. What differs between graphs is the key: the stage and its options, the padded shape, the
backends in force and torch's flags for matrix products. The first call with a key runs as without graphs, the second
one records: a length that never returns costs nothing. `VitsModel.warmup` records ahead.

All graphs of a model on a device share one pool of memory, which is sound because they never run at the same time: a
lock a device is held from the first copy in to the last copy out, and an event lets a replay on one stream wait for
that on another. What torch cannot do during a recording (draw from the device's random generator, or record a second
graph) waits for `fastvits.runtime.recorder.recording_lock`, one for the process.

A graph holds the addresses of parameters and of what is derived from them. Before every replay the addresses and
version counters of all parameters are compared with those at the recording; a difference throws the graphs away.
"""

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, is_
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from fastvits_kernels.dispatch import registry
from fastvits_kernels.launch import jit

from .recorder import CudaRecorder, Recorded, Recorder

__all__ = ["GraphCache", "GraphLimits", "GraphStatistics", "GraphsSetting", "Padded", "parse_graphs", "surroundings"]

ENVIRONMENT_VARIABLE = "FASTVITS_GRAPHS"
CHOICES = ("auto", "off")

Outputs = TypeVar("Outputs")
Result = TypeVar("Result")

logger = logging.getLogger("fastvits")


@dataclass(frozen=True)
class GraphLimits:
    """How much a model may keep in graphs. Raises TypeError or ValueError for what is no positive whole number."""

    count: int = 64
    """Graphs of a model; the least recently used one goes."""
    bytes: int = 4 * 2**30
    """Device memory of a model's graphs, inputs and the shared pool together. A pool shrinks only as a whole: when it
    has grown beyond this, all graphs go, and are recorded anew as they are used."""
    steps: int = 16384
    """The largest padded `B * T` (tokens or frames) that is recorded. Larger calls keep the device busy without
    graphs."""

    def __post_init__(self) -> None:
        for name, value in (("count", self.count), ("bytes", self.bytes), ("steps", self.steps)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"GraphLimits: {name} must be a whole number, got {value!r}")
            if value < 1:
                raise ValueError(f"GraphLimits: {name} must be at least 1, got {value}")


GraphsSetting: TypeAlias = str | GraphLimits | None


def parse_graphs(setting: GraphsSetting, source: str = "graphs") -> GraphLimits | None:
    """The limits that a setting means, or None for no graphs; `source` names it in errors.

    `"auto"` means `GraphLimits()`, `"off"` none; None asks the environment variable `FASTVITS_GRAPHS`, which is `auto`
    (also where it is not set) or `off`. Raises TypeError or ValueError for anything else.
    """
    if isinstance(setting, GraphLimits):
        return setting
    if setting is None:
        setting, source = os.environ.get(ENVIRONMENT_VARIABLE) or "auto", ENVIRONMENT_VARIABLE
    if not isinstance(setting, str):
        raise TypeError(f"{source} must be 'auto', 'off', a GraphLimits or None, got {type(setting).__name__}")
    if setting not in CHOICES:
        raise ValueError(f"{source} is {setting!r}; choose 'auto' or 'off', or give a GraphLimits")
    return GraphLimits() if setting == "auto" else None


class Padded(NamedTuple):
    """An input of a stage: a call's tensor and the shape of the buffer that holds it."""

    tensor: Tensor
    shape: tuple[int, ...]
    zero: bool = False
    """Whether the buffer must be zero beyond the tensor; else anything finite may stand there."""


class _Watch:
    """Whether a model still is what its graphs were recorded from."""

    def __init__(self, model: nn.Module) -> None:
        modules = list(model.modules())
        # Not the model itself, which holds this: it must go when its last user lets it go.
        self.modules = modules[1:]
        slots = [
            (container, name, value)
            for module in modules
            for container in (module._parameters, module._buffers, module._modules)
            for name, value in container.items()
        ]
        # Compared at every call: as columns, which `map` walks in C.
        self.containers: list[Any] = [container for container, _, _ in slots]
        self.names = [name for _, name, _ in slots]
        self.values = [value for _, _, value in slots]
        self.all_containers: list[Any] = [
            container for module in modules for container in (module._parameters, module._buffers, module._modules)
        ]
        self.sizes = list(map(len, self.all_containers))
        self.hooks = [hooks for module in modules for hooks in (module._forward_hooks, module._forward_pre_hooks)]
        self.tensors = [value for value in self.values if isinstance(value, Tensor)]
        self.versioned = not any(tensor.is_inference() for tensor in self.tensors)
        self.state = self._state() if self.versioned else ()

    def _state(self) -> tuple[Any, ...]:
        return tuple(map(Tensor.data_ptr, self.tensors)), tuple(map(attrgetter("_version"), self.tensors))

    def unchanged(self) -> bool:
        """Whether all parameters and buffers are the same tensors, at the same addresses, not written to."""
        return (
            all(map(is_, map(dict.get, self.containers, self.names), self.values))
            and list(map(len, self.all_containers)) == self.sizes
            and (not self.versioned or self._state() == self.state)
        )

    def reason_against(self, model: nn.Module) -> str | None:
        """Why `model`, as it is, cannot run from graphs."""
        if not self.versioned:
            return "its parameters were made in inference mode, so that changes cannot be seen"
        if model.training or any(map(attrgetter("training"), self.modules)):
            return "it is in training mode"
        if any(map(len, self.hooks)):
            return "modules have hooks, which a replay would not call"
        return None


@dataclass
class _Entry:
    inputs: dict[str, Tensor]
    recorded: Recorded

    @property
    def bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in self.inputs.values())


@dataclass(frozen=True)
class GraphStatistics:
    """What a model's graphs hold and did."""

    count: int
    """Graphs that are there."""
    bytes: int
    """Their device memory."""
    recorded: int
    """Recordings so far."""
    replayed: int
    """Replays so far."""
    dropped: int
    """Graphs thrown away so far: least recently used, beyond the memory, or made stale by a change of the model."""
    failed: int
    """Recordings that failed; such a call runs without graphs from then on."""


class _Lane:
    """The graphs on one device, their lock and their pool."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.lock = threading.Lock()
        self.entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self.seen: OrderedDict[Hashable, None] = OrderedDict()
        self.failed: set[Hashable] = set()
        self.pool_bytes = 0


class GraphCache:
    """The graphs of one model. Safe to use from several threads."""

    def __init__(self, recorders: Mapping[str, Callable[[torch.device], Recorder]] | None = None) -> None:
        self._recorders = {"cuda": CudaRecorder} if recorders is None else dict(recorders)
        self._lanes: dict[torch.device, _Lane] = {}
        self._watch: _Watch | None = None
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(("recorded", "replayed", "dropped", "failed"), 0)
        self.compiled_for: set[Hashable] = set()
        """For what kinds of calls kernels were compiled ahead in this process."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "GraphCache":
        return GraphCache(self._recorders)

    def __reduce__(self) -> tuple[Any, ...]:
        return GraphCache, ()

    def usable(self, model: nn.Module, device: torch.device, *arguments: Tensor | None) -> bool:
        """Whether a call with these tensors may take graphs, here and now; throws away those that are stale."""
        watch = self._watched(model, device)
        if watch is None:
            return False
        if not torch.is_grad_enabled():
            return True
        tensors = (*watch.tensors, *(argument for argument in arguments if argument is not None))
        return not any(tensor.requires_grad for tensor in tensors)

    def has_graphs(self, device: torch.device) -> bool:
        """Whether this kind of device has graphs at all."""
        return device.type in self._recorders

    def unobserved(self, model: nn.Module, device: torch.device) -> bool:
        """Whether, here and now on a device that has graphs, nobody would notice a stage that runs once more."""
        return self._watched(model, device) is not None

    def _watched(self, model: nn.Module, device: torch.device) -> _Watch | None:
        if torch.compiler.is_compiling() or not self.has_graphs(device):
            return None
        if device.type == "cuda" and (torch.cuda.is_current_stream_capturing() or torch.is_autocast_enabled("cuda")):
            return None
        # Whoever counts operators or plans launches wants to see them.
        if jit.is_recording() or is_in_torch_dispatch_mode():
            return None
        with self._lock:
            if self._watch is None or not self._watch.unchanged():
                self._drop_all()
                self._watch = _Watch(model)
            watch = self._watch
        return None if watch.reason_against(model) is not None else watch

    def run(
        self,
        limits: GraphLimits,
        device: torch.device,
        key: Sequence[Hashable],
        stage: Callable[[dict[str, Tensor]], Outputs],
        inputs: Mapping[str, Padded],
        take: Callable[[Outputs], Result],
        *,
        at_once: bool = False,
    ) -> Result | None:
        """`take` of the stage's outputs by way of a graph; None where the stage has to be run without.

        `key` names the stage and its options; shapes, backends and flags are added. `take` must copy what it keeps.
        `at_once` records without waiting for a second call.
        """
        lane = self._lane(device)
        shapes = tuple((name, one.shape, one.tensor.dtype) for name, one in inputs.items())
        full_key = (*key, shapes, surroundings())
        with lane.lock:
            entry = lane.entries.get(full_key)
            if entry is None:
                if full_key in lane.failed or not (at_once or full_key in lane.seen):
                    _remember(lane.seen, full_key, 4 * limits.count)
                    return None
                entry = self._record(lane, limits, device, full_key, stage, inputs)
                if entry is None:
                    return None
            lane.entries.move_to_end(full_key)
            lane.recorder.before()
            try:
                _fill(entry.inputs, inputs)
                entry.recorded.replay()
                result = take(entry.recorded.outputs)
            finally:
                lane.recorder.after()
            self._counts["replayed"] += 1
            return result

    def _record(
        self,
        lane: _Lane,
        limits: GraphLimits,
        device: torch.device,
        key: Hashable,
        stage: Callable[[dict[str, Tensor]], Any],
        inputs: Mapping[str, Padded],
    ) -> _Entry | None:
        # Ordinary tensors even in inference mode: calls outside of it will write to them.
        with torch.inference_mode(False), torch.no_grad():
            try:
                while len(lane.entries) >= limits.count:
                    self._drop(lane, next(iter(lane.entries)))
                lane.recorder.before()
                buffers = {
                    name: torch.zeros(one.shape, dtype=one.tensor.dtype, device=device) for name, one in inputs.items()
                }
                _fill(buffers, inputs)
                entry = _Entry(buffers, lane.recorder.record(lambda: stage(buffers)))
            except Exception as error:  # whatever forbids a recording, the call can do without
                lane.failed.add(key)
                self._counts["failed"] += 1
                logger.warning("a CUDA graph could not be recorded, so that such calls run without: %s", error)
                return None
            finally:
                lane.recorder.after()
            self._counts["recorded"] += 1
            lane.entries[key] = entry
            lane.pool_bytes = lane.recorder.pool_bytes()
            if self._bytes(lane) > limits.bytes:
                if len(lane.entries) == 1:
                    lane.failed.add(key)
                    logger.warning("a CUDA graph alone exceeds GraphLimits.bytes, so that such calls run without")
                self._drop_lane(lane)
                return None
        return entry

    def statistics(self) -> GraphStatistics:
        """How many graphs there are, and what became of them."""
        lanes = list(self._lanes.values())
        count = sum(len(lane.entries) for lane in lanes)
        return GraphStatistics(count, sum(self._bytes(lane) for lane in lanes), **self._counts)

    def clear(self) -> None:
        """Throw all graphs away, and give their memory back to torch."""
        with self._lock:
            self._drop_all()

    def _lane(self, device: torch.device) -> _Lane:
        with self._lock:
            lane = self._lanes.get(device)
            if lane is None:
                lane = self._lanes[device] = _Lane(self._recorders[device.type](device))
            return lane

    @staticmethod
    def _bytes(lane: _Lane) -> int:
        return lane.pool_bytes + sum(entry.bytes for entry in list(lane.entries.values()))

    def _drop_all(self) -> None:
        for lane in self._lanes.values():
            with lane.lock:
                self._drop_lane(lane)
                lane.failed.clear()

    def _drop_lane(self, lane: _Lane) -> None:
        for key in list(lane.entries):
            self._drop(lane, key)

    def _drop(self, lane: _Lane, key: Hashable) -> None:
        lane.recorder.drain()
        del lane.entries[key]
        self._counts["dropped"] += 1
        if not lane.entries:
            lane.pool_bytes = 0
            lane.recorder.emptied()


def _fill(buffers: Mapping[str, Tensor], inputs: Mapping[str, Padded]) -> None:
    for name, (tensor, shape, zero) in inputs.items():
        buffer = buffers[name]
        if zero and tensor.shape != shape:
            buffer.zero_()
        buffer[tuple(slice(size) for size in tensor.shape)].copy_(tensor, non_blocking=True)


def _remember(seen: "OrderedDict[Hashable, None]", key: Hashable, count: int) -> None:
    seen[key] = None
    seen.move_to_end(key)
    while len(seen) > count:
        seen.popitem(last=False)


def surroundings() -> Hashable:
    """What beside the inputs decides which kernels a stage launches."""
    selection = registry.current_selection()
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    flags = (matmul.allow_tf32, cudnn.allow_tf32, cudnn.enabled, cudnn.benchmark, cudnn.deterministic)
    return selection.backend, tuple(sorted(selection.by_op.items())), flags
