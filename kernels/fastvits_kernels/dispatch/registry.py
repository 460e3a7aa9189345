"""Which implementation each op takes, chosen at run time.

Every op has a reference in plain torch (backend `eager`) and may have faster implementations (`triton`, `onednn`, and
`channels_last`: the reference with another layout of its convolutions). What is asked for is found by `selection`.

An explicit backend that cannot run an op raises `BackendError` with the reason. `auto` takes the fastest implementation
that can run and falls back to the reference, logging each reason once.

Each op is also a `torch.library` operator of the namespace `fastvits` with a fake (shape) function, which
`torch.compile` and `torch.export` carry as one node; the choice is then made inside its body, at run time.
"""

import inspect
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from .callbacks import ALWAYS, Callback, named
from .devices import stands_for
from .gradients import gradients_of, tensors_in
from .packing import during
from .precision import ieee_products
from .selection import (
    BACKENDS,
    ENVIRONMENT_VARIABLE,
    BackendError,
    Selection,
    automatic_backend,
    context_is_set,
    current_selection,
    known_ops,
    parse_selection,
    select,
    set_backend,
    use_backend,
    use_selection,
)

__all__ = [
    "BACKENDS",
    "ENVIRONMENT_VARIABLE",
    "BackendError",
    "Call",
    "Callback",
    "Decision",
    "Implementation",
    "Op",
    "Selection",
    "automatic_backend",
    "context_is_set",
    "current_selection",
    "decisions",
    "dry_run",
    "forget_decisions",
    "gradients_of",
    "is_dry_run",
    "keep",
    "named",
    "ops",
    "parse_selection",
    "select",
    "set_backend",
    "tensors_in",
    "use_backend",
    "use_selection",
    "without_autocast",
]

logger = logging.getLogger("fastvits")


@dataclass(frozen=True)
class Decision:
    """What an op took: the backend, why, and whether a measurement on this device stands behind it."""

    op: str
    backend: str
    reason: str
    measured: bool


@dataclass(frozen=True)
class Call:
    """A call of an op that was planned and not run."""

    op: "Op"
    args: tuple[Any, ...]
    decision: Decision


_dry_run: ContextVar[list[Call] | None] = ContextVar("fastvits_dry_run", default=None)
_ops: dict[str, "Op"] = {}
_decisions: OrderedDict[tuple[str, str, str], Decision] = OrderedDict()
_decisions_lock = threading.Lock()
_logged: set[str] = set()


def ops() -> Mapping[str, "Op"]:
    """All registered ops by name."""
    return _ops


@contextmanager
def dry_run() -> Iterator[list[Call]]:
    """Decide and do not run: inside the block ops return empty outputs, and the list collects their calls.

    Meant for tensors on the meta device; see `devices.assume`. Raises `BackendError` as running would.
    """
    calls: list[Call] = []
    token = _dry_run.set(calls)
    try:
        yield calls
    finally:
        _dry_run.reset(token)


def is_dry_run() -> bool:
    """Whether a block of `dry_run` surrounds this."""
    return _dry_run.get() is not None


@lru_cache
def _automatic_decision(op: str, backend: str, device: torch.device) -> Decision:
    return Decision(op, backend, f"auto on {device.type}", False)


# Made once, for every call asks for one.
_preferred_decision = lru_cache(Decision)


@dataclass(frozen=True)
class Implementation:
    """A way to run an op: `supports` answers None, or why not; `prefers` says what `auto` should take where it could
    take this one (a backend, the reason, and whether that was measured).

    Both name the arguments that they read, and no others: `Op.register` makes callbacks of them.

    `backward(grads, arguments)` gives the gradients of a call that this implementation ran: one entry an argument, None
    where it wants none, and a list for a list. Without it they come from the reference, recomputed. Where `run` has set
    tensors aside (`keep`), they are a third argument; in a second pass through the same graph there is none.
    """

    run: Callable[..., Any]
    supports: Any = ALWAYS
    prefers: Any = None
    backward: Callable[..., tuple[Any, ...]] | None = None


