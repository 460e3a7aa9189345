"""What a step of training computes: the losses of the variational part, and the segment that discriminators judge.

Kim et al. 2021, sections 2.1 to 2.3: the posterior encoder hears the recording, the flow maps its latents to those of
the prior, monotonic alignment search finds how long each token lasts, and the decoder makes the waveform of a slice.
All losses are computed in float32 (float64 in a float64 model), whatever autocast says.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

import fastvits_kernels as kernels
from fastvits_kernels.dispatch.masking import valid_steps, zero_beyond

from ..audio.spectrogram import log_mel, mel_spectrogram
from ..configuration import VitsConfig
from .duration_predictor import VitsStochasticDurationPredictor
from .inputs import TextInput, to_device
from .output import VitsModelOutput
from .text_encoder import TextEncoding

IGNORED = -100
"""What a frame of `labels` holds that is padding, in all of its bins."""

_LEAST_LOG_FRAMES = 1e-6


class Network(Protocol):
    """The parts of the model that learn."""

    config: VitsConfig
    training: bool
    text_encoder: Any
    posterior_encoder: Any
    duration_predictor: Any
    flow: Any
    decoder: Any
    embed_speaker: Any


class LossWeights(NamedTuple):
    """Factors of the three losses in their sum; the defaults are the published ones."""

    mel: float = 45.0
    duration: float = 1.0
    kl: float = 1.0


class Recordings(NamedTuple):
    """Spectrograms that the texts were spoken with."""

    spectrogram: Tensor  # [B, spectrogram_bins, T_frames], zero beyond an item's frames
    lengths: Tensor  # [B] int64, frames of each item
    frames: list[int]  # the same, on the host

    @property
    def padded(self) -> Tensor | None:
        """`lengths`, or None where every item fills the tensor."""
        return None if min(self.frames) == self.spectrogram.shape[2] else self.lengths


class _Noise(NamedTuple):
    posterior: Tensor  # [B, T_frames, flow_size]
    durations: Tensor  # [B, T_text, 2]
    starts: Tensor  # [B] in [0, 1): where a segment starts, as a share of what is possible


def refuse_controls(controls: Mapping[str, object]) -> None:
    """Raise ValueError for a control of synthesis that is given beside labels."""
    given = [name for name, value in controls.items() if value is not None]
    if given:
        raise ValueError(
            f"{', '.join(given)} cannot be given with labels: they say how to speak, and labels how it was"
        )


def check_can_hear(network: nn.Module) -> None:
    """Raise ValueError for a model without a posterior encoder."""
    if not hasattr(network, "posterior_encoder"):
        raise ValueError(
            "the model has no posterior encoder and cannot hear recordings: it was loaded for inference only, or comes "
            "from a format that leaves it out; fastvits train --only-posterior makes one"
        )


def check_can_learn(network: nn.Module) -> None:
    """Raise ValueError for a model without what only training needs."""
    missing = [] if hasattr(network, "posterior_encoder") else ["posterior_encoder"]
    predictor = network.get_submodule("duration_predictor")
    if isinstance(predictor, VitsStochasticDurationPredictor):
        missing += [] if hasattr(predictor, "post_flows") else ["duration_predictor.post_*"]
        missing += ["duration_predictor.flows.1"] if isinstance(predictor.flows[1], nn.Identity) else []
    if missing:
        raise ValueError(
            f"the model has no {', '.join(missing)} and cannot be given labels: it was loaded for inference only, or "
            "comes from a format that leaves these parts out; fastvits.training.add_training_parts makes new ones"
        )


def recordings_input(
    labels: Tensor, labels_attention_mask: Tensor | None, config: VitsConfig, text: TextInput
) -> Recordings:
    """Spectrograms `[B, spectrogram_bins, T_frames]` and their mask `[B, T_frames]`, checked; one synchronisation.

    Raises:
        TypeError: `labels` is no floating-point tensor, or the mask no tensor.
        ValueError: shapes or devices that do not fit, a valid frame behind an ignored one, an item without a frame,
            values that are no magnitudes, or an item with more tokens than frames.
    """
    device, batch = text.ids.device, text.ids.shape[0]
    if not isinstance(labels, Tensor) or not labels.is_floating_point():
        raise TypeError("labels must be a floating-point tensor [B, spectrogram_bins, T_frames]: a linear spectrogram")
    if labels.dim() != 3 or labels.shape[:2] != (batch, config.spectrogram_bins) or not labels.shape[2]:
        raise ValueError(
            f"labels must have the shape [{batch}, {config.spectrogram_bins}, T_frames], got {tuple(labels.shape)}"
        )
    if labels.device != device:
        raise ValueError(f"labels are on {labels.device}, the model is on {device}; move one to the other")
    valid = (labels != IGNORED).any(1)
    if labels_attention_mask is not None:
        if not isinstance(labels_attention_mask, Tensor):
            raise TypeError(
                f"labels_attention_mask must be a tensor [B, T_frames], got {type(labels_attention_mask).__name__}"
            )
        if labels_attention_mask.shape != valid.shape:
            raise ValueError(
                f"labels_attention_mask must have the shape {tuple(valid.shape)}, "
                f"got {tuple(labels_attention_mask.shape)}"
            )
        valid = valid & (labels_attention_mask.to(device) != 0)
    lengths = valid.sum(1)
    spectrogram = labels.masked_fill(~valid.unsqueeze(1), 0)
    tokens = lengths.new_full((batch,), text.ids.shape[1]) if text.lengths is None else text.lengths
    holes = (valid != valid_steps(lengths, valid.shape[1])).any(1)
    wrong = ~(spectrogram >= 0).flatten(1).all(1) | spectrogram.isinf().flatten(1).any(1)
    for item, (frames, spoken, hole, bad) in enumerate(torch.stack([lengths, tokens, holes, wrong]).t().tolist()):
        if hole:
            raise ValueError(f"item {item} of labels has frames behind ignored ones: padding goes to the end")
        if not frames:
            raise ValueError(f"item {item} of labels has no frame")
        if bad:
            raise ValueError(f"item {item} of labels holds values that are no magnitudes: finite and at least 0")
        if spoken > frames:
            raise ValueError(
                f"item {item} has {spoken} tokens but only {frames} frames: every token needs a frame of its own"
            )
    return Recordings(spectrogram, lengths, lengths.tolist())


def learn(
    network: Network,
    text: TextInput,
    speaker: Tensor | None,
    recordings: Recordings,
    generators: Sequence[torch.Generator] | None,
    weights: LossWeights,
) -> VitsModelOutput:
    """The losses and what they are made of; see `VitsModel.forward`.

    `speaker` `[B, speaker_embedding_size]` or None; `generators` one an item, None for torch's global ones.
    """
    config = network.config
    frame_lengths = recordings.padded
    noise = _noise(network, text, recordings, generators)
    device = text.ids.device.type
    # Ops know no autocast: they compute in the precision of what they are given, with weights as wide as they are.
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else noise.posterior.dtype
    narrow_speaker = None if speaker is None else speaker.to(dtype)
    with torch.autocast(device, enabled=False):
        encoding: TextEncoding = network.text_encoder.encode(text.ids, text.lengths)
    latents, _, log_scale = network.posterior_encoder.encode(
        recordings.spectrogram.transpose(1, 2).to(dtype), frame_lengths, narrow_speaker, noise.posterior
    )
    prior_latents = network.flow.transform(latents.to(dtype), frame_lengths, narrow_speaker)
    with torch.autocast(device, enabled=False):
        wide = encoding.means.dtype  # float32 or wider
        durations = alignment(prior_latents.to(wide), encoding, text.lengths, recordings.lengths)
        loss_kl = kl_loss(
            prior_latents.to(wide), log_scale.to(wide), encoding, durations, frame_lengths, sum(recordings.frames)
        )
        loss_duration = _duration_loss(network, encoding, text, speaker, durations, noise.durations.to(wide))
    starts = segment_starts(recordings.lengths, config.segment_frames, noise.starts)
    segment_lengths = (recordings.lengths - starts).clamp_max(config.segment_frames)
    short = min(recordings.frames) < config.segment_frames
    segment = network.decoder.decode(
        segments(latents.to(dtype), starts, config.segment_frames), segment_lengths if short else None, narrow_speaker
    )
    loss_mel = mel_loss(segment.to(wide), recordings.spectrogram.to(wide), starts, segment_lengths, config)
    return VitsModelOutput(
        loss=weights.mel * loss_mel + weights.duration * loss_duration + weights.kl * loss_kl,
        loss_mel=loss_mel,
        loss_duration=loss_duration,
        loss_kl=loss_kl,
        segment=segment,
        segment_start=starts,
        durations=text.restored(durations, 1),
    )


def _noise(
    network: Network, text: TextInput, recordings: Recordings, generators: Sequence[torch.Generator] | None
) -> _Noise:
    """All that is random but dropout, drawn in this order; of an item's own generator on the CPU in float32."""
    device, dtype = text.ids.device, network.decoder.conv_pre.weight.dtype
    batch, tokens = text.ids.shape
    frames, channels = recordings.spectrogram.shape[2], network.config.flow_size
    if generators is None:
        posterior = torch.randn(batch, frames, channels, device=device, dtype=dtype)
        durations = torch.randn(batch, tokens, 2, device=device, dtype=dtype)
        return _Noise(posterior, durations, torch.rand(batch, device=device))
    posterior, durations = torch.zeros(batch, frames, channels), torch.zeros(batch, 2, tokens)
    starts = torch.zeros(batch)
    spoken = [tokens] * batch if text.lengths is None else text.lengths.tolist()
    for item, generator in enumerate(generators):
        length = recordings.frames[item]
        posterior[item, :length] = torch.randn(length, channels, generator=generator)
        durations[item, :, : spoken[item]] = torch.randn(2, spoken[item], generator=generator)
        starts[item] = torch.rand((), generator=generator)
    return _Noise(
        to_device(posterior, device).to(dtype),
        to_device(durations.transpose(1, 2), device).to(dtype),
        to_device(starts, device),
    )


