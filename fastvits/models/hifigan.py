"""The HiFi-GAN decoder (Kong et al. 2020, "HiFi-GAN: Generative Adversarial Networks for Efficient and High Fidelity
Speech Synthesis", section 2.2), batch-true: no item hears its padding."""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

import fastvits_kernels as kernels
from fastvits_kernels.dispatch import devices, registry

from ..configuration import VitsConfig
from ..runtime.workers import piece_workers
from .layers import (
    as_narrow,
    conditioning_of,
    conv1d,
    convolved,
    empty,
    mask_of,
    taps_first,
    vectors_of,
    vectors_projected,
)
from .observed import known, observed
from .pieces import Pieces, in_pieces
from .weight_norm import WeightNormalizable

# The published decoder's last leaky ReLU keeps torch's default slope, whatever `leaky_relu_slope` says.
LAST_SLOPE = 0.01

_Stage = dict[str, Any]
"""The arguments of `mrf_stage` that a stage's layers give."""

_PIECE_BYTES = {"cpu": 4 << 20, "cuda": 256 << 20}
"""A tensor of a piece, of which the branches of a stage make several: on a CPU of one item, so that it stays in the
cache; on a GPU of some items together, for memory. Whether less is faster there, for the cache, has not been measured.

6.4 s of speech in float32 on one and two threads with 1 MB of L2 each: a quarter of it takes 18 to 32 % longer, half of
it 4 to 8 %; twice as much, and twice the memory, 1 to 4 % less.
"""


