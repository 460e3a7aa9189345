"""Masks as the published text encoder takes them: what they add to scores, and which lengths they mean."""

import torch
from torch import Tensor


def additive_mask(attention_mask: Tensor | None, x: Tensor) -> Tensor | None:
    """What a published mask adds to scores `[B, H, T, T]`: 0, or the lowest number where keys are masked. From `[B, T]`
    of 0 and 1, or `[B, 1, T, T]` that is such a sum already, or boolean."""
    if attention_mask is None:
        return None
    if attention_mask.dim() == 2:
        attention_mask = (attention_mask != 0)[:, None, None, :].expand(-1, 1, x.shape[1], -1)
    if attention_mask.dtype == torch.bool:
        attention_mask = x.new_zeros(attention_mask.shape).masked_fill(~attention_mask, torch.finfo(x.dtype).min)
    return attention_mask


def same_lengths(padding_mask: Tensor, attention_mask: Tensor | None) -> Tensor | None:
    """The lengths `[B]` that both published masks mean, or None where they mean anything else."""
    valid = padding_mask[..., 0] != 0
    lengths = valid.sum(-1)
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or padding_mask.is_meta:
        return lengths
    runs = torch.arange(valid.shape[1], device=valid.device) < lengths.unsqueeze(1)
    right = bool((valid == runs).all()) and bool((lengths > 0).all())
    if attention_mask is None:
        right = right and bool(valid.all())
    else:
        right = right and attention_mask.dim() == 2 and bool(((attention_mask != 0) == valid).all())
    return lengths if right else None


def is_full(lengths: Tensor, steps: int) -> bool:
    """Whether all items have `steps` steps; False where nobody may look: in a traced graph, and without memory."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or lengths.is_meta:
        return False
    return bool((lengths == steps).all())
