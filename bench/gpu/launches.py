"""How many kernels an utterance launches: `python -m bench.launches [--json] [--save]`, which needs no GPU.

Counted is every operator of torch that does something (views and allocations do not) and every launch of a Triton
kernel, those inside ops included, of one call of the whole model without CUDA graphs. Weights are derived and packed by
a call before it. The calls run on a CPU: where backend `triton` would launch a kernel, the launch is counted and the
reference gives the result, uncounted. What a GPU copies from the host is on a CPU the operator that made it, and counts
as one all the same.

A row: kind, model (`standard` and `bundled`: the published configuration and that of the bundled voice, with random
weights), candidate (`fastvits triton`, `fastvits eager`, or `transformers`), masked (whether there is an attention
mask), and `launches`, by stage and in total. With `--save` rows are added to `bench/results/launches.jsonl`.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from bench import harness
from bench.configurations import CONFIGURATIONS
from fastvits import VitsConfig, VitsModel
from fastvits_kernels.dispatch import packing, registry
from fastvits_kernels.launch import jit

RESULTS = harness.RESULTS / "launches.jsonl"
TOKENS = 59
STAGES = {
    "text_encoder": "text encoder",
    "duration_predictor": "duration predictor",
    "length_regulator": "length regulator",
    "flow": "flow",
    "decoder": "decoder",
}
"""By the name of the model's module, or of the op."""
REST = "rest"
CANDIDATES = ("fastvits triton", "fastvits eager", "transformers")

_NO_LAUNCH = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "resize_"}
"""Operators that only allocate, or that give a view which their schema does not own up to."""


class LaunchCounter(TorchDispatchMode):
    """Counts what the block inside would launch: `counts` by stage."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.stage = REST

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        ours = func.namespace not in ("aten", "prim", "prims")
        if ours and torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeExplicitAutograd"):
            # An operator made of others: its body is run under this mode, which would not see into it otherwise.
            with self:
                return func.redispatch(torch._C.DispatchKeySet(torch._C.DispatchKey.CPU), *args, **kwargs)
        if not is_free(func):
            self.counts[self.stage] += 1
        return func(*args, **kwargs)

    @property
    def total(self) -> int:
        """Everything counted."""
        return sum(self.counts.values())

    @contextmanager
    def counting_as(self, stage: str) -> Iterator[None]:
        """Count the block as `stage`."""
        before, self.stage = self.stage, stage
        try:
            yield
        finally:
            self.stage = before


def is_free(func: Any) -> bool:
    """Whether an operator launches nothing: it allocates, or returns a view of an input."""
    returns = func._schema.returns
    views = bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)
    return views or func._schema.name.partition("::")[2] in _NO_LAUNCH


_PACKED: dict[Any, Any] = {}
"""What was packed while launches were counted, apart from what the process keeps."""


@contextmanager
def _packing_as_on_a_gpu() -> Iterator[None]:
    """Weights are packed once, as on a GPU: the counter is a dispatch mode, under which nothing is kept otherwise; and
    their contents are not looked at, which on a CPU they are."""

    def may_keep(*tensors: Tensor) -> bool:
        return all(tensor.is_floating_point() and not tensor.is_meta for tensor in tensors)

    with (
        mock.patch.object(packing, "may_keep", may_keep),
        mock.patch.object(packing, "is_private", return_value=True),
        mock.patch.object(packing, "_kept", _PACKED),
    ):
        yield


@contextmanager
def counting(model: nn.Module | None = None) -> Iterator[LaunchCounter]:
    """Count the block's launches, by the stages of `model`; backend `triton` is a fake."""
    counter = LaunchCounter()
    kept = {op: op.implementations.get("triton") for op in registry.ops().values()}
    hooks = []
    for name, module in model.named_children() if model is not None else ():
        if name in STAGES:
            hooks.append(_Watch(module, STAGES[name], counter))
    try:
        for op, implementation in kept.items():
            if implementation is not None:
                op.implementations["triton"] = replace(implementation, run=_fake(op, implementation, counter))
        with _packing_as_on_a_gpu(), jit.recording(), counter:
            yield counter
    finally:
        for op, implementation in kept.items():
            if implementation is not None:
                op.implementations["triton"] = implementation
        for hook in hooks:
            hook.remove()


