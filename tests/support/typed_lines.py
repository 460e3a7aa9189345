"""The table of what people type, `tests/text/typed/*.tsv`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).parents[1] / "text" / "typed"


class TypedLine(NamedTuple):
    """A line: where it stands, the kind of voice, the language, what is typed and what is wanted."""

    name: str
    kind: str
    language: str
    typed: str
    wanted: str


def typed_lines() -> Iterator[TypedLine]:
    """Every line of the table."""
    for path in sorted(TABLE.glob("*.tsv")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line and not line.startswith("#"):
                yield TypedLine(f"{path.stem}:{number}", *map(_unescaped, line.split("\t")))


def _unescaped(field: str) -> str:
    return re.sub(r"\\u([0-9a-f]{4})|\\n", lambda match: chr(int(match[1], 16)) if match[1] else "\n", field)