class Op:
    """A function of tensors with a reference and, perhaps, faster implementations.

    `reference` is the specification; its signature gives the operator's schema. `fake` returns empty outputs of the
    right shape and dtype. `check` raises ValueError where the arguments do not fit each other; it comes before
    everything else, for fake tensors too. `ieee` says whether matrices are multiplied as IEEE float32 even where
    torch's flags allow TF32: kernels see to it themselves, for what runs in plain torch it is done here. These three,
    and those of an `Implementation`, name the arguments that they read, and no others (`Callback`).

    `composed` is for an op that is made of others: the same function as calls of these. It runs where gradients are
    wanted, so that those of the parts are taken and nothing is computed twice.
    """

    def __init__(
        self,
        name: str,
        reference: Callable[..., Any],
        fake: Callable[..., Any],
        check: Callable[..., None],
        ieee: Callable[..., bool] | bool = False,
        composed: Callable[..., Any] | None = None,
    ) -> None:
        self.name = name
        self.reference = reference
        self.parameters = inspect.signature(reference).parameters
        self._arity = len(self.parameters)
        self._defaults = tuple(parameter.default for parameter in self.parameters.values())
        self.fake = Callback.of(self, fake)
        self.check = Callback.of(self, check)
        self.ieee = ieee if isinstance(ieee, bool) else Callback.of(self, ieee)
        self.composed = composed
        self.implementations: dict[str, Implementation] = {}
        schema = torch.library.infer_schema(reference, mutates_args=())
        definition = torch.library.custom_op(f"fastvits::{name}", self._run_inside, mutates_args=(), schema=schema)
        definition.register_fake(self._fake_inside)
        definition.register_autograd(self._backward, setup_context=self._setup_context)
        self.library_op = getattr(torch.ops.fastvits, name).default
        _ops[name] = self
        known_ops.add(name)

    def register(self, backend: str, implementation: Implementation) -> None:
        """Add an implementation for `backend` (one of `BACKENDS`, neither `auto` nor `eager`)."""
        if backend not in BACKENDS[2:]:
            raise ValueError(f"an implementation is for one of {', '.join(BACKENDS[2:])}, got {backend!r}")
        supports = Callback.of(self, implementation.supports)
        prefers = None if implementation.prefers is None else Callback.of(self, implementation.prefers)
        self.implementations[backend] = replace(implementation, supports=supports, prefers=prefers)

    def complete(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments with the defaults of those that were left out at the end."""
        return args if len(args) == self._arity else args + self._defaults[len(args) :]

    def __call__(self, *args: Any) -> Any:
        if torch.compiler.is_compiling():
            return self.library_op(*args)
        if torch._C._is_any_autocast_enabled():
            with without_autocast():
                return self(*args)
        if len(args) != self._arity:
            args = self.complete(args)
        self.check.function(*self.check.pick(args))
        calls = _dry_run.get()
        if calls is not None:
            calls.append(Call(self, args, self._decide(args)))
            return self.fake(*args)
        run = self._resolve(args)
        if run is not self.reference and torch.is_grad_enabled() and any(t.requires_grad for t in tensors_in(args)):
            return self.library_op(*args) if self.composed is None else self._run_composed(args)
        return run(*args)

    def _run_composed(self, args: tuple[Any, ...]) -> Any:
        """The parts one by one, under the backend that was asked for the whole."""
        assert self.composed is not None
        selection = current_selection()
        with use_selection(replace(selection, backend=selection.for_op(self.name))):
            return self.composed(*args)

    def parts(self, *args: Any) -> list[Call]:
        """The calls of other ops that these arguments mean where gradients are wanted; none for an op that is not made
        of others. Nothing is run; meant for tensors on the meta device."""
        if self.composed is None:
            return []
        with dry_run() as calls:
            self.composed(*self.complete(args))
        return calls

    def resolve(self, *args: Any) -> Decision:
        """The decision for these arguments, without running anything; raises `BackendError` as a call would."""
        return self._decide(self.complete(args))

    def _decide(self, args: tuple[Any, ...]) -> Decision:
        asked = current_selection().for_op(self.name)
        if asked == "eager":
            return Decision(self.name, "eager", "asked for", False)
        if asked != "auto":
            implementation = self.implementations.get(asked)
            reason = (
                f"{self.name} has no {asked} implementation"
                if implementation is None
                else implementation.supports(*args)
            )
            if reason is not None:
                raise BackendError(f"backend {asked!r} cannot run {self.name}: {reason}")
            return Decision(self.name, asked, "asked for", False)
        device = _device_of(args)
        backend = automatic_backend(device)
        implementation = self.implementations.get(backend)
        if implementation is None:
            return Decision(self.name, "eager", f"no {backend} implementation", False)
        supports = implementation.supports
        reason = supports.function(*supports.pick(args))
        if reason is not None:
            if reason not in _logged:
                _logged.add(reason)
                # On a CUDA device faster kernels were to be expected; elsewhere there is nothing to be done about it.
                level = logging.WARNING if device.type == "cuda" else logging.INFO
                logger.log(level, "%s runs eager: %s (said once for all ops)", self.name, reason)
            return Decision(self.name, "eager", reason, False)
        if implementation.prefers is not None:
            preferred, why, measured = implementation.prefers.function(*implementation.prefers.pick(args))
            chosen = preferred if preferred in self.implementations else "eager"
            return _preferred_decision(self.name, chosen, why, measured)
        return _automatic_decision(self.name, backend, device)

    def _resolve(self, args: tuple[Any, ...]) -> Callable[..., Any]:
        decision = self._decide(args)
        _record(decision)
        eager = decision.backend == "eager"
        run = self.reference if eager else self.implementations[decision.backend].run
        # Kernels of ours see to it themselves.
        plain = eager or decision.backend == "channels_last"
        return partial(_with_ieee_products, run) if plain and self._keeps_from_tf32(args) else run

    def _keeps_from_tf32(self, args: tuple[Any, ...]) -> bool:
        """Whether plain torch has to be told to multiply as IEEE float32: of all devices only GPUs have TF32."""
        return _device_of(args).type == "cuda" and (self.ieee if isinstance(self.ieee, bool) else self.ieee(*args))

    def _run_inside(self, *args: Any) -> Any:
        """The operator's body: below autograd, so the implementation runs without a graph. Compiled code may hand one
        weight after another in one buffer."""
        args = self.complete(args)
        self.check(*args)
        with without_autocast(), during(None), _in_operator():
            result = self._resolve(args)(*args)
        return _as_promised(result) if isinstance(result, Tensor) else tuple(_as_promised(tensor) for tensor in result)

    def _fake_inside(self, *args: Any) -> Any:
        self.check(*args)
        return self.fake(*args)

    def _setup_context(self, ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.arguments = self.complete(inputs)
        ctx.kept, _operator.kept = _operator.kept, ()
        # Decided here, for the thread of the backward pass does not know what `use_backend` chose for this one. What is
        # traced stays with the reference, made of operators that compilers know.
        traced = any(type(tensor) not in (Tensor, Parameter) for tensor in tensors_in(inputs))
        backend = "eager" if traced or torch.compiler.is_compiling() else self._decide(ctx.arguments).backend
        chosen = self.implementations.get(backend)
        ctx.implemented = None if chosen is None else chosen.backward

    def _backward(self, ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        """Gradients by the implementation that ran, or else through the reference, recomputed: right for all."""
        with without_autocast():
            return self._gradients(ctx, grads)[: self._counted(ctx.arguments)]

    def _counted(self, args: tuple[Any, ...]) -> int:
        """How many arguments torch wants gradients of: it leaves those out at the end that are the default."""
        count = len(args)
        while count and not isinstance(args[count - 1], Tensor) and args[count - 1] == self._defaults[count - 1]:
            count -= 1
        return count

    def _gradients(self, ctx: Any, grads: tuple[Tensor, ...]) -> tuple[Any, ...]:
        arguments = ctx.arguments
        # Gradients that are to be differentiated in turn come from the reference, whose operators are.
        if ctx.implemented is not None and not torch.is_grad_enabled():
            # Let go with the first pass, not with the graph: what a network keeps is gone as its gradients come.
            kept, ctx.kept = ctx.kept, ()
            found: tuple[Any, ...] = ctx.implemented(grads, arguments, *([kept] if kept else []))
            return found
        with ieee_products() if self._keeps_from_tf32(arguments) else nullcontext():
            return gradients_of(self.reference, arguments, grads, again=torch.is_grad_enabled())


class _Operator(threading.local):
    runs = False
    kept: tuple[Tensor, ...] = ()


_operator = _Operator()


@contextmanager
def _in_operator() -> Iterator[None]:
    before, _operator.runs, _operator.kept = _operator.runs, True, ()
    try:
        yield
    finally:
        _operator.runs = before


def in_operator() -> bool:
    """Whether this thread is in the body of an operator of torch, which is below autograd: so it is where gradients
    were wanted, and in compiled code. Calls that want none run the implementation itself."""
    return _operator.runs


def keep(*tensors: Tensor) -> None:
    """Set tensors aside for the gradients of the call that runs in this thread, which is the body of an operator whose
    result will have some (`in_operator`, and a tensor among the arguments that wants one)."""
    _operator.kept = tensors


@contextmanager
def without_autocast() -> Iterator[None]:
    """Run the block without autocast, on all devices: an op computes in the precision of what it is given, for it
    would have to convert all weights in each call, and half of what it does is not torch's to convert."""
    if not torch._C._is_any_autocast_enabled():
        yield
        return
    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        yield


def _with_ieee_products(run: Callable[..., Any], *args: Any) -> Any:
    with ieee_products():
        return run(*args)


def _as_promised(result: Tensor) -> Tensor:
    """`result` laid out as a fake function promises it to compiled code: contiguous, from the start of its storage."""
    if result.is_contiguous() and result.storage_offset() == 0:
        return result
    return result.clone(memory_format=torch.contiguous_format)


def _device_of(args: tuple[Any, ...]) -> torch.device:
    """What the device of the first tensor among the arguments stands for; the others are not looked at."""
    return stands_for(next(tensors_in(args)).device)


def _record(decision: Decision) -> None:
    key = (decision.op, decision.backend, decision.reason)
    if key in _decisions:
        return
    with _decisions_lock:
        _decisions[key] = decision
        while len(_decisions) > 1024:
            _decisions.popitem(last=False)


def decisions() -> list[Decision]:
    """What was decided in this process so far, one entry for each distinct op, backend and reason."""
    with _decisions_lock:
        return list(_decisions.values())


def forget_decisions() -> None:
    """Empty what `decisions` returns."""
    with _decisions_lock:
        _decisions.clear()
