"""The whole of VITS on one page: text -> durations -> latents -> waveform.

Kim, Kong and Son 2021, "Conditional Variational Autoencoder with Adversarial Learning for End-to-End Text-to-Speech".
Activations are channels-last, `[B, T, C]`; parameters keep the names and shapes of published checkpoints.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

import fastvits_kernels as kernels
from fastvits_kernels import registry

from .backend import parse_backend
from .configuration import VitsConfig
from .duration_predictor import VitsDurationPredictor, VitsStochasticDurationPredictor
from .flow import VitsResidualCouplingBlock
from .hifigan import VitsHifiGan
from .initialization import initialize
from .inputs import (
    TextInput,
    check_frames,
    durations_input,
    per_item,
    raise_for_faults,
    seed_input,
    speaker_embedding_input,
    speaker_input,
    text_input,
)
from .layers import Float32Module
from .output import VitsModelOutput
from .posterior_encoder import VitsPosteriorEncoder
from .text_encoder import TextEncoding, VitsTextEncoder

PerItem: TypeAlias = float | Sequence[float] | Tensor
"""A number for all items of a batch, or one an item."""


class Prior(NamedTuple):
    """The first half of a call: what the flow and the decoder turn into a waveform."""

    latents: Tensor  # [B, T_frames, flow_size] in the model's dtype, zero beyond an item's frames
    lengths: Tensor | None  # [B] frames of each item; None where all are T_frames
    frames: Tensor  # [B] the same, always there
    durations: Tensor  # [B, T_text] frames of each token, in the positions of `text`
    speaker: Tensor | None  # [B, speaker_embedding_size] in the model's dtype
    encoding: TextEncoding
    text: TextInput


class SpeakerEmbedding(Float32Module, nn.Embedding):
    """Speaker embeddings `[num_speakers, speaker_embedding_size]`; float32 in half precision, for durations depend on
    them."""


class VitsModel(nn.Module):
    """VITS for synthesis: a drop-in for the `VitsModel` of transformers.

    `inference_only` leaves out what only training needs: the posterior encoder, the posterior half of the stochastic
    duration predictor, and its one flow that synthesis omits. A new model has random weights and is in training mode;
    `from_pretrained` returns one in eval mode. `speaking_rate`, `noise_scale` and `noise_scale_duration` are
    attributes, read at each call.
    """

    def __init__(self, config: VitsConfig, *, inference_only: bool = False) -> None:
        if not isinstance(config, VitsConfig):
            raise TypeError(f"VitsModel takes a VitsConfig, got {type(config).__name__}")
        config.validate()  # fields may have been changed one by one since it was built
        super().__init__()
        self.config = config
        self.inference_only = inference_only
        self.text_encoder = VitsTextEncoder(config)
        self.flow = VitsResidualCouplingBlock(config)
        self.decoder = VitsHifiGan(config)
        if config.use_stochastic_duration_prediction:
            self.duration_predictor: nn.Module = VitsStochasticDurationPredictor(config, inference_only)
        else:
            self.duration_predictor = VitsDurationPredictor(config)
        if config.num_speakers > 1:
            self.embed_speaker = SpeakerEmbedding(config.num_speakers, config.speaker_embedding_size)
        if not inference_only:
            self.posterior_encoder = VitsPosteriorEncoder(config)
        self.speaking_rate = config.speaking_rate
        self.noise_scale = config.noise_scale
        self.noise_scale_duration = config.noise_scale_duration
        self.backend = None
        if self.device.type != "meta":
            for module in self.modules():
                initialize(module, config)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the flow and the decoder (the text encoder and the duration predictor do not go below
        float32)."""
        return self.decoder.conv_pre.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.decoder.conv_pre.weight.device

    @property
    def backend(self) -> str | None:
        """Which implementations a call takes: `auto`, `eager`, `triton` or `onednn`, with exceptions an op, such as
        `auto,spline_coupling=eager`. None: as `set_backend` or the environment says. A surrounding `use_backend` wins.

        Checked when it is set: TypeError for what is no string, ValueError for an unknown backend or op.
        """
        return self._backend

    @backend.setter
    def backend(self, value: str | None) -> None:
        parse_backend(value)
        self._backend = value

    def selected_backend(self) -> AbstractContextManager[None]:
        """A context in which ops run under `self.backend`, unless it is None or a `use_backend` block surrounds the
        call."""
        selection = parse_backend(self._backend)
        if selection is None or registry.context_is_set():
            return nullcontext()
        return registry.use_selection(selection)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        speaker_id: int | Sequence[int] | Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        labels: Tensor | None = None,
        speaking_rate: PerItem | None = None,
        *,
        noise_scale: PerItem | None = None,
        noise_scale_duration: PerItem | None = None,
        speaker_embedding: Tensor | None = None,
        seed: int | Sequence[int] | None = None,
        durations: Tensor | None = None,
    ) -> VitsModelOutput | tuple[Any, ...]:
        """Speak.

        `input_ids` `[B, T_text]`, integers; `attention_mask` `[B, T_text]`, 1 for tokens and 0 for padding on the left
        or the right (ids there are not looked at; None: no padding). `output_attentions`, `output_hidden_states` and
        `return_dict` default to the configuration's. A call's controls, each for all items or one an item:

        - `speaker_id`: an integer, a list or a tensor; or `speaker_embedding` `[B or 1, speaker_embedding_size]`, for
          mixed voices.
        - `speaking_rate` (larger is faster), `noise_scale`, `noise_scale_duration`: a number or one an item; None
          takes the model's.
        - `seed`: an integer or one an item. The noise of an item then comes from a generator of its own (on the CPU,
          in float32, duration noise `[2, n]` of its `n` tokens first, then the prior's `[T_frames, flow_size]`), so
          that its audio depends on its seed alone, not on its neighbours or the padding. None: torch's global
          generators, in the published order and shapes: same seed, same audio as the published model on the same
          device.
        - `durations`: `[B, T_text]` integers, frames of each token instead of predicted ones (random numbers are drawn
          all the same, so a call that is given back the durations it returned says the same).

        Returns a `VitsModelOutput`, or with `return_dict=False` the published tuple: its first five fields that are
        not None. An item's samples do not depend on the others in its batch but for the random numbers.

        Raises TypeError or ValueError for inputs that do not fit (naming what is allowed), ValueError where the
        predicted durations overflow or exceed `config.max_frames`, and NotImplementedError for `labels`.
        """
        if labels is not None:
            raise NotImplementedError("labels: training is not supported; call the model without them")
        config = self.config
        need_weights = bool(config.output_attentions if output_attentions is None else output_attentions)
        need_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        with self.selected_backend():
            prior = self.prior(
                input_ids,
                attention_mask,
                speaker_id,
                speaking_rate,
                noise_scale,
                noise_scale_duration,
                speaker_embedding,
                seed,
                durations,
                need_weights,
            )
            latents = kernels.onednn.widened(prior.latents)
            speaker = None if prior.speaker is None else prior.speaker.to(latents.dtype)
            latents = self.flow(latents, prior.lengths, speaker, reverse=True)
            waveform = self.decoder(latents, prior.lengths, speaker).to(self.dtype)
            latents = latents.to(self.dtype)
        text, encoding = prior.text, prior.encoding
        output = VitsModelOutput(
            waveform=waveform,
            sequence_lengths=prior.frames * math.prod(config.upsample_rates),
            spectrogram=latents.transpose(1, 2),
            hidden_states=tuple(text.restored(h, 1) for h in encoding.hidden_states) if need_states else None,
            attentions=self._restored_attentions(encoding, text) if need_weights else None,
            durations=text.restored(prior.durations, 1),
        )
        output.sampling_rate = config.sampling_rate
        if config.return_dict if return_dict is None else return_dict:
            return output
        return tuple(value for name, value in output.items() if name != "durations")

    def stream(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        chunk_frames: int = 128,
        first_chunk_frames: int | None = 32,
        speaker_id: int | Sequence[int] | Tensor | None = None,
        speaking_rate: PerItem | None = None,
        noise_scale: PerItem | None = None,
        noise_scale_duration: PerItem | None = None,
        speaker_embedding: Tensor | None = None,
        seed: int | Sequence[int] | None = None,
        durations: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """Speak piece by piece: an iterator of waveforms `[B, n]` whose concatenation is the waveform of a plain call.

        Each piece has `chunk_frames` frames (of `prod(upsample_rates)` samples), the first `first_chunk_frames` so
        that it comes early (None: as the others), the last what is left. A piece is computed when it is asked for,
        from the latents that it can hear and no others. Text and durations are computed, and bad input is refused,
        when `stream` is called. No gradients.
        """
        from .streaming import stream_pieces

        check_frames(chunk_frames, "chunk_frames")
        if first_chunk_frames is not None:
            check_frames(first_chunk_frames, "first_chunk_frames")
        with torch.no_grad(), self.selected_backend():
            prior = self.prior(
                input_ids,
                attention_mask,
                speaker_id,
                speaking_rate,
                noise_scale,
                noise_scale_duration,
                speaker_embedding,
                seed,
                durations,
            )
        return stream_pieces(self, prior, chunk_frames, first_chunk_frames or chunk_frames)

    def prior(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None = None,
        speaker_id: int | Sequence[int] | Tensor | None = None,
        speaking_rate: PerItem | None = None,
        noise_scale: PerItem | None = None,
        noise_scale_duration: PerItem | None = None,
        speaker_embedding: Tensor | None = None,
        seed: int | Sequence[int] | None = None,
        durations: Tensor | None = None,
        need_weights: bool = False,
    ) -> Prior:
        """The first half of a call: from text to latents drawn from the prior, everything checked. Arguments as in
        `forward`."""
        config = self.config
        text = text_input(input_ids, attention_mask, config.vocab_size, self.device)
        batch = text.ids.shape[0]
        if speaker_embedding is not None:
            if speaker_id is not None:
                raise ValueError("give speaker_id or speaker_embedding, not both")
            speaker: Tensor | None = speaker_embedding_input(
                speaker_embedding, config.speaker_embedding_size, batch, self.device, self._float_dtype
            )
            bad_speaker = torch.zeros((), dtype=torch.bool, device=self.device)
        else:
            speakers, bad_speaker = speaker_input(speaker_id, config.num_speakers, batch, self.device)
            speaker = None if speakers is None or config.num_speakers <= 1 else self.embed_speaker(speakers)
        if durations is not None and speaking_rate is not None:
            raise ValueError("give durations or speaking_rate, not both: durations are frames and set the rate")

        def setting(name: str, given: PerItem | None, exclusive: bool = False) -> list[float]:
            return per_item(
                name, getattr(self, name) if given is None else given, batch, minimum=0, exclusive=exclusive
            )

        rates = setting("speaking_rate", speaking_rate, exclusive=True)
        noise_scales = setting("noise_scale", noise_scale)
        duration_noise_scales = setting("noise_scale_duration", noise_scale_duration)
        generators = None if seed is None else seed_input(seed, batch)
        faults = torch.cat([text.faults, bad_speaker.reshape(1)])
        if self.device.type == "cpu":
            raise_for_faults(faults.tolist(), config.vocab_size, config.num_speakers)
        forced = None if durations is None else durations_input(durations, text, config.max_frames)

        encoding = self.text_encoder(text.ids, text.lengths, need_weights)
        # Drawn even where durations are given, so that the prior's noise does not depend on that.
        duration_noise = self._duration_noise(encoding, text, duration_noise_scales, generators)
        if forced is None:
            frames_of_tokens = self._durations(encoding, text, speaker, rates, duration_noise)
        else:
            frames_of_tokens = forced.to(encoding.hidden.dtype)
        total = frames_of_tokens.sum(1)
        frames = self._checked_frames(total, faults)
        noise = self._prior_noise(frames, generators)
        scale = encoding.means.new_tensor(noise_scales)
        latents = kernels.length_regulator(encoding.means, encoding.log_scales, frames_of_tokens.long(), noise, scale)
        lengths = total.long().clamp_min(1)
        return Prior(
            latents=latents,
            # With nothing to mask, no op has to: every item is as long as the tensors.
            lengths=None if min(frames) == max(frames) else lengths,
            frames=lengths,
            durations=frames_of_tokens.long(),
            speaker=None if speaker is None else speaker.to(latents.dtype),
            encoding=encoding,
            text=text,
        )

    @property
    def _float_dtype(self) -> torch.dtype:
        """What the text encoder and the duration predictor compute in."""
        return self.text_encoder.embed_tokens.weight.dtype

    def _duration_noise(
        self,
        encoding: TextEncoding,
        text: TextInput,
        noise_scales: list[float],
        generators: list[torch.Generator] | None,
    ) -> Tensor | None:
        """Scaled noise `[B, T_text, 2]` for the stochastic duration predictor, drawn on the CPU whatever the device."""
        if not self.config.use_stochastic_duration_prediction:
            return None
        hidden = encoding.hidden
        batch, steps, _ = hidden.shape
        if generators is None:
            # In the caller's layout, padding on the left included: the published order and shape.
            noise = text.shifted(torch.randn(batch, 2, steps).to(hidden.device, hidden.dtype), 2)
        else:
            rows = torch.zeros(batch, 2, steps)
            lengths = [steps] * batch if text.lengths is None else text.lengths.tolist()
            for row, length, generator in zip(rows, lengths, generators, strict=True):
                row[:, :length] = torch.randn(2, length, generator=generator)
            noise = rows.to(hidden.device, hidden.dtype)
        return noise.transpose(1, 2) * hidden.new_tensor(noise_scales)[:, None, None]

    def _durations(
        self, encoding: TextEncoding, text: TextInput, speaker: Tensor | None, rates: list[float], noise: Tensor | None
    ) -> Tensor:
        """Predicted frames of each token `[B, T_text]`, whole numbers still in floating point (they may overflow)."""
        hidden = encoding.hidden
        if speaker is not None:
            speaker = speaker.to(hidden.dtype)
        inputs = (hidden, text.lengths, speaker)
        log_duration = self.duration_predictor(*inputs) if noise is None else self.duration_predictor(*inputs, noise)
        durations = torch.ceil(log_duration.exp() * hidden.new_tensor([1.0 / rate for rate in rates])[:, None])
        if text.lengths is not None:
            beyond = torch.arange(hidden.shape[1], device=hidden.device) >= text.lengths[:, None]
            durations = durations.masked_fill(beyond, 0)
        return durations

    def _checked_frames(self, total: Tensor, faults: Tensor) -> list[int]:
        """The frames of each item, on the host: the one synchronisation of a call, which carries the inputs' faults
        along."""
        values = torch.cat([faults.to(torch.float64), total.detach().to(torch.float64)]).tolist()
        count = faults.numel()
        raise_for_faults(values[:count], self.config.vocab_size, self.config.num_speakers)
        for item, value in enumerate(values[count:]):
            if not value <= self.config.max_frames:
                length = f"{value:.0f} frames" if math.isfinite(value) else "a length that overflows"
                raise ValueError(
                    f"item {item} would take {length}; config.max_frames allows {self.config.max_frames}:"
                    " split the text, or raise speaking_rate"
                )
        return [max(int(value), 1) for value in values[count:]]

    def _prior_noise(self, frames: list[int], generators: list[torch.Generator] | None) -> Tensor:
        """Noise `[B, T_frames, flow_size]` for the prior, in the model's dtype."""
        shape = (len(frames), max(frames), self.config.flow_size)
        if generators is None:
            # The published draw is over [B, C, T] with the strides of a contiguous [B, T, C], and strides decide its
            # order.
            layout = torch.empty(shape, device=self.device, dtype=self.dtype)
            return torch.randn_like(layout.transpose(1, 2)).transpose(1, 2)
        noise = torch.zeros(shape)
        for row, length, generator in zip(noise, frames, generators, strict=True):
            row[:length] = torch.randn(length, shape[2], generator=generator)
        return noise.to(self.device, self.dtype)

    @staticmethod
    def _restored_attentions(encoding: TextEncoding, text: TextInput) -> tuple[Tensor, ...]:
        return tuple(
            text.restored(text.restored(weights, 2), 3) for weights in encoding.attentions if weights is not None
        )

    def get_input_embeddings(self) -> nn.Embedding:
        """The token embeddings."""
        return self.text_encoder.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the token embeddings by others of the same width."""
        if not isinstance(value, nn.Embedding) or value.embedding_dim != self.config.hidden_size:
            raise ValueError(f"the token embeddings must be an nn.Embedding of width {self.config.hidden_size}")
        self.text_encoder.embed_tokens = value
        self.config.vocab_size = value.num_embeddings

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Give the vocabulary `new_num_tokens` entries (None: as many as it has), rounded up to `pad_to_multiple_of`.

        New entries become the mean of the old ones, or with `mean_resizing=False` random as in a new model. Returns the
        embeddings, and sets `config.vocab_size`.
        """
        old = self.get_input_embeddings()
        count = old.num_embeddings if new_num_tokens is None else new_num_tokens
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"new_num_tokens must be a positive integer, got {new_num_tokens!r}")
        if pad_to_multiple_of is not None:
            if (
                isinstance(pad_to_multiple_of, bool)
                or not isinstance(pad_to_multiple_of, int)
                or pad_to_multiple_of < 1
            ):
                raise ValueError(f"pad_to_multiple_of must be a positive integer, got {pad_to_multiple_of!r}")
            count = math.ceil(count / pad_to_multiple_of) * pad_to_multiple_of
        if count == old.num_embeddings:
            return old
        padding_idx = old.padding_idx if old.padding_idx is not None and old.padding_idx < count else None
        new = nn.Embedding(count, old.embedding_dim, padding_idx, device=old.weight.device, dtype=old.weight.dtype)
        with torch.no_grad():
            if mean_resizing:
                new.weight.copy_(old.weight.mean(0).expand_as(new.weight))
            else:
                nn.init.normal_(new.weight, std=self.config.initializer_range)
            kept = min(count, old.num_embeddings)
            new.weight[:kept].copy_(old.weight[:kept])
        new.weight.requires_grad_(old.weight.requires_grad)
        self.set_input_embeddings(new)
        return new

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        dtype: torch.dtype | str | None = None,
        device_map: str | int | torch.device | Mapping[str, Any] | None = None,
        revision: str | None = None,
        subfolder: str = "",
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        force_download: bool = False,
        inference_only: bool = False,
        backend: str | None = None,
    ) -> "VitsModel":
        """A model from a folder or a hub repository, in eval mode; see `fastvits.checkpoint.load_pretrained`.

        `backend` becomes the attribute of that name, checked before anything is loaded.
        """
        from .checkpoint import load_pretrained

        parse_backend(backend)
        model = load_pretrained(
            cls,
            pretrained_model_name_or_path,
            dtype=dtype,
            device_map=device_map,
            revision=revision,
            subfolder=subfolder,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            token=token,
            force_download=force_download,
            inference_only=inference_only,
        )
        model.backend = backend
        return model

    def save_pretrained(self, save_directory: str | os.PathLike[str], **options: Any) -> None:
        """Write `config.json` and `model.safetensors`; see `fastvits.checkpoint.save_pretrained` for the options."""
        from .checkpoint import save_pretrained

        save_pretrained(self, save_directory, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Save the model to a hub repository and return its address; see `fastvits.checkpoint.push_to_hub`."""
        from .checkpoint import push_to_hub

        return push_to_hub(self, repo_id, **options)
