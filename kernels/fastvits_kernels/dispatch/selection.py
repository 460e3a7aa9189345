"""Which backend is asked for: by a block, by the process, by the environment, and for single ops.

Found in this order: `use_backend(...)` around the call, `set_backend(...)` for the process, the environment variable
`FASTVITS_BACKEND`, and `auto`. A choice is a backend for all ops, with exceptions an op: `use_backend("auto",
spline_coupling="eager")`, or `FASTVITS_BACKEND=auto,spline_coupling=eager`.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache

import torch

BACKENDS = ("auto", "eager", "triton", "onednn", "channels_last")
ENVIRONMENT_VARIABLE = "FASTVITS_BACKEND"


class BackendError(RuntimeError):
    """An implementation that was asked for by name cannot run; the message says why."""


@dataclass(frozen=True)
class Selection:
    """A backend for all ops, and exceptions by op name."""

    backend: str = "auto"
    by_op: Mapping[str, str] = field(default_factory=dict)

    def for_op(self, name: str) -> str:
        return self.by_op.get(name, self.backend)


_AUTOMATIC = Selection()


_context_selection: ContextVar[Selection | None] = ContextVar("fastvits_backend", default=None)
_process_selection: Selection | None = None
known_ops: set[str] = set()
"""The names of all registered ops."""


def select(backend: str, by_op: Mapping[str, str]) -> Selection:
    """A checked `Selection`; raises ValueError for an unknown backend or op."""
    for name, chosen in [("backend", backend), *by_op.items()]:
        if not isinstance(chosen, str):
            raise TypeError(
                f"a backend is a name, one of {', '.join(BACKENDS)}; got {type(chosen).__name__} for {name}"
            )
        if chosen not in BACKENDS:
            raise ValueError(f"unknown backend {chosen!r} for {name}; choose one of {', '.join(BACKENDS)}")
    unknown = [name for name in by_op if name not in known_ops]
    if unknown:
        raise ValueError(f"unknown op {unknown[0]!r}; the ops are {', '.join(sorted(known_ops))}")
    return Selection(backend, dict(by_op))


@contextmanager
def use_backend(backend: str = "auto", **by_op: str) -> Iterator[None]:
    """Run the block with this backend, and with others for the ops named: `use_backend("auto", wavenet_layer="eager")`.

    Holds for the current thread or task only (a `ContextVar`), and wins over `set_backend` and the environment.
    Raises ValueError for an unknown backend or op, and TypeError for a backend that is no string.
    """
    with use_selection(select(backend, by_op)):
        yield


@contextmanager
def use_selection(selection: Selection) -> Iterator[None]:
    """As `use_backend`, with a `Selection` already made."""
    token = _context_selection.set(selection)
    try:
        yield
    finally:
        _context_selection.reset(token)


def set_backend(backend: str | None = "auto", **by_op: str) -> None:
    """Choose for the whole process what `use_backend` chooses for a block; None gives the choice back to the
    environment.
    """
    global _process_selection
    if backend is None and by_op:
        raise ValueError("set_backend(None) takes no exceptions by op; name a backend")
    _process_selection = None if backend is None else select(backend, by_op)


@lru_cache
def parse_selection(text: str, source: str) -> Selection:
    """A `Selection` from text such as `triton` or `auto,spline_coupling=eager`; `source` names it in errors."""
    backend = "auto"
    by_op: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, value = part.partition("=")
        if equals:
            by_op[name.strip()] = value.strip()
        else:
            backend = part
    try:
        return select(backend, by_op)
    except ValueError as error:
        raise ValueError(f"{source}={text!r}: {error}") from None


def current_selection() -> Selection:
    """The selection in force here and now."""
    chosen = _context_selection.get()
    if chosen is not None:
        return chosen
    if _process_selection is not None:
        return _process_selection
    text = os.environ.get(ENVIRONMENT_VARIABLE, "")
    return parse_selection(text, ENVIRONMENT_VARIABLE) if text else _AUTOMATIC


def context_is_set() -> bool:
    """Whether a `use_backend` block surrounds the call."""
    return _context_selection.get() is not None


@lru_cache
def automatic_backend(device: torch.device) -> str:
    """The backend that `auto` takes on `device` where it can run."""
    return "onednn" if device.type == "cpu" else "triton"
