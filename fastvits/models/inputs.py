"""What a call is given, checked: token ids, attention mask, speakers, rates.

Shapes and dtypes are checked by the host at once. Values (ids in the vocabulary, masks without holes, speakers that
exist) are found where the tensors are and judged by the host: on a CPU at once, on a GPU when it reads the number of
frames, so that a call costs one synchronisation.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import fastvits_kernels as kernels
from fastvits_kernels.ops.left_align import BAD_MASK, BLANK, OUTSIDE_VOCABULARY, SILENT

from ..runtime.workers import alone
from ..strictness import tolerated


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """`x` on `device`; from the CPU to a GPU through pinned memory, so that the host does not wait."""
    if device.type != "cuda" or x.device.type != "cpu":
        return x.to(device)
    with torch.cuda.device(device):
        return x.pin_memory().to(device, non_blocking=True)


def read_at_once(device: torch.device) -> bool:
    """Whether the host reads values there without waiting for a device."""
    return device.type == "cpu"


MAX_TOKENS_ALONE = 256
"""Tokens up to which one thread of a CPU computes what depends on text. Its operations are so small that two threads
hardly gain: 45 tokens take no longer on one of an Intel Xeon, and 171 not measurably of a whole call. Beside a busy
process, where threads wait for each other at the end of each, one takes half to two thirds of the time of two."""

INTEGER_DTYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@dataclass(frozen=True)
class TextInput:
    """Token ids shifted so that every item starts at 0, and how to shift results back."""

    ids: Tensor  # [B, T_text] int64, 0 where masked
    lengths: Tensor | None  # [B] int64; None: every item is full
    positions: Tensor | None  # [2, B, T_text] int64, as in `fastvits_kernels.ops.left_align`; None: nothing was shifted
    faults: Tensor  # [B] int64, as there

    def shifted(self, x: Tensor, dim: int) -> Tensor:
        """`x` `[B, ...]` with `T_text` at `dim`, moved from the caller's positions to ours."""
        return x if self.positions is None else _take(x, self.positions[0], dim)

    def restored(self, x: Tensor, dim: int) -> Tensor:
        """`x` moved back from our positions to the caller's."""
        return x if self.positions is None else _take(x, self.positions[1], dim)

    def computed(self) -> AbstractContextManager[None]:
        """A block that computes what depends on text alone: of few tokens on a CPU, this thread does it by itself."""
        return alone(self.ids.is_cpu and self.ids.numel() <= MAX_TOKENS_ALONE)


def _take(x: Tensor, positions: Tensor, dim: int) -> Tensor:
    shape = [1] * x.dim()
    shape[0], shape[dim] = positions.shape
    return x.gather(dim, positions.view(shape).expand(x.shape))


def text_input(
    input_ids: Tensor | None, attention_mask: Tensor | None, vocab_size: int, device: torch.device
) -> TextInput:
    """Check and normalise token ids `[B, T_text]` and the mask `[B, T_text]` (1 for tokens, 0 for padding on either
    side).

    Raises TypeError for what is no integer tensor, ValueError for shapes or devices that do not fit and for empty
    texts.
    """
    if not isinstance(input_ids, Tensor):
        raise TypeError(f"input_ids must be an integer tensor [B, T_text], got {type(input_ids).__name__}")
    if input_ids.dtype not in INTEGER_DTYPES:
        raise TypeError(f"input_ids must be integers (int64 or int32), got {input_ids.dtype}")
    if input_ids.dim() != 2:
        raise ValueError(f"input_ids must have the shape [B, T_text], got {tuple(input_ids.shape)}")
    if 0 in input_ids.shape:
        raise ValueError(f"input_ids are empty, {tuple(input_ids.shape)}: there is no text to speak")
    if input_ids.device != device:
        raise ValueError(f"input_ids are on {input_ids.device}, the model is on {device}; move one to the other")
    if attention_mask is not None:
        if not isinstance(attention_mask, Tensor):
            raise TypeError(f"attention_mask must be a tensor [B, T_text], got {type(attention_mask).__name__}")
        if attention_mask.shape != input_ids.shape:
            raise ValueError(
                f"attention_mask must have the shape of input_ids, {tuple(input_ids.shape)},"
                f" got {tuple(attention_mask.shape)}"
            )
        if attention_mask.device != device:
            raise ValueError(
                f"attention_mask is on {attention_mask.device}, the model is on {device}: move one of them"
            )
        if attention_mask.dtype.is_complex:
            raise TypeError(f"attention_mask must hold 0 and 1, got {attention_mask.dtype}")
        # Without lengths no op has anything to mask; but compiled code would break here.
        if read_at_once(device) and not torch.compiler.is_compiling() and bool((attention_mask == 1).all()):
            attention_mask = None
    ids, lengths, positions, faults = kernels.left_align(input_ids, attention_mask, vocab_size)
    return TextInput(ids, None, None, faults) if attention_mask is None else TextInput(ids, lengths, positions, faults)


