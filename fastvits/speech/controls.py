"""What a call may set for each text: speaker, rate, noise and seed, brought into the form that the model takes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..voices.speakers import default_speaker, speaker_list, speaker_note, speaker_number

__all__ = ["CONTROLS", "SPEAKER_CONTROLS", "SpeakerChoice", "batch_controls", "merged_controls", "one_a_text"]

logger = logging.getLogger("fastvits")

SPEAKER_CONTROLS = ("speaker", "speaker_id", "speaker_embedding")
"""Three ways to say who speaks, of which a call takes one."""
CONTROLS = ("speaker_id", "speaker_embedding", "speaking_rate", "noise_scale", "noise_scale_duration", "seed")
"""What a call of the model may set for each text."""
_WITH_DEFAULTS = ("speaking_rate", "noise_scale", "noise_scale_duration")


class SpeakerChoice:
    """Who speaks, for every call of one voice; what a user should know about it is logged once.

    Args:
        config: the voice's configuration.
    """

    def __init__(self, config: Any) -> None:
        self._config = config
        self._told: dict[str, object] = {}

    def number(self, speaker: Any) -> int | None:
        """The number of the speaker that a number or a name means; None for nothing.

        A number that the voice does not have is left for the model to refuse. Raises ValueError for a name that the
        voice does not know.
        """
        chosen = speaker_number(self._config, speaker)
        note = speaker_note(self._config, speaker)
        if note is not None:
            self._tell(note)
        return chosen

    def default(self) -> int | None:
        """The speaker where nobody chose one; None where the voice has none such."""
        chosen = default_speaker(self._config)
        if chosen is not None:
            self._tell(
                f"The voice has {self._config.num_speakers} speakers, and none is named: speaker {chosen} speaks, as "
                f"in Piper. There are {speaker_list(self._config)}."
            )
        return chosen

    def _tell(self, message: str) -> None:
        # Without a lock, so that a voice can be pickled: setting a default is one step in every thread.
        mark = object()
        if self._told.setdefault(message, mark) is mark:
            logger.warning("%s", message)


def one_a_text(name: str, value: Any, count: int) -> list[Any]:
    """A control as one value a text (the model checks the values themselves).

    Raises ValueError for a list that is neither of one value nor of `count`.
    """
    if isinstance(value, torch.Tensor):
        value = list(value) if name == "speaker_embedding" and value.dim() == 2 else value.tolist()
    values = list(value) if isinstance(value, list | tuple) else [value]
    if len(values) == 1:
        return values * count
    if len(values) != count:
        raise ValueError(f"{name} must be one for all texts or one a text ({count}), got {len(values)}")
    return values


def merged_controls(keywords: Mapping[str, Any], forward_params: Mapping[str, Any] | None) -> dict[str, Any]:
    """The keywords of a call that are not None, together with its dictionary of the same parameters.

    Raises TypeError for an unknown parameter, or one that is given twice.
    """
    for name in keywords:
        if name not in ("speaker", *CONTROLS):
            raise TypeError(f"unknown parameter {name!r}: allowed are speaker, {', '.join(CONTROLS)}")
    settings = {name: value for name, value in keywords.items() if value is not None}
    for name, value in (forward_params or {}).items():
        if name not in ("speaker", *CONTROLS):
            raise TypeError(f"unknown parameter {name!r} in forward_params: allowed are speaker, {', '.join(CONTROLS)}")
        if name in settings:
            raise TypeError(f"{name} is given twice, as a keyword and in forward_params")
        if value is not None:
            settings[name] = value
    return settings


def batch_controls(
    model: Any, choice: SpeakerChoice, controls: Mapping[str, Sequence[Any]], count: int
) -> dict[str, Any]:
    """The keywords of the model's call from values one a text.

    A rate or noise scale that is None is the model's. Where some texts have a seed and others None, those others draw
    one from torch's global generator. `speaker` becomes `speaker_id`; where nobody says who speaks, the voice's default
    does. Speaker embeddings become one tensor.

    Args:
        model: the `VitsModel`.
        choice: who speaks.
        controls: a list of `count` values each.
        count: how many texts there are.

    Raises:
        TypeError: an unknown control.
        ValueError: two of the three ways to say who speaks.
    """
    for name in controls:
        if name not in CONTROLS and name != "speaker":
            raise TypeError(f"unknown keyword {name!r}: allowed controls are speaker, {', '.join(CONTROLS)}")
    keywords: dict[str, Any] = {
        name: list(values) for name, values in controls.items() if any(value is not None for value in values)
    }
    given = [name for name in SPEAKER_CONTROLS if name in keywords]
    if len(given) > 1:
        raise ValueError(f"give {given[0]} or {given[1]}, not both")
    for name in _WITH_DEFAULTS:
        if name in keywords:
            keywords[name] = [getattr(model, name) if value is None else value for value in keywords[name]]
    if "seed" in keywords:
        keywords["seed"] = [
            int(torch.randint(2**63 - 1, ()).item()) if value is None else value for value in keywords["seed"]
        ]
    if "speaker" in keywords:
        keywords["speaker_id"] = [choice.number(value) for value in keywords.pop("speaker")]
    if "speaker_embedding" in keywords:
        embeddings = keywords["speaker_embedding"]
        if all(isinstance(row, torch.Tensor) for row in embeddings):
            keywords["speaker_embedding"] = torch.stack([row.reshape(-1) for row in embeddings])
        return keywords
    speakers = keywords.get("speaker_id", [None] * count)
    if any(speaker is None for speaker in speakers):
        default = choice.default()
        if default is None and all(speaker is None for speaker in speakers):
            keywords.pop("speaker_id", None)
        else:
            keywords["speaker_id"] = [default if speaker is None else speaker for speaker in speakers]
    return keywords
