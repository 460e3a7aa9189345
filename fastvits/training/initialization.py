"""Random parameters to learn from, as the authors of VITS begin.

`VitsModel` begins as transformers' model does, by Kaiming's normal distribution throughout: enough for a network whose
weights are loaded anyway, but training starts from flows that scramble and posteriors whose scales overflow. Here
couplings and splines begin as the identity (their last layers at 0), the decoder near silence (normal, 0.01), attention
by Glorot's uniform distribution, and all other convolutions uniform within `1 / sqrt(C_in K)`.
"""

import math

import torch
from torch import Tensor, nn

from ..models.duration_predictor import VitsConvFlow
from ..models.flow import VitsResidualCouplingLayer
from ..models.hifigan import VitsHifiGan
from ..models.observed import is_weight_normed
from ..models.text_encoder import VitsAttention
from ..models.vits import VitsModel

__all__ = ["initialize_for_training"]

_DECODER_DEVIATION = 0.01


@torch.no_grad()
def initialize_for_training(model: VitsModel, prefixes: tuple[str, ...] | None = None) -> None:
    """Draw parameters anew, in place: all, or those whose names begin with one of `prefixes`."""

    def chosen(name: str) -> bool:
        return prefixes is None or f"{name}.".startswith(prefixes)

    for name, module in model.named_modules():
        if chosen(name):
            _draw(module)
    for name, module in model.named_modules():  # after the others: these hold some of them
        if not chosen(name):
            continue
        if isinstance(module, VitsResidualCouplingLayer):
            _zero(module.conv_post)
        elif isinstance(module, VitsConvFlow):
            _zero(module.conv_proj)
        elif isinstance(module, VitsAttention):
            for projection in (module.q_proj, module.k_proj, module.v_proj):
                nn.init.xavier_uniform_(projection.weight)
        elif isinstance(module, VitsHifiGan):
            for part in (*module.upsampler, *module.resblocks.modules()):
                if isinstance(getattr(part, "weight", None), Tensor):
                    nn.init.normal_(part.get_parameter("weight"), std=_DECODER_DEVIATION)
        elif name == "text_encoder.embed_tokens":
            table = module.get_parameter("weight")
            nn.init.normal_(table, std=table.shape[1] ** -0.5)


def _draw(module: nn.Module) -> None:
    """torch's own start of a convolution or a linear map; embeddings, norms and affine flows stay as they are made."""
    weight = module._parameters.get("weight")
    if is_weight_normed(module):
        parts = module.get_submodule("parametrizations.weight")
        direction, gain = parts.get_parameter("original1"), parts.get_parameter("original0")
        bound = 1 / math.sqrt(direction.shape[1] * direction.shape[2])
        nn.init.uniform_(direction, -bound, bound)
        gain.copy_(torch.linalg.vector_norm(direction, dim=(1, 2), keepdim=True))
        nn.init.uniform_(module.get_parameter("bias"), -bound, bound)
    elif weight is not None and weight.dim() >= 2 and not isinstance(module, nn.Embedding):
        bound = 1 / math.sqrt(weight.shape[1] * math.prod(weight.shape[2:]))
        nn.init.uniform_(weight, -bound, bound)
        bias = module._parameters.get("bias")
        if bias is not None:
            nn.init.uniform_(bias, -bound, bound)


def _zero(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
