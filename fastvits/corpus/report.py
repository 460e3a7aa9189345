"""What a run did, and what ends a strict one."""

from __future__ import annotations

from dataclasses import dataclass, field

from .manifest import Failure

__all__ = ["BadItem", "CorpusReport"]


class BadItem(ValueError):
    """A row that cannot be spoken, in a run that is `strict`."""


@dataclass
class CorpusReport:
    """What a run did.

    Attributes:
        done: items spoken by this run.
        skipped: items that an earlier run had spoken.
        failures: rows that could not be spoken.
        audio_seconds: length of what this run spoke.
        seconds: time it took.
    """

    done: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)
    audio_seconds: float = 0.0
    seconds: float = 0.0
