"""Which speaker of a voice is meant: by number, by name, or by nobody, where the voice then has a speaker of its own.

A Piper voice may name its speakers, and its names may be numbers that are other speakers' numbers. A name wins then,
and a note says so; `name:` and `id:` before it settle which of the two is meant.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = [
    "default_speaker",
    "speaker_in_range",
    "speaker_list",
    "speaker_names",
    "speaker_note",
    "speaker_number",
]

_SHOWN = 10
"""How many names a message tells."""


def speaker_names(config: Any) -> dict[str, int]:
    """The names that a voice's configuration gives its speakers, and their numbers, in the order of the numbers."""
    of_piper = (getattr(config, "piper", None) or {}).get("speaker_id_map")
    names = of_piper or getattr(config, "speaker_id_map", None) or {}
    return dict(sorted(((str(name), int(number)) for name, number in names.items()), key=lambda pair: pair[1]))


def speaker_list(config: Any) -> str:
    """The speakers of a voice as a message lists them: their names, or else the range of their numbers."""
    names = list(speaker_names(config))
    if not names:
        return f"0 to {max(config.num_speakers, 1) - 1}"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def default_speaker(config: Any) -> int | None:
    """The speaker of a multi-speaker Piper voice where none is named, as Piper has it: its `default_speaker_id`, or 0.

    None for every other voice: of a published one nobody knows which speaker would be meant.
    """
    piper = getattr(config, "piper", None)
    if piper is None or config.num_speakers <= 1:
        return None
    chosen = piper.get("default_speaker_id")
    fits = isinstance(chosen, int) and not isinstance(chosen, bool) and 0 <= chosen < config.num_speakers
    return chosen if fits else 0


def speaker_number(config: Any, speaker: Any) -> int | None:
    """The number of a speaker given by number or, where the voice names its speakers, by name; None for nothing.

    Args:
        config: the voice's configuration.
        speaker: a whole number; a name; a number written as text, which is a name where the voice has that name;
            `name:` or `id:` before a text settles it.

    Raises:
        ValueError: neither a number nor a name that the voice knows.
    """
    if speaker is None or (isinstance(speaker, str) and not speaker.strip()):
        return None
    names = speaker_names(config)
    if isinstance(speaker, str):
        if speaker in names:
            return names[speaker]
        kind, colon, rest = speaker.partition(":")
        if colon and kind == "name":
            if rest in names:
                return names[rest]
        elif re.fullmatch(r"\s*[+-]?[0-9]+\s*", rest if colon and kind == "id" else speaker):
            return int(rest if colon and kind == "id" else speaker)
    elif isinstance(speaker, int) and not isinstance(speaker, bool):
        return speaker
    known = f"; named are {speaker_list(config)}" if names else ""
    raise ValueError(f"speaker must be a whole number or a name that the voice knows, got {speaker!r}{known}")


def speaker_note(config: Any, speaker: Any) -> str | None:
    """What to tell a user whose number was taken for a name; None where nothing is to tell."""
    names = speaker_names(config)
    if not isinstance(speaker, str) or speaker not in names or not speaker.isdecimal():
        return None
    number = int(speaker)
    if names[speaker] == number or number >= max(config.num_speakers, 1):
        return None
    return (
        f"Speaker {speaker!r} is a name in this voice, that of speaker {names[speaker]}: write id:{number} for the "
        f"speaker of that number, name:{speaker} for this one."
    )


def speaker_in_range(config: Any, speaker: Any) -> int | None:
    """`speaker_number`, refused where the voice has no such speaker."""
    number = speaker_number(config, speaker)
    speakers = max(config.num_speakers, 1)
    if number is not None and not 0 <= number < speakers:
        raise ValueError(f"speaker {number} is out of range: allowed is 0 to {speakers - 1}")
    return number
