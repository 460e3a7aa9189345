"""JSON objects out of files, files that appear whole or not at all, and the folder of what is kept."""

import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTIAL_PREFIX = ".partial-"
"""What the names of files begin with that are being written; whoever owns a folder may remove old ones."""


class InvalidJSON(ValueError, OSError):
    """A file holds no JSON object: a ValueError as Python's `json` raises, and an OSError as other failures to read."""


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; a byte order mark before it is skipped.

    Raises:
        OSError: the file cannot be read.
        InvalidJSON: it is no UTF-8 text, not JSON, or JSON but no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InvalidJSON(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise InvalidJSON(f"{path} is not a JSON object but holds a {type(content).__name__}")
    return content


def json_text(
    content: Any, *, ensure_ascii: bool = True, sort_keys: bool = True, default: Callable[[Any], Any] | None = None
) -> str:
    """Indented JSON with a line break at its end, laid out as in published checkpoints. Keywords as in `json.dumps`.

    Raises TypeError for what JSON cannot hold.
    """
    return json.dumps(content, indent=2, sort_keys=sort_keys, ensure_ascii=ensure_ascii, default=default) + "\n"


def write_json(path: Path, content: Any, *, ensure_ascii: bool = True, sort_keys: bool = True) -> None:
    """Write `json_text(content)`, whole or not at all."""
    write_text(path, json_text(content, ensure_ascii=ensure_ascii, sort_keys=sort_keys))


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8 with its line breaks as they are, whole or not at all; into a device or a pipe as it is."""
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8", newline="")
        return
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


@contextmanager
def replacing(path: Path, mark: str = "") -> Iterator[Path]:
    """A file beside `path` to write to; it takes the place of `path` if the block succeeds and vanishes if it fails.

    A reader sees the old or the new content, never half of it, and neither does one after a power cut. With a `mark`,
    its name begins with `PARTIAL_PREFIX` and the mark: several may write into one folder, and each knows its own.
    """
    # A short name, for `path` may have one as long as the file system allows.
    temporary = path.with_name(PARTIAL_PREFIX + mark + secrets.token_hex(8))
    try:
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # safetensors 0.8 makes files that only their owner can read, whatever the umask
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())  # otherwise a power cut may leave the new name on an empty file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without its full stop."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(". ") if lines else type(error).__name__


def cache_folder() -> Path:
    """The folder for converted voices and what else is kept between runs.

    It is `FASTVITS_CACHE`, or `fastvits` in the user's cache folder of the platform.
    """
    chosen = os.environ.get("FASTVITS_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fastvits"
