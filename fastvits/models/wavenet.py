"""The WaveNet stack of the residual couplings and the posterior encoder (van den Oord et al. 2016; Prenger et al.
2019)."""

from typing import cast

from torch import Tensor, nn

import fastvits_kernels as kernels

from ..configuration import VitsConfig
from .layers import (
    Derived,
    as_narrow,
    dropout_rate,
    folded,
    lengths_of,
    taps_first,
    vectors_of,
    vectors_projected,
    weight_norm_conv1d,
)
from .observed import known, observed


@known
class VitsWaveNet(nn.Module):
    """Dilated, gated convolutions whose skip connections are summed: `[B, T, hidden_size]` -> `[B, T, hidden_size]`.

    Layer `i` has the dilation `wavenet_dilation_rate ** i`. The sum is carried beside the hidden state as one tensor
    `[B, T, 2 * hidden_size]`, so that a layer is one op.
    """

    def __init__(self, config: VitsConfig, num_layers: int) -> None:
        super().__init__()
        channels = config.hidden_size
        self.channels = self.hidden_size = channels
        self.num_layers = num_layers
        self.dropout = nn.Dropout(config.wavenet_dropout)
        self.in_layers = nn.ModuleList(
            weight_norm_conv1d(
                channels, 2 * channels, config.wavenet_kernel_size, dilation=config.wavenet_dilation_rate**i
            )
            for i in range(num_layers)
        )
        self.res_skip_layers = nn.ModuleList(
            weight_norm_conv1d(channels, channels if i == num_layers - 1 else 2 * channels, 1)
            for i in range(num_layers)
        )
        if config.speaker_embedding_size:
            self.cond_layer = weight_norm_conv1d(config.speaker_embedding_size, 2 * channels * num_layers, 1)
        self.derived = Derived()
        self.int8_ranges: list[float] | None = None
        """The bounds of what each layer hears, two a layer, where it multiplies numbers of 8 bits; see `int8`."""

    def forward(self, inputs: Tensor, padding_mask: Tensor, global_conditioning: Tensor | None = None) -> Tensor:
        """The published call: `[B, hidden_size, T]`, `[B, 1, T]`, `[B, speaker_embedding_size, 1]` or None ->
        `[B, hidden_size, T]`, zero beyond the mask."""
        if observed(*self.children()):
            return self._layer_by_layer(inputs, padding_mask, global_conditioning)
        x = inputs.transpose(1, 2)
        return self.encode(x, lengths_of(padding_mask), vectors_of(global_conditioning)).transpose(1, 2)

    def encode(self, x: Tensor, lengths: Tensor | None, speaker: Tensor | None) -> Tensor:
        """`x` `[B, T, C]`, `speaker` `[B, speaker_embedding_size]` or None; the result is zero beyond `lengths`."""
        conditions = None
        if speaker is not None:
            weight = folded(self.cond_layer, self.derived, "cond")
            conditions = vectors_projected(self.cond_layer, speaker, weight=weight).split(2 * self.channels, dim=1)
        state, skip = x, None
        rate = dropout_rate(self.dropout)
        for i, (in_layer, out_layer) in enumerate(zip(self.in_layers, self.res_skip_layers, strict=True)):
            in_layer, out_layer = cast(nn.Conv1d, in_layer), cast(nn.Conv1d, out_layer)
            cond = None if conditions is None else conditions[i]
            in_weight = taps_first(as_narrow(folded(in_layer, self.derived, f"in {i}"), x))
            out_weight = as_narrow(folded(out_layer, self.derived, f"out {i}"), x).squeeze(-1).t()
            in_bias, out_bias = (as_narrow(cast(Tensor, layer.bias), x) for layer in (in_layer, out_layer))
            dilation = in_layer.dilation[0]
            state = kernels.wavenet_layer(
                x,
                skip,
                in_weight,
                in_bias,
                out_weight,
                out_bias,
                cond=cond,
                lengths=lengths,
                dilation=dilation,
                ranges=None if self.int8_ranges is None else self.int8_ranges[2 * i : 2 * i + 2],
                dropout=rate,
            )
            x, skip = state[..., : self.channels], state[..., self.channels :]
        return state

    def _layer_by_layer(self, inputs: Tensor, padding_mask: Tensor, global_conditioning: Tensor | None) -> Tensor:
        conditions = None
        if global_conditioning is not None:
            conditions = self.cond_layer(global_conditioning).split(2 * self.channels, dim=1)
        last, total = len(self.in_layers) - 1, None
        for i, (in_layer, out_layer) in enumerate(zip(self.in_layers, self.res_skip_layers, strict=True)):
            hidden = in_layer(inputs)
            if conditions is not None:
                hidden = hidden + conditions[i]
            a, b = hidden.chunk(2, dim=1)
            made = out_layer(self.dropout(a.tanh() * b.sigmoid()))
            if i < last:
                inputs = (inputs + made[:, : self.channels]) * padding_mask
                made = made[:, self.channels :]
            total = made if total is None else total + made
        assert total is not None
        return total * padding_mask
