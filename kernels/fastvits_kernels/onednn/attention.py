"""Relative-position attention on the CPU, exact, in blocks of queries: memory grows with the text's length, not its
square.

Keys and values get `w` rows of zeros on either side. In the scores `[Q, n + 2 w]` of the queries from `t0` on, the
window of query `t` then begins at column `t`, so that the windows of all queries are one strided view: the relative
scores are added to it in place, and the relative values are multiplied with it. The columns of the margins are minus
infinity before the softmax. With dropout, which is for training, the reference runs.
"""

import torch
from torch import Tensor

from ..dispatch.registry import Implementation, named, ops
from ..ops.attention.reference import relative_attention_reference, relative_attention_weights_reference
from .convolution import linear, prefers_eager_with_dropout, torch_is_slow, unsupported, whole_steps
from .scratch import scratch

_SCORES_AT_ONCE = 1 << 20
"""How many scores a block of queries may have, all heads together: 4 MB of float32, beside as many probabilities."""


_LONG = 192
"""Steps from which on heads are worth products of their own by oneDNN, where torch's are slow."""


def _margins(x: Tensor, left: int, width: int) -> Tensor:
    """`[n, H, D]` -> contiguous float32 `[H, width, D]`, zeros around the `n` rows from `left` on."""
    steps, heads, head_dim = x.shape
    out = torch.zeros(heads, width, head_dim, dtype=torch.float32, device=x.device)
    out[:, left : left + steps].copy_(x.transpose(0, 1))
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
    steps, heads, _ = q.shape
    alone = steps >= _LONG and torch_is_slow()
    for head in range(heads) if alone else (0,):
        some = slice(head, head + 1 if alone else heads)
        to = None if weights is None else weights[some]
        _attend_heads(q[:, some], k[:, some], v[:, some], rel_k, rel_v, out[:, some], to, alone)


def _attend_heads(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_k: Tensor | None,
    rel_v: Tensor | None,
    out: Tensor,
    weights: Tensor | None,
    alone: bool,
) -> None:
    """`_attend` for one head, `alone` with products of oneDNN, or for several with torch's."""
    steps, heads, head_dim = q.shape
    window = 0 if rel_k is None else (rel_k.shape[0] - 1) // 2
    width = steps + 2 * window
    # Queries and columns beyond the text, so that oneDNN meets few different numbers of them.
    width, rows = (whole_steps(width), whole_steps(steps)) if alone else (width, steps)
    query = _margins(q, 0, rows).mul_(head_dim**-0.5)  # [H, rows, D]
    keys, values = _margins(k, window, width), _margins(v, window, width)
    values_first = values.transpose(1, 2).contiguous() if alone else values
    block = max(16, _SCORES_AT_ONCE // (heads * width) // 16 * 16)
    for first in range(0, steps, block):
        part = query[:, first : first + block]
        count, kept = part.shape[1], min(block, steps - first)
        if alone:
            scores = linear(part[0], keys[0]).unsqueeze(0)
        else:
            scores = scratch("scores", (heads, count, width), torch.float32)
            torch.bmm(part, keys.transpose(1, 2), out=scores)
        shape, strides = (heads, kept, 2 * window + 1), (count * width, width + 1, 1)
        if rel_k is not None:
            relative = part[:, :kept] @ rel_k.float().t()
            scores.as_strided(shape, strides, scores.storage_offset() + first).add_(relative)
        scores[..., :window].fill_(float("-inf"))
        scores[..., window + steps :].fill_(float("-inf"))
        probabilities = torch.softmax(scores, -1, out=scratch("probabilities", scores.shape, torch.float32))
        if alone:
            result = linear(probabilities[0], values_first[0]).unsqueeze(0)[:, :kept]
        else:
            result = torch.bmm(probabilities, values)  # [H, kept, D]
        if rel_v is not None:
            band = probabilities.as_strided(shape, strides, probabilities.storage_offset() + first)
            result += band @ rel_v.float()
        out[first : first + kept].copy_(result.transpose(0, 1))
        if weights is not None:
            weights[:, first : first + kept].copy_(probabilities[:, :kept, window : window + steps])


def _run(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_k: Tensor | None,
    rel_v: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    if dropout:
        return relative_attention_reference(q, k, v, rel_k, rel_v, lengths, seed, dropout)
    batch, steps, _, _ = q.shape
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    for item, length in enumerate([steps] * batch if lengths is None else lengths.expand(batch).tolist()):
        length = max(min(length, steps), 0)
        if length:
            _attend(q[item, :length], k[item, :length], v[item, :length], rel_k, rel_v, out[item, :length], None)
        out[item, length:].zero_()
    return out


def _run_weights(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rel_k: Tensor | None,
    rel_v: Tensor | None,
    lengths: Tensor | None,
    seed: Tensor | None = None,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    if dropout:
        return relative_attention_weights_reference(q, k, v, rel_k, rel_v, lengths, seed, dropout)
    batch, steps, heads, _ = q.shape
    out = torch.zeros(q.shape, dtype=q.dtype, device=q.device)
    weights = torch.zeros(batch, heads, steps, steps, dtype=q.dtype, device=q.device)
    for item, length in enumerate([steps] * batch if lengths is None else lengths.expand(batch).tolist()):
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


_supports = named(unsupported, "q", "k", "v", "rel_k", "rel_v")
ops()["relative_attention"].register("onednn", Implementation(_run, _supports, prefers_eager_with_dropout))
ops()["relative_attention_weights"].register(
    "onednn", Implementation(_run_weights, _supports, prefers_eager_with_dropout)
)
