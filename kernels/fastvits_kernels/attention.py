"""Relative-position attention.

For a query at `t` and a key at `s`, with a window `w` and a scale `D ** -0.5`,

    score(t, s)  = scale * q_t . (k_s + [|s - t| <= w] rel_k[s - t + w])
    out(t)       = sum_s softmax_s(score)(t, s) * (v_s + [|s - t| <= w] rel_v[s - t + w])

with the softmax over the valid keys only (Shaw et al. 2018, "Self-Attention with Relative Position Representations",
equations 3 and 4; the embeddings are shared by the heads and clipped to zero, not to the edge, outside the window, as in
VITS, Kim et al. 2021).

Axes: `q`, `k`, `v` are `[B, T, H, D]` with any strides, `rel_k` and `rel_v` `[2 w + 1, D]` or both None, `lengths` `[B]`
or None. Output `[B, T, H, D]`, contiguous, zero beyond `lengths`. float64, float32, float16, bfloat16.

Work: `4 B H T^2 D` FLOPs for the two products, plus `4 B H T (2 w + 1) D` for the relative terms. Eager traffic is
dominated by about ten passes over the `[B, H, T, T]` scores; fused it is `4 B T H D` elements, once each.
"""

import torch
from torch import Tensor

from .masking import valid_steps, zero_beyond
from .registry import Op


def _band_positions(steps: int, window: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Key positions `[T, 2 w + 1]` of the window around each query, clamped into range, and which of them exist."""
    offsets = torch.arange(-window, window + 1, device=device)
    positions = torch.arange(steps, device=device).unsqueeze(1) + offsets
    exists = (positions >= 0) & (positions < steps)
    return positions.clamp(0, max(steps - 1, 0)), exists


def attention_with_dropout(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_k: Tensor | None,
    rel_v: Tensor | None,
    lengths: Tensor | None,
    dropout: float,
) -> tuple[Tensor, Tensor]:
    """Attention and its weights as in training: dropout on the weights that are summed, not on those returned."""
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
    dropped = torch.nn.functional.dropout(weights, dropout) if dropout else weights
    out = dropped @ v.transpose(1, 2)  # [B, H, T, D]
    if rel_v is not None:
        band = dropped.gather(-1, positions.expand(batch, heads, -1, -1)).masked_fill(~exists, 0)
        out = out + band @ rel_v
    return out.transpose(1, 2).contiguous(), weights


def relative_attention_weights_reference(
    q: Tensor, k: Tensor, v: Tensor, rel_k: Tensor | None, rel_v: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Attention and its weights, `([B, T, H, D], [B, H, T, T])`, zero in the rows beyond `lengths`: the specification."""
    out, weights = attention_with_dropout(q, k, v, rel_k, rel_v, lengths, 0.0)
    return zero_beyond(out, lengths), weights


def relative_attention_reference(
    q: Tensor, k: Tensor, v: Tensor, rel_k: Tensor | None, rel_v: Tensor | None, lengths: Tensor | None
) -> Tensor:
    """Attention alone, `[B, T, H, D]`: the specification of the op."""
    return relative_attention_weights_reference(q, k, v, rel_k, rel_v, lengths)[0]


def _fake(q: Tensor, *_: object) -> Tensor:
    return q.new_empty(q.shape)


def _weights_fake(q: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    batch, steps, heads, _ = q.shape
    return q.new_empty(q.shape), q.new_empty(batch, heads, steps, steps)


_RELATIVE_ATTENTION = Op("relative_attention", relative_attention_reference, _fake)
_RELATIVE_ATTENTION_WEIGHTS = Op("relative_attention_weights", relative_attention_weights_reference, _weights_fake)


def relative_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_k: Tensor | None = None,
    rel_v: Tensor | None = None,
    *,
    lengths: Tensor | None = None,
) -> Tensor:
    """Attention of the module's docstring, `[B, T, H, D]`."""
    _check(q, k, v, rel_k, rel_v)
    return _RELATIVE_ATTENTION(q, k, v, rel_k, rel_v, lengths)


def relative_attention_weights(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_k: Tensor | None = None,
    rel_v: Tensor | None = None,
    *,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention and its weights `[B, H, T, T]` (quadratic in memory by nature)."""
    _check(q, k, v, rel_k, rel_v)
    return _RELATIVE_ATTENTION_WEIGHTS(q, k, v, rel_k, rel_v, lengths)


def _check(q: Tensor, k: Tensor, v: Tensor, rel_k: Tensor | None, rel_v: Tensor | None) -> None:
    if q.dim() != 4 or q.shape != k.shape or q.shape != v.shape:
        raise ValueError(
            f"q, k and v must be [B, T, H, D] alike, got {tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}"
        )
    if (rel_k is None) != (rel_v is None):
        raise ValueError("rel_k and rel_v are given together or not at all")
    if rel_k is not None and rel_v is not None:
        for name, table in (("rel_k", rel_k), ("rel_v", rel_v)):
            if table.dim() != 2 or table.shape[0] % 2 == 0 or table.shape[1] != q.shape[3]:
                raise ValueError(f"{name} must be [2 w + 1, D] with D = {q.shape[3]}, got {tuple(table.shape)}")
