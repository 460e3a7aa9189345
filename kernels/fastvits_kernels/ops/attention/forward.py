"""The attention kernel and its launches."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...dispatch.masking import one_each
from ...launch import tiles
from ...launch.jit import kernel, launch, padded
from ..dropout import dropout_scale, keeps

if TYPE_CHECKING:
    import triton.language as tl


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
def kept_weights(seed_ptr, head, t0, s0, dropout, dropout_scale, BLOCK_T: "tl.constexpr", BLOCK_S: "tl.constexpr"):
    """What the weights of a tile are multiplied with, `[BLOCK_T, BLOCK_S]`; `head` is among those of all items."""
    offs_t = (t0 + tl.arange(0, BLOCK_T))[:, None]
    offs_s = (s0 + tl.arange(0, BLOCK_S))[None, :]
    return tl.where(keeps(tl.load(seed_ptr), head, offs_t, offs_s, dropout), dropout_scale, 0.0)


@kernel
def _attention_fwd_kernel(
    q_ptr,  # [B, T, H, D], any strides
    k_ptr,  # [B, T, H, D], any strides
    v_ptr,  # [B, T, H, D], any strides
    rel_k_ptr,  # [ROWS, D], any strides, or None
    rel_v_ptr,  # [ROWS, D], any strides, or None
    lengths_ptr,  # [B] int64, or None
    seed_ptr,  # [1] int64, or None
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
    dropout,
    dropout_scale,  # what the weights that are kept are multiplied with
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
        if seed_ptr is not None:
            p *= kept_weights(seed_ptr, (b * H + h).to(tl.int32), t0, s0, dropout, dropout_scale, BLOCK_T, BLOCK_S)
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


def tile_of(op: str, q: Tensor, rel_k: Tensor | None) -> tiles.Tile:
    batch, steps, _, head_dim = q.shape
    return tiles.choose(
        op,
        q.device,
        q.dtype,
        channels=head_dim,
        kernel_size=0 if rel_k is None else rel_k.shape[0],
        work=batch * steps,
    )


def _launch(
    op: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_k: Tensor | None,
    rel_v: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None,
    dropout: float,
    need_weights: bool,
) -> tuple[Tensor, Tensor | None]:
    batch, steps, heads, head_dim = q.shape
    tile = tile_of(op, q, rel_k)
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
        op,
        _attention_fwd_kernel,
        (-(-steps // tile.sizes["BLOCK_T"]) * heads * batch,),
        (
            q,
            k,
            v,
            rel_k,
            rel_v,
            one_each(lengths, batch),
            seed if dropout else None,
            out,
            weights,
            *strides,
            *table_strides,
            steps,
            heads,
            head_dim**-0.5 * math.log2(math.e),
            float(dropout),
            dropout_scale(dropout),
        ),
        constants,
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )
    return out, weights


def _launch_relative_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_k: Tensor | None,
    rel_v: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    return _launch("relative_attention", q, k, v, rel_k, rel_v, lengths, seed, dropout, need_weights=False)[0]


def _launch_relative_attention_weights(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_k: Tensor | None,
    rel_v: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None = None,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor | None]:
    return _launch("relative_attention_weights", q, k, v, rel_k, rel_v, lengths, seed, dropout, need_weights=True)
