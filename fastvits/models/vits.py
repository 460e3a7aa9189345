"""The whole of VITS on one page: text -> durations -> latents -> waveform.

Kim, Kong and Son 2021, "Conditional Variational Autoencoder with Adversarial Learning for End-to-End Text-to-Speech".
Activations are channels-last, `[B, T, C]`; parameters keep the names and shapes of published checkpoints. What a call
asks is in `request`, its random numbers in `noise`, how its two halves run from graphs in `stages`, the waveform piece
by piece in `streaming`, loading and saving in `pretrained`, losses and conversion in `trainable`.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from operator import mul
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

import fastvits_kernels as kernels
from fastvits_kernels.dispatch.masking import zero_beyond

from ..configuration import VitsConfig
from ..runtime.graphs import GraphLimits
from ..runtime.module import execution_device
from ..runtime.stages import StageRunner
from ..runtime.warmup import WarmupReport, warmup_sizes
from .duration_predictor import VitsDurationPredictor, VitsStochasticDurationPredictor
from .flow import VitsResidualCouplingBlock
from .hifigan import VitsHifiGan
from .holes import holes_of, text_with_holes
from .initialization import initialize
from .inputs import check_frames
from .layers import Float32Module
from .learning import LossWeights
from .levels import levels
from .noise import duration_noise, prior_noise
from .output import Prior, VitsModelOutput
from .posterior_encoder import VitsPosteriorEncoder
from .request import COLUMNS, Controls, PerItem, SpeechRequest, checked_frames, refuse_unknown, speech_request
from .settings import ConfiguredSetting
from .stages import TimedText, compile_text_ahead, from_latents, text_by_graph
from .streaming import Latents, PieceSizes, PieceStages, PieceStream
from .text_encoder import VitsTextEncoder
from .trainable import TrainableModel
from .warming import warm


class SpeakerEmbedding(Float32Module, nn.Embedding):
    """Speaker embeddings `[num_speakers, speaker_embedding_size]`; float32 in half precision, for durations depend on
    them."""


class VitsModel(TrainableModel):
    """VITS for synthesis and training: a drop-in for the `VitsModel` of transformers.

    `inference_only` leaves out what only training needs: the posterior encoder, the posterior half of the stochastic
    duration predictor, and its one flow that synthesis omits. A new model has random weights and is in training mode;
    `from_pretrained` returns one in eval mode. `speaking_rate`, `noise_scale` and `noise_scale_duration` are
    attributes, read at each call; the configuration's fields of these names may be set as well.
    """

    speaking_rate = ConfiguredSetting()
    noise_scale = ConfiguredSetting()
    noise_scale_duration = ConfiguredSetting()

    @torch.inference_mode(False)
    def __init__(self, config: VitsConfig, *, inference_only: bool = False) -> None:
        super().__init__(config)
        self.inference_only = inference_only
        self.text_encoder = VitsTextEncoder(config)
        self.flow = VitsResidualCouplingBlock(config)
        self.decoder = VitsHifiGan(config)
        if config.use_stochastic_duration_prediction:
            self.duration_predictor: Any = VitsStochasticDurationPredictor(config, inference_only)
        else:
            self.duration_predictor = VitsDurationPredictor(config)
        if config.num_speakers > 1:
            self.embed_speaker = SpeakerEmbedding(config.num_speakers, config.speaker_embedding_size)
        if not inference_only:
            self.posterior_encoder = VitsPosteriorEncoder(config)
        self._initialized = {name for name, _ in self.named_children()}
        if self.device.type != "meta":
            for module in self.modules():
                initialize(module, config)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the flow and the decoder (the text encoder and the duration predictor do not go below
        float32)."""
        return self._parameter.dtype

    @property
    def device(self) -> torch.device:
        """Where the parameters are, or where they are brought for each call (accelerate's offloading)."""
        device = self._parameter.device
        return execution_device(self) if device.type == "meta" else device

    @property
    def _parameter(self) -> Tensor:
        """One of the decoder's, whatever was put in the place of its layers."""
        weight = getattr(self.decoder.conv_pre, "weight", None)
        return weight if isinstance(weight, Tensor) else next(self.decoder.parameters())

    @property
    def text_dtype(self) -> torch.dtype:
        """What the text encoder and the duration predictor compute in."""
        return self.text_encoder.embed_tokens.weight.dtype

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
        labels_attention_mask: Tensor | None = None,
        mel_weight: float = 45.0,
        duration_weight: float = 1.0,
        kl_weight: float = 1.0,
        **columns: Any,
    ) -> VitsModelOutput | tuple[Any, ...]:
        """Speak; or, with `labels`, learn.

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

        With `labels`, linear spectrograms `[B, spectrogram_bins, T_frames]` of recordings of the texts
        (`fastvits.audio.spectrogram`), the result has losses instead of a waveform: `loss`, the sum of `loss_mel`,
        `loss_duration` and `loss_kl` with the factors `mel_weight` and so on, the `segment` made of a slice of each
        item from the frame `segment_start`, and the `durations` of the likeliest alignment. Frames that hold -100, or
        0 in `labels_attention_mask` `[B, T_frames]`, are ignored. `seed` then decides the posterior's noise, the
        durations' and the slice, in this order.

        Further `columns` of a tokenizer (`token_type_ids`, `special_tokens_mask`) say nothing to a VITS and are taken.

        Returns a `VitsModelOutput`, or with `return_dict=False` the published tuple: its first five fields that are
        not None. An item's samples do not depend on the others in its batch but for the random numbers.

        Raises TypeError or ValueError for inputs that do not fit (naming what is allowed), ValueError where the
        predicted durations overflow or exceed `config.max_frames`.
        """
        if torch.jit.is_tracing():
            raise RuntimeError(
                "VitsModel cannot be traced, for lengths depend on what it computes:"
                " write a file with `fastvits export`, or compile it with torch.compile"
            )
        refuse_unknown("a call", columns, COLUMNS)
        config = self.config
        with self.entered():
            holes = holes_of(attention_mask, input_ids) if labels is None else None
            request = self.request(
                input_ids,
                attention_mask if holes is None else None,
                bool(config.output_attentions if output_attentions is None else output_attentions),
                bool(config.output_hidden_states if output_hidden_states is None else output_hidden_states),
                speaker_id=speaker_id,
                speaking_rate=speaking_rate,
                noise_scale=noise_scale,
                noise_scale_duration=noise_scale_duration,
                speaker_embedding=speaker_embedding,
                seed=seed,
                durations=durations,
            )
            wants_output = config.return_dict if return_dict is None else return_dict
            if labels is not None:
                weights = LossWeights(mel_weight, duration_weight, kl_weight)
                given = {"noise_scale": noise_scale, "noise_scale_duration": noise_scale_duration}
                given |= {"speaking_rate": speaking_rate, "durations": durations}
                learnt = self.learn(request, labels, labels_attention_mask, weights, given)
                return learnt if wants_output else learnt.to_tuple()
            if labels_attention_mask is not None:
                raise ValueError("labels_attention_mask masks labels, and there are none")
            prior = self.prior(request, holes)
            latents, waveform = self.waveform(prior.latents, prior.lengths, prior.frames, prior.speaker, prior.limits)
        output = VitsModelOutput(
            waveform=waveform,
            sequence_lengths=prior.frames * math.prod(config.upsample_rates),
            spectrogram=latents.transpose(1, 2),
            hidden_states=self._hidden_states(prior) if request.output_hidden_states else None,
            attentions=self._attentions(prior) if request.output_attentions else None,
            durations=prior.text.restored(prior.durations, 1),
        )
        output.sampling_rate = config.sampling_rate
        if wants_output:
            return output
        return tuple(value for name, value in output.items() if name != "durations")

    def stream(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        chunk_frames: int = 128,
        first_chunk_frames: int | None = 16,
        **controls: Unpack[Controls],
    ) -> Iterator[Tensor]:
        """Speak piece by piece: an iterator of waveforms `[B, n]` whose concatenation is the waveform of a plain call.

        Each piece has `chunk_frames` frames (of `prod(upsample_rates)` samples), the first `first_chunk_frames` so
        that it comes early (None: as the others), the last what is left. A piece is computed when it is asked for,
        from the latents that it can hear and no others. Text and durations are computed, and bad input is refused,
        when `stream` is called, which also decides whether layers run one by one, for hooks and layers of one's own.
        `controls` are those of `forward`: `speaker_id` to `durations`. No gradients.
        """
        check_frames(chunk_frames, "chunk_frames")
        if first_chunk_frames is not None:
            check_frames(first_chunk_frames, "first_chunk_frames")
        refuse_unknown("stream", controls, Controls.__annotations__)
        with torch.no_grad(), self.entered():
            prior = self.prior(self.request(input_ids, attention_mask, **controls))
        return self.pieces(prior, chunk_frames, first_chunk_frames or chunk_frames)

    def pieces(self, prior: Prior, chunk_frames: int, first_chunk_frames: int) -> PieceStream:
        """The waveforms `[B, n]` of consecutive pieces of so many frames, each computed when it is asked for."""
        latents = Latents(prior.latents, prior.counts, prior.speaker)
        return PieceStream(latents, self._piece_stages(), PieceSizes(chunk_frames, first_chunk_frames))

    def pieces_of_each(self, prior: Prior, sizes: PieceSizes, call: Any = None) -> list[PieceStream]:
        """`pieces` of every item for itself, `[1, n]`, parts of `call`; `next_pieces` makes several in one call."""
        stages, streams = self._piece_stages(call), []
        for item, count in enumerate(prior.counts):
            row = slice(item, item + 1)
            latents = prior.latents[row, :count]
            latents = latents if len(prior.counts) == 1 else latents.clone()  # which keeps no other item
            one = Latents(latents, [count], None if prior.speaker is None else prior.speaker[row])
            streams.append(PieceStream(one, stages, sizes))
        return streams

    def _piece_stages(self, call: Any = None) -> PieceStages:
        call = self.begun_call() if call is None else call

        @contextmanager
        def entered() -> Iterator[StageRunner]:
            with torch.no_grad(), self.entered(call):
                yield self.stage_runner(self.graph_limits())

        # By graphs each level would be one more to record and to launch.
        many = not self.graph_cache.has_graphs(self.device)
        parts = levels(self.config, self.flow, self.decoder, many=many)
        return PieceStages(parts, math.prod(self.config.upsample_rates), entered)

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

        For texts of `tokens` tokens (None: every padded size up to 256), audio of `frames` frames (None: every padded
        size up to 1024), batches of `batch_sizes` items, and streams in pieces of `chunk_frames` frames behind a first
        piece of the default size (None: no streams). Without graphs (on a CPU, or with `graphs = "off"`) one call of
        the smallest sizes is run. `progress` shows a bar on standard error. Returns how many graphs were recorded, how
        many sizes run without one, and how long it took.

        Raises TypeError or ValueError for sizes that are no positive whole numbers.
        """
        return warm(self, warmup_sizes(tokens, frames, batch_sizes, chunk_frames), progress)

    def work_factors(self) -> Sequence[int]:
        """How many steps the decoder works on for each frame, in each of its stages and in their branches together."""
        rates = accumulate(self.config.upsample_rates, mul, initial=1)
        return [rate * factor for rate in rates for factor in (1, len(self.config.resblock_kernel_sizes))]

    def request(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        **controls: Unpack[Controls],
    ) -> SpeechRequest:
        """What a call with these arguments of `forward` asks, checked."""
        defaults = {name: getattr(self, name) for name in ("speaking_rate", "noise_scale", "noise_scale_duration")}
        return speech_request(
            self.config,
            defaults,
            self.device,
            self.text_dtype,
            input_ids,
            attention_mask,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            **controls,
        )

    def prior(self, request: SpeechRequest, holes: Tensor | None = None) -> Prior:
        """The first half of a call: from text to latents drawn from the prior.

        On a GPU the host waits once, for the numbers of frames; and once before for each of these: forced durations,
        and a speaker embedding on the GPU, which have to be checked; a seed that meets an attention mask, for the
        generators are on the CPU, and what one gives for `n` tokens is not the beginning of what it gives for more;
        a rate, a noise scale or a seed that is a tensor on the GPU.
        """
        speaker = request.speaker_embedding if request.speakers is None else self.embed_speaker(request.speakers)
        limits = self.graph_limits(speaker)
        generators = request.generators()
        with request.text.computed():
            if holes is None:
                encoding, durations, frames = self.timed_text(request, speaker, generators, limits)
            else:
                encoding, durations, frames = text_with_holes(self, request, speaker, generators, holes)
        on_host = checked_frames(request, frames, self.config)
        noise = prior_noise(on_host, self.config.flow_size, generators, self.device, self.dtype)
        means, log_scales = encoding.means, encoding.log_scales
        latents = kernels.length_regulator(means, log_scales, durations, noise, request.scales[2])
        return Prior(
            latents=latents,
            # With nothing to mask, no op has to: every item is as long as the tensors.
            lengths=None if min(on_host) == max(on_host) else frames,
            frames=frames,
            counts=on_host,
            durations=durations,
            speaker=None if speaker is None else speaker.to(latents.dtype),
            encoding=encoding,
            text=request.text,
            limits=limits,
        )

    def timed_text(
        self,
        request: SpeechRequest,
        speaker: Tensor | None,
        generators: list[torch.Generator] | None,
        limits: GraphLimits | None,
        *,
        at_once: bool = False,
    ) -> TimedText:
        """The encoded text, the frames of each token `[B, T_text]` and of each item `[B]`.

        `limits` as in `Prior`. With `at_once` a graph is recorded without waiting for a second call.
        """
        text, forced, stochastic = request.text, request.durations, self.config.use_stochastic_duration_prediction
        inverse_rates, noise_scales = request.scales[0], request.scales[1]
        runner = self.stage_runner(None if request.output_attentions or forced is not None else limits)

        def noise() -> Tensor | None:
            return duration_noise(text, noise_scales, generators, self.text_dtype) if stochastic else None

        drawn = None
        if runner.limits is not None:
            drawn = noise()
            keep_states = request.output_hidden_states
            made = text_by_graph(
                runner, self._text, text, speaker, inverse_rates, drawn, keep_states=keep_states, at_once=at_once
            )
            if made is not None:
                return made
        compile_text_ahead(runner, self._text, text, speaker, inverse_rates, request.output_attentions, stochastic)
        encode = partial(VitsTextEncoder.encode, self.text_encoder)
        encoding = self.checkpointed(encode, text.ids, text.lengths, request.output_attentions)
        # Drawn even where durations are given, so that the prior's noise does not depend on that; and drawn here,
        # because dropout in training draws before it.
        if runner.limits is None:
            drawn = noise()
        if forced is not None:
            return TimedText(encoding, forced, forced.sum(1))
        return TimedText(encoding, *self._durations(encoding.hidden, text.lengths, speaker, inverse_rates, drawn))

    def _text(
        self,
        ids: Tensor,
        lengths: Tensor | None,
        speaker: Tensor | None,
        inverse_rates: Tensor,
        noise: Tensor | None,
        need_weights: bool = False,
    ) -> TimedText:
        """Text alone -> its encoding and durations, as a function of tensors."""
        encoding = VitsTextEncoder.encode(self.text_encoder, ids, lengths, need_weights)
        return TimedText(encoding, *self._durations(encoding.hidden, lengths, speaker, inverse_rates, noise))

    def _durations(
        self,
        hidden: Tensor,
        lengths: Tensor | None,
        speaker: Tensor | None,
        inverse_rates: Tensor,
        noise: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Predicted frames of each token `[B, T_text]`, and of each item `[B]`."""
        inputs = (hidden, lengths, None if speaker is None else speaker.to(hidden.dtype))
        kind = VitsDurationPredictor if noise is None else VitsStochasticDurationPredictor
        log_duration = kind.predict(self.duration_predictor, *inputs, noise)
        return kernels.durations(log_duration, inverse_rates, lengths=lengths)

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

        `lengths`, `frames`, `speaker` and `limits` as in `Prior`. With `at_once` a graph is recorded without waiting
        for a second call.
        """

        def compute(x: Tensor, lengths: Tensor | None, voice: Tensor | None) -> tuple[Tensor, Tensor]:
            x = kernels.onednn.widened(x)
            voice = None if voice is None else voice.to(x.dtype)
            x = VitsResidualCouplingBlock.transform(self.flow, x, lengths, voice, reverse=True)
            return x.to(self.dtype), VitsHifiGan.decode(self.decoder, x, lengths, voice).to(self.dtype)

        runner = self.stage_runner(limits)
        half = partial(self.checkpointed, compute)
        heard, samples = from_latents(runner, "waveform", half, latents, lengths, frames, speaker, at_once=at_once)
        return heard, samples

    @staticmethod
    def _hidden_states(prior: Prior) -> tuple[Tensor, ...]:
        text = prior.text
        return tuple(text.restored(zero_beyond(state, text.lengths), 1) for state in prior.encoding.hidden_states)

    @staticmethod
    def _attentions(prior: Prior) -> tuple[Tensor, ...]:
        restored, weights = prior.text.restored, prior.encoding.attentions
        return tuple(restored(restored(one, 2), 3) for one in weights if one is not None)
