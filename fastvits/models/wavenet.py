"""The WaveNet stack of the residual couplings and the posterior encoder (van den Oord et al. 2016; Prenger et al.
2019)."""

from torch import Tensor, nn

import fastvits_kernels as kernels
from fastvits_kernels.ops.wavenet import wavenet_layer_with_dropout

from ..configuration import VitsConfig
from .layers import WeightNormConv1d, taps_first


class VitsWaveNet(nn.Module):
    """Dilated, gated convolutions whose skip connections are summed: `[B, T, hidden_size]` -> `[B, T, hidden_size]`.

    Layer `i` has the dilation `wavenet_dilation_rate ** i`. The sum is carried beside the hidden state as one tensor
    `[B, T, 2 * hidden_size]`, so that a layer is one op.
    """

    def __init__(self, config: VitsConfig, num_layers: int) -> None:
        super().__init__()
        channels = config.hidden_size
        self.channels = channels
        self.dropout = config.wavenet_dropout
        self.in_layers = nn.ModuleList(
            WeightNormConv1d(
                channels, 2 * channels, config.wavenet_kernel_size, dilation=config.wavenet_dilation_rate**i
            )
            for i in range(num_layers)
        )
        self.res_skip_layers = nn.ModuleList(
            WeightNormConv1d(channels, channels if i == num_layers - 1 else 2 * channels, 1) for i in range(num_layers)
        )
        if config.speaker_embedding_size:
            self.cond_layer = WeightNormConv1d(config.speaker_embedding_size, 2 * channels * num_layers, 1)

    def forward(self, x: Tensor, lengths: Tensor | None, speaker: Tensor | None) -> Tensor:
        """`x` `[B, T, C]`, `speaker` `[B, speaker_embedding_size]` or None; the result is zero beyond `lengths`."""
        conditions = None if speaker is None else self.cond_layer.project(speaker).split(2 * self.channels, dim=1)
        state, skip = x, None
        for i, (in_layer, out_layer) in enumerate(zip(self.in_layers, self.res_skip_layers, strict=True)):
            assert isinstance(in_layer, WeightNormConv1d)
            assert isinstance(out_layer, WeightNormConv1d)
            cond = None if conditions is None else conditions[i]
            in_weight, out_weight = taps_first(in_layer.folded()), out_layer.folded().squeeze(-1).t()
            if self.training and self.dropout:
                state = wavenet_layer_with_dropout(
                    x,
                    skip,
                    in_weight,
                    in_layer.bias,
                    cond,
                    out_weight,
                    out_layer.bias,
                    lengths,
                    in_layer.dilation,
                    self.dropout,
                )
            else:
                state = kernels.wavenet_layer(
                    x,
                    skip,
                    in_weight,
                    in_layer.bias,
                    out_weight,
                    out_layer.bias,
                    cond=cond,
                    lengths=lengths,
                    dilation=in_layer.dilation,
                )
            x, skip = state[..., : self.channels], state[..., self.channels :]
        return state
