"""Relative-position attention on the CPU, exact, in blocks of queries: memory grows with the text's length, not its
square.

Keys and values get `w` rows of zeros on either side. In the scores `[Q, n + 2 w]` of the queries from `t0` on, the
window of query `t` then begins at column `t`, so that the windows of all queries are one strided view: the relative
scores are added to it in place, and the relative values are multiplied with it. The columns of the margins are minus
infinity before the softmax.
"""

import torch
from torch import Tensor

from ..registry import Implementation, ops
from .convolution import unsupported
from .scratch import scratch

_SCORES_AT_ONCE = 1 << 20
"""How many scores a block of queries may have, all heads together: 4 MB of float32, beside as many probabilities."""


def _margins(x: Tensor, window: int, dtype: torch.dtype) -> Tensor:
    """`[n, H, D]` -> contiguous `[H, n + 2 w, D]`."""
    steps, heads, head_dim = x.shape
    out = torch.zeros(heads, steps + 2 * window, head_dim, dtype=dtype, device=x.device)
    out[:, window : window + steps].copy_(x.transpose(0, 1))
    return out


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_k: Tensor | None,
    rel_v: Tensor | None,
    out: Tensor,
    weights: Tensor | None,
) -> None:
    """One item without padding: `q`, `k`, `v` `[n, H, D]` -> `out` `[n, H, D]` and perhaps `weights` `[H, n, n]`, both
    written."""
    steps, heads, head_dim = q.shape
    dtype = torch.float32
    window = 0 if rel_k is None else (rel_k.shape[0] - 1) // 2
    width = steps + 2 * window
    query = (q.to(dtype) * head_dim**-0.5).transpose(0, 1)  # [H, n, D]
    keys, values = _margins(k, window, dtype), _margins(v, window, dtype)
    block = max(16, _SCORES_AT_ONCE // (heads * width))
    for first in range(0, steps, block):
        rows = query[:, first : first + block]
        count = rows.shape[1]
        scores = scratch("scores", (heads, count, width), dtype)
        torch.bmm(rows, keys.transpose(1, 2), out=scores)
        shape, strides = (heads, count, 2 * window + 1), (count * width, width + 1, 1)
        if rel_k is not None:
            scores.as_strided(shape, strides, scores.storage_offset() + first).add_(rows @ rel_k.to(dtype).t())
            scores[..., :window].fill_(float("-inf"))
            scores[..., window + steps :].fill_(float("-inf"))
        probabilities = torch.softmax(scores, -1, out=scratch("probabilities", scores.shape, dtype))
        result = torch.bmm(probabilities, values)  # [H, Q, D]
        if rel_v is not None:
            band = probabilities.as_strided(shape, strides, probabilities.storage_offset() + first)
            result += band @ rel_v.to(dtype)
        out[first : first + count].copy_(result.transpose(0, 1))
        if weights is not None:
            weights[:, first : first + count].copy_(probabilities[..., window : window + steps])


def _run(q: Tensor, k: Tensor, v: Tensor, rel_k: Tensor | None, rel_v: Tensor | None, lengths: Tensor | None) -> Tensor:
    batch, steps, _, _ = q.shape
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    for item, length in enumerate([steps] * batch if lengths is None else lengths.tolist()):
        length = max(min(length, steps), 0)
        if length:
            _attend(q[item, :length], k[item, :length], v[item, :length], rel_k, rel_v, out[item, :length], None)
        out[item, length:].zero_()
    return out


def _run_weights(
    q: Tensor, k: Tensor, v: Tensor, rel_k: Tensor | None, rel_v: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    batch, steps, heads, _ = q.shape
    out = torch.zeros(q.shape, dtype=q.dtype, device=q.device)
    weights = torch.zeros(batch, heads, steps, steps, dtype=q.dtype, device=q.device)
    for item, length in enumerate([steps] * batch if lengths is None else lengths.tolist()):
        length = max(min(length, steps), 0)
        if length:
            _attend(
                q[item, :length],
                k[item, :length],
                v[item, :length],
                rel_k,
                rel_v,
                out[item, :length],
                weights[item, :, :length, :length],
            )
    return out, weights


def _supports(q: Tensor, k: Tensor, v: Tensor, rel_k: Tensor | None, rel_v: Tensor | None, *_: object) -> str | None:
    return unsupported(q, k, v, rel_k, rel_v)


ops()["relative_attention"].register("onednn", Implementation(_run, _supports))
ops()["relative_attention_weights"].register("onednn", Implementation(_run_weights, _supports))
