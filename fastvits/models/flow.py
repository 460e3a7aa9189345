"""The normalising flow between the prior and the latents that the decoder hears (Kim et al. 2021, section 2.1.3)."""

from typing import Any

import torch
from torch import Tensor, nn

import fastvits_kernels as kernels

from ..configuration import VitsConfig
from .layers import Conv1d, Derived, taps_first
from .wavenet import VitsWaveNet


class VitsResidualCouplingLayer(nn.Module):
    """An affine coupling of unit scale: one half of the channels shifts the other (Dinh et al. 2017, equation 7)."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.half_channels = config.flow_size // 2
        self.conv_pre = Conv1d(self.half_channels, config.hidden_size, 1)
        self.wavenet = VitsWaveNet(config, config.prior_encoder_num_wavenet_layers)
        self.conv_post = Conv1d(config.hidden_size, self.half_channels, 1)
        self.derived = Derived()

    def forward(
        self,
        first: Tensor,
        second: Tensor,
        lengths: Tensor | None,
        speaker: Tensor | None,
        *,
        reverse: bool,
        flipped: bool = False,
    ) -> Tensor:
        """The shifted second half, from two halves `[B, T, flow_size / 2]`; the log-determinant is 0.

        With `flipped` the channels of both halves, and of the result, are in reverse order.
        """
        h = self.wavenet(self._convolve(self.conv_pre, 1, flipped, first, lengths=lengths), lengths, speaker)
        alpha = -1.0 if reverse else 1.0
        return self._convolve(self.conv_post, 0, flipped, h, residual=second, alpha=alpha, lengths=lengths)

    def _convolve(self, conv: Conv1d, side: int, flipped: bool, x: Tensor, **options: Any) -> Tensor:
        """The convolution of kernel size 1; with `flipped` its outputs (`side` 0) or inputs (1) in reverse order."""
        weight, bias = conv.weight, conv.bias
        assert bias is not None
        if flipped:
            weight, bias = self.derived.get(
                f"flipped {side}",
                (conv.weight, bias),
                lambda: (conv.weight.flip(side), bias.flip(0) if side == 0 else bias),
            )
        return kernels.conv1d(x, taps_first(weight), bias, **options)


class VitsResidualCouplingBlock(nn.Module):
    """Residual couplings with the channels reversed in between.

    Nothing is reversed in memory: every other coupling has its two halves swapped and its weights reversed instead, and
    halves become one tensor at the end.
    """

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.flows = nn.ModuleList(VitsResidualCouplingLayer(config) for _ in range(config.prior_encoder_num_flows))

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, speaker: Tensor | None = None, *, reverse: bool = False
    ) -> Tensor:
        """`[B, T, flow_size]` to latents of the prior, or from them with `reverse`; zero beyond `lengths`."""
        low, high = x.chunk(2, dim=-1)
        # Forwards a reversal follows each coupling, backwards it goes before it.
        flipped = reverse
        for flow in reversed(self.flows) if reverse else self.flows:
            if flipped:
                low = flow(high, low, lengths, speaker, reverse=reverse, flipped=True)
            else:
                high = flow(low, high, lengths, speaker, reverse=reverse)
            flipped = not flipped
        out = torch.cat([low, high], dim=-1)
        return out.flip(-1) if len(self.flows) % 2 else out
