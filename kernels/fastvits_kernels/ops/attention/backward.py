"""Gradients of attention, with its relative keys and values, from three kernels that hold no matrix of scores.

With `P` the weights, `M` what dropout multiplies them with (1 without it), `g` the gradient of the output (and `G` that
of the weights, where they are given)

    dP(t, s)   = M(t, s) g_t . (v_s + [band] rel_v[s - t + w]) + G(t, s)
    dS(t, s)   = P(t, s) (dP(t, s) - sum_s' P(t, s') dP(t, s'))
    dq_t       = scale * sum_s dS(t, s) (k_s + [band] rel_k[s - t + w])
    dk_s       = scale * sum_t dS(t, s) q_t              dv_s       = sum_t M(t, s) P(t, s) g_t
    drel_k[r]  = scale * sum_t dS(t, t + r - w) q_t      drel_v[r]  = sum_t M P(t, t + r - w) g_t

(Dao et al. 2022, "FlashAttention", appendix B.4, and the same for the band.) The forward pass keeps nothing: the first
kernel walks over the keys of a tile of queries twice, once for the row's logarithm of the sum of exponentials and its
sum of `P dP`, and once for `dq`; it stores what of `M P` and `dS` is within the band. The second walks over the queries
of a tile of keys. The third sums a row of the tables along its diagonal, for each item and head; these are added up
behind it. No atomics: two runs are equal to the last bit. float32 inside, products in the dtype of the inputs.
"""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...dispatch.masking import one_each
from ...launch import tiles
from ...launch.jit import kernel, launch, padded
from ..dropout import dropout_scale
from ..gradients import wants
from .forward import _add_relative_scores, _add_relative_values, _scores_of_tile, kept_weights

if TYPE_CHECKING:
    import triton.language as tl


@kernel
def _gradient_of_weights(
    g,  # [BLOCK_T, BLOCK_D]
    v_tile,  # the tile's first key
    stride_vt,
    stride_vd,
    rel_v_ptr,
    of_weights_ptr,  # [T, T], or None
    t0,
    s0,
    T,
    length,
    banded,
    offs_d,
    mask_d,
    kept,  # what dropout multiplies the weights with, [BLOCK_T, BLOCK_S], or None
    D: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_S: "tl.constexpr",
    BLOCK_R: "tl.constexpr",
    ROWS: "tl.constexpr",
):
    """`dP` of a tile, `[BLOCK_T, BLOCK_S]`."""
    offs_s = tl.arange(0, BLOCK_S)
    v_pointers = v_tile + offs_s[None, :] * stride_vt + offs_d[:, None] * stride_vd
    v = tl.load(v_pointers, mask=(s0 + offs_s < length)[None, :] & mask_d[:, None], other=0.0)  # [BLOCK_D, BLOCK_S]
    of_p = tl.dot(g, v, input_precision="ieee")
    if ROWS > 0:  # noqa: SIM102 - the outer condition is decided when compiling
        if banded:
            of_p = _add_relative_scores(
                of_p, g, rel_v_ptr, D, 1, t0, s0, offs_d, mask_d, 1.0, BLOCK_T, BLOCK_S, BLOCK_R, ROWS, "ieee"
            )
    if kept is not None:
        of_p *= kept
    if of_weights_ptr is not None:
        rows = (t0 + tl.arange(0, BLOCK_T)).to(tl.int64)[:, None]
        mask = (rows < length) & (s0 + offs_s < length)[None, :]
        of_p += tl.load(of_weights_ptr + rows * T + (s0 + offs_s)[None, :], mask=mask, other=0.0).to(tl.float32)
    return of_p


