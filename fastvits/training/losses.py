"""The adversarial losses: least squares (Mao et al. 2017) and feature matching (Larsen et al. 2016), as published.

All are sums over discriminators of means, computed in float32 or wider.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .discriminator import Judgement

__all__ = ["adversarial_losses", "discriminator_loss", "feature_loss", "frozen", "generator_loss"]


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def discriminator_loss(real: Sequence[Judgement], made: Sequence[Judgement]) -> Tensor:
    """How far scores are from 1 for recordings and from 0 for what the decoder made, a scalar."""
    terms = [
        (1 - _wide(right)).square().mean() + _wide(wrong).square().mean()
        for (right, _), (wrong, _) in zip(real, made, strict=True)
    ]
    return torch.stack(terms).sum()


def generator_loss(made: Sequence[Judgement]) -> Tensor:
    """How far scores are from 1 for what the decoder made, a scalar."""
    return torch.stack([(1 - _wide(scores)).square().mean() for scores, _ in made]).sum()


def feature_loss(real: Sequence[Judgement], made: Sequence[Judgement]) -> Tensor:
    """Twice the mean distance of features, summed over layers; no gradient goes back into the recordings'."""
    terms = [
        (_wide(one).detach() - _wide(other)).abs().mean()
        for (_, features), (_, others) in zip(real, made, strict=True)
        for one, other in zip(features, others, strict=True)
    ]
    return 2 * torch.stack(terms).sum()


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside the block no gradient of the module's own parameters is computed."""
    wanted = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)


def adversarial_losses(judges: Iterable[nn.Module], real: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
    """The generator's two losses by some discriminators, least squares and feature matching, of waveforms `[B,
    T_samples]`.

    Neither the weights' gradients nor anything for the recordings' is kept: this pass is the generator's.
    """
    heard, judged = [], []
    for judge in judges:
        with frozen(judge), parametrize.cached():  # normalised weights are the same in both passes
            with torch.no_grad():
                heard.append(judge(real))
            judged.append(judge(made))
    return generator_loss(judged), feature_loss(heard, judged)
