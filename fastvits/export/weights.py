"""A model's parameters as other programs name them: weight norm folded, training-only parts left out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..checkpoints.names import original_name
from ..weights.parts import TRAINING_ONLY

_GAIN, _DIRECTION = ".parametrizations.weight.original0", ".parametrizations.weight.original1"


def exported_weights(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that speaking needs, in float32, by the names of the original VITS.

    A direction whose norm is its gain is the weight itself, bit by bit: a voice that came folded goes out as it came.
    """
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    weights: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.startswith(tuple(TRAINING_ONLY.values())) or name.endswith(_GAIN):
            continue
        if name.endswith(_DIRECTION):
            stem = name.removesuffix(_DIRECTION)
            name, tensor = f"{stem}.weight", _folded(state[stem + _GAIN], tensor)
        if ".attention." in name and name.endswith("_proj.weight"):
            tensor = tensor.unsqueeze(-1)  # elsewhere a linear layer is a convolution of kernel size 1
        weights[original_name(name)] = tensor.float()
    return weights


def _folded(gain: Tensor, direction: Tensor) -> Tensor:
    """`g v / ||v||`."""
    wide = direction.double()
    norm = torch.linalg.vector_norm(wide, dim=(1, 2), keepdim=True)
    folded = (gain.double() * wide / norm).to(direction.dtype)
    return torch.where(gain == norm.to(gain.dtype), direction, folded)