class _Watch:
    """Counts what a module does as a stage, until it is removed. A module of ours with hooks is called layer by layer,
    as the published one is: where it runs as a whole, that is wrapped."""

    def __init__(self, module: nn.Module, stage: str, counter: LaunchCounter) -> None:
        self.module = module
        self.handles: list[Any] = []
        run = getattr(module, "_run", None)
        if run is None:
            self.handles = _hooks(module, stage, counter)
            return

        def watched(*args: Any, **options: Any) -> Any:
            with counter.counting_as(stage):
                return run(*args, **options)

        module.__dict__["_run"] = watched

    def remove(self) -> None:
        self.module.__dict__.pop("_run", None)
        for handle in self.handles:
            handle.remove()


def _hooks(module: nn.Module, stage: str, counter: LaunchCounter) -> list[Any]:
    def enter(*_: Any) -> None:
        counter.stage = stage

    def leave(*_: Any) -> None:
        counter.stage = REST

    return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True)]


def _fake(op: registry.Op, implementation: registry.Implementation, counter: LaunchCounter) -> Callable[..., Any]:
    """The implementation with its launches counted and its result from the reference, which is not."""

    def run(*args: Any) -> Any:
        with counter.counting_as(STAGES.get(op.name, counter.stage)), jit.recording() as launches:
            implementation.run(*args)
            counter.counts[counter.stage] += len(launches)
        with _disable_current_modes():
            return op.reference(*args)

    return run


@torch.no_grad()
def launches_of(model: nn.Module, backend: str, masked: bool) -> dict[str, int]:
    """The launches of one call with a text of `TOKENS` tokens, by stage and in total. `model` may be a peer's."""
    ids = torch.randint(1, 30, (1, TOKENS), generator=torch.Generator().manual_seed(0))
    inputs: dict[str, Tensor] = {"input_ids": ids} | ({"attention_mask": torch.ones_like(ids)} if masked else {})
    torch.manual_seed(0)
    # On a CPU the model looks whether a mask masks anything, on a GPU it does not.
    with registry.use_backend(backend), mock.patch("fastvits.models.inputs.read_at_once", return_value=False):
        with counting():
            model(**inputs)  # derives and packs weights
        with counting(model) as counter:
            model(**inputs)
    return {stage: counter.counts[stage] for stage in (*STAGES.values(), REST)} | {"total": counter.total}


def measure(models: Sequence[str], candidates: Sequence[str]) -> list[dict[str, Any]]:
    """The rows for these models and candidates."""
    rows = []
    for name in models:
        for candidate in candidates:
            model = _published(name) if candidate == "transformers" else _own(name)
            if model is None:
                continue
            backend = "eager" if candidate.endswith("eager") else "triton"
            for masked in (False, True):
                found = launches_of(model, backend, masked)
                rows.append(
                    {"kind": "launches", "model": name, "candidate": candidate, "masked": masked, "launches": found}
                )
    return rows


def _own(name: str) -> VitsModel:
    torch.manual_seed(0)
    return VitsModel(VitsConfig(**CONFIGURATIONS[name]), inference_only=True).eval()


def _published(name: str) -> nn.Module | None:
    """The peer's model, where it is installed and has that configuration's residual blocks."""
    if CONFIGURATIONS[name].get("resblock_type", 1) != 1:
        return None
    try:
        import transformers
    except ImportError:
        return None
    torch.manual_seed(0)
    model: nn.Module = transformers.VitsModel(transformers.VitsConfig(**CONFIGURATIONS[name])).eval()
    return model


def as_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A table of the rows, one line a row."""
    stages = (*STAGES.values(), REST, "total")
    head = f"{'model':<10}{'candidate':<18}{'mask':<6}" + "".join(f"{stage:>20}" for stage in stages)
    return [
        head,
        *(
            f"{row['model']:<10}{row['candidate']:<18}{'yes' if row['masked'] else 'no':<6}"
            + "".join(f"{row['launches'][stage]:>20}" for stage in stages)
            for row in rows
        ),
    ]


def main(arguments: Sequence[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Count, print and perhaps save."""
    parser = argparse.ArgumentParser(prog="python -m bench.launches", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", action="append", choices=list(CONFIGURATIONS), help="default: all")
    parser.add_argument("--candidate", action="append", choices=CANDIDATES, help="default: all")
    parser.add_argument("--json", action="store_true", help="print rows as JSON, one a line")
    parser.add_argument("--save", action="store_true", help=f"add the rows to {RESULTS.relative_to(harness.ROOT)}")
    options = parser.parse_args(arguments)
    run = harness.Run(keep=options.save)
    rows = measure(options.model or list(CONFIGURATIONS), options.candidate or CANDIDATES)
    for line in [json.dumps(row, sort_keys=True) for row in rows] if options.json else as_lines(rows):
        say(line)
    run.keep(RESULTS, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
