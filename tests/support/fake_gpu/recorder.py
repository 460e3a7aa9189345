"""A fake recorder of CUDA graphs, for `fastvits.runtime.graphs`."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor


def tensors(outputs: Any) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, list | tuple):
        for output in outputs:
            yield from tensors(output)


class FakeRecorder:
    """Stands for the recorder of a device: a replay runs the stage again, into the outputs of the recording."""

    fails: str | None = None

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.recordings = 0
        self.memory = 0
        self.in_use = False

    def record(self, run: Callable[[], Any]) -> "FakeGraph":
        if self.fails is not None:
            raise RuntimeError(self.fails)
        self.recordings += 1
        self.memory += 1000
        return FakeGraph(run, run())

    def before(self) -> None:
        assert not self.in_use, "two replays at the same time"
        self.in_use = True

    def after(self) -> None:
        self.in_use = False

    def drain(self) -> None:
        pass

    def pool_bytes(self) -> int:
        return self.memory

    def emptied(self) -> None:
        self.memory = 0


class FakeGraph:
    def __init__(self, run: Callable[[], Any], outputs: Any) -> None:
        self.run, self.outputs = run, outputs
        for tensor in tensors(outputs):
            tensor.fill_(float("nan") if tensor.is_floating_point() else 0)

    def replay(self) -> None:
        for old, new in zip(tensors(self.outputs), tensors(self.run()), strict=True):
            old.copy_(new)
