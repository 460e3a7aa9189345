"""The whole of VITS on one page: text -> durations -> latents -> waveform.

Kim, Kong and Son 2021, "Conditional Variational Autoencoder with Adversarial Learning for End-to-End Text-to-Speech".
Activations are channels-last, `[B, T, C]`; parameters keep the names and shapes of published checkpoints.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate
from operator import mul
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

import fastvits_kernels as kernels
from fastvits_kernels.dispatch import registry
from fastvits_kernels.dispatch.masking import zero_beyond
from fastvits_kernels.launch import tiles
from fastvits_kernels.launch.ahead import compile_ahead
from fastvits_kernels.ops.durations import MOST_FRAMES

from ..configuration import VitsConfig
from ..runtime.backend import parse_backend
from ..runtime.buckets import LEAST_FRAMES, LEAST_TOKENS, bucket
from ..runtime.graphs import GraphCache, GraphLimits, GraphsSetting, Padded, parse_graphs, recording_lock, surroundings
from ..runtime.warmup import WarmupReport, check_warmup, warm_up
from .duration_predictor import VitsDurationPredictor, VitsStochasticDurationPredictor
from .flow import VitsResidualCouplingBlock
from .hifigan import VitsHifiGan, decoder_window
from .initialization import initialize
from .inputs import (
    TextInput,
    check_frames,
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
    limits: GraphLimits | None  # under which graphs may do what follows at once; None: it runs without


class SpeakerEmbedding(Float32Module, nn.Embedding):
    """Speaker embeddings `[num_speakers, speaker_embedding_size]`; float32 in half precision, for durations depend on
    them."""


class VitsModel(nn.Module):
    """VITS for synthesis: a drop-in for the `VitsModel` of transformers.

    `inference_only` leaves out what only training needs: the posterior encoder, the posterior half of the stochastic
    duration predictor, and its one flow that synthesis omits. A new model has random weights and is in training mode;
    `from_pretrained` returns one in eval mode. `speaking_rate`, `noise_scale` and `noise_scale_duration` are
    attributes, read at each call.

    Parameters are ordinary tensors even where the model is made, loaded or moved in inference mode: what is derived
    from a tensor of inference mode cannot be kept, for its changes are not counted.
    """

    @torch.inference_mode(False)
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
        self.graphs = None
        self.graph_cache = GraphCache()
        if self.device.type != "meta":
            for module in self.modules():
                initialize(module, config)

    @torch.inference_mode(False)
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "VitsModel":
        return super()._apply(fn, recurse)

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
        """Which implementations a call takes: `auto` or another of `BACKENDS`, with exceptions an op, such as
        `auto,spline_coupling=eager`. None: as `set_backend` or the environment says. A surrounding `use_backend` wins.

        Checked when it is set: TypeError for what is no string, ValueError for an unknown backend or op.
        """
        return self._backend

    @backend.setter
    def backend(self, value: str | None) -> None:
        parse_backend(value)
        self._backend = value

    @property
    def graphs(self) -> GraphsSetting:
        """Whether calls on a GPU replay CUDA graphs: `auto`, `off`, or a `GraphLimits`, which is `auto` with limits of
        its own. None: as the environment variable `FASTVITS_GRAPHS` says, `auto` where it is not set.

        Checked when it is set: TypeError or ValueError for anything else. A CPU has no graphs, and so no padding to
        buckets. `graph_cache.statistics()` tells what there is, `graph_cache.clear()` gives its memory back.
        """
        return self._graphs

    @graphs.setter
    def graphs(self, value: GraphsSetting) -> None:
        if value is not None:
            parse_graphs(value)
        self._graphs = value

    def graph_limits(self, *arguments: Tensor | None) -> GraphLimits | None:
        """The limits under which a call with these tensors takes graphs, here and now; None: it runs without.

        Looks at all of the model's parameters: a call asks once, for both of its halves.
        """
        limits = None if torch.compiler.is_compiling() else parse_graphs(self._graphs)
        return limits if limits is not None and self.graph_cache.usable(self, self.device, *arguments) else None

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
        need_states = bool(config.output_hidden_states if output_hidden_states is None else output_hidden_states)
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
                need_states,
            )
            latents, waveform = self.waveform(prior.latents, prior.lengths, prior.frames, prior.speaker, prior.limits)
        text, encoding = prior.text, prior.encoding
        output = VitsModelOutput(
            waveform=waveform,
            sequence_lengths=prior.frames * math.prod(config.upsample_rates),
            spectrogram=latents.transpose(1, 2),
            hidden_states=self._restored_states(encoding, text) if need_states else None,
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
        first_chunk_frames: int | None = 16,
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

    def warmup(
        self,
        *,
        tokens: int | Sequence[int] | None = None,
        frames: int | Sequence[int] | None = None,
        batch_sizes: int | Sequence[int] = 1,
        chunk_frames: int | Sequence[int] | None = None,
        progress: bool = True,
    ) -> WarmupReport:
        """Do ahead what the first calls would do: pack weights, compile kernels and record graphs.

        For texts of `tokens` tokens (None: every bucket up to 256), audio of `frames` frames (None: every bucket up to
        1024), batches of `batch_sizes` items, and streams in pieces of `chunk_frames` frames behind a first piece of
        the default size (None: no streams). Without graphs (on a CPU, or with `graphs = "off"`) one call of the
        smallest sizes is run. `progress` shows a bar on standard error. Returns how many graphs were recorded, how
        many sizes run without one, and how long it took.

        Raises TypeError or ValueError for sizes that are no positive whole numbers.
        """
        return warm_up(
            self,
            tokens=tokens,
            frames=frames,
            batch_sizes=batch_sizes,
            chunk_frames=chunk_frames,
            progress=progress,
        )

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
        need_states: bool = False,
    ) -> Prior:
        """The first half of a call: from text to latents drawn from the prior, everything checked. Arguments as in
        `forward`.

        On a GPU the host waits once, for the numbers of frames; and once before for each of these: forced durations,
        and a speaker embedding on the GPU, which have to be checked; a seed that meets an attention mask, for the
        generators are on the CPU, and what one gives for `n` tokens is not the beginning of what it gives for more;
        a rate, a noise scale or a seed that is a tensor on the GPU.
        """
        config = self.config
        text = text_input(input_ids, attention_mask, config.vocab_size, self.device)
        batch = text.ids.shape[0]
        if speaker_embedding is not None:
            if speaker_id is not None:
                raise ValueError("give speaker_id or speaker_embedding, not both")
            speaker: Tensor | None = speaker_embedding_input(
                speaker_embedding, config.speaker_embedding_size, batch, self.device, self._float_dtype
            )
            unchecked = None
        else:
            speakers, unchecked = speaker_input(speaker_id, config.num_speakers, batch, self.device)
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
        if read_at_once(self.device):
            raise_for_faults(text.faults.tolist(), (), config.vocab_size, config.num_speakers)
        forced = None if durations is None else durations_input(durations, text, config.max_frames)

        controls = [[1.0 / rate for rate in rates], duration_noise_scales, noise_scales]
        scales = to_device(torch.tensor(controls, dtype=self._float_dtype), self.device)
        usable = self.graph_limits(speaker)
        limits = None if need_weights or forced is not None else usable
        predicted = None
        if limits is not None:
            duration_noise = self._duration_noise(text, scales[1], generators)
            predicted = self._text_graph(limits, text, speaker, scales[0], duration_noise, need_states)
        if predicted is None:
            self._compile_text_ahead(text, speaker, scales, need_weights)
            encoding = self.text_encoder(text.ids, text.lengths, need_weights)
            # Drawn even where durations are given, so that the prior's noise does not depend on that; and drawn here,
            # because dropout in training draws before it.
            if limits is None:
                duration_noise = self._duration_noise(text, scales[1], generators)
            if forced is None:
                frames_of_tokens, frames = self._durations(encoding, text.lengths, speaker, scales[0], duration_noise)
            else:
                frames_of_tokens, frames = forced, forced.sum(1)
        else:
            encoding, frames_of_tokens, frames = predicted
        on_host = self._checked_frames(text.faults, unchecked, frames)
        noise = self._prior_noise(on_host, generators)
        latents = kernels.length_regulator(encoding.means, encoding.log_scales, frames_of_tokens, noise, scales[2])
        return Prior(
            latents=latents,
            # With nothing to mask, no op has to: every item is as long as the tensors.
            lengths=None if min(on_host) == max(on_host) else frames,
            frames=frames,
            durations=frames_of_tokens,
            speaker=None if speaker is None else speaker.to(latents.dtype),
            encoding=encoding,
            text=text,
            limits=usable,
        )

    def _compile_ahead(self, stage: str, run: Callable[[], Any], x: Tensor, *others: Tensor | None) -> None:
        """Have what `run` is about to launch on a GPU for `x` `[B, T, ...]` compiled on all processors, where it is the
        first of its kind and size: else a new process's first call waits for one kernel after the other."""
        if torch.compiler.is_compiling() or not self.graph_cache.has_graphs(self.device):
            return
        kinds = tuple(None if other is None else other.dtype for other in others)
        key = (stage, self.device, self.dtype, kinds, self._work_of(x), surroundings())
        if key not in self.graph_cache.compiled_for and self.graph_cache.unobserved(self, self.device):
            compile_ahead(run, self.device)
            self.graph_cache.compiled_for.add(key)

    def _work_of(self, x: Tensor) -> tuple[int, ...]:
        """What tiles are chosen by, for `x` `[B, T, ...]` and all that the decoder makes of so many frames."""
        steps, branches = x.shape[0] * x.shape[1], len(self.config.resblock_kernel_sizes)
        rates = accumulate(self.config.upsample_rates, mul, initial=1)
        return tuple(tiles.bucket(steps * rate * factor) for rate in rates for factor in (1, branches))

    def _compile_text_ahead(
        self, text: TextInput, speaker: Tensor | None, scales: Tensor, need_weights: bool = False
    ) -> None:
        """`_compile_ahead` for what the first half of a call launches with these tensors."""

        def run() -> None:
            encoding = self.text_encoder(text.ids, text.lengths, need_weights)
            batch, steps = text.ids.shape
            noise = None
            if self.config.use_stochastic_duration_prediction:
                noise = scales.new_empty(batch, 2, steps).transpose(1, 2)
            durations, _ = self._durations(encoding, text.lengths, speaker, scales[0], noise)
            prior_noise = torch.empty(batch, steps, self.config.flow_size, dtype=self.dtype, device=self.device)
            kernels.length_regulator(encoding.means, encoding.log_scales, durations, prior_noise, scales[2])

        self._compile_ahead(f"text {need_weights}", run, text.ids, text.lengths, speaker)

    @property
    def _float_dtype(self) -> torch.dtype:
        """What the text encoder and the duration predictor compute in."""
        return self.text_encoder.embed_tokens.weight.dtype

    def _duration_noise(
        self, text: TextInput, noise_scales: Tensor, generators: list[torch.Generator] | None
    ) -> Tensor | None:
        """Scaled noise `[B, T_text, 2]` for the stochastic duration predictor, drawn on the CPU whatever the device."""
        if not self.config.use_stochastic_duration_prediction:
            return None
        batch, steps = text.ids.shape
        if generators is None:
            # In the caller's layout, padding on the left included: the published order and shape.
            noise = text.shifted(to_device(torch.randn(batch, 2, steps), self.device).to(self._float_dtype), 2)
        else:
            rows = torch.zeros(batch, 2, steps)
            lengths = [steps] * batch if text.lengths is None else text.lengths.tolist()
            for row, length, generator in zip(rows, lengths, generators, strict=True):
                row[:, :length] = torch.randn(2, length, generator=generator)
            noise = to_device(rows, self.device).to(self._float_dtype)
        return noise.transpose(1, 2) * noise_scales[:, None, None]

    def _durations(
        self,
        encoding: TextEncoding,
        lengths: Tensor | None,
        speaker: Tensor | None,
        inverse_rates: Tensor,
        noise: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Predicted frames of each token `[B, T_text]`, and of each item `[B]`."""
        hidden = encoding.hidden
        if speaker is not None:
            speaker = speaker.to(hidden.dtype)
        inputs = (hidden, lengths, speaker)
        log_duration = self.duration_predictor(*inputs) if noise is None else self.duration_predictor(*inputs, noise)
        return kernels.durations(log_duration, inverse_rates, lengths=lengths)

    def _text_graph(
        self,
        limits: GraphLimits,
        text: TextInput,
        speaker: Tensor | None,
        inverse_rates: Tensor,
        noise: Tensor | None,
        need_states: bool,
        *,
        at_once: bool = False,
    ) -> tuple[TextEncoding, Tensor, Tensor] | None:
        """The text encoder, `_durations` behind it, through a graph; None where they have to run without."""
        batch, steps = text.ids.shape
        items, room = bucket(batch), bucket(steps, LEAST_TOKENS)
        if items * room > limits.steps:
            return None
        lengths = text.ids.new_full((batch,), steps) if text.lengths is None else text.lengths
        inputs = {
            "ids": Padded(text.ids, (items, room)),
            "lengths": Padded(lengths, (items,), zero=True),
            "rates": Padded(inverse_rates, (items,)),
        }
        if noise is not None:
            inputs["noise"] = Padded(noise, (items, room, noise.shape[2]))
        if speaker is not None:
            inputs["speaker"] = Padded(speaker, (items, speaker.shape[1]))

        def stage(given: dict[str, Tensor]) -> tuple[TextEncoding, Tensor, Tensor]:
            encoding = self.text_encoder(given["ids"], given["lengths"])
            return encoding, *self._durations(
                encoding, given["lengths"], given.get("speaker"), given["rates"], given.get("noise")
            )

        def take(outputs: tuple[TextEncoding, Tensor, Tensor]) -> tuple[TextEncoding, Tensor, Tensor]:
            encoding, durations, frames = outputs

            def own(x: Tensor) -> Tensor:
                return x[:batch, :steps].clone()

            states = [own(state) for state in encoding.hidden_states] if need_states else []
            hidden = states[-1] if need_states else encoding.hidden[:0]
            encoding = TextEncoding(hidden, own(encoding.means), own(encoding.log_scales), states, [])
            return encoding, own(durations), frames[:batch].clone()

        return self.graph_cache.run(limits, self.device, ("text",), stage, inputs, take, at_once=at_once)

    def waveform(
        self,
        latents: Tensor,
        lengths: Tensor | None,
        frames: Tensor,
        speaker: Tensor | None,
        limits: GraphLimits | None,
        *,
        at_once: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """The second half of a call: latents of the prior `[B, T_frames, flow_size]` -> what the decoder hears, of the
        same shape, and the waveform `[B, T_samples]`, both in the model's dtype.

        `lengths`, `speaker` and `limits` as in `Prior`, `frames` `[B]` the lengths where `lengths` is None. With
        `at_once` a graph is recorded without waiting for a second call.
        """

        def compute(x: Tensor, lengths: Tensor | None, voice: Tensor | None) -> tuple[Tensor, Tensor]:
            x = kernels.onednn.widened(x)
            voice = None if voice is None else voice.to(x.dtype)
            x = self.flow(x, lengths, voice, reverse=True)
            return x.to(self.dtype), self.decoder(x, lengths, voice).to(self.dtype)

        heard, samples = self.from_latents(
            "waveform", compute, latents, lengths, frames, speaker, limits, at_once=at_once
        )
        return heard, samples

    def from_latents(
        self,
        name: str,
        compute: Callable[[Tensor, Tensor | None, Tensor | None], tuple[Tensor, ...]],
        latents: Tensor,
        lengths: Tensor | None,
        frames: Tensor,
        speaker: Tensor | None,
        limits: GraphLimits | None,
        *,
        room: int | None = None,
        at_once: bool = False,
    ) -> tuple[Tensor, ...]:
        """`compute(latents, lengths, speaker)`, tensors `[B, n T_frames, ...]`, by way of a graph where there is one.

        `name` is that of `compute` among graphs, `room` the frames that the graph has place for (None: the bucket of
        `T_frames`); the other arguments are those of `waveform`.
        """
        batch, steps, channels = latents.shape
        items = bucket(batch)
        padded = bucket(steps, LEAST_FRAMES) if room is None or room < steps else room
        if limits is not None and items * padded <= limits.steps:
            inputs = {
                "latents": Padded(latents, (items, padded, channels), zero=True),
                "lengths": Padded(frames, (items,), zero=True),
            }
            if speaker is not None:
                inputs["speaker"] = Padded(speaker, (items, speaker.shape[1]))

            def stage(given: dict[str, Tensor]) -> tuple[Tensor, ...]:
                return compute(given["latents"], given["lengths"], given.get("speaker"))

            def take(outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
                return tuple(out[:batch, : steps * (out.shape[1] // padded)].clone() for out in outputs)

            made = self.graph_cache.run(limits, self.device, (name,), stage, inputs, take, at_once=at_once)
            if made is not None:
                return made
        self._compile_ahead(name, lambda: compute(latents, lengths, speaker), latents, lengths, speaker)
        return compute(latents, lengths, speaker)

    def warm_text(self, batch: int, tokens: int) -> bool:
        """Prepare the first half of a call for texts `[batch, tokens]`; whether a graph does it now."""
        ids = torch.zeros(batch, tokens, dtype=torch.int64, device=self.device)
        # Tokenizers give masks, and alignment with one is another kernel.
        text_input(ids, torch.ones_like(ids), self.config.vocab_size, self.device)
        text = text_input(ids, None, self.config.vocab_size, self.device)
        rates = torch.ones(batch, dtype=self._float_dtype, device=self.device)
        noise = torch.zeros(batch, 2, tokens, dtype=self._float_dtype, device=self.device).transpose(1, 2)
        noise_or_none = noise if self.config.use_stochastic_duration_prediction else None
        speaker = self.embed_speaker(ids[:, 0]) if self.config.num_speakers > 1 else None
        limits = self.graph_limits()
        if limits is not None and self._text_graph(limits, text, speaker, rates, noise_or_none, False, at_once=True):
            return True
        self._compile_text_ahead(text, speaker, rates.expand(3, batch))
        self._durations(self.text_encoder(ids, None), None, speaker, rates, noise_or_none)
        return False

    def warm_waveform(self, batch: int, frames: int) -> bool:
        """Prepare the second half of a call for latents `[batch, frames, flow_size]`; whether a graph does it now."""
        lengths = torch.full((batch,), frames, device=self.device)
        noise = torch.zeros(batch, frames, self.config.flow_size, dtype=self.dtype, device=self.device)
        token = torch.zeros(batch, 1, self.config.flow_size, dtype=self._float_dtype, device=self.device)
        latents = kernels.length_regulator(token, token, lengths[:, None], noise, token.new_zeros(batch))
        speaker = None
        if self.config.num_speakers > 1:
            speaker = self.embed_speaker(torch.zeros_like(lengths)).to(self.dtype)
        before = self.graph_cache.statistics().replayed
        self.waveform(latents, None, lengths, speaker, self.graph_limits(), at_once=True)
        return self.graph_cache.statistics().replayed > before

    def warm_stream(self, batch: int, chunk_frames: int) -> bool:
        """Prepare streams of `batch` items in pieces of `chunk_frames` frames; whether graphs do it now."""
        from .streaming import flow_reach

        before = self.graph_cache.statistics().replayed
        ids = torch.ones(batch, 2, dtype=torch.int64, device=self.device)
        speaker = 0 if self.config.num_speakers > 1 else None
        rounds, reach = 1, 0
        if self.graph_limits() is not None:
            # Long enough for a piece in the middle, whose window is the largest; twice, for the second time records.
            rounds, reach = 2, flow_reach(self.config) - decoder_window(self.config, 0, 1)[0]
        frames = min(4 * (chunk_frames + reach), self.config.max_frames)
        durations = torch.full_like(ids, frames // 2)
        for _ in range(rounds):
            for _ in self.stream(ids, speaker_id=speaker, seed=0, durations=durations, chunk_frames=chunk_frames):
                pass
        return self.graph_cache.statistics().replayed > before

    def _checked_frames(self, faults: Tensor, speakers: Tensor | None, frames: Tensor) -> list[int]:
        """The frames of each item, on the host: the one synchronisation of a call, which carries along the faults of
        the text and the speakers that nobody has looked at yet."""
        config, batch = self.config, len(frames)
        values: list[int] = torch.cat([frames, faults] if speakers is None else [frames, faults, speakers]).tolist()
        raise_for_faults(values[batch : 2 * batch], values[2 * batch :], config.vocab_size, config.num_speakers)
        for item, value in enumerate(values[:batch]):
            if value > config.max_frames:
                length = f"{value} frames" if value < MOST_FRAMES else "a length that overflows"
                raise ValueError(
                    f"item {item} would take {length}; config.max_frames allows {config.max_frames}:"
                    " split the text, or raise speaking_rate"
                )
        return values[:batch]

    def _prior_noise(self, frames: list[int], generators: list[torch.Generator] | None) -> Tensor:
        """Noise `[B, T_frames, flow_size]` for the prior, in the model's dtype."""
        shape = (len(frames), max(frames), self.config.flow_size)
        if generators is None:
            # The published draw is over [B, C, T] with the strides of a contiguous [B, T, C], and strides decide its
            # order.
            layout = torch.empty(shape, device=self.device, dtype=self.dtype)
            with recording_lock if self.device.type == "cuda" else nullcontext():
                return torch.randn_like(layout.transpose(1, 2)).transpose(1, 2)
        noise = torch.zeros(shape)
        for row, length, generator in zip(noise, frames, generators, strict=True):
            row[:length] = torch.randn(length, shape[2], generator=generator)
        return to_device(noise, self.device).to(self.dtype)

    @staticmethod
    def _restored_states(encoding: TextEncoding, text: TextInput) -> tuple[Tensor, ...]:
        return tuple(text.restored(zero_beyond(state, text.lengths), 1) for state in encoding.hidden_states)

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
        graphs: GraphsSetting = None,
        warmup: bool | Mapping[str, Any] = False,
    ) -> "VitsModel":
        """A model from a folder or a hub repository, in eval mode; see `fastvits.weights.loading.load_pretrained`.

        `backend` and `graphs` become the attributes of those names. `warmup` calls `warmup()` when the model is loaded:
        True, or its keywords, `warmup={"batch_sizes": [1, 8]}`. All three are checked before anything is loaded.
        """
        from ..weights.loading import load_pretrained

        parse_backend(backend)
        parse_graphs(graphs)
        wanted = check_warmup(warmup)
        with torch.inference_mode(False):
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
        model.graphs = graphs
        if wanted is not None:
            model.warmup(**wanted)
        return model

    def save_pretrained(self, save_directory: str | os.PathLike[str], **options: Any) -> None:
        """Write `config.json` and `model.safetensors`; `fastvits.weights.loading.save_pretrained` has the options."""
        from ..weights.loading import save_pretrained

        save_pretrained(self, save_directory, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Save the model to a hub repository and return its address; see `fastvits.weights.loading.push_to_hub`."""
        from ..weights.loading import push_to_hub

        return push_to_hub(self, repo_id, **options)
