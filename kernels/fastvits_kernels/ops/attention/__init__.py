"""Relative-position attention.

For a query at `t` and a key at `s`, with a window `w` and a scale `D ** -0.5`,

    score(t, s)  = scale * q_t . (k_s + [|s - t| <= w] rel_k[s - t + w])
    out(t)       = sum_s softmax_s(score)(t, s) * (v_s + [|s - t| <= w] rel_v[s - t + w])

with the softmax over the valid keys only (Shaw et al. 2018, "Self-Attention with Relative Position Representations",
equations 3 and 4; the embeddings are shared by the heads and zero, not those of the edge, outside the window, as in
VITS, Kim et al. 2021).

With dropout, the weights that are summed are left out or scaled up as a seed says (`ops.dropout`; of `[B, H, T, T]` the
items are `B H`).

Axes: `q`, `k`, `v` are `[B, T, H, D]` with any strides, `rel_k` and `rel_v` `[2 w + 1, D]` or both None, `lengths`
`[B]` or None. Output `[B, T, H, D]`, contiguous, zero beyond `lengths`. float64, float32, float16, bfloat16.

Work: `4 B H T^2 D` FLOPs for the two products, plus `4 B H T (2 w + 1) D` for the relative terms. Eager traffic is
dominated by about ten passes over the `[B, H, T, T]` scores; fused it is `4 B T H D` elements, once each from memory
(keys and values are read again by every tile of queries, from cache).

The fused kernel walks over tiles of keys with a running maximum and sum (Milakov and Gimelshein 2018; Dao et al. 2022)
in float32 and holds no scores but one tile's. In tiles that the band crosses, and only there,
the products of the queries with the relative keys are formed and picked along the diagonals, and the probabilities
along the diagonals are picked and multiplied by the relative values. With the weights asked for, it walks over the keys
once more and stores them. Not supported by it: float64, head dimensions above 256, tensors of mixed dtypes. Gradients
have kernels of their own: see `backward`.
"""

from functools import partial
from typing import Any

from torch import Tensor

from ...dispatch.registry import Implementation, Op
from ...dispatch.shapes import axes, expect, expect_each
from ...launch.jit import unsupported
from ...launch.tiles import preference
from ..dropout import check_dropout, draw_seed
from .backward import attention_backward
from .forward import _launch_relative_attention, _launch_relative_attention_weights, tile_of
from .reference import relative_attention_reference, relative_attention_weights_reference

__all__ = [
    "relative_attention",
    "relative_attention_reference",
    "relative_attention_weights",
    "relative_attention_weights_reference",
]


def _supports(q: Tensor, k: Tensor, v: Tensor, rel_k: Tensor | None, rel_v: Tensor | None) -> str | None:
    if not 1 <= q.shape[3] <= 256:
        return f"head dimensions are 1 to 256, not {q.shape[3]}"
    return unsupported(q, k, v, rel_k, rel_v)


def _prefers(op: str) -> Any:
    def prefers(q: Tensor, rel_k: Tensor | None) -> tuple[str, str, bool]:
        return preference(tile_of(op, q, rel_k))

    return prefers


def _fake(q: Tensor) -> Tensor:
    return q.new_empty(q.shape)


def _weights_fake(q: Tensor) -> tuple[Tensor, Tensor]:
    batch, steps, heads = q.shape[:3]
    return q.new_empty(q.shape), q.new_empty(batch, heads, steps, steps)


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_k: Tensor | None,
    rel_v: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    dropout: float,
) -> None:
    batch, _, _, head_dim = axes(q, "q [B, T, H, D]")
    if k.shape != q.shape or v.shape != q.shape:
        raise ValueError(
            f"q, k and v must be [B, T, H, D] alike, got {tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}"
        )
    expect_each(lengths, "lengths [B or 1]", batch)
    check_dropout(seed, dropout)
    if rel_k is None and rel_v is None:
        return
    if rel_k is None or rel_v is None:
        raise ValueError("rel_k and rel_v must be given together or not at all")
    expect(rel_k, "rel_k [2 w + 1, D]", None, head_dim)
    rows = rel_k.shape[0]
    if rows % 2 == 0:
        raise ValueError(f"rel_k must be [2 w + 1, D] with an odd number of rows, got {tuple(rel_k.shape)}")
    expect(rel_v, "rel_v [2 w + 1, D]", rows, head_dim)


_RELATIVE_ATTENTION = Op("relative_attention", relative_attention_reference, _fake, _check, ieee=True)
_RELATIVE_ATTENTION_WEIGHTS = Op(
    "relative_attention_weights", relative_attention_weights_reference, _weights_fake, _check, ieee=True
)


_RELATIVE_ATTENTION.register(
    "triton",
    Implementation(
        _launch_relative_attention,
        _supports,
        _prefers("relative_attention"),
        backward=partial(attention_backward, "relative_attention"),
    ),
)
_RELATIVE_ATTENTION_WEIGHTS.register(
    "triton",
    Implementation(
        _launch_relative_attention_weights,
        _supports,
        _prefers("relative_attention_weights"),
        backward=partial(attention_backward, "relative_attention_weights"),
    ),
)


def relative_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_k: Tensor | None = None,
    rel_v: Tensor | None = None,
    *,
    lengths: Tensor | None = None,
    seed: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attention of the module's docstring, `[B, T, H, D]`.

    `dropout` is the share of the weights that is left out, 0.0 by default. `seed` int64 `[1]` says which; without one,
    torch's generator draws it. Raises ValueError for shapes that do not fit or a rate outside `[0, 1]`.
    """
    if dropout and seed is None:
        seed = draw_seed(q.device)
    return _RELATIVE_ATTENTION(q, k, v, rel_k, rel_v, lengths, seed, dropout)


def relative_attention_weights(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_k: Tensor | None = None,
    rel_v: Tensor | None = None,
    *,
    lengths: Tensor | None = None,
    seed: Tensor | None = None,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """As `relative_attention`, with the weights `[B, H, T, T]` before dropout (quadratic in memory by nature)."""
    if dropout and seed is None:
        seed = draw_seed(q.device)
    return _RELATIVE_ATTENTION_WEIGHTS(q, k, v, rel_k, rel_v, lengths, seed, dropout)
