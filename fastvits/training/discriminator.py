"""The discriminators that a decoder is trained against (Kim et al. 2021, section 2.5.5; HiFi-GAN, Kong et al. 2020,
section 2.3): one that hears the waveform, and one for each period that hears every p-th sample.

Parameters have the names and shapes of published checkpoints (`discriminators.0.convs.0…`), weight norm in the newer
spelling. Nothing here runs when a model speaks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad
from torch.nn.utils import parametrize

from .weight_norm import WeightNorm
from .windows import convolved

__all__ = ["PERIODS", "Judgement", "VitsDiscriminator", "judged_both"]

PERIODS = (2, 3, 5, 7, 11)
SLOPE = 0.1

Judgement = tuple[Tensor, list[Tensor]]
"""Scores `[B, n]` of one discriminator, 1 for real, and its features, layer by layer."""


def _normed(module: nn.Module) -> nn.Module:
    parametrize.register_parametrization(module, "weight", WeightNorm())
    return module


class ScaleDiscriminator(nn.Module):
    """Grouped, strided convolutions over the waveform."""

    def __init__(self) -> None:
        super().__init__()
        layers = [
            (1, 16, 15, 1, 1),
            (16, 64, 41, 4, 4),
            (64, 256, 41, 4, 16),
            (256, 1024, 41, 4, 64),
            (1024, 1024, 41, 4, 256),
            (1024, 1024, 5, 1, 1),
        ]
        self.convs = nn.ModuleList(
            _normed(nn.Conv1d(inputs, outputs, size, stride, padding=size // 2, groups=groups))
            for inputs, outputs, size, stride, groups in layers
        )
        self.conv_post = _normed(nn.Conv1d(1024, 1, 3, padding=1))

    def forward(self, waveform: Tensor) -> Judgement:
        """`[B, T_samples]` -> its judgement."""
        x, features = waveform.unsqueeze(1), []
        for conv in self.convs:
            x = leaky_relu(convolved(conv, x), SLOPE, inplace=True)  # a convolution does not keep what it made
            features.append(x)
        x = convolved(self.conv_post, x)
        return x.flatten(1), [*features, x]


class PeriodDiscriminator(nn.Module):
    """Strided convolutions over every `period`-th sample: the waveform folded to `[B, 1, T_samples / period, period]`,
    its end reflected where the period does not divide it. `channels` are those of the five layers, the published ones
    by default."""

    def __init__(self, period: int, channels: Sequence[int] = (32, 128, 512, 1024, 1024)) -> None:
        super().__init__()
        self.period = period
        strides = [3] * (len(channels) - 1) + [1]
        layers = zip([1, *channels[:-1]], channels, strides, strict=True)
        self.convs = nn.ModuleList(
            _normed(nn.Conv2d(inputs, outputs, (5, 1), (stride, 1), padding=(2, 0)))
            for inputs, outputs, stride in layers
        )
        self.conv_post = _normed(nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, waveform: Tensor) -> Judgement:
        """`[B, T_samples]` -> its judgement."""
        missing = -waveform.shape[1] % self.period
        if missing:
            waveform = pad(waveform.unsqueeze(1), (0, missing), "reflect").squeeze(1)
        x, features = waveform.unflatten(1, (-1, self.period)).unsqueeze(1), []
        for conv in self.convs:
            x = leaky_relu(convolved(conv, x), SLOPE, inplace=True)
            features.append(x)
        x = convolved(self.conv_post, x)
        return x.flatten(1), [*features, x]


class VitsDiscriminator(nn.Module):
    """The scale discriminator and one for each period.

    Args:
        periods: the published ones by default.

    Raises:
        ValueError: a period that is no whole number from 2.
    """

    def __init__(self, periods: Sequence[int] = PERIODS) -> None:
        if any(isinstance(period, bool) or not isinstance(period, int) or period < 2 for period in periods):
            raise ValueError(f"periods must be whole numbers from 2, got {list(periods)}")
        super().__init__()
        self.periods = tuple(periods)
        self.discriminators = nn.ModuleList([ScaleDiscriminator(), *map(PeriodDiscriminator, periods)])

    def forward(self, waveform: Tensor) -> list[Judgement]:
        """`[B, T_samples]` -> what each discriminator says.

        Raises:
            ValueError: another shape.
        """
        if waveform.dim() != 2:
            raise ValueError(f"waveform must have the shape [B, T_samples], got {tuple(waveform.shape)}")
        return [discriminator(waveform) for discriminator in self.discriminators]


def judged_both(judge: nn.Module, real: Tensor, made: Tensor) -> tuple[Judgement, Judgement]:
    """What one of the discriminators says of two tensors `[B, T_samples]`, in one pass."""
    scores, features = judge(torch.cat([real, made]))
    batch = len(real)
    return (scores[:batch], [one[:batch] for one in features]), (scores[batch:], [one[batch:] for one in features])
