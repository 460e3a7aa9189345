"""The other side of `espeak_process`: requests from standard input, one a line, answers to standard output."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from .espeak import import_phonemizer, spoken_lines
from .espeak_clauses import phonemes_of_clauses

__all__ = ["answer_requests"]


def answer_requests() -> None:
    """Answer until nobody asks any more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what espeak-ng prints is no answer
    for name in ("SIGINT", "SIGTERM"):  # meant for who asks: this process ends when the requests do
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    _leave_no_core()
    answers.write(b"ready\n")
    answers.flush()
    for line in sys.stdin.buffer:
        try:
            answer = {"read": _read(*json.loads(line))}
        except ValueError as error:
            answer = {"error": ["ValueError", str(error)]}
        except ImportError as error:
            answer = {"error": ["ImportError", str(error)]}
        except OSError as error:
            answer = {"error": ["OSError", str(error)]}
        except Exception as error:
            answer = {"error": ["RuntimeError", f"{type(error).__name__}: {error}"]}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _read(what: str, texts: Sequence[str], voice: str, library: Sequence[str | None]) -> Any:
    wrapper = import_phonemizer()
    for path, choose in zip(library, (wrapper.set_library, wrapper.set_data_path), strict=True):
        if path is not None:
            choose(path)
    return phonemes_of_clauses(texts[0], voice) if what == "clauses" else spoken_lines(texts, voice)


def _leave_no_core() -> None:
    """No image of the memory on the disk for each text that ends espeak-ng."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
