"""What a model does with recordings: it learns from them, and says them again in another voice."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from .conversion import convert, heard_input
from .inputs import per_item, raise_for_faults, read_at_once, seed_input, speaker_input
from .learning import LossWeights, Network, check_can_hear, check_can_learn, learn, recordings_input, refuse_controls
from .output import VitsModelOutput
from .pretrained import VitsPreTrainedModel
from .request import SpeechRequest


class TrainableModel(VitsPreTrainedModel):
    """A model with a posterior encoder; its parts have the names that `fastvits.models.learning.Network` lists."""

    accepts_loss_kwargs = False
    """`forward` takes further columns but no `num_items_in_batch`: `Trainer` divides the loss by accumulated steps."""

    def learn(
        self,
        request: SpeechRequest,
        labels: Tensor,
        labels_attention_mask: Tensor | None,
        weights: LossWeights,
        controls: Mapping[str, object],
    ) -> VitsModelOutput:
        """The losses of a call with `labels`; see `VitsModel.forward`. `controls` are those that only synthesis has."""
        refuse_controls(controls)
        check_can_learn(self)
        text, unchecked = request.text, request.unchecked_speakers
        if not read_at_once(text.ids.device):
            numbers = () if unchecked is None else unchecked.tolist()
            raise_for_faults(text.faults.tolist(), numbers, self.config.vocab_size, self.config.num_speakers)
        recordings = recordings_input(labels, labels_attention_mask, self.config, text)
        network = cast(Network, self)
        speaker = request.speaker_embedding if request.speakers is None else network.embed_speaker(request.speakers)
        speaker = None if speaker is None else speaker.to(network.decoder.conv_pre.weight.dtype)
        with self.entered():
            return learn(network, text, speaker, recordings, request.generators(), weights)

    @torch.no_grad()
    def convert(
        self,
        recording: Tensor,
        source: int | Sequence[int] | Tensor | None = None,
        target: int | Sequence[int] | Tensor | None = None,
        *,
        lengths: Sequence[int] | Tensor | None = None,
        noise_scale: float = 1.0,
        seed: int | Sequence[int] | None = None,
    ) -> VitsModelOutput:
        """Recordings of one speaker in the voice of another.

        `recording`: waveforms `[T_samples]` or `[B, T_samples]` at the model's rate, or linear spectrograms
        `[B, spectrogram_bins, T_frames]`; `lengths` the samples or frames of each item (None: all of the tensor).
        `source` says who speaks in them, `target` who shall: one speaker or one an item; None for a model with one
        speaker, which then says the same again. Latents are drawn with `noise_scale` (1 as published, 0 their means)
        and `seed`, one or one an item. Returns the `waveform`, `sequence_lengths` in samples and the latents.

        Raises TypeError or ValueError for inputs that do not fit, and ValueError for a model without a posterior
        encoder.
        """
        check_can_hear(self)
        network = cast(Network, self)
        config, weight = self.config, network.decoder.conv_pre.weight
        (scale,) = per_item("noise_scale", noise_scale, 1, minimum=0, exclusive=False)
        spectrogram, frames = heard_input(recording, lengths, config, weight.device)
        seeds = None if seed is None else seed_input(seed, len(frames))
        generators = None if seeds is None else [torch.Generator().manual_seed(one) for one in seeds]

        def embedding(speaker: int | Sequence[int] | Tensor | None) -> Tensor | None:
            numbers, unchecked = speaker_input(speaker, config.num_speakers, len(frames), weight.device)
            if unchecked is not None:
                raise_for_faults((), unchecked.tolist(), config.vocab_size, config.num_speakers)
            several = numbers is not None and config.num_speakers > 1
            return network.embed_speaker(numbers).to(weight.dtype) if several else None

        with self.entered():
            return convert(network, spectrogram, frames, embedding(source), embedding(target), scale, generators)
