"""espeak-ng in a process of its own: a text that ends it ends nothing else.

espeak-ng 1.52 writes beyond its buffers for some texts (words with many endings are one kind, which its authors mended
in August 2026) and takes its process along, at once or many texts later. Where much depends on the process, a server or
a corpus of a million texts, it reads in a process of its own, which has 50 MB and starts in half a second; a reading
takes as long as before. One that dies is started anew and reads the text again; a text that ends two in a row is
refused by name.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["EspeakDied", "espeak_apart", "is_apart", "read_apart"]

logger = logging.getLogger("fastvits")

PATIENCE = 60.0
"""Seconds for a reading; beyond, espeak-ng is taken for lost. It reads some hundred thousand characters a second."""

# `import fastvits` would load torch, for which a process that reads has no use: the package is a name with a path here.
_START = """\
import json, sys, types
sys.path[:] = json.loads(sys.argv[1])
package = types.ModuleType("fastvits")
package.__path__ = [sys.argv[2]]
sys.modules["fastvits"] = package
from fastvits.text.espeak_reader import answer_requests
answer_requests()
"""


_NO_START = "espeak-ng cannot be started in a process of its own"


class EspeakDied(ValueError):
    """espeak-ng ended, twice, while it read a text."""


class _Ended(Exception):
    """The process is no more; the message says how it ended."""


class _Process:
    """A process that reads, one text at a time."""

    def __init__(self) -> None:
        directory = str(Path(__file__).parents[1])
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, json.dumps(sys.path), directory],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "FASTVITS_ESPEAK": "inside"},
            )
        except (OSError, ValueError) as error:
            raise OSError(f"{_NO_START}: {error}") from error
        assert self._process.stdout is not None
        self._deadline: float | None = None
        self._over = threading.Event()
        if self._process.stdout.readline() != b"ready\n":
            raise OSError(f"{_NO_START}: {self._how_it_ended()}")
        threading.Thread(target=self._watch, name="espeak-watch", daemon=True).start()

    def ask(self, request: list[Any]) -> Any:
        """What `espeak_reader` answers; raises _Ended where the process ends before."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._deadline = time.monotonic() + PATIENCE
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:  # the pipe is broken
            line = b""
        finally:
            self._deadline = None
        if not line.endswith(b"\n"):
            raise _Ended(self._how_it_ended())
        return json.loads(line)

    def close(self) -> None:
        """End it, and wait for that."""
        self._over.set()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _how_it_ended(self) -> str:
        self.close()
        status = self._process.returncode
        if status >= 0:
            return f"status {status}"
        with contextlib.suppress(ValueError):
            return signal.Signals(-status).name
        return f"signal {-status}"

    def _watch(self) -> None:
        """Kill it where it reads for too long: a pipe cannot be waited for with a limit on every system."""
        while not self._over.wait(PATIENCE / 12):
            deadline = self._deadline
            if deadline is not None and time.monotonic() > deadline:
                self._process.kill()


class _Reader:
    """The process of this process, if it has one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process: _Process | None = None
        self.users = 0

    def ask(self, request: list[Any]) -> Any:
        with self.lock:
            if self.process is None:
                self.process = _Process()
            try:
                return self.process.ask(request)
            except _Ended:
                self.process = None
                raise

    def close(self) -> None:
        with self.lock:
            process, self.process = self.process, None
        if process is not None:
            process.close()


_ERRORS = {"ValueError": ValueError, "ImportError": ImportError, "OSError": OSError}

_reader = _Reader()


def _forget() -> None:
    """A process that was forked has a reader of its own, not that of its parent, whose pipes it would share."""
    global _reader
    users = _reader.users
    _reader = _Reader()
    _reader.users = users


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
atexit.register(lambda: _reader.close())


def is_apart() -> bool:
    """Whether espeak-ng reads in a process of its own now."""
    chosen = os.environ.get("FASTVITS_ESPEAK", "auto")
    if chosen not in ("auto", "inside", "apart"):
        raise ValueError(f"FASTVITS_ESPEAK must be auto, inside or apart, got {chosen!r}")
    return chosen == "apart" or (chosen == "auto" and _reader.users > 0 and _is_python(sys.executable))


def _is_python(executable: str | None) -> bool:
    """Whether this is an interpreter: a program that Python is built into must not be started a second time."""
    return bool(executable) and re.match(r"python|pypy", Path(str(executable)).name.lower()) is not None


@contextlib.contextmanager
def espeak_apart() -> Iterator[None]:
    """While it lasts, espeak-ng reads in a process of its own, for all threads, unless `FASTVITS_ESPEAK` says "inside".

    The process is started with the first text, and stays until this one ends.
    """
    with _reader.lock:
        _reader.users += 1
    try:
        yield
    finally:
        with _reader.lock:
            _reader.users -= 1


def read_apart(what: str, texts: Sequence[str], voice: str) -> Any:
    """Have the process read.

    Args:
        what: "clauses", of one text, or "lines".
        texts: what to read.
        voice: an espeak-ng voice.

    Returns:
        What `phonemes_of_clauses` or `spoken_lines` give, as JSON has it.

    Raises:
        EspeakDied: the text ends espeak-ng.
        ValueError, ImportError, OSError: as they do.
    """
    request = [what, list(texts), voice, _chosen_library()]
    try:
        answer = _reader.ask(request)
    except _Ended as first:
        logger.warning("espeak-ng ended (%s) and was started anew.", first)
        try:
            answer = _reader.ask(request)
        except _Ended as error:
            shown = " ".join(texts)
            shown = repr(shown if len(shown) <= 60 else f"{shown[:59]}…")
            message = f"espeak-ng cannot read the text {shown} in the voice {voice!r}: it ended ({error})"
            raise EspeakDied(message) from None
    if "error" in answer:
        kind, message = answer["error"]
        raise _ERRORS.get(kind, RuntimeError)(message)
    return answer["read"]


def _chosen_library() -> list[str | None]:
    """The library and the data that this process was told to use by `EspeakWrapper`, which the other cannot know."""
    module = sys.modules.get("phonemizer.backend.espeak.wrapper")
    if module is None:
        return [None, None]
    paths = (module.EspeakWrapper._ESPEAK_LIBRARY, module.EspeakWrapper._ESPEAK_DATA_PATH)
    return [None if path is None else str(path) for path in paths]
