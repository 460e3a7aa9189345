"""`monotonic_alignment` on a CPU, a frame after the other with all tokens of all items at once.

What a frame needs is little (6,400 cells for 32 items of 200 tokens), so that the time of a call counts: numpy's take
half as long as torch's, and wait for no other thread. Items stand behind one another in one flat row, each behind a
cell that no path reaches: the token before is the cell before, and every pass is over contiguous memory.
"""

import numpy as np
import torch
from torch import Tensor

from ..dispatch.registry import Implementation, ops
from ..ops.monotonic_alignment import has_path
from .convolution import unsupported
from .scratch import scratch


def _run(scores: Tensor, text_lengths: Tensor, frame_lengths: Tensor) -> Tensor:
    batch, tokens, frames = scores.shape
    possible = has_path(text_lengths, frame_lengths, tokens, frames)
    if not batch or not tokens or not frames:
        return torch.where(possible, 0, -1).unsqueeze(1).expand(batch, tokens).contiguous()
    dtype = torch.promote_types(scores.dtype, torch.float32)
    width = tokens + 1
    by_frame = scratch("alignment scores", (frames, batch, width), dtype).numpy()
    by_frame[:, :, 0] = 0
    for item, table in enumerate(scores.to(dtype).numpy()):  # all at once would take five times as long
        by_frame[:, item, 1:] = table.T
    rows = by_frame.reshape(frames, -1)

    moves = np.zeros((frames, batch * width), dtype=np.uint8)
    best = np.full(batch * width, -np.inf, dtype=rows.dtype)
    best[1::width] = rows[0, 1::width]
    later, earlier, unreached = best[1:], best[:-1], best[::width]
    larger = np.empty_like(later)
    with np.errstate(invalid="ignore"):  # infinities beyond an item's length
        for j in range(1, frames):
            np.less(later, earlier, out=moves[j, 1:].view(bool))
            np.maximum(later, earlier, out=larger)
            np.add(larger, rows[j, 1:], out=later)
            unreached.fill(-np.inf)
    # The first frame that reaches a token comes from the token before, also where both are minus infinity.
    diagonal = np.arange(1, min(tokens, frames))
    moves.reshape(frames, batch, width)[diagonal, :, diagonal + 1] = 1

    lengths = np.where(possible.numpy(), frame_lengths.numpy(), 0)
    for item, length in enumerate(lengths):
        moves[max(length, 0) :, item * width : (item + 1) * width] = 0
    at = np.arange(batch) * width + np.where(possible.numpy(), text_lengths.numpy(), 0)
    places = np.empty((frames, batch), dtype=np.int64)
    for j in range(frames - 1, 0, -1):
        places[j] = at
        at -= moves[j].take(at)
    places[0] = at
    walked = places[np.arange(frames)[:, None] < lengths]
    counts = np.bincount(walked, minlength=batch * width).reshape(batch, width)[:, 1:]
    return torch.from_numpy(counts.astype(np.int64)).masked_fill(~possible.unsqueeze(1), -1)


def _supports(scores: Tensor) -> str | None:
    return unsupported(scores) if scores.dtype != torch.float64 else None


ops()["monotonic_alignment"].register("onednn", Implementation(_run, _supports))
