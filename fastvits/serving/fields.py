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
        minimum, maximum: of a number; of a string its length.
        example: a value to show.
    """

    types: tuple[str, ...]
    description: str
    required: bool = False
    choices: Sequence[str] = ()
    minimum: float | None = None
    maximum: float | None = None
    example: Any = None

    def check(self, name: str, value: Any) -> None:
        """Raise `BadRequest` where the value does not fit."""
        kind = _kind(value)
        if kind not in self.types and not (kind == "integer" and "number" in self.types):
            raise BadRequest(f"{name} must be {_either(self.types)}, not {_shown(value)}", name)
        if kind == "string" and any("\ud800" <= character <= "\udfff" for character in value):
            raise BadRequest(f"{name} holds half of a surrogate pair, which is no character", name)
        if self.choices and value not in self.choices:
            raise BadRequest(f"{name} must be one of {', '.join(self.choices)}, not {_shown(value)}", name)
        size = len(value) if kind == "string" else value if kind in ("integer", "number") else None
        if size is None:
            return
        what = f"{name} has {size} characters; allowed are" if kind == "string" else f"{name} is {size}; allowed is"
        if self.minimum is not None and size < self.minimum:
            raise BadRequest(f"{what} {self.minimum:g} or more", name)
        if self.maximum is not None and size > self.maximum:
            raise BadRequest(f"{what} {self.maximum:.17g} or less", name)

    def as_schema(self) -> dict[str, Any]:
        """The JSON schema of the value."""
        kinds: list[dict[str, Any]] = []
        for kind in self.types:
            one: dict[str, Any] = {"type": kind}
            if kind == "string":
                low, high = "minLength", "maxLength"
            else:
                low, high = "minimum", "maximum"
            if kind in ("string", "number", "integer"):
                one |= {} if self.minimum is None else {low: _whole(self.minimum)}
                one |= {} if self.maximum is None else {high: _whole(self.maximum)}
            if kind == "string" and self.choices:
                one["enum"] = list(self.choices)
            kinds.append(one)
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
    given = {name: value for name, value in body.items() if value is not None}
    for name, field in fields.items():
        if name in given:
            field.check(name, given[name])
        elif field.required:
            raise BadRequest(f"{name} is missing", name)
    return given


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
