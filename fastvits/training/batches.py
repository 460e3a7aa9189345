"""Which clips a step sees: batches of clips of similar length, the same for the same seed, and their tensors.

An epoch is a shuffle of all clips; a window of it at a time is sorted by length and cut into batches, which are
shuffled in turn. So no clip waits for others of its length, and no bucket is empty. What is left over at the end of an
epoch, less than a batch, is left out of it; the next epoch's shuffle leaves out others.
"""

import dataclasses
import hashlib
import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..audio.spectrogram import linear_spectrogram
from ..configuration import VitsConfig
from ..models.learning import IGNORED
from .inspection import Example

__all__ = ["Batch", "batches_an_epoch", "epoch_batches", "item_seed", "make_batch"]

_WINDOW = 32
"""Batches' worth of clips that are sorted by length at a time."""


@dataclasses.dataclass
class Batch:
    """The tensors of a step."""

    names: list[str]
    input_ids: Tensor  # [B, T_text] int64
    attention_mask: Tensor  # [B, T_text] int64
    speaker_id: Tensor | None  # [B] int64
    labels: Tensor  # [B, spectrogram_bins, T_frames], -100 beyond an item's frames
    waveform: Tensor  # [B, T_frames * hop_length], zero beyond
    seeds: list[int]  # of each item's noise

    def counts(self, segment_frames: int) -> list[float]:
        """Of what the losses are means: valid frames, tokens, and valid frames of segments."""
        frames = (self.labels[:, 0] != IGNORED).sum(1)
        return [
            float(frames.sum()),
            float(self.attention_mask.sum()),
            float(frames.clamp_max(segment_frames).sum()),
        ]

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return dataclasses.replace(
            self,
            input_ids=self.input_ids.to(device),
            attention_mask=self.attention_mask.to(device),
            speaker_id=None if self.speaker_id is None else self.speaker_id.to(device),
            labels=self.labels.to(device),
            waveform=self.waveform.to(device),
        )


def item_seed(seed: int, purpose: str, identifier: str) -> int:
    """A seed below 2**56 from the run's, what it is for, and whom: the same everywhere."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{purpose}\0{identifier}".encode()).digest()[:7], "big")


def batches_an_epoch(examples: int, batch_size: int) -> int:
    """How many batches an epoch has: at least one, of all clips where they are fewer than a batch."""
    return max(examples // batch_size, 1)


def epoch_batches(
    examples: Sequence[Example], batch_size: int, seed: int, epoch: int, world: int = 1
) -> list[list[Example]]:
    """The batches of an epoch, in order; each of `batch_size` clips, a multiple of `world`.

    Raises:
        ValueError: a batch cannot be dealt evenly to `world` processes, or there are fewer clips than processes.
    """
    if batch_size % world:
        raise ValueError(f"batch_size ({batch_size}) must be a multiple of the number of processes ({world})")
    size = min(batch_size, len(examples) // world * world)
    if not size:
        raise ValueError(f"{len(examples)} clips are too few for {world} processes")
    generator = random.Random(item_seed(seed, "epoch", str(epoch)))
    order = generator.sample(list(examples), len(examples))
    order = order[: len(order) // size * size]
    batches = []
    for start in range(0, len(order), _WINDOW * size):
        window = sorted(order[start : start + _WINDOW * size], key=lambda example: (example.frames, example.id))
        batches += [window[first : first + size] for first in range(0, len(window), size)]
    generator.shuffle(batches)
    return batches


def make_batch(examples: Sequence[Example], config: VitsConfig, seed: int, purpose: str) -> Batch:
    """The tensors of some clips, on the CPU; `seed` and `purpose` decide the noise of each."""
    tokens = max(len(example.ids) for example in examples)
    frames = max(max(example.frames for example in examples), config.segment_frames)
    shape = len(examples), tokens
    input_ids, attention_mask = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
    labels = torch.full((len(examples), config.spectrogram_bins, frames), float(IGNORED))
    waveform = torch.zeros(len(examples), frames * config.hop_length)
    for item, example in enumerate(examples):
        input_ids[item, : len(example.ids)] = torch.tensor(example.ids)
        attention_mask[item, : len(example.ids)] = 1
        samples = torch.from_numpy(np.load(example.file))
        spectrogram = linear_spectrogram(samples, config.n_fft, config.hop_length, config.window_length)
        labels[item, :, : example.frames] = spectrogram
        used = min(len(samples), example.frames * config.hop_length)
        waveform[item, :used] = samples[:used]
    speakers = [example.speaker for example in examples if example.speaker is not None]
    return Batch(
        [example.id for example in examples],
        input_ids,
        attention_mask,
        torch.tensor(speakers) if speakers else None,
        labels,
        waveform,
        [item_seed(seed, purpose, example.id) for example in examples],
    )