def _piece_steps(x: Tensor, elements: int) -> int | None:
    """Steps of `x` `[B, T, C]`, of all its items together, to work on at a time, where each makes `elements` elements
    of the largest tensor.

    None, and so the whole, where stages run eagerly, with gradients, where nothing is freed early, and while tracing,
    where a length must not be looked at.
    """
    device = devices.device_of(x)
    if torch.compiler.is_compiling() or device.type not in _PIECE_BYTES or torch.is_grad_enabled():
        return None
    if registry.current_selection().for_op("mrf_stage") not in ("auto", registry.automatic_backend(device)):
        return None
    return max(_PIECE_BYTES[device.type] // (elements * x.element_size()) // 64, 1) * 64


def stages_window(config: VitsConfig, start: int, stop: int, first: int, last: int) -> tuple[int, int]:
    """The steps `[begin, end)` of what stage `first` gets that the stages `[first, last)` hear for the steps `[start,
    stop)` of it (perhaps beyond both ends); the last stage of all includes the convolution to the waveform.

    Traced backwards through every layer: a convolution widens the interval by its half span, a transposed convolution
    maps output `u` to the inputs `t` with `0 <= u - t * stride + padding < kernel_size`.
    """
    hop = math.prod(config.upsample_rates[first:last])
    begin, end = start * hop, stop * hop - 1  # inclusive until the end
    if last == len(config.upsample_rates):
        begin, end = begin - 3, end + 3
    reach = max(
        sum((k - 1) * d // 2 + ((k - 1) // 2 if config.resblock_type == 1 else 0) for d in dilations)
        for k, dilations in zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
    )
    for stage in reversed(range(first, last)):
        rate, kernel_size = config.upsample_rates[stage], config.upsample_kernel_sizes[stage]
        begin, end = begin - reach, end + reach
        padding = (kernel_size - rate) // 2
        begin, end = -((kernel_size - 1 - begin - padding) // rate), (end + padding) // rate
    return begin, end + 1


def decoder_window(config: VitsConfig, start: int, stop: int, last: int | None = None) -> tuple[int, int]:
    """The latent frames `[begin, end)` that the waveform of the frames `[start, stop)` hears (perhaps beyond both
    ends), or what the stages before `last` make of these."""
    begin, end = stages_window(config, start, stop, 0, len(config.upsample_rates) if last is None else last)
    return begin - 3, end + 3  # conv_pre


def _masked(x: Tensor, lengths: Tensor | None) -> Tensor:
    """`x` `[B, C, T]` with zeros beyond the lengths."""
    return x if lengths is None else x * mask_of(lengths, x.shape[2], x)


@known
class HifiGanResidualBlock(WeightNormalizable):
    """A residual block: pairs of convolutions (first type), or single dilated ones (second type)."""

    normalizable = ("convs1", "convs2", "convs")

    def __init__(self, config: VitsConfig, channels: int, kernel_size: int, dilations: list[int]) -> None:
        super().__init__()
        self.slope = config.leaky_relu_slope
        dilated = nn.ModuleList(conv1d(channels, channels, kernel_size, dilation=d) for d in dilations)
        if config.resblock_type == 1:
            self.convs1 = dilated
            self.convs2 = nn.ModuleList(conv1d(channels, channels, kernel_size) for _ in dilations)
        else:
            self.convs = dilated

    def forward(self, hidden_states: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The published call, layer by layer: `[B, C, T]` -> `[B, C, T]`; with lengths `[B]` nothing beyond them is
        heard."""
        x = hidden_states
        pairs = zip(self.convs1, self.convs2, strict=True) if hasattr(self, "convs1") else ((c,) for c in self.convs)
        for pair in pairs:
            h = x
            for conv in pair:
                h = conv(_masked(leaky_relu(h, self.slope), lengths))
            x = x + h
        return x


@known
class VitsHifiGan(WeightNormalizable):
    """Latents `[B, T_frames, flow_size]` -> waveform `[B, T_samples]` in [-1, 1].

    A stage upsamples and averages residual blocks of different receptive fields (multi-receptive-field fusion); its
    blocks run side by side, one step of all of them at a time.
    """

    normalizable = ("upsampler", "resblocks")

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.config = config
        self.slope = config.leaky_relu_slope
        self.resblock_type = config.resblock_type
        self.num_branches = len(config.resblock_kernel_sizes)
        self.int8_ranges: list[list[float] | None] = [None] * len(config.upsample_rates)
        """The bounds of each stage that multiplies numbers of 8 bits; see `int8`."""
        channels = [config.upsample_initial_channel // 2**i for i in range(len(config.upsample_rates) + 1)]
        self.conv_pre = conv1d(config.flow_size, channels[0], 7)
        self.upsampler = nn.ModuleList(
            empty(
                nn.ConvTranspose1d,
                channels[i],
                channels[i + 1],
                kernel_size,
                stride=stride,
                padding=(kernel_size - stride) // 2,
            )
            for i, (stride, kernel_size) in enumerate(
                zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True)
            )
        )
        self.resblocks = nn.ModuleList(
            HifiGanResidualBlock(config, width, kernel_size, list(dilations))
            for width in channels[1:]
            for kernel_size, dilations in zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
        )
        self.conv_post = conv1d(channels[-1], 1, 7, bias=False)
        if config.speaker_embedding_size:
            self.cond = conv1d(config.speaker_embedding_size, channels[0], 1)

    def forward(
        self, spectrogram: Tensor, global_conditioning: Tensor | None = None, *, lengths: Tensor | None = None
    ) -> Tensor:
        """The published call: latents `[B, flow_size, T_frames]`, `[B, speaker_embedding_size, 1]` or None -> waveform
        `[B, 1, T_samples]`; with lengths `[B]` in frames 0 beyond them, and nothing there is heard."""
        if observed(*self.children()):
            return self._layer_by_layer(spectrogram, global_conditioning, lengths)
        return self._run(spectrogram.transpose(1, 2), lengths, vectors_of(global_conditioning)).unsqueeze(1)

    def decode(self, latents: Tensor, lengths: Tensor | None = None, speaker: Tensor | None = None) -> Tensor:
        """`[B, T_frames, flow_size]`, `lengths` `[B]` in frames, speakers `[B, speaker_embedding_size]` -> `[B,
        T_samples]`: an item's samples are the same alone and in any batch, and 0 beyond its length."""
        if not observed(self):
            return self._run(latents, lengths, speaker)
        options = {} if lengths is None else {"lengths": lengths}
        return cast(Tensor, self(latents.transpose(1, 2), conditioning_of(speaker), **options)).squeeze(1)

    def _layer_by_layer(self, x: Tensor, global_conditioning: Tensor | None, lengths: Tensor | None) -> Tensor:
        h = self.conv_pre(_masked(x, lengths))
        if global_conditioning is not None:
            h = h + self.cond(global_conditioning)
        for stage, upsample in enumerate(self.upsampler):
            h = upsample(_masked(leaky_relu(h, self.slope), lengths))
            if lengths is not None:
                lengths = lengths * self.config.upsample_rates[stage]
            h = _masked(h, lengths)
            blocks = [block(h) if lengths is None else block(h, lengths=lengths) for block in self.blocks(stage)]
            h = sum(blocks[1:], blocks[0]) / self.num_branches
        return _masked(self.conv_post(_masked(leaky_relu(h, LAST_SLOPE), lengths)).tanh(), lengths)

    def _run(self, latents: Tensor, lengths: Tensor | None, speaker: Tensor | None) -> Tensor:
        # A piece of the later stages hears 2 frames more on either side, one that begins with the first stage would
        # hear 10, and what the first stage makes is small.
        x = self.first_stage(latents, lengths, speaker)
        if len(self.upsampler) == 1:
            return x.squeeze(-1)
        return self.later_stages(x, None if lengths is None else lengths * self.config.upsample_rates[0])

    def first_stage(self, latents: Tensor, lengths: Tensor | None = None, speaker: Tensor | None = None) -> Tensor:
        """`[B, T_frames, flow_size]`, `lengths` `[B]` in frames, speakers -> `[B, n T_frames, C]`, what the other
        stages read, or with none the waveform. For a decoder that nobody watches."""
        cond = None if speaker is None else vectors_projected(self.cond, speaker)
        return self._in_pieces(convolved(self.conv_pre, latents, cond=cond, lengths=lengths), 0, 1, lengths)

    def later_stages(self, x: Tensor, lengths: Tensor | None = None, speaker: Tensor | None = None) -> Tensor:
        """`[B, T, C]`, `lengths` `[B]` in its steps -> the waveform `[B, T_samples]`; a speaker is not heard."""
        return self._in_pieces(x, 1, len(self.upsampler), lengths).squeeze(-1)

    def _in_pieces(self, x: Tensor, first: int, last: int, lengths: Tensor | None) -> Tensor:
        """`_stages`, piece by piece where there is much to do, some items or some time of one: memory stays small, and
        each thread of a CPU computes pieces of its own."""
        config, total, batch = self.config, x.shape[1], x.shape[0]
        stages = [self._stage(stage, x) for stage in range(first, last)]
        channels = [config.upsample_initial_channel // 2 ** (stage + 1) for stage in range(first, last)]
        rates = [math.prod(config.upsample_rates[first : stage + 1]) for stage in range(first, last)]

        def compute(x: Tensor, lengths: Tensor | None, margins: tuple[int, int]) -> Tensor:
            made = self._stages(x, first, last, lengths, stages)
            left, right = (margin * rates[-1] for margin in margins)
            return made[:, left : made.shape[1] - right]

        room = _piece_steps(x, max(c * rate for c, rate in zip(channels, rates, strict=True)))
        if room is None:
            return self._stages(x, first, last, lengths, stages)
        begin, end = stages_window(config, 0, 1, first, last)
        reach = max(-begin, end - 1)
        on_cpu = devices.device_of(x).type == "cpu"
        # A CPU runs items one by one anyway: only one of them has to fit its cache.
        pieces = Pieces(
            batch, total, max(room, 4 * reach), reach, 1 if on_cpu else batch, piece_workers(x.dtype) if on_cpu else 1
        )
        return in_pieces(x, lengths, pieces, rates[-1], 1 if last == len(self.upsampler) else channels[-1], compute)

    def _stages(self, x: Tensor, first: int, last: int, lengths: Tensor | None, stages: Sequence[_Stage]) -> Tensor:
        """The stages `[first, last)`, `[B, T, C]` -> `[B, T * hop, C']`; the last one of all ends with the waveform,
        `[B, T_samples, 1]`.

        Every tensor is read behind a leaky ReLU, which ends the stage that makes it; the first stage begins with one.
        """
        for stage, arguments in zip(range(first, last), stages, strict=True):
            x = kernels.mrf_stage(
                x,
                **arguments,
                lengths=lengths,
                slope=self.slope,
                in_slope=self.slope if stage == 0 else 1.0,
                out_slope=LAST_SLOPE if stage == len(self.upsampler) - 1 else self.slope,
            )
            if lengths is not None:
                lengths = lengths * self.config.upsample_rates[stage]
        if last < len(self.upsampler):
            return x
        return convolved(self.conv_post, x, activation="tanh", lengths=lengths)

    def _stage(self, stage: int, x: Tensor) -> _Stage:
        """What a stage's layers give the op, in the precision of `x`."""
        upsample = cast(nn.ConvTranspose1d, self.upsampler[stage])
        blocks = self.blocks(stage)
        first = [list(block.convs1 if self.resblock_type == 1 else block.convs) for block in blocks]
        dilated = [cast(nn.Conv1d, conv) for convs in first for conv in convs]
        second = [cast(nn.Conv1d, conv) for block in blocks for conv in block.convs2] if self.resblock_type == 1 else []
        return {
            "weight": as_narrow(upsample.weight, x).permute(2, 0, 1),
            "bias": None if upsample.bias is None else as_narrow(upsample.bias, x),
            "weights1": [taps_first(as_narrow(conv.weight, x)) for conv in dilated],
            "biases1": [as_narrow(cast(Tensor, conv.bias), x) for conv in dilated],
            "weights2": [taps_first(as_narrow(conv.weight, x)) for conv in second],
            "biases2": [as_narrow(cast(Tensor, conv.bias), x) for conv in second],
            "stride": upsample.stride[0],
            "padding": cast(int, upsample.padding[0]),
            "depths": [len(convs) for convs in first],
            "dilations": [conv.dilation[0] for conv in dilated],
            "ranges": self.int8_ranges[stage],
        }

    def blocks(self, stage: int) -> list[HifiGanResidualBlock]:
        """The residual blocks of a stage, side by side."""
        # Not a slice of the list, which would be a new module.
        each = range(stage * self.num_branches, (stage + 1) * self.num_branches)
        return [cast(HifiGanResidualBlock, self.resblocks[i]) for i in each]