def speaker_input(
    speaker_id: int | Sequence[int] | Tensor | None, num_speakers: int, batch: int, device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    """Speakers `[B]` int64 (None for a model with one speaker), all of which exist; and of a tensor on a GPU the values
    `[1 or B]` as they were given, for `raise_for_faults` to judge (else None).

    Raises ValueError without a speaker on a multi-speaker model, for a number of speakers that is neither 1 nor `B`,
    or for an unknown speaker that the host can see; TypeError for what is no integer.
    """
    num_speakers = max(num_speakers, 1)
    allowed = f"0 to {num_speakers - 1}" if num_speakers > 1 else "0, for the model has one speaker"
    if speaker_id is None:
        if num_speakers > 1 and not tolerated(f"a model of {num_speakers} speakers speaks without one of them"):
            raise ValueError(f"the model has {num_speakers} speakers: set speaker_id, {allowed}")
        return None, None
    if isinstance(speaker_id, Tensor):
        if speaker_id.dtype not in INTEGER_DTYPES:
            raise TypeError(f"speaker_id must hold integers, got {speaker_id.dtype}")
        if speaker_id.dim() > 1:
            raise ValueError(f"speaker_id must be one speaker or one an item, [B], got shape {tuple(speaker_id.shape)}")
        if not read_at_once(speaker_id.device):
            unchecked = speaker_id.to(device=device, dtype=torch.int64).reshape(-1)
            _check_count(unchecked.numel(), batch)
            return unchecked.clamp(0, num_speakers - 1).expand(batch), unchecked
        speaker_id = speaker_id.tolist()
    given: list[Any] = list(speaker_id) if isinstance(speaker_id, (list, tuple)) else [speaker_id]
    for one in given:
        if isinstance(one, bool) or not isinstance(one, (int, np.integer)):
            raise TypeError(f"speaker_id must be an integer, a list of them or a tensor, got {one!r}")
        if not 0 <= one < num_speakers:
            raise ValueError(f"speaker_id {one} is out of range: allowed is {allowed}")
    _check_count(len(given), batch)
    return to_device(torch.tensor([int(one) for one in given], dtype=torch.int64), device).expand(batch), None


def _check_count(speakers: int, batch: int) -> None:
    if speakers not in (1, batch):
        raise ValueError(f"speaker_id must name one speaker or one an item ({batch}), got {speakers}")


def speaker_embedding_input(
    speaker_embedding: Tensor, size: int, batch: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Speaker embeddings `[B, speaker_embedding_size]` from what a caller gives, `[B or 1, size]`.

    Raises ValueError for a model that takes none, a shape that does not fit or values that are not finite; TypeError
    for what is no floating-point tensor.
    """
    if not size:
        raise ValueError("speaker_embedding: the model has one voice and takes no speaker embedding")
    if not isinstance(speaker_embedding, Tensor) or not speaker_embedding.is_floating_point():
        raise TypeError(f"speaker_embedding must be a floating-point tensor [B, {size}]")
    if speaker_embedding.shape not in ((batch, size), (1, size)):
        raise ValueError(
            f"speaker_embedding must be [{batch}, {size}] or [1, {size}], got {tuple(speaker_embedding.shape)}"
        )
    if not bool(speaker_embedding.isfinite().all()):
        raise ValueError("speaker_embedding must be finite")
    return to_device(speaker_embedding, device).to(dtype).expand(batch, size)


def seed_input(seed: int | Sequence[int] | Tensor, batch: int) -> tuple[int, ...]:
    """A seed for each item. Raises TypeError for what is no integer, ValueError for a wrong number of seeds or one
    outside [0, 2**63)."""
    if isinstance(seed, Tensor):
        seed = seed.tolist()
    seeds: list[Any] = list(seed) if isinstance(seed, (list, tuple)) else [seed]
    for one in seeds:
        if isinstance(one, bool) or not isinstance(one, (int, np.integer)):
            raise TypeError(f"seed must be an integer, or a list of one an item, got {one!r}")
        if not 0 <= one < 2**63:
            raise ValueError(f"seed must lie in [0, 2**63), got {one}")
    if len(seeds) not in (1, batch):
        raise ValueError(f"seed must be one integer or one an item ({batch}), got {len(seeds)}")
    return tuple(int(one) for one in (seeds * batch if len(seeds) == 1 else seeds))


def durations_input(durations: Tensor, text: TextInput, max_frames: int) -> Tensor:
    """Forced durations `[B, T_text]` in frames, checked and moved to our positions.

    Raises TypeError for what is no integer tensor, ValueError for a shape that is not that of `input_ids`, a negative
    value, frames under the attention mask, an item without a frame, or one of more than `max_frames`.
    """
    if not isinstance(durations, Tensor) or durations.dtype not in INTEGER_DTYPES:
        raise TypeError("durations must be an integer tensor [B, T_text], frames of each token")
    if durations.shape != text.ids.shape:
        raise ValueError(
            f"durations must have the shape of input_ids, {tuple(text.ids.shape)}, got {tuple(durations.shape)}"
        )
    frames = text.shifted(to_device(durations, text.ids.device).to(torch.int64), 1)
    total = frames.sum(1)
    stray = total.new_zeros(())
    if text.lengths is not None:
        valid = torch.arange(frames.shape[1], device=frames.device) < text.lengths.unsqueeze(1)
        stray = frames.masked_fill(valid, 0).amax()
    # One tensor, for each look of the host at one makes it wait.
    smallest, stray_frames, shortest, longest = torch.stack([frames.amin(), stray, total.amin(), total.amax()]).tolist()
    if smallest < 0:
        raise ValueError("durations must not be negative")
    if stray_frames:
        raise ValueError("durations must be 0 where attention_mask is 0")
    if shortest < 1:
        raise ValueError("durations must give every item a frame at least")
    if longest > max_frames:
        raise ValueError(
            f"durations give an item {longest} frames; at most {max_frames} are allowed (config.max_frames)"
        )
    return frames


def check_frames(value: object, name: str) -> None:
    """Raise TypeError or ValueError unless `value` is a positive number of frames."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be a whole number of frames, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1 frame, got {value}")


def per_item(name: str, value: object, batch: int, *, minimum: float, exclusive: bool) -> list[float]:
    """`value`, a number or one an item, as a list of `batch` floats; each finite and above `minimum` (or at it, unless
    `exclusive`)."""
    if isinstance(value, Tensor):
        value = value.tolist()
    values: list[Any] = list(value) if isinstance(value, (list, tuple)) else [value]
    for one in values:
        if isinstance(one, bool) or not isinstance(one, (int, float, np.number)):
            raise TypeError(f"{name} must be a number, or a list of one an item, got {one!r}")
        if not math.isfinite(one) or one < minimum or (exclusive and one == minimum):
            raise ValueError(f"{name} must be finite and {'>' if exclusive else '>='} {minimum:g}, got {one!r}")
    if len(values) == 1:
        values = values * batch
    if len(values) != batch:
        raise ValueError(f"{name} must be one number or one an item ({batch}), got {len(values)}")
    return [float(one) for one in values]


def raise_for_faults(faults: Sequence[int], speakers: Sequence[int], vocab_size: int, num_speakers: int) -> None:
    """Raise ValueError for a fault that `fastvits_kernels.ops.left_align` found in an item, or a speaker that does not
    exist."""
    if any(fault & OUTSIDE_VOCABULARY for fault in faults):
        raise ValueError(f"input_ids hold an id outside the vocabulary: allowed is 0 to {vocab_size - 1}")
    if any(fault & BAD_MASK for fault in faults):
        raise ValueError(
            "attention_mask must hold 0 and 1 alone, with one run of 1 an item: no holes, and no item without a token"
        )
    if any(fault & SILENT for fault in faults):
        raise ValueError(f"an item of input_ids is a single blank (id {BLANK}): there is no text to speak")
    if not all(0 <= speaker < max(num_speakers, 1) for speaker in speakers):
        raise ValueError(f"speaker_id is out of range: allowed is 0 to {max(num_speakers, 1) - 1}")