@torch.no_grad()
def alignment(
    prior_latents: Tensor, encoding: TextEncoding, text_lengths: Tensor | None, frame_lengths: Tensor
) -> Tensor:
    """Frames of each token `[B, T_text]` int64: the likeliest monotonic path of the latents `[B, T_frames, flow_size]`
    under each token's normal distribution."""
    scores = kernels.alignment_scores(prior_latents, encoding.means, encoding.log_scales)
    if text_lengths is None:
        text_lengths = frame_lengths.new_full((scores.shape[0],), scores.shape[1])
    return kernels.monotonic_alignment(scores, text_lengths, frame_lengths)


def kl_loss(
    prior_latents: Tensor,
    log_scale: Tensor,
    encoding: TextEncoding,
    durations: Tensor,
    frame_lengths: Tensor | None,
    frames: int,
) -> Tensor:
    """The divergence of posterior and prior at the latents drawn, summed over channels and divided by the number of
    valid frames (Kim et al. 2021, equations 3 and 4).

    `prior_latents` and `log_scale` (the posterior's) `[B, T_frames, flow_size]`, `durations` `[B, T_text]`.
    """
    steps = torch.arange(prior_latents.shape[1], device=durations.device)
    ends = durations.cumsum(1)
    tokens = torch.searchsorted(ends, steps.expand(ends.shape[0], -1).contiguous(), right=True)
    index = tokens.clamp_max(durations.shape[1] - 1).unsqueeze(2).expand_as(prior_latents)
    means, prior_log_scale = encoding.means.gather(1, index), encoding.log_scales.gather(1, index)
    distance = (prior_latents - means).square() * torch.exp(-2 * prior_log_scale)
    divergence = prior_log_scale - log_scale - 0.5 + 0.5 * distance
    return zero_beyond(divergence, frame_lengths).sum() / frames


