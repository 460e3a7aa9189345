"""A row of a manifest, checked: an item with a file name, a text, a speaker, a seed and a rate."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .manifest import Failure, is_broken

__all__ = ["Item", "identifier_of", "item_seed", "number_of", "row_name"]


@dataclass(frozen=True)
class Item:
    """What is to be spoken into one file."""

    row: int
    id: str
    text: str
    speaker: int | None
    seed: int
    rate: float
    key: str  # a hash of everything that its audio depends on


def item_seed(identifier: str, seed: int = 0) -> int:
    """The seed of an item that names none: a hash of its id and the run's seed, below 2**56, the same everywhere."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{identifier}".encode()).digest()[:7], "big")


def number_of(name: str, value: Any, kind: type[int] | type[float]) -> Any:
    """A number of a row; JSON has numbers, CSV text, and an empty field is none at all."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        if kind is int and isinstance(value, float):
            raise ValueError
        return kind(value)
    except (ValueError, OverflowError):
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"{name} must be {what}, got {value!r}") from None


_FORBIDDEN = re.compile(r'[/\\<>:"|?*\x00-\x1f\x7f]')


def _check_id(identifier: str) -> None:
    """Refuse an id that is no file name on some system."""
    ends = identifier != identifier.strip() or identifier.startswith((".", "-")) or identifier.endswith(".")
    if not identifier or ends:
        raise ValueError(f"id {identifier!r} is no file name: it is empty, or has a space, dot or hyphen at an end")
    if is_broken(identifier):
        raise ValueError("id is not UTF-8")
    found = _FORBIDDEN.search(identifier)
    if found is not None:
        raise ValueError(f"id {identifier!r} is no file name: it holds {found.group()!r}")
    if len(identifier.encode()) > 200:
        raise ValueError(f"id {identifier[:20]!r}… is longer than 200 bytes")


def identifier_of(given: Mapping[str, Any], row: int) -> str:
    identifier = given.get("id")
    if identifier is None or identifier == "":
        return f"{row:06d}"
    if isinstance(identifier, bool) or not isinstance(identifier, str | int):
        raise ValueError(f"id must be a string or a whole number, got {identifier!r}")
    _check_id(str(identifier))
    return str(identifier)


def row_name(given: str | Mapping[str, Any] | Failure, number: int) -> str:
    """What a row is dealt by: its id, or its number where it has none or one that cannot be. Never fails."""
    if isinstance(given, Failure):
        return f"{given.row:06d}"
    if not isinstance(given, Mapping):
        return f"{number:06d}"
    row = given.get("row", number)
    row = row if isinstance(row, int) else number
    try:
        return identifier_of(given, row)
    except ValueError:
        return f"{row:06d}"
