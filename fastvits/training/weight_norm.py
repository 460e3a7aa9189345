"""Weight normalisation put on a decoder for training and folded again for saving, exactly.

Published checkpoints hold a decoder's weights folded, `w = g v / ||v||`. In training the two parts learn (Salimans and
Kingma 2016): `v = w` and `g = ||w||` give back `w` to the last bit, for the same norm divides and multiplies.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _WeightNorm

from ..models.hifigan import VitsHifiGan
from ..models.observed import known

__all__ = ["apply_weight_norm", "fold_weight_norm", "folded_state"]

_GAIN, _DIRECTION = "parametrizations.weight.original0", "parametrizations.weight.original1"


@known
class WeightNorm(_WeightNorm):
    """`g v / ||v||`, the norm over all axes but the first, of `original0` (g) and `original1` (v): torch's, but exact
    where `g` is the norm of `v`."""

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        """`g` `[C, 1, ...]` and `v` `[C, ...]` -> the weight, of the shape of `v`."""
        return cast(Tensor, _Normalised.apply(weight_g, weight_v))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The weight's norm, and the weight as direction; a channel of zeros gets gain 0 and a direction of ones."""
        gain = _norm(weight)
        return gain, torch.where(gain == 0, torch.ones_like(weight), weight)


def _norm(weight: Tensor) -> Tensor:
    return torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.dim())), keepdim=True)


class _Normalised(torch.autograd.Function):
    """The weight `w = s v`, `s = g / ||v||`, with its gradients in few passes over the weights:

        dg = (dw . v) / ||v||,  dv = s (dw - v (dw . v) / ||v||^2)

    Convolutions give gradients in the order in which they compute; here they get that of the weights, once.
    """

    @staticmethod
    def forward(ctx: Any, gain: Tensor, direction: Tensor) -> Tensor:
        ctx.save_for_backward(gain, direction)
        return direction * (gain / _norm(direction))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        gain, direction = ctx.saved_tensors
        norm = _norm(direction)
        grad = grad.contiguous()
        along = torch.bmm(grad.flatten(1).unsqueeze(1), direction.flatten(1).unsqueeze(2)).view_as(gain)
        scale = gain / norm
        return along / norm, (grad * scale).addcmul_(direction, scale * along / norm.square(), value=-1)


def _normed(decoder: VitsHifiGan) -> list[nn.Module]:
    """The convolutions that training normalises: those that upsample, and those of the residual blocks."""
    blocks = [module for module in decoder.resblocks.modules() if hasattr(module, "weight")]
    return [*decoder.upsampler, *blocks]


def apply_weight_norm(decoder: VitsHifiGan) -> None:
    """Give the decoder's convolutions a gain and a direction each, in place; what it computes stays the same.

    Raises:
        ValueError: the decoder has them already.
    """
    modules = _normed(decoder)
    if any(parametrize.is_parametrized(module) for module in modules):
        raise ValueError("the decoder is weight-normalised already")
    for module in modules:
        parametrize.register_parametrization(module, "weight", WeightNorm())


def fold_weight_norm(decoder: VitsHifiGan) -> None:
    """Make the decoder's convolutions plain again, in place, with the weights that they have."""
    for module in _normed(decoder):
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def folded_state(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model, those of a weight-normalised decoder folded: what a checkpoint for speaking holds."""
    folds = WeightNorm()
    state = cast(dict[str, Tensor], model.state_dict())
    prefix = "decoder."
    for name in [name for name in state if name.startswith(prefix) and name.endswith(_GAIN)]:
        owner = name.removesuffix(_GAIN)
        state[f"{owner}weight"] = folds(state.pop(name), state.pop(f"{owner}{_DIRECTION}"))
    return state
