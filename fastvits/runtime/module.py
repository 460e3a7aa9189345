"""A module whose calls can be told how to run: under which backend, and with graphs or without."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from fastvits_kernels.dispatch import packing, registry

from .backend import parse_backend
from .graphs import GraphCache, GraphLimits, GraphsSetting, parse_graphs
from .stages import StageRunner
from .workers import spread


def execution_device(module: nn.Module) -> torch.device:
    """Where a module without memory computes: where accelerate's hooks bring its parameters for a call, or nowhere."""
    for one in module.modules():
        device = getattr(one.__dict__.get("_hf_hook"), "execution_device", None)
        if device is not None:
            return torch.device(device)
    return torch.device("meta")


class RunnableModule(nn.Module):
    """A module with the settings `backend` and `graphs`, and the graphs of its stages in `graph_cache`."""

    def __init__(self) -> None:
        super().__init__()
        self.backend = None
        self.graphs = None
        self.graph_cache = GraphCache()
        self._watch = packing.Watch()

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the parameters."""
        return next(self.parameters()).dtype

    @property
    def backend(self) -> str | None:
        """Which implementations a call takes: `auto` or another of `BACKENDS`, with exceptions an op, such as
        `auto,spline_coupling=eager`. None: as `set_backend` or the environment says. A surrounding `use_backend` wins.

        Checked when it is set: TypeError for what is no string, ValueError for an unknown backend or op.
        """
        return self._backend

    @backend.setter
    def backend(self, value: str | None) -> None:
        parse_backend(value)
        self._backend = value

    @property
    def graphs(self) -> GraphsSetting:
        """Whether calls on a GPU replay CUDA graphs: `auto`, `off`, or a `GraphLimits`, which is `auto` with limits of
        its own. None: as the environment variable `FASTVITS_GRAPHS` says, `auto` where it is not set.

        Checked when it is set: TypeError or ValueError for anything else. A CPU has no graphs, and so no padding.
        `graph_cache.statistics()` tells what there is, `graph_cache.clear()` gives its memory back.
        """
        return self._graphs

    @graphs.setter
    def graphs(self, value: GraphsSetting) -> None:
        if value is not None:
            parse_graphs(value)
        self._graphs = value

    def graph_limits(self, *arguments: Tensor | None) -> GraphLimits | None:
        """The limits under which a call with these tensors takes graphs, here and now; None: it runs without.

        Looks at all of the module's parameters: a call asks once, for all of its stages.
        """
        limits = None if torch.compiler.is_compiling() else parse_graphs(self._graphs)
        return limits if limits is not None and self.graph_cache.usable(self, self.device, *arguments) else None

    def selected_backend(self) -> AbstractContextManager[None]:
        """A context in which ops run under `self.backend`, unless it is None or a `use_backend` block surrounds the
        call."""
        selection = parse_backend(self._backend)
        if selection is None or registry.context_is_set():
            return nullcontext()
        return registry.use_selection(selection)

    def entered(self, call: packing.WatchedCall | None = None) -> AbstractContextManager[None]:
        """A context for a call or, with one that was begun, a part of it: under the selected backend, with one look at
        the contents of weights."""
        if torch.compiler.is_compiling():  # which cannot trace what is a thread's own
            return self.selected_backend()
        return self._entered(call)

    @contextmanager
    def _entered(self, call: packing.WatchedCall | None) -> Iterator[None]:
        begun = self.begun_call() if call is None else call
        with self._watch.part(begun, self.parameters), self.selected_backend():
            yield

    def begun_call(self) -> packing.WatchedCall:
        """A call whose parts are to be entered one by one: a stream's pieces."""
        return self._watch.begin(spread)

    def stage_runner(self, limits: GraphLimits | None) -> StageRunner:
        """What runs the stages of one call: with `limits` by way of graphs, without plainly."""
        return StageRunner(self, self.graph_cache, self.device, self.dtype, limits, tuple(self.work_factors()))

    def work_factors(self) -> Sequence[int]:
        """How many steps the stages work on, for each step of their input: what tiles are chosen by."""
        return (1,)
