"""Questions about a call of an op, answered by functions that name the arguments they read."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Protocol


class Asked(Protocol):
    """What a callback has to know of an op."""

    name: str

    @property
    def parameters(self) -> Iterable[str]:
        """The names of all arguments, in their order."""

    def complete(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments with the defaults of those that were left out at the end."""


@dataclass(frozen=True)
class named:
    """A function and the arguments of an op that it is given, where its own parameters do not say so:
    `named(unsupported, "x", "weight")`."""

    function: Callable[..., Any]
    arguments: tuple[str, ...]

    def __init__(self, function: Callable[..., Any], *arguments: str) -> None:
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "arguments", arguments)


class Callback:
    """A question about a call of an op, put to a function of some of the arguments.

    The function's parameters are names of the op's; where these stand among all arguments is found once. A call of the
    callback takes all arguments and costs a frame more than `callback.function(*callback.pick(arguments))`.
    """

    __slots__ = ("complete", "function", "pick")

    def __init__(
        self,
        function: Callable[..., Any],
        pick: Callable[[tuple[Any, ...]], tuple[Any, ...]],
        complete: Callable[[tuple[Any, ...]], tuple[Any, ...]],
    ) -> None:
        self.function = function
        self.pick = pick
        self.complete = complete

    @classmethod
    def of(cls, op: Asked, function: Any) -> "Callback":
        """The callback of `op` that is answered by a function, a `named` one, or a callback already."""
        if isinstance(function, Callback):
            return function
        if isinstance(function, named):
            wanted, function = list(function.arguments), function.function
        else:
            wanted = list(inspect.signature(function).parameters)
        names = list(op.parameters)
        unknown = [name for name in wanted if name not in names]
        if unknown:
            raise TypeError(f"{op.name} has no argument {unknown[0]!r}; its arguments are {', '.join(names)}")
        return cls(function, _picker([names.index(name) for name in wanted]), op.complete)

    def __call__(self, *args: Any) -> Any:
        return self.function(*self.pick(self.complete(args)))


def _picker(places: list[int]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """What takes these places out of a tuple, as a tuple, without a frame of Python."""
    first = places[0] if places else 0
    if places == list(range(first, first + len(places))):
        return itemgetter(slice(first, first + len(places)))
    return itemgetter(*places)


ALWAYS = Callback(lambda: None, _picker([]), lambda args: args)