@kernel
def _attention_query_bwd_kernel(
    q_ptr,  # [B, T, H, D], any strides
    k_ptr,  # [B, T, H, D], any strides
    v_ptr,  # [B, T, H, D], any strides
    rel_k_ptr,  # [ROWS, D], contiguous, or None
    rel_v_ptr,  # [ROWS, D], contiguous, or None
    lengths_ptr,  # [B] int64, or None
    seed_ptr,  # [1] int64, or None
    g_ptr,  # [B, T, H, D], contiguous
    of_weights_ptr,  # [B, H, T, T], contiguous, or None
    of_q_ptr,  # [B, T, H, D], contiguous
    lse_ptr,  # [B, H, T], contiguous, float32, in units of log2
    delta_ptr,  # [B, H, T], contiguous, float32
    band_p_ptr,  # [B, H, T, ROWS], contiguous, float32, zeros: M P(t, t + r - w); or None
    band_of_scores_ptr,  # likewise of dS
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
    T,
    H,
    scale,  # D ** -0.5
    log2_e,
    dropout,
    dropout_scale,
    D: "tl.constexpr",
    ROWS: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_S: "tl.constexpr",
    BLOCK_R: "tl.constexpr",
    BLOCK_D: "tl.constexpr",
):
    query_tiles = tl.cdiv(T, BLOCK_T)
    pid = tl.program_id(0)
    t0 = (pid % query_tiles) * BLOCK_T
    h = (pid // query_tiles) % H
    b = (pid // query_tiles // H).to(tl.int64)
    head = pid // query_tiles
    length = T
    if lengths_ptr is not None:
        length = tl.minimum(tl.load(lengths_ptr + b), T).to(tl.int32)
    rows = tl.arange(0, BLOCK_T)
    offs_s = tl.arange(0, BLOCK_S)
    offs_d = tl.arange(0, BLOCK_D)
    mask_t = t0 + rows < length
    mask_d = offs_d < D
    mask_q = mask_t[:, None] & mask_d[None, :]
    q_tile = q_ptr + b * stride_qb + h * stride_qh + t0.to(tl.int64) * stride_qt
    q = tl.load(q_tile + rows[:, None] * stride_qt + offs_d[None, :] * stride_qd, mask=mask_q, other=0.0)
    out_tile = ((b * T + t0) * H + h) * D + rows[:, None] * (H * D) + offs_d[None, :]
    g = tl.load(g_ptr + out_tile, mask=mask_q, other=0.0)  # [BLOCK_T, BLOCK_D]
    weights_first = None
    if of_weights_ptr is not None:
        weights_first = of_weights_ptr + (b * H + h) * T * T
    last_key = tl.where(t0 < length, length, 0)
    first_banded = t0 - ROWS // 2 - BLOCK_S + 1
    last_banded = t0 + BLOCK_T - 1 + ROWS // 2
    k_first = k_ptr + b * stride_kb + h * stride_kh
    v_first = v_ptr + b * stride_vb + h * stride_vh

    maximum = tl.full([BLOCK_T], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_T], tl.float32)
    weighted = tl.zeros([BLOCK_T], tl.float32)
    k_tile = k_first
    v_tile = v_first
    for s0 in range(0, last_key, BLOCK_S):
        banded = (s0 >= first_banded) & (s0 <= last_banded)
        scores = _scores_of_tile(
            q, k_tile, stride_kt, stride_kd, rel_k_ptr, D, 1, t0, s0, length, banded, offs_d, mask_d, scale * log2_e,
            BLOCK_T, BLOCK_S, BLOCK_R, ROWS, "ieee",
        )  # fmt: skip
        kept = None
        if seed_ptr is not None:
            kept = kept_weights(seed_ptr, head, t0, s0, dropout, dropout_scale, BLOCK_T, BLOCK_S)
        of_p = _gradient_of_weights(
            g, v_tile, stride_vt, stride_vd, rel_v_ptr, weights_first, t0, s0, T, length, banded, offs_d, mask_d, kept,
            D, BLOCK_T, BLOCK_S, BLOCK_R, ROWS,
        )  # fmt: skip
        # The first tile has a key, so that the maximum is a number from then on.
        maximum_after = tl.maximum(maximum, tl.max(scores, 1))
        p = tl.exp2(scores - maximum_after[:, None])
        decay = tl.exp2(maximum - maximum_after)
        maximum = maximum_after
        total = total * decay + tl.sum(p, 1)
        weighted = weighted * decay + tl.sum(p * of_p, 1)
        k_tile += BLOCK_S * stride_kt
        v_tile += BLOCK_S * stride_vt
    total = tl.where(mask_t, total, 1.0)
    lse = tl.where(mask_t, maximum, 0.0) + tl.log2(total)
    delta = tl.where(mask_t, weighted / total, 0.0)
    statistics = (b * H + h) * T + t0 + rows
    tl.store(lse_ptr + statistics, lse, mask=mask_t)
    tl.store(delta_ptr + statistics, delta, mask=mask_t)

    of_q = tl.zeros([BLOCK_T, BLOCK_D], tl.float32)
    k_tile = k_first
    v_tile = v_first
    for s0 in range(0, last_key, BLOCK_S):
        banded = (s0 >= first_banded) & (s0 <= last_banded)
        scores = _scores_of_tile(
            q, k_tile, stride_kt, stride_kd, rel_k_ptr, D, 1, t0, s0, length, banded, offs_d, mask_d, scale * log2_e,
            BLOCK_T, BLOCK_S, BLOCK_R, ROWS, "ieee",
        )  # fmt: skip
        kept = None
        if seed_ptr is not None:
            kept = kept_weights(seed_ptr, head, t0, s0, dropout, dropout_scale, BLOCK_T, BLOCK_S)
        of_p = _gradient_of_weights(
            g, v_tile, stride_vt, stride_vd, rel_v_ptr, weights_first, t0, s0, T, length, banded, offs_d, mask_d, kept,
            D, BLOCK_T, BLOCK_S, BLOCK_R, ROWS,
        )  # fmt: skip
        p = tl.exp2(scores - lse[:, None])
        of_scores = p * (of_p - delta[:, None])
        k_pointers = k_tile + offs_s[:, None] * stride_kt + offs_d[None, :] * stride_kd
        k = tl.load(k_pointers, mask=(s0 + offs_s < length)[:, None] & mask_d[None, :], other=0.0)
        of_q = tl.dot(of_scores.to(k.dtype), k, of_q, input_precision="ieee")
        if ROWS > 0:  # noqa: SIM102 - the outer condition is decided when compiling
            if banded:
                of_q = _add_relative_values(
                    of_q, of_scores, rel_k_ptr, D, 1, t0, s0, offs_d, mask_d, BLOCK_T, BLOCK_S, BLOCK_R, ROWS, "ieee"
                )
                if band_p_ptr is not None:
                    if kept is not None:
                        p *= kept
                    distance = (s0 + offs_s)[None, :] - (t0 + rows)[:, None] + ROWS // 2
                    first_row = tl.maximum(s0 - t0 - (BLOCK_T - 1) + ROWS // 2, 0)
                    for row in range(first_row, tl.minimum(s0 - t0 + BLOCK_S + ROWS // 2, ROWS)):
                        # A place of the band is in one tile only.
                        s = t0 + rows + row - ROWS // 2
                        here = mask_t & (s >= s0) & (s < tl.minimum(s0 + BLOCK_S, length))
                        column = tl.sum(tl.where(distance == row, p, 0.0), 1)
                        tl.store(band_p_ptr + statistics * ROWS + row, column, mask=here)
                        column = tl.sum(tl.where(distance == row, of_scores, 0.0), 1)
                        tl.store(band_of_scores_ptr + statistics * ROWS + row, column, mask=here)
        k_tile += BLOCK_S * stride_kt
        v_tile += BLOCK_S * stride_vt
    of_q = tl.where(mask_t[:, None], of_q * scale, 0.0)
    tl.store(of_q_ptr + out_tile, of_q.to(of_q_ptr.dtype.element_ty), mask=(t0 + rows < T)[:, None] & mask_d[None, :])


@kernel
def _attention_key_bwd_kernel(
    q_ptr,  # as above
    k_ptr,
    v_ptr,
    rel_k_ptr,
    rel_v_ptr,
    lengths_ptr,
    seed_ptr,
    g_ptr,
    of_weights_ptr,
    of_k_ptr,  # [B, T, H, D], contiguous
    of_v_ptr,  # [B, T, H, D], contiguous
    lse_ptr,
    delta_ptr,
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
    T,
    H,
    scale,
    log2_e,
    dropout,
    dropout_scale,
    D: "tl.constexpr",
    ROWS: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_S: "tl.constexpr",
    BLOCK_R: "tl.constexpr",
    BLOCK_D: "tl.constexpr",
):
    key_tiles = tl.cdiv(T, BLOCK_S)
    pid = tl.program_id(0)
    s0 = (pid % key_tiles) * BLOCK_S
    h = (pid // key_tiles) % H
    b = (pid // key_tiles // H).to(tl.int64)
    head = pid // key_tiles
    length = T
    if lengths_ptr is not None:
        length = tl.minimum(tl.load(lengths_ptr + b), T).to(tl.int32)
    rows = tl.arange(0, BLOCK_T)
    offs_s = tl.arange(0, BLOCK_S)
    offs_d = tl.arange(0, BLOCK_D)
    mask_d = offs_d < D
    k_tile = k_ptr + b * stride_kb + h * stride_kh + s0.to(tl.int64) * stride_kt
    v_tile = v_ptr + b * stride_vb + h * stride_vh + s0.to(tl.int64) * stride_vt
    q_tile = q_ptr + b * stride_qb + h * stride_qh
    weights_first = None
    if of_weights_ptr is not None:
        weights_first = of_weights_ptr + (b * H + h) * T * T
    of_k = tl.zeros([BLOCK_S, BLOCK_D], tl.float32)
    of_v = tl.zeros([BLOCK_S, BLOCK_D], tl.float32)
    last_query = tl.where(s0 < length, length, 0)
    for t0 in range(0, last_query, BLOCK_T):
        mask_t = t0 + rows < length
        mask_q = mask_t[:, None] & mask_d[None, :]
        q = tl.load(q_tile + rows[:, None] * stride_qt + offs_d[None, :] * stride_qd, mask=mask_q, other=0.0)
        g_pointers = g_ptr + ((b * T + t0) * H + h) * D + rows[:, None] * (H * D) + offs_d[None, :]
        g = tl.load(g_pointers, mask=mask_q, other=0.0)
        statistics = (b * H + h) * T + t0 + rows
        lse = tl.load(lse_ptr + statistics, mask=mask_t, other=0.0)
        delta = tl.load(delta_ptr + statistics, mask=mask_t, other=0.0)
        banded = (s0 >= t0 - ROWS // 2 - BLOCK_S + 1) & (s0 <= t0 + BLOCK_T - 1 + ROWS // 2)
        scores = _scores_of_tile(
            q, k_tile, stride_kt, stride_kd, rel_k_ptr, D, 1, t0, s0, length, banded, offs_d, mask_d, scale * log2_e,
            BLOCK_T, BLOCK_S, BLOCK_R, ROWS, "ieee",
        )  # fmt: skip
        kept = None
        if seed_ptr is not None:
            kept = kept_weights(seed_ptr, head, t0, s0, dropout, dropout_scale, BLOCK_T, BLOCK_S)
        of_p = _gradient_of_weights(
            g, v_tile, stride_vt, stride_vd, rel_v_ptr, weights_first, t0, s0, T, length, banded, offs_d, mask_d, kept,
            D, BLOCK_T, BLOCK_S, BLOCK_R, ROWS,
        )  # fmt: skip
        # Rows beyond the length have a query and a gradient of zeros: what stands there adds nothing.
        p = tl.exp2(scores - lse[:, None])
        of_scores = p * (of_p - delta[:, None])
        if kept is not None:
            p *= kept
        of_v = tl.dot(tl.trans(p.to(g.dtype)), g, of_v, input_precision="ieee")
        of_k = tl.dot(tl.trans(of_scores.to(q.dtype)), q, of_k, input_precision="ieee")
        q_tile += BLOCK_T * stride_qt
    mask_s = (s0 + offs_s < T)[:, None] & mask_d[None, :]
    out_tile = ((b * T + s0) * H + h) * D + offs_s[:, None] * (H * D) + offs_d[None, :]
    tl.store(of_k_ptr + out_tile, (of_k * scale).to(of_k_ptr.dtype.element_ty), mask=mask_s)
    tl.store(of_v_ptr + out_tile, of_v.to(of_v_ptr.dtype.element_ty), mask=mask_s)


@kernel
def _attention_table_bwd_kernel(
    q_ptr,  # [B, T, H, D], any strides
    lengths_ptr,  # [B] int64, or None
    g_ptr,  # [B, T, H, D], contiguous
    band_p_ptr,  # [B, H, T, ROWS], contiguous, float32
    band_of_scores_ptr,
    of_rel_k_ptr,  # [B, H, ROWS, D], contiguous, float32
    of_rel_v_ptr,
    stride_qb,
    stride_qt,
    stride_qh,
    stride_qd,
    T,
    H,
    scale,
    D: "tl.constexpr",
    ROWS: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_D: "tl.constexpr",
):
    pid = tl.program_id(0)
    row = pid % ROWS
    h = (pid // ROWS) % H
    b = (pid // ROWS // H).to(tl.int64)
    length = T
    if lengths_ptr is not None:
        length = tl.minimum(tl.load(lengths_ptr + b), T).to(tl.int32)
    offs_d = tl.arange(0, BLOCK_D)
    mask_d = offs_d < D
    of_k = tl.zeros([BLOCK_D], tl.float32)
    of_v = tl.zeros([BLOCK_D], tl.float32)
    for t0 in range(0, length, BLOCK_T):
        t = (t0 + tl.arange(0, BLOCK_T)).to(tl.int64)
        mask = (t < length)[:, None] & mask_d[None, :]
        q_pointers = q_ptr + b * stride_qb + h * stride_qh + t[:, None] * stride_qt + offs_d[None, :] * stride_qd
        q = tl.load(q_pointers, mask=mask, other=0.0).to(tl.float32)  # [BLOCK_T, BLOCK_D]
        g = tl.load(g_ptr + ((b * T + t) * H + h)[:, None] * D + offs_d[None, :], mask=mask, other=0.0).to(tl.float32)
        band = ((b * H + h) * T + t) * ROWS + row
        of_scores = tl.load(band_of_scores_ptr + band, mask=t < length, other=0.0)
        p = tl.load(band_p_ptr + band, mask=t < length, other=0.0)
        of_k += tl.sum(of_scores[:, None] * q, 0)
        of_v += tl.sum(p[:, None] * g, 0)
    out = ((b * H + h) * ROWS + row) * D + offs_d
    tl.store(of_rel_k_ptr + out, of_k * scale, mask=mask_d)
    tl.store(of_rel_v_ptr + out, of_v, mask=mask_d)


def attention_backward(op: str, grads: tuple[Tensor | None, ...], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The gradients of the arguments of `op`, one of the two; None for those that want none."""
    q, k, v, rel_k, rel_v, lengths, seed, dropout = arguments
    batch, steps, heads, head_dim = q.shape
    g = torch.zeros_like(q) if grads[0] is None else grads[0]
    of_weights = grads[1].contiguous() if len(grads) > 1 and grads[1] is not None else None
    rows = 0 if rel_k is None else rel_k.shape[0]
    tile = tiles.choose(
        "relative_attention_backward", q.device, q.dtype, channels=head_dim, kernel_size=rows, work=batch * steps
    )
    of_q, of_k, of_v = (torch.empty(q.shape, dtype=q.dtype, device=q.device) for _ in range(3))
    lse, delta = (torch.empty(batch, heads, steps, dtype=torch.float32, device=q.device) for _ in range(2))
    bands: list[Tensor] = []
    if rows and (wants(rel_k) or wants(rel_v)):
        bands = [torch.zeros(batch, heads, steps, rows, dtype=torch.float32, device=q.device) for _ in range(2)]
    g, lengths = g.contiguous(), one_each(lengths, batch)
    tables = (None if table is None else table.contiguous() for table in (rel_k, rel_v))
    given = (q, k, v, *tables, lengths, seed if dropout else None, g, of_weights)
    scale = head_dim**-0.5
    rest = (*q.stride(), *k.stride(), *v.stride(), steps, heads, scale, math.log2(math.e))
    rest = (*rest, float(dropout), dropout_scale(dropout))
    constants = {"D": head_dim, "ROWS": rows, **tile.sizes, "BLOCK_D": padded(head_dim, 16)}
    options = {"num_warps": tile.num_warps, "num_stages": tile.num_stages}
    name = f"{op}_backward"
    launch(
        name,
        _attention_query_bwd_kernel,
        (-(-steps // tile.sizes["BLOCK_T"]) * heads * batch,),
        (*given, of_q, lse, delta, *(bands or (None, None)), *rest),
        constants,
        **options,
    )
    if wants(k) or wants(v):
        key_programs = -(-steps // tile.sizes["BLOCK_S"]) * heads * batch
        arguments = (*given, of_k, of_v, lse, delta, *rest)
        launch(name, _attention_key_bwd_kernel, (key_programs,), arguments, constants, **options)
    of_rel_k = of_rel_v = None
    if bands:
        by_head = [torch.empty(batch, heads, rows, head_dim, dtype=torch.float32, device=q.device) for _ in range(2)]
        sizes = {"D": head_dim, "ROWS": rows, "BLOCK_T": 16, "BLOCK_D": constants["BLOCK_D"]}
        arguments = (q, lengths, g, *bands, *by_head, *q.stride(), steps, heads, scale)
        launch(name, _attention_table_bwd_kernel, (batch * heads * rows,), arguments, sizes, **options)
        of_rel_k, of_rel_v = (each.sum((0, 1)).to(q.dtype) for each in by_head)
    return (
        of_q if wants(q) else None,
        of_k if wants(k) else None,
        of_v if wants(v) else None,
        of_rel_k if wants(rel_k) else None,
        of_rel_v if wants(rel_v) else None,
        None,
        None,
        None,
    )
