"""The normalising flow between the prior and the latents that the decoder hears (Kim et al. 2021, section 2.1.3)."""

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

import fastvits_kernels as kernels

from ..configuration import VitsConfig
from ..runtime.workers import piece_workers
from .layers import Derived, as_narrow, conditioning_of, conv1d, lengths_of, mask_of, taps_first, vectors_of
from .observed import known, observed
from .pieces import Pieces, in_pieces
from .wavenet import VitsWaveNet

_LEAST = 3
"""How many times its receptive radius a piece has that a thread computes on its own: a fifth is computed twice.

Two threads of an AMD EPYC 7003, two pieces against operations that both threads share: 256 frames 59 ms against 51
alone and, beside a busy process, 240 frames 75 against 117; 620 frames alone 99 against 106. Of fewer frames more is
lost.
"""


def coupling_radius(config: VitsConfig) -> int:
    """How many frames on each side a latent hears through one coupling of the flow."""
    layers = range(config.prior_encoder_num_wavenet_layers)
    return sum((config.wavenet_kernel_size - 1) * config.wavenet_dilation_rate**i for i in layers) // 2


def flow_receptive_radius(config: VitsConfig) -> int:
    """How many frames on each side a latent hears through the flow."""
    return config.prior_encoder_num_flows * coupling_radius(config)


