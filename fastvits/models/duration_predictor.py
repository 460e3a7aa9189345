"""The two duration predictors (Kim et al. 2021, section 2.2.2 and appendix B; the plain one is that of Ren et al.
2019).

They compute in float32 when the model is float32 or half precision, and in float64 when the model is float64.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, logsigmoid

import fastvits_kernels as kernels

from ..configuration import VitsConfig
from .layers import (
    Derived,
    Float32Module,
    conditioning_of,
    conv1d,
    convolved,
    dropout_rate,
    empty,
    is_run,
    lengths_of,
    mask_of,
    normalized,
    vectors_of,
    vectors_projected,
)
from .observed import known, observed

_LEAST_FRAMES = 1e-5
"""Where the logarithm of a dequantised duration is cut off, as in the published code."""


@known
class VitsDilatedDepthSeparableConv(nn.Module):
    """Depth-separable layers with residuals; layer `i` has the dilation `kernel_size ** i`."""

    def __init__(self, config: VitsConfig, rate: float = 0.0) -> None:
        super().__init__()
        channels, kernel_size = config.hidden_size, config.duration_predictor_kernel_size
        layers = range(config.depth_separable_num_layers)
        self.num_layers = config.depth_separable_num_layers
        self.dropout = nn.Dropout(rate)
        self.convs_dilated = nn.ModuleList(
            conv1d(channels, channels, kernel_size, dilation=kernel_size**i, groups=channels) for i in layers
        )
        self.convs_pointwise = nn.ModuleList(conv1d(channels, channels, 1) for _ in layers)
        self.norms_1 = nn.ModuleList(empty(nn.LayerNorm, channels) for _ in layers)
        self.norms_2 = nn.ModuleList(empty(nn.LayerNorm, channels) for _ in layers)

    def forward(self, inputs: Tensor, padding_mask: Tensor, global_conditioning: Tensor | None = None) -> Tensor:
        """The published call: `[B, hidden_size, T]`, `[B, 1, T]`, something to add first or None -> `[B, hidden_size,
        T]`, zero beyond the mask."""
        if global_conditioning is not None:
            inputs = inputs + global_conditioning
        if not observed(*self.children()) and is_run(padding_mask):
            return self.encode(inputs.transpose(1, 2), lengths_of(padding_mask)).transpose(1, 2)
        for depthwise, pointwise, norm1, norm2 in zip(
            self.convs_dilated, self.convs_pointwise, self.norms_1, self.norms_2, strict=True
        ):
            h = gelu(norm1(depthwise(inputs * padding_mask).transpose(1, 2)))
            h = gelu(norm2(pointwise(h.transpose(1, 2)).transpose(1, 2))).transpose(1, 2)
            inputs = inputs + self.dropout(h)
        return inputs * padding_mask

    def encode(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """`[B, T, hidden_size]` -> the same shape, zero beyond `lengths`."""
        rate = dropout_rate(self.dropout)
        for depthwise, pointwise, norm1, norm2 in zip(
            self.convs_dilated, self.convs_pointwise, self.norms_1, self.norms_2, strict=True
        ):
            depthwise, pointwise = cast(nn.Conv1d, depthwise), cast(nn.Conv1d, pointwise)
            norm1, norm2 = cast(nn.LayerNorm, norm1), cast(nn.LayerNorm, norm2)
            parameters = (
                depthwise.weight.squeeze(1).t(),
                cast(Tensor, depthwise.bias),
                norm1.weight,
                norm1.bias,
                pointwise.weight.squeeze(-1).t(),
                cast(Tensor, pointwise.bias),
                norm2.weight,
                norm2.bias,
            )
            x = kernels.depth_separable_layer(
                x, *parameters, lengths=lengths, dilation=depthwise.dilation[0], eps=norm1.eps, dropout=rate
            )
        return x


@known
class VitsConvFlow(nn.Module):
    """A spline coupling: one half of the channels chooses the spline that transforms the other (Durkan et al. 2019)."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.half_channels = config.depth_separable_channels // 2
        self.scale = 1 / math.sqrt(config.hidden_size)
        self.num_bins = config.duration_predictor_flow_bins
        self.tail_bound = config.duration_predictor_tail_bound
        self.conv_pre = conv1d(self.half_channels, config.hidden_size, 1)
        self.conv_dds = VitsDilatedDepthSeparableConv(config)
        self.conv_proj = conv1d(config.hidden_size, self.half_channels * (3 * self.num_bins - 1), 1)

    def forward(
        self,
        inputs: Tensor,
        padding_mask: Tensor,
        global_conditioning: Tensor | None = None,
        reverse: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The published call, layer by layer: `[B, depth_separable_channels, T]`, `[B, 1, T]`, `[B, hidden_size, T]` ->
        the same with its second half transformed, and the log-determinant `[B]` (None with `reverse`)."""
        first, second = inputs.chunk(2, dim=1)
        h = self.conv_dds(self.conv_pre(first), padding_mask, global_conditioning)
        h = self.conv_proj(h) * padding_mask
        h = h.unflatten(1, (self.half_channels, -1)).transpose(2, 3)
        widths, heights, derivatives = h.split((self.num_bins, self.num_bins, self.num_bins - 1), dim=-1)
        second, log_slope = kernels.rational_quadratic_spline(
            second, widths * self.scale, heights * self.scale, derivatives, tail_bound=self.tail_bound, reverse=reverse
        )
        outputs = torch.cat([first, second], dim=1) * padding_mask
        return outputs, None if reverse else (log_slope * padding_mask).sum((1, 2))

    def inverse(self, first: Tensor, second: Tensor, lengths: Tensor | None, condition: Tensor) -> Tensor:
        """The second half transformed back, from two halves `[B, T, depth_separable_channels / 2]` and `condition`
        `[B, T, hidden_size]`; zero beyond `lengths`."""
        return self.transformed(first, second, lengths, condition, reverse=True)[0]

    def transformed(
        self, first: Tensor, second: Tensor, lengths: Tensor | None, condition: Tensor, *, reverse: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The second half transformed, or back with `reverse`, and the logarithm of its derivative, both of its shape
        and zero beyond `lengths`; arguments as in `inverse`."""
        h = self.conv_dds.encode(
            convolved(self.conv_pre, first, residual=condition, lengths=lengths, ieee=True), lengths
        )
        return kernels.spline_coupling(
            h,
            self.conv_proj.weight.squeeze(-1).t(),
            cast(Tensor, self.conv_proj.bias),
            second,
            lengths=lengths,
            num_bins=self.num_bins,
            tail_bound=self.tail_bound,
            reverse=reverse,
        )


@known
class VitsElementwiseAffine(nn.Module):
    """`translate + exp(log_scale) * z` a channel, parameters `[C, 1]`."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.translate = nn.Parameter(torch.empty(config.depth_separable_channels, 1))
        self.log_scale = nn.Parameter(torch.empty(config.depth_separable_channels, 1))
        self.derived = Derived()

    def forward(
        self,
        inputs: Tensor,
        padding_mask: Tensor,
        global_conditioning: Tensor | None = None,
        reverse: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The published call: `[B, C, T]`, `[B, 1, T]` -> `[B, C, T]` and the log-determinant `[B]` (None with
        `reverse`)."""
        if reverse:
            return (inputs - self.translate) * torch.exp(-self.log_scale) * padding_mask, None
        outputs = (self.translate + torch.exp(self.log_scale) * inputs) * padding_mask
        return outputs, (self.log_scale * padding_mask).sum((1, 2))

    def transformed(self, z: Tensor) -> Tensor:
        """`[B, T, C]` transformed; the logarithm of the derivative is `log_scale.sum()` at every step."""
        return self.translate.squeeze(-1) + z * self.log_scale.squeeze(-1).exp()

    def inverse_of_first(self, z: Tensor) -> Tensor:
        """The first channel's values `[B, T]`, transformed back: the one of which durations are made."""
        scale = self.derived.get("scale", (self.log_scale,), lambda: torch.exp(-self.log_scale[0]))
        return (z - self.translate[0]) * scale


@known
class VitsStochasticDurationPredictor(Float32Module):
    """Log durations drawn from a flow of spline couplings.

    Synthesis runs the flow backwards and leaves out the convolution flow next to the affine one, as the published model
    does. The posterior half (`post_*`) and that flow are for training only; `inference_only` leaves them out.
    """

    def __init__(self, config: VitsConfig, inference_only: bool = False) -> None:
        super().__init__()
        channels, num_flows = config.hidden_size, config.duration_predictor_num_flows
        self.conv_pre = conv1d(channels, channels, 1)
        self.conv_proj = conv1d(channels, channels, 1)
        self.conv_dds = VitsDilatedDepthSeparableConv(config, config.duration_predictor_dropout)
        if config.speaker_embedding_size:
            self.cond = conv1d(config.speaker_embedding_size, channels, 1)
        # Flow 1 keeps its place in the list, and so its neighbours their names, when it is left out.
        self.flows = nn.ModuleList([VitsElementwiseAffine(config)])
        self.flows.extend(
            nn.Identity() if inference_only and i == 0 else VitsConvFlow(config) for i in range(num_flows)
        )
        if not inference_only:
            self.post_conv_pre = conv1d(1, channels, 1)
            self.post_conv_proj = conv1d(channels, channels, 1)
            self.post_conv_dds = VitsDilatedDepthSeparableConv(config, config.duration_predictor_dropout)
            self.post_flows = nn.ModuleList([VitsElementwiseAffine(config)])
            self.post_flows.extend(VitsConvFlow(config) for _ in range(num_flows))

    def forward(
        self,
        inputs: Tensor,
        padding_mask: Tensor,
        global_conditioning: Tensor | None = None,
        durations: Tensor | None = None,
        reverse: bool = False,
        noise_scale: float = 1.0,
        *,
        noise: Tensor | None = None,
    ) -> Tensor:
        """The published call: `[B, hidden_size, T_text]`, `[B, 1, T_text]`, `[B, speaker_embedding_size, 1]` or None ->
        with `reverse` log durations `[B, 1, T_text]`, else the bound `[B]` of `negative_log_likelihood` for `durations`
        `[B, 1, T_text]`.

        The noise is drawn as published, or given, `[B, 2, T_text]` and scaled already.
        """
        if noise is None:
            noise = torch.randn(inputs.shape[0], 2, inputs.shape[2]).to(inputs) * (noise_scale if reverse else 1.0)
        if not reverse:
            if durations is None:
                raise ValueError("the likelihood of durations needs durations [B, 1, T_text]")
            hidden, lengths, speaker = inputs.transpose(1, 2), lengths_of(padding_mask), vectors_of(global_conditioning)
            return self.negative_log_likelihood(hidden, lengths, speaker, noise.transpose(1, 2), durations.squeeze(1))
        if not observed(*self.children()) and is_run(padding_mask):
            lengths, speaker = lengths_of(padding_mask), vectors_of(global_conditioning)
            made = self._run(inputs.transpose(1, 2), lengths, speaker, noise.transpose(1, 2))
            return made.unsqueeze(1) * padding_mask
        x = self.conv_pre(inputs.detach())
        if global_conditioning is not None:
            x = x + self.cond(global_conditioning.detach())
        x = self.conv_proj(self.conv_dds(x, padding_mask)) * padding_mask
        for flow in (*reversed(self.flows[2:]), self.flows[0]):
            noise, _ = flow(noise.flip(1), padding_mask, global_conditioning=x, reverse=True)
        return noise[:, :1]

    def predict(
        self, hidden: Tensor, lengths: Tensor | None, speaker: Tensor | None, noise: Tensor | None = None
    ) -> Tensor:
        """`hidden` `[B, T_text, hidden_size]`, `speaker` `[B, speaker_embedding_size]` or None, `noise` `[B, T_text,
        2]` (already scaled) -> log durations `[B, T_text]`."""
        assert noise is not None
        if not observed(self):
            return self._run(hidden, lengths, speaker, noise)
        mask = mask_of(lengths, hidden.shape[1], hidden)
        options = {"reverse": True, "noise": noise.transpose(1, 2)}
        made = cast(Tensor, self(hidden.transpose(1, 2), mask, conditioning_of(speaker), **options))
        return made.squeeze(1).to(hidden.dtype)

    def _run(self, hidden: Tensor, lengths: Tensor | None, speaker: Tensor | None, noise: Tensor) -> Tensor:
        x = self._condition(hidden, lengths, speaker)
        # Each flow is preceded by a reversal of the channels, which swaps the halves, and reverses these.
        first, second = noise.chunk(2, dim=-1)
        for flow in reversed(self.flows[2:]):
            first, second = _reversed_channels(second), _reversed_channels(first)
            second = cast(VitsConvFlow, flow).inverse(first, second, lengths, x)
        return cast(VitsElementwiseAffine, self.flows[0]).inverse_of_first(second[..., -1])

    def _condition(self, hidden: Tensor, lengths: Tensor | None, speaker: Tensor | None) -> Tensor:
        """What the flows are told of the text, `[B, T_text, hidden_size]`; no gradient goes back into the text."""
        cond = None if speaker is None else vectors_projected(self.cond, speaker.detach(), ieee=True)
        # What is beyond the lengths is read as zero by the first layer of conv_dds.
        x = convolved(self.conv_pre, hidden.detach(), cond=cond, lengths=lengths, ieee=True)
        return convolved(self.conv_proj, self.conv_dds.encode(x, lengths), lengths=lengths, ieee=True)

    def negative_log_likelihood(
        self, hidden: Tensor, lengths: Tensor | None, speaker: Tensor | None, noise: Tensor, durations: Tensor
    ) -> Tensor:
        """The bound on `-log p(durations | text)` of each item, `[B]` (Kim et al. 2021, section 2.2.2 and equation 7):
        durations are dequantised by a number in (0, 1) and joined by a second one, both drawn by the posterior half.

        `hidden` and `speaker` as in `predict`, `noise` `[B, T_text, 2]` standard normal, `durations` `[B, T_text]`
        frames. Flow 1 takes part, which synthesis leaves out.
        """
        x = self._condition(hidden, lengths, speaker)
        mask = mask_of(lengths, x.shape[1], x).transpose(1, 2)
        frames = durations.to(x.dtype).unsqueeze(-1)  # [B, T_text, 1]
        noise = noise * mask
        h = convolved(self.post_conv_pre, frames, lengths=lengths, ieee=True)
        h = convolved(self.post_conv_proj, self.post_conv_dds.encode(h, lengths), lengths=lengths, ieee=True)
        z, log_derivative = _through(self.post_flows, noise, lengths, x + h, mask)
        logit, second = z.chunk(2, dim=-1)
        share = torch.sigmoid(logit) * mask
        log_derivative = log_derivative + ((logsigmoid(logit) + logsigmoid(-logit)) * mask).sum((1, 2))
        log_posterior = (_log_normal(noise) * mask).sum((1, 2)) - log_derivative
        log_frames = (frames - share).clamp_min(_LEAST_FRAMES).log() * mask
        z, log_derivative = _through(self.flows, torch.cat([log_frames, second], dim=-1), lengths, x, mask)
        log_prior = (_log_normal(z) * mask).sum((1, 2)) + log_derivative - log_frames.sum((1, 2))
        return log_posterior - log_prior


def _log_normal(x: Tensor) -> Tensor:
    """Each element's log density under the standard normal distribution."""
    return -0.5 * (math.log(2 * math.pi) + x.square())


def _through(
    flows: nn.ModuleList, z: Tensor, lengths: Tensor | None, condition: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """`z` `[B, T, C]` through an affine flow and spline couplings, the channels reversed behind each of these, and the
    log-determinant `[B]`; `mask` `[B, T, 1]`."""
    affine = cast(VitsElementwiseAffine, flows[0])
    total = affine.log_scale.sum() * mask.sum((1, 2))
    first, second = (affine.transformed(z) * mask).chunk(2, dim=-1)
    for flow in flows[1:]:
        second, log_derivative = cast(VitsConvFlow, flow).transformed(first, second, lengths, condition)
        total = total + log_derivative.sum((1, 2))
        first, second = _reversed_channels(second), _reversed_channels(first)
    return torch.cat([first, second], dim=-1), total


def _reversed_channels(x: Tensor) -> Tensor:
    return x if x.shape[-1] == 1 else x.flip(-1)


@known
class VitsDurationPredictor(Float32Module):
    """Log durations predicted by two convolutions; no randomness."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        channels, kernel_size = config.duration_predictor_filter_channels, config.duration_predictor_kernel_size
        self.dropout = nn.Dropout(config.duration_predictor_dropout)
        self.conv_1 = conv1d(config.hidden_size, channels, kernel_size)
        self.norm_1 = empty(nn.LayerNorm, channels, config.layer_norm_eps)
        self.conv_2 = conv1d(channels, channels, kernel_size)
        self.norm_2 = empty(nn.LayerNorm, channels, config.layer_norm_eps)
        self.proj = conv1d(channels, 1, 1)
        if config.speaker_embedding_size:
            self.cond = conv1d(config.speaker_embedding_size, config.hidden_size, 1)

    def forward(self, inputs: Tensor, padding_mask: Tensor, global_conditioning: Tensor | None = None) -> Tensor:
        """The published call: `[B, hidden_size, T_text]`, `[B, 1, T_text]`, `[B, speaker_embedding_size, 1]` or None ->
        log durations `[B, 1, T_text]`, zero beyond the mask."""
        if not observed(*self.children()) and is_run(padding_mask):
            lengths, speaker = lengths_of(padding_mask), vectors_of(global_conditioning)
            return self._run(inputs.transpose(1, 2), lengths, speaker).unsqueeze(1)
        x = inputs.detach()
        if global_conditioning is not None:
            x = x + self.cond(global_conditioning.detach())
        for conv, norm in ((self.conv_1, self.norm_1), (self.conv_2, self.norm_2)):
            x = norm(conv(x * padding_mask).relu().transpose(1, 2)).transpose(1, 2)
            x = self.dropout(x)
        return cast(Tensor, self.proj(x * padding_mask)) * padding_mask

    def predict(
        self, hidden: Tensor, lengths: Tensor | None, speaker: Tensor | None, noise: Tensor | None = None
    ) -> Tensor:
        """`hidden` `[B, T_text, hidden_size]`, `speaker` `[B, speaker_embedding_size]` or None -> log durations `[B,
        T_text]`; takes no noise, whatever is given."""
        if not observed(self):
            return self._run(hidden, lengths, speaker)
        mask = mask_of(lengths, hidden.shape[1], hidden)
        made = cast(Tensor, self(hidden.transpose(1, 2), mask, conditioning_of(speaker)))
        return made.squeeze(1).to(hidden.dtype)

    def _run(self, hidden: Tensor, lengths: Tensor | None, speaker: Tensor | None) -> Tensor:
        x = hidden.detach()
        if speaker is not None:
            x = x + vectors_projected(self.cond, speaker.detach(), ieee=True).unsqueeze(1)
        for conv, norm in ((self.conv_1, self.norm_1), (self.conv_2, self.norm_2)):
            x = normalized(norm, convolved(conv, x, activation="relu", lengths=lengths, ieee=True))
            x = self.dropout(x)
        return convolved(self.proj, x, lengths=lengths, ieee=True).squeeze(-1)
