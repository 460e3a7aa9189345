"""What one field of a configuration may hold.

Each rule is called with a field's name and a value; it returns the value as a plain Python object, or raises TypeError
or ValueError.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

ACTIVATIONS = ("relu", "gelu", "selu", "gelu_new")
INT64_MAX = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class Integer:
    minimum: int = 1
    maximum: int = INT64_MAX
    optional: bool = False

    def __call__(self, name: str, value: Any) -> int | None:
        if value is None and self.optional:
            return None
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            or_none = " or None" if self.optional else ""
            raise TypeError(f"{name} must be an integer{or_none}, got {value!r} of type {type(value).__name__}")
        number = int(value)
        if not self.minimum <= number <= self.maximum:
            upper = "" if self.maximum == INT64_MAX and number < self.minimum else f" and at most {self.maximum}"
            raise ValueError(f"{name} must be at least {self.minimum}{upper}, got {number}")
        return number


@dataclasses.dataclass(frozen=True)
class Real:
    minimum: float = -math.inf
    maximum: float = math.inf
    positive: bool = False
    optional: bool = False

    def __call__(self, name: str, value: Any) -> float | None:
        if value is None and self.optional:
            return None
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"{name} must be a number, got {value!r} of type {type(value).__name__}")
        try:
            # Always a float: transformers refuses an integer where its own field is a float.
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ValueError(f"{name} must be a finite number, got {number}")
        if self.positive and number <= 0:
            raise ValueError(f"{name} must be greater than 0, got {number}")
        if not self.minimum <= number <= self.maximum:
            upper = "" if self.maximum == math.inf else f" and at most {self.maximum:g}"
            raise ValueError(f"{name} must be at least {self.minimum:g}{upper}, got {number}")
        return number


@dataclasses.dataclass(frozen=True)
class Flag:
    optional: bool = False

    def __call__(self, name: str, value: Any) -> bool | None:
        if value is None and self.optional:
            return None
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{name} must be True or False, got {value!r} of type {type(value).__name__}")
        return bool(value)


@dataclasses.dataclass(frozen=True)
class NonEmptyList:
    item: Callable[[str, Any], Any] = Integer()

    def __call__(self, name: str, value: Any) -> list[Any]:
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
            raise TypeError(f"{name} must be a list, got {value!r} of type {type(value).__name__}")
        items = [self.item(f"{name}[{index}]", entry) for index, entry in enumerate(value)]
        if not items:
            raise ValueError(f"{name} must not be empty")
        return items


@dataclasses.dataclass(frozen=True)
class Ranges:
    """Bounds of activations: `{"flow": [...], "decoder": [...]}`, lists of numbers, or None for what has none."""

    parts: tuple[str, ...]

    def __call__(self, name: str, value: Any) -> dict[str, list[list[float] | None]] | None:
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise TypeError(f"{name} must be an object or None, got {value!r} of type {type(value).__name__}")
        if set(value) != set(self.parts):
            raise ValueError(f"{name} must have {' and '.join(self.parts)} and nothing else, got {sorted(value)}")
        one = NonEmptyList(Real())
        maybe = NonEmptyList(lambda label, entry: None if entry is None else one(label, entry))
        return {part: maybe(f"{name}[{part!r}]", value[part]) for part in self.parts}


@dataclasses.dataclass(frozen=True)
class Activation:
    def __call__(self, name: str, value: Any) -> Any:
        if isinstance(value, str):
            if value not in ACTIVATIONS:
                raise ValueError(f"{name} must be one of {', '.join(ACTIVATIONS)} or a function, got {value!r}")
        elif not callable(value):
            raise TypeError(f"{name} must be a name or a function, got {value!r} of type {type(value).__name__}")
        return value
