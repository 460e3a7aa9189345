"""What a call of the model, and its first half, return."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ..runtime.graphs import GraphLimits
from .inputs import TextInput
from .named_output import Output
from .text_encoder import TextEncoding


class Prior(NamedTuple):
    """The first half of a call: what the flow and the decoder turn into a waveform."""

    latents: Tensor  # [B, T_frames, flow_size] in the model's dtype, zero beyond an item's frames
    lengths: Tensor | None  # [B] frames of each item; None where all are T_frames
    frames: Tensor  # [B] the same, always there
    counts: list[int]  # the same, on the host
    durations: Tensor  # [B, T_text] frames of each token, in the positions of `text`
    speaker: Tensor | None  # [B, speaker_embedding_size] in the model's dtype
    encoding: TextEncoding
    text: TextInput
    limits: GraphLimits | None  # under which graphs may do what follows at once; None: it runs without


@dataclass(repr=False, eq=False)
class VitsModelOutput(Output):
    """The result of `VitsModel.__call__`; fields that were not asked for are None."""

    waveform: Tensor | None = None
    """`[B, T_samples]` in [-1, 1]; 0 beyond an item's length."""
    sequence_lengths: Tensor | None = None
    """`[B]` int64, samples of each item."""
    spectrogram: Tensor | None = None
    """`[B, flow_size, T_frames]`: the latents that the decoder hears; 0 beyond an item's length."""
    hidden_states: tuple[Tensor, ...] | None = None
    """`num_hidden_layers + 1` of `[B, T_text, hidden_size]`: the embeddings and each layer's output."""
    attentions: tuple[Tensor, ...] | None = None
    """`num_hidden_layers` of `[B, H, T_text, T_text]`."""
    durations: Tensor | None = None
    """`[B, T_text]` int64, frames of each token; 0 under the attention mask. With `labels` the likeliest alignment."""
    loss: Tensor | None = None
    """With `labels`: the weighted sum of the three losses below, a scalar."""
    loss_mel: Tensor | None = None
    """With `labels`: the mean distance of log mel spectrograms, a scalar."""
    loss_duration: Tensor | None = None
    """With `labels`: the duration predictor's loss a token, a scalar."""
    loss_kl: Tensor | None = None
    """With `labels`: the divergence of posterior and prior a frame, a scalar."""
    segment: Tensor | None = None
    """With `labels`: `[B, segment_frames * hop_length]`, the waveform made of a slice of each item's latents."""
    segment_start: Tensor | None = None
    """With `labels`: `[B]` int64, the first frame of that slice."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # Whoever takes outputs by position, as trainers do, finds a loss first; waveforms are first without one.
        if "loss" in self:
            self.move_to_end("loss", last=False)
        # Samples a second, which `fastvits.timestamps` asks for; not a field, so that all views stay as published.
        self.sampling_rate: int | None = None