def _duration_loss(
    network: Network,
    encoding: TextEncoding,
    text: TextInput,
    speaker: Tensor | None,
    durations: Tensor,
    noise: Tensor,
) -> Tensor:
    """The duration predictor's loss a token; no gradient goes back into the text or the speaker."""
    predictor, hidden = network.duration_predictor, encoding.hidden
    speaker = None if speaker is None else speaker.to(hidden.dtype)
    tokens = text.ids.numel() if text.lengths is None else text.lengths.sum()
    if isinstance(predictor, VitsStochasticDurationPredictor):
        bound = predictor.negative_log_likelihood(hidden, text.lengths, speaker, noise, durations)
        return bound.sum() / tokens
    predicted = cast(Tensor, predictor.predict(hidden, text.lengths, speaker))
    target = (durations.to(predicted.dtype) + _LEAST_LOG_FRAMES).log()
    return zero_beyond((predicted - target).square(), text.lengths).sum() / tokens


def segment_starts(lengths: Tensor, segment_frames: int, share: Tensor) -> Tensor:
    """The first frame `[B]` of each item's segment from `share` `[B]` in [0, 1): 0 to `length - segment_frames`, the
    last start included; 0 for an item that is shorter than a segment."""
    starts = (lengths - segment_frames + 1).clamp_min(1)
    return torch.minimum((share.double() * starts).long(), starts - 1)


def segments(x: Tensor, starts: Tensor, size: int) -> Tensor:
    """`x[b, starts[b] : starts[b] + size]` of every item of `x` `[B, T, ...]`; zeros where `x` ends before."""
    if x.shape[1] < size:
        missing = x.new_zeros(x.shape[0], size - x.shape[1], *x.shape[2:])
        x = torch.cat([x, missing], dim=1)
    index = starts.unsqueeze(1) + torch.arange(size, device=x.device)
    return x.gather(1, index.reshape(*index.shape, *[1] * (x.dim() - 2)).expand(-1, -1, *x.shape[2:]))


def mel_loss(
    segment: Tensor, spectrogram: Tensor, starts: Tensor, segment_lengths: Tensor, config: VitsConfig
) -> Tensor:
    """The mean distance of log mel spectrograms over the valid frames: of `segment` `[B, T_samples]`, and of the same
    frames of the whole recording's `spectrogram` `[B, spectrogram_bins, T_frames]`."""
    band = config.mel_bins, config.mel_fmin, config.mel_fmax
    with torch.autocast(segment.device.type, enabled=False):
        sliced = segments(spectrogram.transpose(1, 2), starts, config.segment_frames).transpose(1, 2)
        target = log_mel(sliced, config.sampling_rate, *band)
        made = mel_spectrogram(
            segment, config.sampling_rate, config.n_fft, config.hop_length, config.window_length, *band
        )
        distance = zero_beyond((made - target).abs().transpose(1, 2), segment_lengths)
        return distance.sum() / (segment_lengths.sum() * config.mel_bins)
