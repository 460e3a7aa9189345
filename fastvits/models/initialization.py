"""Random initial parameters, by the published scheme."""

import math

import torch
from torch import nn

from ..configuration import VitsConfig
from .duration_predictor import VitsElementwiseAffine
from .observed import is_weight_normed
from .text_encoder import VitsAttention


@torch.no_grad()
def initialize(module: nn.Module, config: VitsConfig) -> None:
    """Initialise the parameters that `module` holds itself (not its children's).

    Convolutions: Kaiming normal weights (He et al. 2015) and biases uniform within `1 / sqrt(C_in K)`; linear maps and
    embeddings: normal with `initializer_range`; relative embeddings: normal with `head_dim ** -0.5`; affine flows: the
    identity.
    """
    if is_weight_normed(module):
        parts = module.get_submodule("parametrizations.weight")
        v, g = parts.get_parameter("original1"), parts.get_parameter("original0")
        nn.init.kaiming_normal_(v)
        g.copy_(torch.linalg.vector_norm(v, dim=(1, 2), keepdim=True))
        bound = 1 / math.sqrt(v.shape[1] * v.shape[2])
        nn.init.uniform_(module.get_parameter("bias"), -bound, bound)
    elif isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            transposed = isinstance(module, nn.ConvTranspose1d)
            inputs, taps = module.weight.shape[0 if transposed else 1], module.weight.shape[2]
            bound = 1 / math.sqrt(inputs * taps)
            nn.init.uniform_(module.bias, -bound, bound)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=config.initializer_range)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=config.initializer_range)
        if module.padding_idx is not None:
            module.weight[module.padding_idx].zero_()
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, VitsAttention) and module.emb_rel_k is not None and module.emb_rel_v is not None:
        nn.init.normal_(module.emb_rel_k, std=module.head_dim**-0.5)
        nn.init.normal_(module.emb_rel_v, std=module.head_dim**-0.5)
    elif isinstance(module, VitsElementwiseAffine):
        nn.init.zeros_(module.translate)
        nn.init.zeros_(module.log_scale)
