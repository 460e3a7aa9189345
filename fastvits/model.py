"""The whole of VITS on one page: text -> durations -> latents -> waveform.

Kim, Kong and Son 2021, "Conditional Variational Autoencoder with Adversarial Learning for End-to-End Text-to-Speech".
Activations are channels-last, `[B, T, C]`; parameters keep the names and shapes of published checkpoints.
"""

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

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
from .inputs import TextInput, per_item, raise_for_faults, speaker_input, text_input
from .layers import Float32Module
from .output import VitsModelOutput
from .posterior_encoder import VitsPosteriorEncoder
from .text_encoder import TextEncoding, VitsTextEncoder


class SpeakerEmbedding(Float32Module, nn.Embedding):
    """Speaker embeddings `[num_speakers, speaker_embedding_size]`; float32 in half precision, for durations depend on them."""


class VitsModel(nn.Module):
    """VITS for synthesis: a drop-in for the `VitsModel` of transformers.

    `inference_only` leaves out what only training needs: the posterior encoder, the posterior half of the stochastic duration
    predictor, and its one flow that synthesis omits. A new model has random weights and is in training mode;
    `from_pretrained` returns one in eval mode. `speaking_rate`, `noise_scale` and `noise_scale_duration` are attributes, read at
    each call.
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
        """The dtype of the flow and the decoder (the text encoder and the duration predictor do not go below float32)."""
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
        """A context in which ops run under `self.backend`, unless it is None or a `use_backend` block surrounds the call."""
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
        speaking_rate: float | Sequence[float] | Tensor | None = None,
    ) -> VitsModelOutput | tuple[Any, ...]:
        """Speak.

        `input_ids` `[B, T_text]`, integers; `attention_mask` `[B, T_text]`, 1 for tokens and 0 for padding on the left or the right
        (ids there are not looked at; None: no padding). `speaker_id`: an integer, a list or a tensor, one for all or one an item.
        `speaking_rate`: a number, or one an item; larger is faster; None takes the model's. `output_attentions`,
        `output_hidden_states` and `return_dict` default to the configuration's.

        Returns a `VitsModelOutput`, or with `return_dict=False` the tuple of its fields that are not None. An item's samples do
        not depend on the others in its batch but for the random numbers, which are drawn in the published order and shapes:
        same seed, same audio as the published model on the same device.

        Raises TypeError or ValueError for inputs that do not fit (naming what is allowed), ValueError where the predicted durations
        overflow or exceed `config.max_frames`, and NotImplementedError for `labels`.
        """
        if labels is not None:
            raise NotImplementedError("labels: training is not supported; call the model without them")
        config = self.config
        text = text_input(input_ids, attention_mask, config.vocab_size, self.device)
        batch = text.ids.shape[0]
        speakers, bad_speaker = speaker_input(speaker_id, config.num_speakers, batch, self.device)
        rates = per_item(
            "speaking_rate", self.speaking_rate if speaking_rate is None else speaking_rate, batch, minimum=0, exclusive=True
        )
        noise_scales = per_item("noise_scale", self.noise_scale, batch, minimum=0, exclusive=False)
        duration_noise_scales = per_item(
            "noise_scale_duration", self.noise_scale_duration, batch, minimum=0, exclusive=False
        )
        need_weights = config.output_attentions if output_attentions is None else output_attentions
        need_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        faults = torch.cat([text.faults, bad_speaker.reshape(1)])
        if self.device.type == "cpu":
            raise_for_faults(faults.tolist(), config.vocab_size, config.num_speakers)

        speaker = None if speakers is None or config.num_speakers <= 1 else self.embed_speaker(speakers)
        with self.selected_backend():
            encoding = self.text_encoder(text.ids, text.lengths, need_weights)
            durations, total = self._durations(encoding, text, speaker, rates, duration_noise_scales)
            frames = self._checked_frames(total, faults)

            lengths = total.long().clamp_min(1)
            latents = self._prior_latents(encoding, durations, max(frames), noise_scales)
            # With nothing to mask, no op has to: every item is as long as the tensors.
            valid = None if min(frames) == max(frames) else lengths
            speaker = None if speaker is None else speaker.to(latents.dtype)
            latents = self.flow(latents, valid, speaker, reverse=True)
            waveform = self.decoder(latents, valid, speaker)

        output = VitsModelOutput(
            waveform=waveform,
            sequence_lengths=lengths * math.prod(config.upsample_rates),
            spectrogram=latents.transpose(1, 2),
            hidden_states=tuple(text.restored(h, 1) for h in encoding.hidden_states) if need_states else None,
            attentions=self._restored_attentions(encoding, text) if need_weights else None,
        )
        return output if (config.return_dict if return_dict is None else return_dict) else output.to_tuple()

    def _durations(
        self, encoding: TextEncoding, text: TextInput, speaker: Tensor | None, rates: list[float], noise_scales: list[float]
    ) -> tuple[Tensor, Tensor]:
        """Frames of each token `[B, T_text]` and of each item `[B]`, whole numbers still in floating point."""
        hidden = encoding.hidden
        batch, steps, _ = hidden.shape
        if speaker is not None:
            speaker = speaker.to(hidden.dtype)
        if self.config.use_stochastic_duration_prediction:
            # Drawn on the CPU, in the caller's layout, whatever the device: the published order and shape.
            noise = text.shifted(torch.randn(batch, 2, steps).to(hidden.device, hidden.dtype), 2).transpose(1, 2)
            noise = noise * hidden.new_tensor(noise_scales)[:, None, None]
            log_duration = self.duration_predictor(hidden, text.lengths, speaker, noise)
        else:
            log_duration = self.duration_predictor(hidden, text.lengths, speaker)
        durations = torch.ceil(log_duration.exp() * hidden.new_tensor([1.0 / rate for rate in rates])[:, None])
        if text.lengths is not None:
            beyond = torch.arange(steps, device=hidden.device) >= text.lengths[:, None]
            durations = durations.masked_fill(beyond, 0)
        return durations, durations.sum(1)

    def _checked_frames(self, total: Tensor, faults: Tensor) -> list[int]:
        """The frames of each item, on the host: the one synchronisation of a call, which carries the inputs' faults along."""
        values = torch.cat([faults.to(torch.float64), total.detach().to(torch.float64)]).tolist()
        count = faults.numel()
        raise_for_faults(values[:count], self.config.vocab_size, self.config.num_speakers)
        for item, value in enumerate(values[count:]):
            if not value <= self.config.max_frames:
                length = f"{value:.0f} frames" if math.isfinite(value) else "a length that overflows"
                raise ValueError(
                    f"item {item} would take {length}; at most {self.config.max_frames} are allowed (config.max_frames):"
                    " split the text, or raise speaking_rate"
                )
        return [max(int(value), 1) for value in values[count:]]

    def _prior_latents(
        self, encoding: TextEncoding, durations: Tensor, frames: int, noise_scales: list[float]
    ) -> Tensor:
        """Draw the prior's latents `[B, T_frames, flow_size]` in the model's dtype."""
        batch = durations.shape[0]
        # The published draw is over [B, C, T] with the strides of a contiguous [B, T, C], and strides decide its order.
        layout = torch.empty(batch, frames, self.config.flow_size, device=self.device, dtype=self.dtype)
        noise = torch.randn_like(layout.transpose(1, 2)).transpose(1, 2)
        scale = encoding.means.new_tensor(noise_scales)
        return kernels.length_regulator(encoding.means, encoding.log_scales, durations.long(), noise, scale)

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
            if isinstance(pad_to_multiple_of, bool) or not isinstance(pad_to_multiple_of, int) or pad_to_multiple_of < 1:
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
        model = cast(
            VitsModel,
            load_pretrained(
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
            ),
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
