"""The posterior encoder, which training needs and synthesis does not (Kim et al. 2021, section 2.4)."""

from typing import cast

import torch
from torch import Tensor, nn

from ..configuration import VitsConfig
from .layers import conditioning_of, conv1d, convolved, lengths_of, mask_of, vectors_of
from .observed import known, observed
from .wavenet import VitsWaveNet


@known
class VitsPosteriorEncoder(nn.Module):
    """A linear spectrogram -> latents, their means and log standard deviations."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.flow_size = config.flow_size
        self.conv_pre = conv1d(config.spectrogram_bins, config.hidden_size, 1)
        self.wavenet = VitsWaveNet(config, config.posterior_encoder_num_wavenet_layers)
        self.conv_proj = conv1d(config.hidden_size, 2 * config.flow_size, 1)

    def forward(
        self,
        inputs: Tensor,
        padding_mask: Tensor,
        global_conditioning: Tensor | None = None,
        *,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The published call: `[B, spectrogram_bins, T]`, `[B, 1, T]`, `[B, speaker_embedding_size, 1]` or None ->
        three of `[B, flow_size, T]`, zero beyond the mask. The noise is drawn as published, or given."""
        if observed(*self.children()):
            h = self.wavenet(self.conv_pre(inputs) * padding_mask, padding_mask, global_conditioning)
            mean, log_scale = (self.conv_proj(h) * padding_mask).chunk(2, dim=1)
        else:
            lengths, speaker = lengths_of(padding_mask), vectors_of(global_conditioning)
            mean, log_scale = (y.transpose(1, 2) for y in self._run(inputs.transpose(1, 2), lengths, speaker))
        # The published draw is over a contiguous [B, C, T].
        if noise is None:
            noise = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device)
        return (mean + noise * log_scale.exp()) * padding_mask, mean, log_scale

    def encode(
        self,
        spectrogram: Tensor,
        lengths: Tensor | None = None,
        speaker: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`[B, T, spectrogram_bins]`, lengths `[B]`, speakers `[B, speaker_embedding_size]`, or None -> three of `[B,
        T, flow_size]`, zero beyond `lengths`; the latents are drawn with `noise` `[B, T, flow_size]`, or with the
        device's random generator where it is None."""
        mask = mask_of(lengths, spectrogram.shape[1], spectrogram)
        if observed(self):
            given = None if noise is None else noise.transpose(1, 2)
            made = self(spectrogram.transpose(1, 2), mask, conditioning_of(speaker), noise=given)
            return cast(tuple[Tensor, Tensor, Tensor], tuple(y.transpose(1, 2) for y in made))
        mean, log_scale = self._run(spectrogram, lengths, speaker)
        noise = torch.randn_like(mean) if noise is None else noise
        return (mean + noise * log_scale.exp()) * mask.transpose(1, 2), mean, log_scale

    def _run(self, x: Tensor, lengths: Tensor | None, speaker: Tensor | None) -> tuple[Tensor, Tensor]:
        h = self.wavenet.encode(convolved(self.conv_pre, x, lengths=lengths), lengths, speaker)
        mean, log_scale = convolved(self.conv_proj, h, lengths=lengths).split(self.flow_size, dim=-1)
        return mean, log_scale
