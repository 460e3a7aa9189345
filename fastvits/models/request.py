"""What a call asks, checked once: ids, mask, speaker, rates, noise, seeds, durations."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypedDict

import torch
from torch import Tensor

from fastvits_kernels.ops.durations import MAX_FRAMES

from ..configuration import OTHER_WORDS, VitsConfig
from ..strictness import tolerated
from .inputs import (
    TextInput,
    durations_input,
    per_item,
    raise_for_faults,
    read_at_once,
    seed_input,
    speaker_embedding_input,
    speaker_input,
    text_input,
    to_device,
)

PerItem: TypeAlias = float | Sequence[float] | Tensor
"""A number for all items of a batch, or one an item."""


class Controls(TypedDict, total=False):
    """The controls of a call, each for all items or one an item; `VitsModel.forward` says what they mean."""

    speaker_id: int | Sequence[int] | Tensor | None
    speaking_rate: PerItem | None
    noise_scale: PerItem | None
    noise_scale_duration: PerItem | None
    speaker_embedding: Tensor | None
    seed: int | Sequence[int] | None
    durations: Tensor | None


@dataclass(frozen=True)
class SpeechRequest:
    """What a call asks; made by `speech_request`, which checks it."""

    text: TextInput
    speakers: Tensor | None  # [B] int64
    unchecked_speakers: Tensor | None  # [1 or B] as given, where only the device knows whether they exist
    speaker_embedding: Tensor | None  # [B, speaker_embedding_size], instead of speakers
    scales: Tensor  # [3, B]: the inverse of the speaking rate, the durations' noise scale, the prior's noise scale
    seeds: tuple[int, ...] | None  # one an item
    durations: Tensor | None  # [B, T_text] int64 frames of each token, in the positions of `text`
    output_attentions: bool
    output_hidden_states: bool

    def generators(self) -> list[torch.Generator] | None:
        """A random generator on the CPU for each item, at its beginning; None without seeds."""
        return None if self.seeds is None else [torch.Generator().manual_seed(seed) for seed in self.seeds]


def speech_request(
    config: VitsConfig,
    defaults: Mapping[str, float],
    device: torch.device,
    dtype: torch.dtype,
    input_ids: Tensor | None,
    attention_mask: Tensor | None = None,
    *,
    speaker_id: int | Sequence[int] | Tensor | None = None,
    speaking_rate: PerItem | None = None,
    noise_scale: PerItem | None = None,
    noise_scale_duration: PerItem | None = None,
    speaker_embedding: Tensor | None = None,
    seed: int | Sequence[int] | None = None,
    durations: Tensor | None = None,
    output_attentions: bool = False,
    output_hidden_states: bool = False,
) -> SpeechRequest:
    """Check what a call is given; arguments as in `VitsModel.forward`.

    `defaults` has the model's rate and noise scales by name, `device` and `dtype` are those of its text encoder. Values
    that lie on a GPU are judged later, with the number of frames (`fastvits.models.inputs`).

    Raises TypeError or ValueError for what does not fit, naming what is allowed.
    """
    text = text_input(input_ids, attention_mask, config.vocab_size, device)
    batch = text.ids.shape[0]
    speakers = unchecked = None
    if speaker_embedding is not None:
        if speaker_id is not None:
            raise ValueError("give speaker_id or speaker_embedding, not both")
        speaker_embedding = speaker_embedding_input(
            speaker_embedding, config.speaker_embedding_size, batch, device, dtype
        )
    else:
        speakers, unchecked = speaker_input(speaker_id, config.num_speakers, batch, device)
    if durations is not None and speaking_rate is not None:
        raise ValueError("give durations or speaking_rate, not both: durations are frames and set the rate")

    def setting(name: str, given: PerItem | None, exclusive: bool = False) -> list[float]:
        return per_item(name, defaults[name] if given is None else given, batch, minimum=0, exclusive=exclusive)

    rates = setting("speaking_rate", speaking_rate, exclusive=True)
    noise_scales = setting("noise_scale", noise_scale)
    duration_noise_scales = setting("noise_scale_duration", noise_scale_duration)
    seeds = None if seed is None else seed_input(seed, batch)
    if read_at_once(device):
        raise_for_faults(text.faults.tolist(), (), config.vocab_size, config.num_speakers)
    controls = [[1.0 / rate for rate in rates], duration_noise_scales, noise_scales]
    return SpeechRequest(
        text=text,
        speakers=speakers if config.num_speakers > 1 else None,
        unchecked_speakers=unchecked,
        speaker_embedding=speaker_embedding,
        scales=to_device(torch.tensor(controls, dtype=dtype), device),
        seeds=seeds,
        durations=None if durations is None else durations_input(durations, text, config.max_frames),
        output_attentions=output_attentions,
        output_hidden_states=output_hidden_states,
    )


def checked_frames(request: SpeechRequest, frames: Tensor, config: VitsConfig) -> list[int]:
    """The frames `[B]` of each item, on the host: the one synchronisation of a call, which carries along the faults of
    the text and the speakers that nobody has looked at yet.

    Raises ValueError for these, and for an item of more than `config.max_frames`.
    """
    batch, speakers = len(frames), request.unchecked_speakers
    unread = [frames, request.text.faults] if speakers is None else [frames, request.text.faults, speakers]
    values: list[int] = torch.cat(unread).tolist()
    raise_for_faults(values[batch : 2 * batch], values[2 * batch :], config.vocab_size, config.num_speakers)
    for item, value in enumerate(values[:batch]):
        if value > config.max_frames:
            length = f"{value} frames" if value < MAX_FRAMES else "a length that overflows"
            raise ValueError(
                f"item {item} would take {length}; config.max_frames allows {config.max_frames}:"
                " split the text, or raise speaking_rate"
            )
    return values[:batch]


COLUMNS = (
    "length",
    "num_truncated_tokens",
    "offset_mapping",
    "overflow_to_sample_mapping",
    "overflowing_tokens",
    "special_tokens_mask",
    "token_type_ids",
)
"""What tokenizers give beside ids and mask, and a call may be given; it says nothing to a VITS."""


def refuse_unknown(where: str, given: Iterable[str], known: Collection[str]) -> None:
    """Raise TypeError for a keyword that is not known, unless unknown ones are tolerated (`fastvits.strict`)."""
    for name in given:
        if name in known or tolerated(f"the keyword {name} of {where} is ignored"):
            continue
        meant = f" (write {OTHER_WORDS[name]})" if name in OTHER_WORDS else ""
        raise TypeError(f"{where} got an unexpected keyword argument {name!r}{meant}: its controls are {_CONTROLS}")


_CONTROLS = ", ".join(Controls.__annotations__)
