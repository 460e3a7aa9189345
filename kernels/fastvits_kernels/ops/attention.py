"""Relative-position attention.

For a query at `t` and a key at `s`, with a window `w` and a scale `D ** -0.5`,

    score(t, s)  = scale * q_t . (k_s + [|s - t| <= w] rel_k[s - t + w])
    out(t)       = sum_s softmax_s(score)(t, s) * (v_s + [|s - t| <= w] rel_v[s - t + w])

with the softmax over the valid keys only (Shaw et al. 2018, "Self-Attention with Relative Position Representations",
equations 3 and 4; the embeddings are shared by the heads and zero, not those of the edge, outside the window, as in
VITS, Kim et al. 2021).

Axes: `q`, `k`, `v` are `[B, T, H, D]` with any strides, `rel_k` and `rel_v` `[2 w + 1, D]` or both None, `lengths`
`[B]` or None. Output `[B, T, H, D]`, contiguous, zero beyond `lengths`. float64, float32, float16, bfloat16.

Work: `4 B H T^2 D` FLOPs for the two products, plus `4 B H T (2 w + 1) D` for the relative terms. Eager traffic is
dominated by about ten passes over the `[B, H, T, T]` scores; fused it is `4 B T H D` elements, once each from memory
(keys and values are read again by every tile of queries, from cache).

The fused kernel walks over tiles of keys with a running maximum and sum (Milakov and Gimelshein 2018; Dao et al. 2022)
in float32 and holds no scores but one tile's. In tiles that the band crosses, and only there,
the products of the queries with the relative keys are formed and picked along the diagonals, and the probabilities
along the diagonals are picked and multiplied by the relative values. With the weights asked for, it walks over the keys
once more and stores them. Not supported by it: float64, head dimensions above 256, tensors of mixed dtypes.
"""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..dispatch.masking import one_each, valid_steps, zero_beyond
from ..dispatch.registry import Implementation, Op
from ..dispatch.shapes import axes, expect, expect_each
from ..launch import tiles
from ..launch.jit import kernel, launch, padded, unsupported

if TYPE_CHECKING:
    import triton.language as tl


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
    out = dropped @ zero_beyond(v, lengths).transpose(1, 2)  # [B, H, T, D]; no NaN times zero
    if rel_v is not None:
        band = dropped.gather(-1, positions.expand(batch, heads, -1, -1)).masked_fill(~exists, 0)
        out = out + band @ rel_v
    return out.transpose(1, 2).contiguous(), weights


