"""The parts of transformers' model, computing with our kernels.

Each is a subclass of the published part with nothing but another `forward`: an object becomes one, and its old self
again, by its class alone. It has the published arguments, layouts and outputs; where our kernels would give anything
else (`Twin.usable`), the published code runs.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers.models.vits import modeling_vits as published

from ...configuration import VitsConfig
from ...models import duration_predictor, flow, hifigan, posterior_encoder, text_encoder
from .twin import Twin

ATTRIBUTE = "_fastvits"
"""The name, among a part's attributes, of its `Twin`."""


class _Part(nn.Module):
    """What the parts below have in common."""

    kind: ClassVar[type[nn.Module]]
    """Our module for it."""
    batch_true: ClassVar[bool] = False
    """Whether parts that are built, not converted, leave out what lies behind an item's end."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.__dict__[ATTRIBUTE] = Twin(self.kind, own_config(config), _Part.batch_true)

    def _twin(self, *tensors: Tensor | None, any_precision: bool = False) -> Any:
        twin = self.__dict__.get(ATTRIBUTE)
        return None if twin is None else twin.usable(self, *tensors, any_precision=any_precision)


def own_config(config: Any) -> VitsConfig:
    """Our configuration from that of transformers."""
    own: VitsConfig = VitsConfig.from_dict(config.to_dict())
    return own


class TextEncoder(_Part, published.VitsTextEncoder):
    """`input_ids` `[B, T_text]` -> hidden states, means and log standard deviations `[B, T_text, ...]`."""

    kind = text_encoder.VitsTextEncoder

    def forward(
        self,
        input_ids: Tensor,
        padding_mask: Tensor,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = True,
    ) -> Any:
        """The published call."""
        twin = self._twin(input_ids, padding_mask, attention_mask)
        # What layers give of padding, which nothing hears, is only there where the published layers run.
        if twin is not None and (output_attentions or output_hidden_states) and not bool((padding_mask == 1).all()):
            twin = None
        if twin is None:
            return super().forward(
                input_ids, padding_mask, attention_mask, output_attentions, output_hidden_states, return_dict
            )
        made = twin(input_ids, padding_mask, attention_mask, output_attentions, output_hidden_states, True)
        if not return_dict:
            return made.to_tuple()
        return published.VitsTextEncoderOutput(**made)


class DurationPredictor(_Part, published.VitsDurationPredictor):
    """`[B, hidden_size, T_text]` -> log durations `[B, 1, T_text]`."""

    kind = duration_predictor.VitsDurationPredictor

    def forward(self, inputs: Tensor, padding_mask: Tensor, global_conditioning: Tensor | None = None) -> Any:
        """The published call."""
        twin = self._twin(inputs, padding_mask, global_conditioning)
        if twin is None or not is_run(padding_mask):
            return super().forward(inputs, padding_mask, global_conditioning)
        return twin(inputs, padding_mask, for_each(global_conditioning, inputs)) * padding_mask


class StochasticDurationPredictor(_Part, published.VitsStochasticDurationPredictor):
    """The same with noise, drawn as published; the likelihood of durations is left to the published code."""

    kind = duration_predictor.VitsStochasticDurationPredictor

    def forward(
        self,
        inputs: Tensor,
        padding_mask: Tensor,
        global_conditioning: Tensor | None = None,
        durations: Tensor | None = None,
        reverse: bool = False,
        noise_scale: float = 1.0,
    ) -> Any:
        """The published call."""
        twin = self._twin(inputs, padding_mask, global_conditioning) if reverse else None
        if twin is None or not is_run(padding_mask):
            return super().forward(inputs, padding_mask, global_conditioning, durations, reverse, noise_scale)
        condition = for_each(global_conditioning, inputs)
        return twin(inputs, padding_mask, condition, reverse=True, noise_scale=noise_scale)


class ResidualCouplingBlock(_Part, published.VitsResidualCouplingBlock):
    """`[B, flow_size, T_frames]` -> the same, through the flow or back with `reverse`."""

    kind = flow.VitsResidualCouplingBlock

    def forward(
        self,
        inputs: Tensor,
        padding_mask: Tensor,
        global_conditioning: Tensor | None = None,
        reverse: bool = False,
    ) -> Any:
        """The published call."""
        twin = self._twin(inputs, padding_mask, global_conditioning, any_precision=True)
        if twin is None or not is_run(padding_mask):
            return super().forward(inputs, padding_mask, global_conditioning, reverse)
        return twin(inputs, padding_mask, for_each(global_conditioning, inputs), reverse=reverse)


class PosteriorEncoder(_Part, published.VitsPosteriorEncoder):
    """Spectrograms `[B, spectrogram_bins, T_frames]` -> latents, means, log standard deviations."""

    kind = posterior_encoder.VitsPosteriorEncoder

    def forward(self, inputs: Tensor, padding_mask: Tensor, global_conditioning: Tensor | None = None) -> Any:
        """The published call."""
        twin = self._twin(inputs, padding_mask, global_conditioning, any_precision=True)
        if twin is None or not is_run(padding_mask):
            return super().forward(inputs, padding_mask, global_conditioning)
        return twin(inputs, padding_mask, for_each(global_conditioning, inputs))


class HifiGan(_Part, published.VitsHifiGan):
    """Latents `[B, flow_size, T_frames]` -> waveform `[B, 1, T_samples]`."""

    kind = hifigan.VitsHifiGan

    def forward(self, spectrogram: Tensor, global_conditioning: Tensor | None = None) -> Any:
        """The published call. With `batch_true` what lies behind an item's last frame that is not zero is heard by
        nothing, and silent."""
        twin = self._twin(spectrogram, global_conditioning, any_precision=True)
        lengths = _frames(spectrogram) if self.__dict__[ATTRIBUTE].batch_true else None
        if twin is None:
            if lengths is not None:
                raise RuntimeError(
                    "batch_true needs the decoder as it was loaded, in one precision, without hooks, dropout, autocast"
                    " or compilation: take these away, or call apply(model) without batch_true"
                )
            return super().forward(spectrogram, global_conditioning)
        return twin(spectrogram, for_each(global_conditioning, spectrogram), lengths=lengths)


PARTS: dict[type[nn.Module], type[_Part]] = {
    part.__bases__[1]: part
    for part in (
        TextEncoder,
        DurationPredictor,
        StochasticDurationPredictor,
        ResidualCouplingBlock,
        PosteriorEncoder,
        HifiGan,
    )
}
"""The parts that there are, each by the published class that it stands for."""


def for_each(conditioning: Tensor | None, x: Tensor) -> Tensor | None:
    """Speakers `[B, C, 1]`: the published model has one for all items."""
    return conditioning if conditioning is None else conditioning.expand(x.shape[0], -1, -1)


def is_run(mask: Tensor) -> bool:
    """Whether a mask `[B, 1, T]` is a run of 1 from the first step on in each item."""
    valid = mask[:, 0] != 0
    steps = torch.arange(valid.shape[1], device=valid.device)
    return bool((valid == (steps < valid.sum(-1, keepdim=True))).all())


def _frames(spectrogram: Tensor) -> Tensor | None:
    """The frames `[B]` of each item up to its last that is not zero, None where that is all of them."""
    steps = torch.arange(1, spectrogram.shape[2] + 1, device=spectrogram.device)
    lengths = ((spectrogram != 0).any(1) * steps).amax(1).clamp_min(1)
    return None if bool((lengths == spectrogram.shape[2]).all()) else lengths
