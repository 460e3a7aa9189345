"""Attention in plain torch: the specification of both ops."""

import torch
from torch import Tensor

from ...dispatch.masking import valid_steps, zero_beyond
from ..dropout import dropped


def _band_positions(steps: int, window: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Key positions `[T, 2 w + 1]` of the window around each query, clamped into range, and which of them exist."""
    offsets = torch.arange(-window, window + 1, device=device)
    positions = torch.arange(steps, device=device).unsqueeze(1) + offsets
    exists = (positions >= 0) & (positions < steps)
    return positions.clamp(0, max(steps - 1, 0)), exists


def relative_attention_weights_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_k: Tensor | None,
    rel_v: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None = None,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Attention and its weights, `([B, T, H, D], [B, H, T, T])`, zero beyond `lengths`: the specification.

    Dropout is on the weights that are summed, not on those returned.
    """
    batch, steps, heads, head_dim = q.shape
    query = q.transpose(1, 2) * head_dim**-0.5  # [B, H, T, D]
    scores = query @ k.permute(0, 2, 3, 1)  # [B, H, T, T]
    window = (rel_k.shape[0] - 1) // 2 if rel_k is not None else 0
    if rel_k is not None:
        positions, exists = _band_positions(steps, window, q.device)
        relative_scores = (query @ rel_k.t()).masked_fill(~exists, 0)  # [B, H, T, 2 w + 1]
        scores = scores.scatter_add(-1, positions.expand(batch, heads, -1, -1), relative_scores)
    if lengths is not None:
        keys_valid = valid_steps(lengths, steps)[:, None, None, :]
        # A finite stand-in for minus infinity: an item of length 0 must not make a NaN.
        scores = scores.masked_fill(~keys_valid, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=-1)
    if lengths is not None:
        rows_valid = valid_steps(lengths, steps)[:, None, :, None]
        weights = weights.masked_fill(~(rows_valid & keys_valid), 0)
    kept = dropped(weights.reshape(-1, steps, steps), seed, dropout).view_as(weights)
    out = kept @ zero_beyond(v, lengths).transpose(1, 2)  # [B, H, T, D]; no NaN times zero
    if rel_v is not None:
        band = kept.gather(-1, positions.expand(batch, heads, -1, -1)).masked_fill(~exists, 0)
        out = out + band @ rel_v
    return zero_beyond(out.transpose(1, 2).contiguous(), lengths), weights


def relative_attention_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_k: Tensor | None,
    rel_v: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attention alone, `[B, T, H, D]`: the specification of the op."""
    return relative_attention_weights_reference(q, k, v, rel_k, rel_v, lengths, seed, dropout)[0]
