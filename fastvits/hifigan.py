"""The HiFi-GAN decoder (Kong et al. 2020, "HiFi-GAN: Generative Adversarial Networks for Efficient and High Fidelity
Speech Synthesis", section 2.2), batch-true: no item hears its padding."""

from typing import cast

import torch
from torch import Tensor, nn

import fastvits_kernels as kernels

from .configuration import VitsConfig
from .layers import Conv1d, ConvTranspose1d, taps_first

# The published decoder's last leaky ReLU keeps torch's default slope, whatever `leaky_relu_slope` says.
LAST_SLOPE = 0.01


class HifiGanResidualBlock(nn.Module):
    """A residual block's parameters: pairs of convolutions (first type), or single dilated ones (second type)."""

    def __init__(self, config: VitsConfig, channels: int, kernel_size: int, dilations: list[int]) -> None:
        super().__init__()
        dilated = nn.ModuleList(Conv1d(channels, channels, kernel_size, dilation=d) for d in dilations)
        if config.resblock_type == 1:
            self.convs1 = dilated
            self.convs2 = nn.ModuleList(Conv1d(channels, channels, kernel_size) for _ in dilations)
        else:
            self.convs = dilated


class VitsHifiGan(nn.Module):
    """Latents `[B, T_frames, flow_size]` -> waveform `[B, T_samples]` in [-1, 1].

    A stage upsamples and averages residual blocks of different receptive fields (multi-receptive-field fusion); its
    blocks run side by side, one step of all of them at a time.
    """

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.slope = config.leaky_relu_slope
        self.resblock_type = config.resblock_type
        self.num_branches = len(config.resblock_kernel_sizes)
        channels = [config.upsample_initial_channel // 2**i for i in range(len(config.upsample_rates) + 1)]
        self.conv_pre = Conv1d(config.flow_size, channels[0], 7)
        self.upsampler = nn.ModuleList(
            ConvTranspose1d(channels[i], channels[i + 1], kernel_size, stride)
            for i, (stride, kernel_size) in enumerate(
                zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True)
            )
        )
        self.resblocks = nn.ModuleList(
            HifiGanResidualBlock(config, width, kernel_size, list(dilations))
            for width in channels[1:]
            for kernel_size, dilations in zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
        )
        self.conv_post = Conv1d(channels[-1], 1, 7, bias=False)
        if config.speaker_embedding_size:
            self.cond = Conv1d(config.speaker_embedding_size, channels[0], 1)

    def forward(self, latents: Tensor, lengths: Tensor | None = None, speaker: Tensor | None = None) -> Tensor:
        """`lengths` `[B]` in frames: an item's samples are the same alone and in any batch, and 0 beyond its length."""
        cond = None if speaker is None else self.cond.project(speaker)
        x = self.conv_pre(latents, cond=cond, lengths=lengths)
        for i, upsample in enumerate(self.upsampler):
            x = upsample(x, lengths, self.slope)
            if lengths is not None:
                lengths = lengths * cast(ConvTranspose1d, upsample).stride
            x = self._fuse_in_pieces(x, i, lengths)
        x = self.conv_post(x, slope=LAST_SLOPE, activation="tanh", lengths=lengths)
        return x.squeeze(-1)

    def _reach(self, stage: int) -> int:
        """How many steps on either side an output step of a stage's residual blocks depends on."""
        return max(
            sum((conv.weight.shape[2] - 1) * conv.dilation // 2 for conv in block.modules() if isinstance(conv, Conv1d))
            for block in self._branches(stage)
        )

    def _fuse_in_pieces(self, x: Tensor, stage: int, lengths: Tensor | None) -> Tensor:
        """`_fuse`, on a CPU one piece of time after another: what a piece needs stays in the cache, and memory small.

        A piece hears `_reach` steps more on either side, so that its own steps come out as from the whole. All but the
        last have one width.
        """
        steps = kernels.onednn.piece_length(x, "resblock_pair" if self.resblock_type == 1 else "resblock_step")
        if steps is None:
            return self._fuse(x, stage, lengths)
        total, reach = x.shape[1], self._reach(stage)
        out = torch.empty_like(x)
        last = 0
        while last < total:
            first = last
            start = max(first - reach, 0)
            end = min(start + steps + 2 * reach, total)
            last = total if end == total else end - reach
            inside = None if lengths is None else (lengths - start).clamp(0, end - start)
            piece = self._fuse(x[:, start:end], stage, inside)
            out[:, first:last] = piece[:, first - start : last - start]
        return out

    def _branches(self, stage: int) -> list[HifiGanResidualBlock]:
        blocks = self.resblocks[stage * self.num_branches : (stage + 1) * self.num_branches]
        return [cast(HifiGanResidualBlock, block) for block in blocks]

    def _fuse(self, x: Tensor, stage: int, lengths: Tensor | None) -> Tensor:
        """Multi-receptive-field fusion: the mean of the stage's residual blocks, `[B, T, C]` -> `[B, T, C]`."""
        branches = self._branches(stage)
        dilated = [block.convs1 if self.resblock_type == 1 else block.convs for block in branches]
        depths = [len(convs) for convs in dilated]
        if len(set(depths)) > 1:
            return self._fuse_one_by_one(x, branches, dilated, lengths)
        x = x.unsqueeze(0)
        for step in range(depths[0]):
            first = [cast(Conv1d, convs[step]) for convs in dilated]
            second = [cast(Conv1d, block.convs2[step]) for block in branches] if self.resblock_type == 1 else None
            x = self._step(x, first, second, lengths, mean=step == depths[0] - 1)
        return x

    def _fuse_one_by_one(
        self, x: Tensor, branches: list[HifiGanResidualBlock], dilated: list[nn.ModuleList], lengths: Tensor | None
    ) -> Tensor:
        """The same for blocks of unequal depth, which cannot keep step."""
        total = None
        for block, convs in zip(branches, dilated, strict=True):
            y = x.unsqueeze(0)
            for step, conv in enumerate(convs):
                second = [cast(Conv1d, block.convs2[step])] if self.resblock_type == 1 else None
                y = self._step(y, [cast(Conv1d, conv)], second, lengths, mean=False)
            total = y[0] if total is None else total + y[0]
        assert total is not None
        return total / len(branches)

    def _step(
        self, x: Tensor, first: list[Conv1d], second: list[Conv1d] | None, lengths: Tensor | None, *, mean: bool
    ) -> Tensor:
        """One step of every branch, `[R or 1, B, T, C]` -> `[R, B, T, C]`, or `[B, T, C]` with `mean`."""
        weights = [taps_first(conv.weight) for conv in first]
        biases = [cast(Tensor, conv.bias) for conv in first]
        dilations = [conv.dilation for conv in first]
        if second is None:
            return kernels.resblock_step(
                x, x, weights, biases, lengths=lengths, dilations=dilations, slope=self.slope, mean=mean
            )
        return kernels.resblock_pair(
            x,
            weights,
            biases,
            [taps_first(conv.weight) for conv in second],
            [cast(Tensor, conv.bias) for conv in second],
            lengths=lengths,
            dilations=dilations,
            slope=self.slope,
            mean=mean,
        )
