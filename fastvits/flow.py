"""The normalising flow between the prior and the latents that the decoder hears (Kim et al. 2021, section 2.1.3)."""

import torch
from torch import Tensor, nn

from .configuration import VitsConfig
from .layers import Conv1d
from .wavenet import VitsWaveNet


class VitsResidualCouplingLayer(nn.Module):
    """An affine coupling of unit scale: one half of the channels shifts the other (Dinh et al. 2017, equation 7)."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.half_channels = config.flow_size // 2
        self.conv_pre = Conv1d(self.half_channels, config.hidden_size, 1)
        self.wavenet = VitsWaveNet(config, config.prior_encoder_num_wavenet_layers)
        self.conv_post = Conv1d(config.hidden_size, self.half_channels, 1)

    def forward(self, x: Tensor, lengths: Tensor | None, speaker: Tensor | None, *, reverse: bool) -> Tensor:
        """`[B, T, flow_size]` -> the same shape; the log-determinant is 0."""
        first, second = x.split(self.half_channels, dim=-1)
        h = self.wavenet(self.conv_pre(first, lengths=lengths), lengths, speaker)
        shifted = self.conv_post(h, residual=second, alpha=-1.0 if reverse else 1.0, lengths=lengths)
        return torch.cat([first, shifted], dim=-1)


class VitsResidualCouplingBlock(nn.Module):
    """Residual couplings with the channels reversed in between."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.flows = nn.ModuleList(VitsResidualCouplingLayer(config) for _ in range(config.prior_encoder_num_flows))

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, speaker: Tensor | None = None, *, reverse: bool = False
    ) -> Tensor:
        """`[B, T, flow_size]` to latents of the prior, or from them with `reverse`; zero beyond `lengths`."""
        if not reverse:
            for flow in self.flows:
                x = flow(x, lengths, speaker, reverse=False).flip(-1)
        else:
            for flow in reversed(self.flows):
                x = flow(x.flip(-1), lengths, speaker, reverse=True)
        return x
