"""What a JSON body may hold: one table a route, from which both the checks and the OpenAPI schema are made."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["BadRequest", "Field", "checked", "read_json", "schema"]

MAX_DEPTH = 16
"""Levels of lists and objects in a body."""


class BadRequest(ValueError):
    """A request that does not fit; `param` names the field, `status` is HTTP's."""

    def __init__(self, message: str, param: str | None = None, *, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Field:
    """One key of a body.

    Attributes:
        types: the JSON types it may have: string, number, integer, boolean, object.
        description: for people.
        required: whether it must be there.
        choices: the values allowed; empty: any.
        minimum, maximum: of a number.
        min_length, max_length: of a string.
        properties: of an object, all of them strings that it must have; empty: any.
        example: a value to show.
    """

    types: tuple[str, ...]
    description: str
    required: bool = False
    choices: Sequence[str] = ()
    minimum: float | None = None
    maximum: float | None = None
    min_length: int = 0
    max_length: int | None = None
    properties: Sequence[str] = ()
    example: Any = None

    def check(self, name: str, value: Any) -> None:
        """Raise `BadRequest` where the value does not fit."""
        kind = _kind(value)
        if kind not in self.types and not (kind == "integer" and "number" in self.types):
            raise BadRequest(f"{name} must be {_either(self.types)}, got {_shown(value)}", name)
        if kind == "string" and any("\ud800" <= character <= "\udfff" for character in value):
            raise BadRequest(f"{name} holds half of a surrogate pair, which is no character", name)
        if self.choices and value not in self.choices:
            raise BadRequest(f"{name} must be one of {', '.join(self.choices)}, got {_shown(value)}", name)
        if kind == "object" and self.properties:
            if set(value) != set(self.properties) or any(_kind(one) != "string" for one in value.values()):
                wanted = ", ".join(f'"{name}": a string' for name in self.properties)
                raise BadRequest(f"{name} must be {{{wanted}}} where it is an object, got {_shown(value)}", name)
            return
        size: float
        low: float | None
        high: float | None
        if kind == "string":
            size, low, high, what = len(value), self.min_length, self.max_length, "has {} characters; allowed are"
        elif kind in ("integer", "number"):
            size, low, high, what = value, self.minimum, self.maximum, "is {}; allowed is"
        else:
            return
        what = f"{name} {what.format(_shown(size))}"
        if low is not None and size < low:
            raise BadRequest(f"{what} {low:g} or more", name)
        if high is not None and size > high:
            raise BadRequest(f"{what} {high:.17g} or less", name)

    def as_schema(self) -> dict[str, Any]:
        """The JSON schema of the value."""
        kinds: list[dict[str, Any]] = []
        for kind in self.types:
            one: dict[str, Any] = {"type": kind}
            if kind == "string":
                one |= {"minLength": self.min_length} if self.min_length else {}
                one |= {} if self.max_length is None else {"maxLength": self.max_length}
                one |= {"enum": list(self.choices)} if self.choices else {}
            elif kind in ("number", "integer"):
                one |= {} if self.minimum is None else {"minimum": _whole(self.minimum)}
                one |= {} if self.maximum is None else {"maximum": _whole(self.maximum)}
            elif kind == "object" and self.properties:
                one |= {"required": list(self.properties), "additionalProperties": False}
                one["properties"] = {name: {"type": "string"} for name in self.properties}
            kinds.append(one)
        if not self.required:
            kinds.append({"type": "null"})
        made = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
        return {**made, "description": self.description} | ({} if self.example is None else {"example": self.example})


def schema(fields: Mapping[str, Field]) -> dict[str, Any]:
    """The JSON schema of a body."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name, field in fields.items() if field.required],
        "properties": {name: field.as_schema() for name, field in fields.items()},
    }


def read_json(body: bytes) -> Any:
    """The content of a body; raises `BadRequest` for what is not JSON in UTF-8, or nested too deeply."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: byte {error.start} does not fit") from None
    if _depth(text) > MAX_DEPTH:
        raise BadRequest(f"the body is nested more than {MAX_DEPTH} levels deep")
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except BadRequest:
        raise
    except ValueError:  # a number of more digits than Python reads
        raise BadRequest("the body holds a number that is too long") from None


def checked(body: Any, fields: Mapping[str, Field]) -> dict[str, Any]:
    """The keys of a body that are set (null is the same as missing); raises `BadRequest` for what does not fit."""
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    for name in body:
        if name not in fields:
            raise BadRequest(f"unknown key {_shown(name)}: allowed are {', '.join(fields)}", name[:60])
    given = {name: _as_integer(value, fields[name]) for name, value in body.items() if value is not None}
    for name, field in fields.items():
        if name in given:
            field.check(name, given[name])
        elif field.required:
            raise BadRequest(f"{name} is missing", name)
    return given


def _as_integer(value: Any, field: Field) -> Any:
    """JSON has one kind of numbers: 3.0 is an integer."""
    if isinstance(value, float) and value.is_integer() and "integer" in field.types and "number" not in field.types:
        return int(value)
    return value


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number" if math.isfinite(value) else "a number that is not finite"
    for kind, name in ((str, "string"), (dict, "object"), (list, "array")):
        if isinstance(value, kind):
            return name
    return "null"


def _either(types: Sequence[str]) -> str:
    return " or ".join(f"an {kind}" if kind[0] in "aeio" else f"a {kind}" for kind in types)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _whole(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value


def _depth(text: str) -> int:
    """The deepest nesting of brackets outside strings: Python's reader would recurse that far."""
    depth = deepest = 0
    inside = escaped = False
    for character in text:
        if inside:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                inside = False
        elif character == '"':
            inside = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > MAX_DEPTH:
                break
        elif character in "]}":
            depth -= 1
    return deepest


def _no_constant(name: str) -> Any:
    raise BadRequest(f"the body holds {name}, which is not JSON")