@known
class VitsResidualCouplingLayer(nn.Module):
    """An affine coupling of unit scale: one half of the channels shifts the other (Dinh et al. 2017, equation 7)."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.half_channels = config.flow_size // 2
        self.conv_pre = conv1d(self.half_channels, config.hidden_size, 1)
        self.wavenet = VitsWaveNet(config, config.prior_encoder_num_wavenet_layers)
        self.conv_post = conv1d(config.hidden_size, self.half_channels, 1)
        self.derived = Derived()

    def forward(
        self,
        inputs: Tensor,
        padding_mask: Tensor,
        global_conditioning: Tensor | None = None,
        reverse: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The published call: `[B, flow_size, T]`, `[B, 1, T]`, `[B, speaker_embedding_size, 1]` or None -> the same
        with its second half shifted, and the log-determinant `[B]`, which is 0 (None with `reverse`)."""
        first, second = inputs.chunk(2, dim=1)
        if observed(*self.children()):
            h = self.wavenet(self.conv_pre(first) * padding_mask, padding_mask, global_conditioning)
            shift = self.conv_post(h) * padding_mask
            second = (second - shift) * padding_mask if reverse else shift + second * padding_mask
        else:
            lengths, speaker = lengths_of(padding_mask), vectors_of(global_conditioning)
            halves = first.transpose(1, 2), second.transpose(1, 2)
            second = self.shift(*halves, lengths, speaker, reverse=reverse).transpose(1, 2)
        outputs = torch.cat([first, second], dim=1)
        return outputs, None if reverse else second.new_zeros(second.shape[0])

    def shift(
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
        h = self.wavenet.encode(self._convolve(self.conv_pre, 1, flipped, first, lengths=lengths), lengths, speaker)
        alpha = -1.0 if reverse else 1.0
        return self._convolve(self.conv_post, 0, flipped, h, residual=second, alpha=alpha, lengths=lengths)

    def _convolve(self, conv: nn.Conv1d, side: int, flipped: bool, x: Tensor, **options: Any) -> Tensor:
        """The convolution of kernel size 1; with `flipped` its outputs (`side` 0) or inputs (1) in reverse order."""
        weight, bias = conv.weight, conv.bias
        assert bias is not None
        if flipped:
            weight, bias = self.derived.get(
                f"flipped {side}",
                (conv.weight, bias),
                lambda: (conv.weight.flip(side), bias.flip(0) if side == 0 else bias),
            )
        return kernels.conv1d(x, taps_first(as_narrow(weight, x)), as_narrow(bias, x), **options)


@known
class VitsResidualCouplingBlock(nn.Module):
    """Residual couplings with the channels reversed in between.

    Nothing is reversed in memory: every other coupling has its two halves swapped and its weights reversed instead, and
    halves become one tensor at the end.
    """

    def __init__(self, config: VitsConfig) -> None:
        super().__init__()
        self.flows = nn.ModuleList(VitsResidualCouplingLayer(config) for _ in range(config.prior_encoder_num_flows))
        self.reach = flow_receptive_radius(config)

    def forward(
        self,
        inputs: Tensor,
        padding_mask: Tensor | None = None,
        global_conditioning: Tensor | None = None,
        reverse: bool = False,
    ) -> Tensor:
        """The published call: `[B, flow_size, T]`, `[B, 1, T]` (None: nothing is padding), `[B,
        speaker_embedding_size, 1]` or None -> `[B, flow_size, T]`: latents to the prior's, or from them with
        `reverse`; zero beyond the mask."""
        if not observed(*self.children()):
            lengths, speaker = lengths_of(padding_mask), vectors_of(global_conditioning)
            return self._run(inputs.transpose(1, 2), lengths, speaker, reverse).transpose(1, 2)
        if padding_mask is None:
            padding_mask = mask_of(None, inputs.shape[2], inputs)
        for flow in reversed(self.flows) if reverse else self.flows:
            if reverse:
                inputs, _ = flow(inputs.flip(1), padding_mask, global_conditioning, reverse=True)
            else:
                inputs, _ = flow(inputs, padding_mask, global_conditioning)
                inputs = inputs.flip(1)
        return inputs

    def transform(
        self, x: Tensor, lengths: Tensor | None = None, speaker: Tensor | None = None, *, reverse: bool = False
    ) -> Tensor:
        """The same on `[B, T, flow_size]`, with lengths `[B]` and speakers `[B, speaker_embedding_size]`, or None."""
        if not observed(self):
            return self._run(x, lengths, speaker, reverse)
        mask = mask_of(lengths, x.shape[1], x)
        made = cast(Tensor, self(x.transpose(1, 2), mask, conditioning_of(speaker), reverse=reverse))
        return made.transpose(1, 2).to(x.dtype)

    def _run(self, x: Tensor, lengths: Tensor | None, speaker: Tensor | None, reverse: bool) -> Tensor:
        compute = partial(self._couplings, speaker=speaker, reverse=reverse)
        batch, steps, channels = x.shape
        if batch > 1 or not x.is_cpu or torch.compiler.is_compiling():
            return compute(x, lengths)
        # Rather fewer pieces than threads than none.
        workers = min(piece_workers(x.dtype), max(steps // max(_LEAST * self.reach, 1), 1))
        return in_pieces(x, lengths, Pieces(1, steps, steps, self.reach, 1, workers, _LEAST), 1, channels, compute)

    def _couplings(
        self,
        x: Tensor,
        lengths: Tensor | None,
        margins: tuple[int, int] = (0, 0),
        *,
        speaker: Tensor | None,
        reverse: bool,
    ) -> Tensor:
        """`[B, T, flow_size]` without the `margins` at both ends, which are there to be heard; each coupling leaves out
        what no later one hears."""
        low, high = x.chunk(2, dim=-1)
        for done in range(len(self.flows)):
            low, high = self._coupled(done, low, high, lengths, speaker, reverse=reverse)
            heard = self.reach * (len(self.flows) - done - 1) // len(self.flows)
            left, right = (max(margin - heard, 0) for margin in margins)
            if left or right:
                kept = slice(left, low.shape[1] - right)
                low, high, margins = low[:, kept], high[:, kept], (margins[0] - left, margins[1] - right)
                lengths = None if lengths is None else (lengths - left).clamp(0, low.shape[1])
        return self._joined(low, high)

    def back_through(
        self, done: int, x: Tensor, lengths: Tensor | None = None, speaker: Tensor | None = None
    ) -> Tensor:
        """What `transform` with `reverse` does after `done` couplings up to the next one, `[B, T, flow_size]` of what
        comes in between; all of them in turn do the whole. For a flow that nobody watches."""
        low, high = x.chunk(2, dim=-1)
        low, high = self._coupled(done, low, high, lengths, speaker, reverse=True)
        return self._joined(low, high) if done == len(self.flows) - 1 else torch.cat([low, high], dim=-1)

    def _coupled(
        self, done: int, low: Tensor, high: Tensor, lengths: Tensor | None, speaker: Tensor | None, *, reverse: bool
    ) -> tuple[Tensor, Tensor]:
        """Both halves behind the coupling that follows `done` others."""
        flow = cast(VitsResidualCouplingLayer, self.flows[-1 - done if reverse else done])
        # Forwards a reversal follows each coupling, backwards it goes before it.
        if reverse == (done % 2 == 0):
            return flow.shift(high, low, lengths, speaker, reverse=reverse, flipped=True), high
        return low, flow.shift(low, high, lengths, speaker, reverse=reverse)

    def _joined(self, low: Tensor, high: Tensor) -> Tensor:
        """The result, of its two halves."""
        out = torch.cat([low, high], dim=-1)
        return out.flip(-1) if len(self.flows) % 2 else out
