"""The posterior encoder, which training needs and synthesis does not (Kim et al. 2021, section 2.4)."""

import torch
from torch import Tensor, nn

from ..configuration import VitsConfig
from .layers import Conv1d
from .wavenet import VitsWaveNet


class VitsPosteriorEncoder(nn.Module):
    """A linear spectrogram `[B, T, spectrogram_bins]` -> latents, their means and log standard deviations `[B, T,
    flow_size]`."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.flow_size = config.flow_size
        self.conv_pre = Conv1d(config.spectrogram_bins, config.hidden_size, 1)
        self.wavenet = VitsWaveNet(config, config.posterior_encoder_num_wavenet_layers)
        self.conv_proj = Conv1d(config.hidden_size, 2 * config.flow_size, 1)

    def forward(
        self, spectrogram: Tensor, lengths: Tensor | None = None, speaker: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draws the latents with the device's random generator; all three are zero beyond `lengths`."""
        h = self.wavenet(self.conv_pre(spectrogram, lengths=lengths), lengths, speaker)
        mean, log_scale = self.conv_proj(h, lengths=lengths).split(self.flow_size, dim=-1)
        latents = mean + torch.randn_like(mean) * log_scale.exp()
        if lengths is not None:
            latents = latents * (torch.arange(latents.shape[1], device=latents.device) < lengths[:, None]).unsqueeze(-1)
        return latents, mean, log_scale
