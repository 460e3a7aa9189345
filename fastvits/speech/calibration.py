"""Between which bounds a voice's activations lie, and which of its parts can do with 8 bits: for `dtype="int8"`.

The voice speaks in float32, and the inputs of all convolutions of the flow and the decoder are looked at. Bounds are
those that round what was seen with the least squared error: the outermost values, or nearer ones, which clamp a few
values and round all others finer. Then each part, the flow and every stage of the decoder, speaks with 8 bits alone. A
part that moves the spectrum further than `MOST_DECIBELS` stays as it is; the last stage of a decoder often does, for
what it rounds is heard as noise in pauses and high bands.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fastvits_kernels.ops.int8 import quantized

from ..audio.spectrogram import mel_spectrogram
from ..models.int8 import Parts, modules_read, set_ranges
from .synthesis import Synthesizer

__all__ = ["MOST_DECIBELS", "TEXTS", "Calibration", "calibrate"]

TEXTS = (
    "The birch canoe slid on the smooth planks, and nobody on the shore said a word.",
    "How much did that cost? Well, nobody knows; ask again tomorrow!",
    "She sells sea shells by the sea shore.",
    "It rained for forty days, then the sun came out, and everything was quiet.",
    "Yes. No! Perhaps, if the weather is fine, we shall go.",
)
"""What is spoken where nothing else is given."""

MOST_DECIBELS = 1.5
"""The mean distance of log-mel spectra in dB that a part may cause. In the bundled voice bfloat16 causes 0.85, the flow
and the first two of three stages 0.3, 0.4 and 1.1 with 8 bits, the last stage 4.1."""

_SAMPLE = 20_000
"""Values of a tensor that are looked at for each text, beside the outermost ones."""
_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
_SILENCE = 80.0
"""Decibels below the loudest band at which levels end."""


@dataclass(frozen=True)
class Calibration:
    """What was found, which the model's configuration has then."""

    ranges: Parts
    """As `VitsConfig.int8_ranges`."""
    decibels: Mapping[str, float]
    """How far each part alone moves the spectrum: `flow`, `decoder stage 0` and so on."""
    kept: Sequence[str]
    """The parts that stay in higher precision."""


@dataclass
class _Seen:
    """What went through a convolution."""

    low: float = 0.0
    high: float = 0.0
    samples: list[Tensor] = field(default_factory=list)

    def look(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].detach().flatten()
        self.low, self.high = min(self.low, values.min().item()), max(self.high, values.max().item())
        self.samples.append(values[:: max(values.numel() // _SAMPLE, 1)])

    def bounds(self) -> list[float]:
        values = torch.cat(self.samples)
        low, high = self.low, max(self.high, 1e-6)
        errors = {share: (quantized(values, low * share, high * share) - values).square().sum() for share in _SHARES}
        best = min(_SHARES, key=lambda share: errors[share].item())
        return [low * best, high * best]


def calibrate(voice: Synthesizer, texts: Sequence[str] = TEXTS, **controls: Any) -> Calibration:
    """Find out the bounds, and write them into the configuration of `voice.model` (`int8_ranges`).

    Args:
        voice: a `Speaker`, in float32 on a CPU.
        texts: sentences in the voice's language; some ten seconds are enough.
        controls: those of `synthesize`, such as `speaker`.

    Raises:
        ValueError: a voice in another dtype or on another device, no texts, or one that the voice cannot say.
    """
    model = voice.model
    if model.dtype != torch.float32 or model.device.type != "cpu":
        raise ValueError(f"a voice is calibrated in float32 on the CPU, not in {model.dtype} on {model.device}")
    if isinstance(texts, str) or not texts:
        raise ValueError("texts must be a list of one sentence at least")
    modules = modules_read(model)
    seen = {part: [[_Seen() for _ in some] for some in found] for part, found in modules.items()}
    nothing: Parts = {part: [None] * len(found) for part, found in modules.items()}
    set_ranges(model, nothing)
    speak = partial(_spoken, voice, texts, controls)
    with ExitStack() as hooks:
        for part, found in modules.items():
            for convolutions, records in zip(found, seen[part], strict=True):
                for convolution, record in zip(convolutions, records, strict=True):
                    handle = convolution.register_forward_pre_hook(record.look)
                    hooks.callback(handle.remove)
        speak()
    bounds = {
        part: [[bound for record in records for bound in record.bounds()] for records in found]
        for part, found in seen.items()
    }
    exact = speak()
    candidates: dict[str, Parts] = {"flow": {**nothing, "flow": bounds["flow"]}}
    for stage, some in enumerate(bounds["decoder"]):
        alone = [some if stage == other else None for other in range(len(bounds["decoder"]))]
        candidates[f"decoder stage {stage}"] = {**nothing, "decoder": alone}
    decibels = {}
    try:
        for name, ranges in candidates.items():
            set_ranges(model, ranges)
            decibels[name] = _distance(speak(), exact, model.config.sampling_rate)
    finally:
        set_ranges(model, nothing)
    kept = [name for name, distance in decibels.items() if not distance <= MOST_DECIBELS]
    chosen: dict[str, Any] = {
        "flow": nothing["flow"] if "flow" in kept else bounds["flow"],
        "decoder": [None if f"decoder stage {stage}" in kept else some for stage, some in enumerate(bounds["decoder"])],
    }
    model.config.int8_ranges = chosen
    return Calibration(chosen, decibels, kept)


def _spoken(voice: Synthesizer, texts: Sequence[str], controls: Mapping[str, Any]) -> list[Tensor]:
    """The waveforms, always with the same random numbers."""
    return [
        torch.from_numpy(voice.synthesize([text], **{"seed": seed, **controls})[0].audio)
        for seed, text in enumerate(texts)
    ]


def _distance(actual: Sequence[Tensor], expected: Sequence[Tensor], rate: int) -> float:
    """The mean over frames of the RMS difference of the bands' levels, in dB."""
    frames = []
    for one, other in zip(actual, expected, strict=True):
        a, b = (mel_spectrogram(waveform, rate, 1024, 256) * (20 / math.log(10)) for waveform in (one, other))
        floor = b.max() - _SILENCE
        frames.append((a.clamp_min(floor) - b.clamp_min(floor)).square().mean(0).sqrt())
    return torch.cat(frames).mean().item()
