"""How one stage of a call is run: by way of a graph, or plainly with its kernels compiled ahead.

A stage is a function of tensors `[B, ...]`, most of them `[B, T, ...]`. A graph has room for `items` and `steps` of
padded sizes: inputs are copied into their beginning, and outputs cut back to what the call has.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from fastvits_kernels.launch import tiles
from fastvits_kernels.launch.ahead import compile_ahead

from .graphs import GraphCache, GraphLimits, Padded, surroundings
from .padding import padded_size

Outputs = TypeVar("Outputs")
Result = TypeVar("Result")


class StageInput(NamedTuple):
    """A tensor that a stage reads."""

    tensor: Tensor  # [B, T, ...] or [B, ...]
    timed: bool = True
    """Whether its second axis is `T`, which is padded."""
    zero: bool = False
    """Whether a graph must see zeros beyond the tensor; else anything finite may stand there."""


@dataclass(frozen=True)
class StageRunner:
    """Runs the stages of one call of `module`."""

    module: nn.Module
    cache: GraphCache
    device: torch.device
    dtype: torch.dtype
    limits: GraphLimits | None
    """Under which graphs may do it; None: it runs without."""
    work_factors: tuple[int, ...]
    """How many steps the stages work on, for each step of their input."""

    def by_graph(
        self,
        name: str,
        compute: Callable[[dict[str, Tensor]], Outputs],
        inputs: Mapping[str, StageInput],
        steps: int,
        take: Callable[[Outputs, Callable[[Tensor], Tensor]], Result],
        *,
        at_once: bool = False,
    ) -> Result | None:
        """`compute` of the inputs by way of a graph for `steps` steps; None where it has to run without.

        `name` is that of the stage among graphs. `take` turns its outputs into what the call keeps; it is given a
        function that cuts an output `[items, n steps, ...]` or `[items]` back to the call's size, and copies it. With
        `at_once` a graph is recorded without waiting for a second call.
        """
        first = next(iter(inputs.values())).tensor
        batch, length = first.shape[0], max(one.tensor.shape[1] for one in inputs.values() if one.timed)
        items = padded_size(batch)
        if self.limits is None or items * steps > self.limits.steps:
            return None
        padded = {
            key: Padded(tensor, (items, *((steps, *tensor.shape[2:]) if timed else tensor.shape[1:])), zero)
            for key, (tensor, timed, zero) in inputs.items()
        }

        def own(x: Tensor) -> Tensor:
            cut = x[:batch] if x.dim() == 1 else x[:batch, : length * (x.shape[1] // steps)]
            return cut.clone()

        return self.cache.run(
            self.limits, self.device, (name,), compute, padded, lambda outputs: take(outputs, own), at_once=at_once
        )

    def work_of(self, x: Tensor) -> tuple[int, ...]:
        """What tiles are chosen by, for `x` `[B, T, ...]` and all that the stages make of so many steps."""
        return tuple(tiles.bucket(x.shape[0] * x.shape[1] * factor) for factor in self.work_factors)

    def compile_ahead(self, name: str, run: Callable[[], Any], x: Tensor, *others: Tensor | None) -> None:
        """Have what `run` is about to launch on a GPU for `x` `[B, T, ...]` compiled on all processors, where it is the
        first of its kind and size: else a new process's first call waits for one kernel after the other."""
        if torch.compiler.is_compiling() or not self.cache.has_graphs(self.device):
            return
        kinds = tuple(None if other is None else other.dtype for other in others)
        key: Hashable = (name, self.device, self.dtype, kinds, self.work_of(x), surroundings())
        if key not in self.cache.compiled_for and self.cache.unobserved(self.module, self.device):
            compile_ahead(run, self.device)
            self.cache.compiled_for.add(key)