def relative_attention_weights_reference(
    q: Tensor, k: Tensor, v: Tensor, rel_k: Tensor | None, rel_v: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Attention and its weights, `([B, T, H, D], [B, H, T, T])`, zero beyond `lengths`: the specification."""
    out, weights = attention_with_dropout(q, k, v, rel_k, rel_v, lengths, 0.0)
    return zero_beyond(out, lengths), weights


def relative_attention_reference(
    q: Tensor, k: Tensor, v: Tensor, rel_k: Tensor | None, rel_v: Tensor | None, lengths: Tensor | None
) -> Tensor:
    """Attention alone, `[B, T, H, D]`: the specification of the op."""
    return relative_attention_weights_reference(q, k, v, rel_k, rel_v, lengths)[0]


@kernel
def _table_rows(
    t0, s0, BLOCK_T: "tl.constexpr", BLOCK_S: "tl.constexpr", BLOCK_R: "tl.constexpr", ROWS: "tl.constexpr"
):
    """The rows `s - t + w` of a relative table that a tile of queries and keys needs, from a multiple of BLOCK_R."""
    if ROWS <= BLOCK_R:
        first = 0
        last = ROWS
    else:
        distance = s0 - t0 + ROWS // 2
        first = tl.maximum(distance - (BLOCK_T - 1), 0) // BLOCK_R * BLOCK_R
        last = tl.minimum(distance + BLOCK_S, ROWS)
    return first, last


@kernel
def _add_relative_scores(
    scores,
    q,
    rel_k_ptr,
    stride_rel_r,
    stride_rel_d,
    t0,
    s0,
    offs_d,
    mask_d,
    scale,
    BLOCK_T: "tl.constexpr",
    BLOCK_S: "tl.constexpr",
    BLOCK_R: "tl.constexpr",
    ROWS: "tl.constexpr",
    PRECISION: "tl.constexpr",
):
    """`scores + scale * q_t . rel_k[s - t + w]` within the band."""
    distance = (s0 + tl.arange(0, BLOCK_S))[None, :] - (t0 + tl.arange(0, BLOCK_T))[:, None] + ROWS // 2
    first, last = _table_rows(t0, s0, BLOCK_T, BLOCK_S, BLOCK_R, ROWS)
    for r0 in range(first, last, BLOCK_R):
        offs_r = r0 + tl.arange(0, BLOCK_R)
        mask_rel = (offs_r < ROWS)[None, :] & mask_d[:, None]
        rel_k_pointers = rel_k_ptr + offs_r[None, :] * stride_rel_r + offs_d[:, None] * stride_rel_d
        rel_k = tl.load(rel_k_pointers, mask=mask_rel, other=0.0)  # [BLOCK_D, BLOCK_R]
        by_row = tl.dot(q, rel_k, input_precision=PRECISION) * scale  # [BLOCK_T, BLOCK_R]
        # Diagonal by diagonal: a `tl.gather` of the whole tile compiles to long chains of shuffles, in twice the time.
        for r in tl.static_range(BLOCK_R if ROWS > BLOCK_R else ROWS):
            column = tl.sum(tl.where((offs_r == r0 + r)[None, :], by_row, 0.0), 1)
            scores += tl.where(distance == r0 + r, column[:, None], 0.0)
    return scores


@kernel
def _scores_of_tile(
    q,
    k_tile,  # the tile's first key
    stride_kt,
    stride_kd,
    rel_k_ptr,
    stride_rel_r,
    stride_rel_d,
    t0,
    s0,
    length,
    banded,  # whether the band crosses the tile
    offs_d,
    mask_d,
    scale,
    BLOCK_T: "tl.constexpr",
    BLOCK_S: "tl.constexpr",
    BLOCK_R: "tl.constexpr",
    ROWS: "tl.constexpr",
    PRECISION: "tl.constexpr",
):
    """`[BLOCK_T, BLOCK_S]` scores in units of log2, minus infinity at keys that are not valid."""
    offs_s = tl.arange(0, BLOCK_S)
    mask_s = s0 + offs_s < length
    k_pointers = k_tile + offs_s[None, :] * stride_kt + offs_d[:, None] * stride_kd
    k = tl.load(k_pointers, mask=mask_s[None, :] & mask_d[:, None], other=0.0)  # [BLOCK_D, BLOCK_S]
    scores = tl.dot(q, k, input_precision=PRECISION) * scale
    if ROWS > 0:  # noqa: SIM102 - the outer condition is decided when compiling
        if banded:
            scores = _add_relative_scores(
                scores, q, rel_k_ptr, stride_rel_r, stride_rel_d, t0, s0, offs_d, mask_d, scale,
                BLOCK_T, BLOCK_S, BLOCK_R, ROWS, PRECISION,
            )  # fmt: skip
    return tl.where(mask_s[None, :], scores, float("-inf"))


@kernel
def _add_relative_values(
    acc,
    p,
    rel_v_ptr,
    stride_rel_r,
    stride_rel_d,
    t0,
    s0,
    offs_d,
    mask_d,
    BLOCK_T: "tl.constexpr",
    BLOCK_S: "tl.constexpr",
    BLOCK_R: "tl.constexpr",
    ROWS: "tl.constexpr",
    PRECISION: "tl.constexpr",
):
    """`acc + sum_s p(t, s) * rel_v[s - t + w]` over the tile's keys within the band."""
    distance = (s0 + tl.arange(0, BLOCK_S))[None, :] - (t0 + tl.arange(0, BLOCK_T))[:, None] + ROWS // 2
    first, last = _table_rows(t0, s0, BLOCK_T, BLOCK_S, BLOCK_R, ROWS)
    for r0 in range(first, last, BLOCK_R):
        offs_r = r0 + tl.arange(0, BLOCK_R)
        band = tl.zeros([BLOCK_T, BLOCK_R], tl.float32)
        for r in tl.static_range(BLOCK_R if ROWS > BLOCK_R else ROWS):
            column = tl.sum(tl.where(distance == r0 + r, p, 0.0), 1)
            band = tl.where((offs_r == r0 + r)[None, :], column[:, None], band)
        mask_rel = (offs_r < ROWS)[:, None] & mask_d[None, :]
        rel_v_pointers = rel_v_ptr + offs_r[:, None] * stride_rel_r + offs_d[None, :] * stride_rel_d
        rel_v = tl.load(rel_v_pointers, mask=mask_rel, other=0.0)  # [BLOCK_R, BLOCK_D]
        acc = tl.dot(band.to(rel_v.dtype), rel_v, acc, input_precision=PRECISION)
    return acc


@kernel
def _attention_fwd_kernel(
    q_ptr,  # [B, T, H, D], any strides
    k_ptr,  # [B, T, H, D], any strides
    v_ptr,  # [B, T, H, D], any strides
    rel_k_ptr,  # [ROWS, D], any strides, or None
    rel_v_ptr,  # [ROWS, D], any strides, or None
    lengths_ptr,  # [B] int64, or None
    out_ptr,  # [B, T, H, D], contiguous
    weights_ptr,  # [B, H, T, T], contiguous, or None
    stride_qb,
    stride_qt,
    stride_qh,
    stride_qd,
    stride_kb,
    stride_kt,
    stride_kh,
    stride_kd,
    stride_vb,
    stride_vt,
    stride_vh,
    stride_vd,
    stride_rel_kr,
    stride_rel_kd,
    stride_rel_vr,
    stride_rel_vd,
    T,
    H,
    scale,  # D ** -0.5 * log2(e)
    D: "tl.constexpr",
    ROWS: "tl.constexpr",  # 2 w + 1, or 0 without relative embeddings
    BLOCK_T: "tl.constexpr",
    BLOCK_S: "tl.constexpr",
    BLOCK_R: "tl.constexpr",
    BLOCK_D: "tl.constexpr",
    PRECISION: "tl.constexpr",
):
    query_tiles = tl.cdiv(T, BLOCK_T)
    pid = tl.program_id(0)
    t0 = (pid % query_tiles) * BLOCK_T
    h = (pid // query_tiles) % H
    b = (pid // query_tiles // H).to(tl.int64)
    length = T
    if lengths_ptr is not None:
        length = tl.minimum(tl.load(lengths_ptr + b), T).to(tl.int32)

    offs_t = t0 + tl.arange(0, BLOCK_T)
    offs_d = tl.arange(0, BLOCK_D)
    mask_t = offs_t < length
    mask_d = offs_d < D
    # Offsets within a tile are 32-bit; the tile's own place may be beyond 2^31 elements.
    q_tile = q_ptr + b * stride_qb + h * stride_qh + t0.to(tl.int64) * stride_qt
    k_first = k_ptr + b * stride_kb + h * stride_kh
    v_tile = v_ptr + b * stride_vb + h * stride_vh
    q_pointers = q_tile + tl.arange(0, BLOCK_T)[:, None] * stride_qt + offs_d[None, :] * stride_qd
    q = tl.load(q_pointers, mask=mask_t[:, None] & mask_d[None, :], other=0.0)  # [BLOCK_T, BLOCK_D]

    # A tile of queries beyond the length has no keys: it only stores zeros.
    last_key = tl.where(t0 < length, length, 0)
    # The band crosses the tiles of keys that begin in this range.
    first_banded = t0 - ROWS // 2 - BLOCK_S + 1
    last_banded = t0 + BLOCK_T - 1 + ROWS // 2
    maximum = tl.full([BLOCK_T], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_T], tl.float32)
    acc = tl.zeros([BLOCK_T, BLOCK_D], tl.float32)
    k_tile = k_first
    for s0 in range(0, last_key, BLOCK_S):
        banded = (s0 >= first_banded) & (s0 <= last_banded)
        scores = _scores_of_tile(
            q, k_tile, stride_kt, stride_kd, rel_k_ptr, stride_rel_kr, stride_rel_kd, t0, s0, length, banded,
            offs_d, mask_d, scale, BLOCK_T, BLOCK_S, BLOCK_R, ROWS, PRECISION,
        )  # fmt: skip
        maximum_after = tl.maximum(maximum, tl.max(scores, 1))
        # Where all scores so far are minus infinity, their difference from the maximum would be NaN.
        reference = tl.where(maximum_after == float("-inf"), 0.0, maximum_after)
        p = tl.exp2(scores - reference[:, None])
        decay = tl.exp2(maximum - reference)
        maximum = maximum_after
        total = total * decay + tl.sum(p, 1)
        offs_s = tl.arange(0, BLOCK_S)
        v_pointers = v_tile + offs_s[:, None] * stride_vt + offs_d[None, :] * stride_vd
        v = tl.load(v_pointers, mask=(s0 + offs_s < length)[:, None] & mask_d[None, :], other=0.0)  # [BLOCK_S, BLOCK_D]
        acc = tl.dot(p.to(v.dtype), v, acc * decay[:, None], input_precision=PRECISION)
        if ROWS > 0:  # noqa: SIM102 - the outer condition is decided when compiling
            if banded:
                acc = _add_relative_values(
                    acc, p, rel_v_ptr, stride_rel_vr, stride_rel_vd, t0, s0, offs_d, mask_d,
                    BLOCK_T, BLOCK_S, BLOCK_R, ROWS, PRECISION,
                )  # fmt: skip
        k_tile += BLOCK_S * stride_kt
        v_tile += BLOCK_S * stride_vt

    # Rows beyond the length have a total of 0, or that of a query of zeros: neither is kept.
    total = tl.where(mask_t, total, 1.0)
    out = tl.where(mask_t[:, None], acc / total[:, None], 0.0)
    out_tile = out_ptr + ((b * T + t0) * H + h) * D
    out_pointers = out_tile + tl.arange(0, BLOCK_T)[:, None] * (H * D) + offs_d[None, :]
    tl.store(out_pointers, out.to(out_ptr.dtype.element_ty), mask=(offs_t < T)[:, None] & mask_d[None, :])

    if weights_ptr is not None:
        weights_tile = weights_ptr + ((b * H + h) * T + t0) * T
        rows = tl.arange(0, BLOCK_T).to(tl.int64)[:, None] * T
        k_tile = k_first
        for s0 in range(0, last_key, BLOCK_S):
            banded = (s0 >= first_banded) & (s0 <= last_banded)
            scores = _scores_of_tile(
                q, k_tile, stride_kt, stride_kd, rel_k_ptr, stride_rel_kr, stride_rel_kd, t0, s0, length, banded,
                offs_d, mask_d, scale, BLOCK_T, BLOCK_S, BLOCK_R, ROWS, PRECISION,
            )  # fmt: skip
            offs_s = s0 + tl.arange(0, BLOCK_S)
            weights = tl.exp2(scores - maximum[:, None]) / total[:, None]
            weights = tl.where(mask_t[:, None] & (offs_s < length)[None, :], weights, 0.0)
            mask_weights = (offs_t < T)[:, None] & (offs_s < T)[None, :]
            tl.store(weights_tile + rows + offs_s[None, :], weights.to(weights_ptr.dtype.element_ty), mask=mask_weights)
            k_tile += BLOCK_S * stride_kt
        for s0 in range(tl.cdiv(last_key, BLOCK_S) * BLOCK_S, T, BLOCK_S):
            offs_s = s0 + tl.arange(0, BLOCK_S)
            zeros = tl.zeros([BLOCK_T, BLOCK_S], weights_ptr.dtype.element_ty)
            mask_weights = (offs_t < T)[:, None] & (offs_s < T)[None, :]
            tl.store(weights_tile + rows + offs_s[None, :], zeros, mask=mask_weights)


def _tile(op: Op, q: Tensor, rel_k: Tensor | None) -> tiles.Tile:
    batch, steps, _, head_dim = q.shape
    return tiles.choose(
        op.name,
        q.device,
        q.dtype,
        channels=head_dim,
        kernel_size=0 if rel_k is None else rel_k.shape[0],
        work=batch * steps,
    )


def _launch(
    op: Op,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_k: Tensor | None,
    rel_v: Tensor | None,
    lengths: Tensor | None,
    need_weights: bool,
) -> tuple[Tensor, Tensor | None]:
    batch, steps, heads, head_dim = q.shape
    tile = _tile(op, q, rel_k)
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    weights = torch.empty((batch, heads, steps, steps), dtype=q.dtype, device=q.device) if need_weights else None
    constants = {
        "D": head_dim,
        "ROWS": 0 if rel_k is None else rel_k.shape[0],
        **tile.sizes,
        "BLOCK_D": padded(head_dim, 16),
        "PRECISION": "ieee",
    }
    strides = (*q.stride(), *k.stride(), *v.stride())
    table_strides = tuple(
        stride for table in (rel_k, rel_v) for stride in ((0, 0) if table is None else table.stride())
    )
    launch(
        op.name,
        _attention_fwd_kernel,
        (-(-steps // tile.sizes["BLOCK_T"]) * heads * batch,),
        (
            q,
            k,
            v,
            rel_k,
            rel_v,
            one_each(lengths, batch),
            out,
            weights,
            *strides,
            *table_strides,
            steps,
            heads,
            head_dim**-0.5 * math.log2(math.e),
        ),
        constants,
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )
    return out, weights


def _launch_relative_attention(
    q: Tensor, k: Tensor, v: Tensor, rel_k: Tensor | None, rel_v: Tensor | None, lengths: Tensor | None
) -> Tensor:
    return _launch(_RELATIVE_ATTENTION, q, k, v, rel_k, rel_v, lengths, need_weights=False)[0]


def _launch_relative_attention_weights(
    q: Tensor, k: Tensor, v: Tensor, rel_k: Tensor | None, rel_v: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    return _launch(_RELATIVE_ATTENTION_WEIGHTS, q, k, v, rel_k, rel_v, lengths, need_weights=True)


def _supports(q: Tensor, k: Tensor, v: Tensor, rel_k: Tensor | None, rel_v: Tensor | None) -> str | None:
    if not 1 <= q.shape[3] <= 256:
        return f"head dimensions are 1 to 256, not {q.shape[3]}"
    return unsupported(q, k, v, rel_k, rel_v)


def _prefers(op: Op) -> Any:
    def prefers(q: Tensor, rel_k: Tensor | None) -> tuple[str, str, bool]:
        return tiles.preference(_tile(op, q, rel_k))

    return prefers


def _fake(q: Tensor) -> Tensor:
    return q.new_empty(q.shape)


def _weights_fake(q: Tensor) -> tuple[Tensor, Tensor]:
    batch, steps, heads = q.shape[:3]
    return q.new_empty(q.shape), q.new_empty(batch, heads, steps, steps)


def _check(q: Tensor, k: Tensor, v: Tensor, rel_k: Tensor | None, rel_v: Tensor | None, lengths: Tensor | None) -> None:
    batch, _, _, head_dim = axes(q, "q [B, T, H, D]")
    if k.shape != q.shape or v.shape != q.shape:
        raise ValueError(
            f"q, k and v must be [B, T, H, D] alike, got {tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}"
        )
    expect_each(lengths, "lengths [B or 1]", batch)
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
    "triton", Implementation(_launch_relative_attention, _supports, _prefers(_RELATIVE_ATTENTION))
)
_RELATIVE_ATTENTION_WEIGHTS.register(
    "triton", Implementation(_launch_relative_attention_weights, _supports, _prefers(_RELATIVE_ATTENTION_WEIGHTS))
)


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
    return _RELATIVE_ATTENTION_WEIGHTS(q, k, v, rel_k, rel_v, lengths)
