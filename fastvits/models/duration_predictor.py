"""The two duration predictors (Kim et al. 2021, section 2.2.2 and appendix B; the plain one is that of Ren et al.
2019).

They compute in float32 when the model is float32 or half precision, and in float64 when the model is float64.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

import fastvits_kernels as kernels
from fastvits_kernels.ops.depth_separable import depth_separable_layer_with_dropout

from ..configuration import VitsConfig
from .layers import Conv1d, Derived, Float32Module, LayerNorm


class _DepthwiseConv1d(nn.Module):
    """A depthwise convolution's parameters: `weight` `[C, 1, K]`, `bias` `[C]`."""

    def __init__(self, channels: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.weight = nn.Parameter(torch.empty(channels, 1, kernel_size))
        self.bias = nn.Parameter(torch.empty(channels))


class VitsDilatedDepthSeparableConv(nn.Module):
    """Depth-separable layers with residuals; layer `i` has the dilation `kernel_size ** i`."""

    def __init__(self, config: VitsConfig, dropout_rate: float = 0.0) -> None:
        super().__init__()
        channels, kernel_size = config.hidden_size, config.duration_predictor_kernel_size
        layers = range(config.depth_separable_num_layers)
        self.dropout = dropout_rate
        self.convs_dilated = nn.ModuleList(_DepthwiseConv1d(channels, kernel_size, kernel_size**i) for i in layers)
        self.convs_pointwise = nn.ModuleList(Conv1d(channels, channels, 1) for _ in layers)
        self.norms_1 = nn.ModuleList(LayerNorm(channels) for _ in layers)
        self.norms_2 = nn.ModuleList(LayerNorm(channels) for _ in layers)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """`[B, T, hidden_size]` -> the same shape, zero beyond `lengths`."""
        for depthwise, pointwise, norm1, norm2 in zip(
            self.convs_dilated, self.convs_pointwise, self.norms_1, self.norms_2, strict=True
        ):
            depthwise, pointwise = cast(_DepthwiseConv1d, depthwise), cast(Conv1d, pointwise)
            norm1, norm2 = cast(LayerNorm, norm1), cast(LayerNorm, norm2)
            parameters = (
                depthwise.weight.squeeze(1).t(),
                depthwise.bias,
                norm1.weight,
                norm1.bias,
                pointwise.weight.squeeze(-1).t(),
                cast(Tensor, pointwise.bias),
                norm2.weight,
                norm2.bias,
            )
            if self.training and self.dropout:
                x = depth_separable_layer_with_dropout(
                    x, *parameters, lengths, depthwise.dilation, norm1.eps, self.dropout
                )
            else:
                x = kernels.depth_separable_layer(
                    x, *parameters, lengths=lengths, dilation=depthwise.dilation, eps=norm1.eps
                )
        return x


class VitsConvFlow(nn.Module):
    """A spline coupling: one half of the channels chooses the spline that transforms the other (Durkan et al. 2019)."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.half_channels = config.depth_separable_channels // 2
        self.num_bins = config.duration_predictor_flow_bins
        self.tail_bound = config.duration_predictor_tail_bound
        self.conv_pre = Conv1d(self.half_channels, config.hidden_size, 1)
        self.conv_dds = VitsDilatedDepthSeparableConv(config)
        self.conv_proj = Conv1d(config.hidden_size, self.half_channels * (3 * self.num_bins - 1), 1)

    def inverse(self, first: Tensor, second: Tensor, lengths: Tensor | None, condition: Tensor) -> Tensor:
        """The second half transformed, from two halves `[B, T, depth_separable_channels / 2]` and `condition` `[B, T,
        hidden_size]`; zero beyond `lengths`."""
        h = self.conv_dds(self.conv_pre(first, residual=condition, lengths=lengths, ieee=True), lengths)
        second, _ = kernels.spline_coupling(
            h,
            self.conv_proj.weight.squeeze(-1).t(),
            cast(Tensor, self.conv_proj.bias),
            second,
            lengths=lengths,
            num_bins=self.num_bins,
            tail_bound=self.tail_bound,
            reverse=True,
        )
        return second


class VitsElementwiseAffine(nn.Module):
    """`translate + exp(log_scale) * z` a channel, parameters `[C, 1]`."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.translate = nn.Parameter(torch.empty(config.depth_separable_channels, 1))
        self.log_scale = nn.Parameter(torch.empty(config.depth_separable_channels, 1))
        self.derived = Derived()

    def inverse_of_first(self, z: Tensor) -> Tensor:
        """The first channel's values `[B, T]`, transformed back: the one of which durations are made."""
        scale = self.derived.get("scale", (self.log_scale,), lambda: torch.exp(-self.log_scale[0]))
        return (z - self.translate[0]) * scale


class VitsStochasticDurationPredictor(Float32Module):
    """Log durations drawn from a flow of spline couplings.

    Synthesis runs the flow backwards and leaves out the convolution flow next to the affine one, as the published model
    does. The posterior half (`post_*`) and that flow are for training only; `inference_only` leaves them out.
    """

    def __init__(self, config: VitsConfig, inference_only: bool = False) -> None:
        super().__init__()
        channels, num_flows = config.hidden_size, config.duration_predictor_num_flows
        self.conv_pre = Conv1d(channels, channels, 1)
        self.conv_proj = Conv1d(channels, channels, 1)
        self.conv_dds = VitsDilatedDepthSeparableConv(config, config.duration_predictor_dropout)
        if config.speaker_embedding_size:
            self.cond = Conv1d(config.speaker_embedding_size, channels, 1)
        # Flow 1 keeps its place in the list, and so its neighbours their names, when it is left out.
        self.flows = nn.ModuleList([VitsElementwiseAffine(config)])
        self.flows.extend(
            nn.Identity() if inference_only and i == 0 else VitsConvFlow(config) for i in range(num_flows)
        )
        if not inference_only:
            self.post_conv_pre = Conv1d(1, channels, 1)
            self.post_conv_proj = Conv1d(channels, channels, 1)
            self.post_conv_dds = VitsDilatedDepthSeparableConv(config, config.duration_predictor_dropout)
            self.post_flows = nn.ModuleList([VitsElementwiseAffine(config)])
            self.post_flows.extend(VitsConvFlow(config) for _ in range(num_flows))

    def forward(self, hidden: Tensor, lengths: Tensor | None, speaker: Tensor | None, noise: Tensor) -> Tensor:
        """`hidden` `[B, T_text, hidden_size]`, `speaker` `[B, speaker_embedding_size]` or None, `noise` `[B, T_text,
        2]` (already scaled) -> log durations `[B, T_text]`."""
        cond = None if speaker is None else self.cond.project(speaker.detach(), ieee=True)
        # What is beyond the lengths is read as zero by the first layer of conv_dds.
        x = self.conv_pre(hidden.detach(), cond=cond, lengths=lengths, ieee=True)
        x = self.conv_proj(self.conv_dds(x, lengths), lengths=lengths, ieee=True)
        # Each flow is preceded by a reversal of the channels, which swaps the halves, and reverses these.
        first, second = noise.chunk(2, dim=-1)
        for flow in reversed(self.flows[2:]):
            first, second = _reversed_channels(second), _reversed_channels(first)
            second = cast(VitsConvFlow, flow).inverse(first, second, lengths, x)
        return cast(VitsElementwiseAffine, self.flows[0]).inverse_of_first(second[..., -1])


def _reversed_channels(x: Tensor) -> Tensor:
    return x if x.shape[-1] == 1 else x.flip(-1)


class VitsDurationPredictor(Float32Module):
    """Log durations predicted by two convolutions; no randomness."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        channels, kernel_size = config.duration_predictor_filter_channels, config.duration_predictor_kernel_size
        self.dropout = config.duration_predictor_dropout
        self.conv_1 = Conv1d(config.hidden_size, channels, kernel_size)
        self.norm_1 = LayerNorm(channels, config.layer_norm_eps)
        self.conv_2 = Conv1d(channels, channels, kernel_size)
        self.norm_2 = LayerNorm(channels, config.layer_norm_eps)
        self.proj = Conv1d(channels, 1, 1)
        if config.speaker_embedding_size:
            self.cond = Conv1d(config.speaker_embedding_size, config.hidden_size, 1)

    def forward(self, hidden: Tensor, lengths: Tensor | None, speaker: Tensor | None) -> Tensor:
        """`hidden` `[B, T_text, hidden_size]`, `speaker` `[B, speaker_embedding_size]` or None -> log durations `[B,
        T_text]`."""
        x = hidden.detach()
        if speaker is not None:
            x = x + self.cond.project(speaker.detach(), ieee=True).unsqueeze(1)
        for conv, norm in ((self.conv_1, self.norm_1), (self.conv_2, self.norm_2)):
            x = dropout(norm(conv(x, activation="relu", lengths=lengths, ieee=True)), self.dropout, self.training)
        return cast(Tensor, self.proj(x, lengths=lengths, ieee=True)).squeeze(-1)
