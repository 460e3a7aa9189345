"""Monotonic alignment search: how many frames each token lasts on the best path through a table of scores.

A path gives every frame one token: it begins at the first token with the first frame, ends at the last one with the
last, and moves on by one token or none from frame to frame. Of all such paths the one with the largest sum of scores is

    Q[i, j] = scores[i, j] + max(Q[i, j - 1], Q[i - 1, j - 1]),      Q[0, 0] = scores[0, 0],  Q[i, 0] = -inf for i > 0

walked back from the last token at the last frame (Kim et al. 2020, "Glow-TTS", section 3.1 and algorithm 1). Where both
terms are equal the path stays on the later token, as the published code does. What cannot be reached is minus infinity,
no finite number that scores could fall below; a score may be minus infinity itself.

Axes: `scores` `[B, T_text, T_frames]` with any strides, `text_lengths`, `frame_lengths` `[B]` int64; out `durations`
`[B, T_text]` int64, whose sum is `frame_lengths[b]`, zero beyond `text_lengths[b]`. Nothing beyond the lengths is seen.
Half precision is added up in float32. An item that has no path (more tokens than frames, none for some frames, or
lengths beyond the table) gets -1 throughout. No gradients: these are whole numbers. With a NaN among the scores the
path is any.

Sums run along the frames in every implementation, in the same order and dtype, so that all find the same path to the
last bit.

Traffic: 4 bytes of score and one bit of direction a cell, in one launch; eager some ten launches a frame. The kernel
has one program an item. It keeps `Q` of a frame in registers, passes it to the next token by `tl.gather`, and collects
the directions of 32 frames into a word for each token before it stores them. Then it walks back over these words.
Scores are read in long pieces where tokens are contiguous, as `alignment_scores` leaves them. Up to 4096 tokens; not
supported by the kernel: float64.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..dispatch.precision import ieee_products
from ..dispatch.registry import Implementation, Op
from ..dispatch.shapes import axes, expect
from ..launch.jit import kernel, launch, padded, unsupported

if TYPE_CHECKING:
    import triton.language as tl

MAX_TOKENS = 4096
"""Tokens whose sums fit into the registers of one program."""


def has_path(text_lengths: Tensor, frame_lengths: Tensor, tokens: int, frames: int) -> Tensor:
    """Which items can be aligned, `[B]`: with a frame for each token and a token for each frame, inside the table."""
    inside = (text_lengths >= 0) & (text_lengths <= tokens) & (frame_lengths <= frames)
    return inside & (text_lengths <= frame_lengths) & ((text_lengths > 0) | (frame_lengths == 0))


def monotonic_alignment_reference(scores: Tensor, text_lengths: Tensor, frame_lengths: Tensor) -> Tensor:
    """The search of the module's docstring: the specification of the op."""
    batch, tokens, frames = scores.shape
    dtype = torch.promote_types(scores.dtype, torch.float32)
    token = torch.arange(tokens, device=scores.device)
    best = torch.full((batch, tokens), float("-inf"), dtype=dtype, device=scores.device)
    entry = best.new_zeros(batch, 1)  # the way to the first token, open at the first frame only
    moves = []
    for j in range(frames):
        earlier = torch.cat([entry, best[:, :-1]], 1)
        # A token's first frame that can be reached comes from the token before, also where both are minus infinity.
        moves.append((best < earlier) | (token == j))
        best = torch.maximum(best, earlier) + scores.detach()[:, :, j].to(dtype)
        entry = best.new_full((batch, 1), float("-inf"))
    possible = has_path(text_lengths, frame_lengths, tokens, frames)
    durations = torch.zeros(batch, tokens, dtype=torch.int64, device=scores.device)
    at = (text_lengths - 1).clamp(0, max(tokens - 1, 0)).unsqueeze(1)
    for j in reversed(range(frames)):
        walked = (possible & (j < frame_lengths)).unsqueeze(1)
        durations.scatter_add_(1, at, walked.long())
        at = (at - (moves[j].gather(1, at) & walked).long()).clamp_min(0)
    return durations.masked_fill(~possible.unsqueeze(1), -1)


@kernel
def _monotonic_alignment_fwd_kernel(
    scores_ptr,  # [B, T_text, T_frames], any strides
    text_lengths_ptr,  # [B] int64
    frame_lengths_ptr,  # [B] int64
    moves_ptr,  # [B, ceil(T_frames / 32), BLOCK_TEXT] int32: bit j % 32 of word j // 32 is for frame j
    durations_ptr,  # [B, T_text] int64, contiguous
    row_stride_sb,
    stride_st,
    row_stride_sf,
    T_text,
    T_frames,
    BLOCK_TEXT: "tl.constexpr",
):
    b = tl.program_id(0).to(tl.int64)
    tokens = tl.load(text_lengths_ptr + b)
    frames = tl.load(frame_lengths_ptr + b)
    possible = (tokens >= 0) & (tokens <= T_text) & (frames <= T_frames) & (tokens <= frames)
    possible = possible & ((tokens > 0) | (frames == 0))
    offs_i = tl.arange(0, BLOCK_TEXT)
    durations_row = durations_ptr + b * T_text
    tl.store(durations_row + offs_i, tl.where(possible, offs_i * 0, -1).to(tl.int64), mask=offs_i < T_text)
    frames = tl.where(possible, frames, 0).to(tl.int32)
    tokens = tokens.to(tl.int32)

    words_row = moves_ptr + b * tl.cdiv(T_frames, 32) * BLOCK_TEXT
    score_ptrs = scores_ptr + b * row_stride_sb + offs_i.to(tl.int64) * stride_st
    mask_i = offs_i < tokens
    before = tl.maximum(offs_i - 1, 0)
    best = tl.full([BLOCK_TEXT], float("-inf"), tl.float32)
    entry = 0.0
    words = tl.zeros([BLOCK_TEXT], tl.int32)
    for j in tl.range(0, frames, num_stages=4):
        score = tl.load(score_ptrs + tl.cast(j, tl.int64) * row_stride_sf, mask=mask_i, other=0.0).to(tl.float32)
        earlier = tl.where(offs_i == 0, entry, tl.gather(best, before, 0))
        move = best < earlier
        best = tl.where(move, earlier, best) + score
        entry = float("-inf")
        words |= (move | (offs_i == j)).to(tl.int32) << (j % 32)
        if (j % 32 == 31) | (j == frames - 1):
            tl.store(words_row + (j // 32) * BLOCK_TEXT + offs_i, words)
            words = tl.zeros([BLOCK_TEXT], tl.int32)

    # What other threads have stored is read from here on.
    tl.debug_barrier()
    at = tokens - 1
    count = at * 0
    for back in range(0, frames):
        j = frames - 1 - back
        move = (tl.load(words_row + (j // 32) * BLOCK_TEXT + at) >> (j % 32)) & 1
        count += 1
        if (move != 0) | (j == 0):
            tl.store(durations_row + at, count.to(tl.int64))
        count = tl.where(move != 0, 0, count)
        at -= move


def _launch_monotonic_alignment(scores: Tensor, text_lengths: Tensor, frame_lengths: Tensor) -> Tensor:
    batch, tokens, frames = scores.shape
    block = padded(tokens, 32)
    durations = torch.empty(batch, tokens, dtype=torch.int64, device=scores.device)
    moves = torch.empty(batch, -(-frames // 32), block, dtype=torch.int32, device=scores.device)
    launch(
        "monotonic_alignment",
        _monotonic_alignment_fwd_kernel,
        (batch,),
        (
            *(scores, text_lengths.contiguous(), frame_lengths.contiguous(), moves, durations),
            *(scores.stride(0), scores.stride(1), scores.stride(2), tokens, frames),
        ),
        {"BLOCK_TEXT": block},
        num_warps=4 if block <= 1024 else 8,
    )
    return durations


def _supports(scores: Tensor) -> str | None:
    if scores.shape[1] > MAX_TOKENS:
        return f"the sums of a frame do not fit in registers: {scores.shape[1]} tokens, at most {MAX_TOKENS}"
    return unsupported(scores)


def _fake(scores: Tensor) -> Tensor:
    return scores.new_empty(scores.shape[:2], dtype=torch.int64)


def _check(scores: Tensor, text_lengths: Tensor, frame_lengths: Tensor) -> None:
    batch, _, _ = axes(scores, "scores [B, T_text, T_frames]")
    for lengths, name in ((text_lengths, "text_lengths"), (frame_lengths, "frame_lengths")):
        expect(lengths, f"{name} [B]", batch)
        if lengths.dtype != torch.int64:
            raise ValueError(f"{name} must be int64, got {lengths.dtype}")


_MONOTONIC_ALIGNMENT = Op("monotonic_alignment", monotonic_alignment_reference, _fake, _check)
_MONOTONIC_ALIGNMENT.register("triton", Implementation(_launch_monotonic_alignment, _supports))


def monotonic_alignment(scores: Tensor, text_lengths: Tensor, frame_lengths: Tensor) -> Tensor:
    """Frames of each token on the best path, `[B, T_text]` int64; see the module's docstring.

    Lengths may lie on the CPU wherever the scores are. There they are looked at: ValueError names the item that has no
    path. Lengths on a GPU are not, since the host would wait for them: such an item's durations are -1.
    Raises ValueError for shapes that do not fit, too.
    """
    _check(scores, text_lengths, frame_lengths)
    if text_lengths.device.type == frame_lengths.device.type == "cpu" and not torch.compiler.is_compiling():
        _refuse_without_path(text_lengths, frame_lengths, *scores.shape[1:])
    on_device = (lengths.to(scores.device, non_blocking=True) for lengths in (text_lengths, frame_lengths))
    durations: Tensor = _MONOTONIC_ALIGNMENT(scores.detach(), *on_device)
    return durations


def _refuse_without_path(text_lengths: Tensor, frame_lengths: Tensor, tokens: int, frames: int) -> None:
    possible = has_path(text_lengths, frame_lengths, tokens, frames)
    if possible.all():
        return
    item = int((~possible).nonzero()[0])
    found = f"{int(text_lengths[item])} tokens and {int(frame_lengths[item])} frames"
    raise ValueError(
        f"item {item} cannot be aligned: it has {found}, "
        f"but needs a frame for each token and a token for each frame, of {tokens} and {frames} scored"
    )


@torch.no_grad()
def alignment_scores(latents: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """What `monotonic_alignment` adds up: the log-density of each frame under the prior of each token,

        scores[b, i, j] = sum_c log N(latents[b, j, c]; means[b, i, c], exp(log_scales[b, i, c]))

    (Kim et al. 2021, equation 5). The square is multiplied out, `z^2 . (-s / 2) + z . (m s)` with `s = exp(-2
    log_scales)`, and the rest depends on the token alone: one product of matrices of `2 C` columns, IEEE (`precision`),
    and nothing of the size `[B, T_text, T_frames, C]`.

    Axes: `latents` `[B, T_frames, C]`, `means`, `log_scales` `[B, T_text, C]`; out `[B, T_text, T_frames]` with the
    tokens contiguous, in float32 or, of float64, in float64. Without gradients, as the alignment is.
    """
    batch, _, channels = axes(latents, "latents [B, T_frames, C]")
    expect(means, "means [B, T_text, C]", batch, None, channels)
    expect(log_scales, "log_scales [B, T_text, C]", batch, means.shape[1], channels)
    dtype = torch.promote_types(latents.dtype, torch.float32)
    z, m, logs = latents.to(dtype), means.to(dtype), log_scales.to(dtype)
    precision = torch.exp(-2.0 * logs)
    of_token = -0.5 * (1.8378770664093453 + m * m * precision).sum(2) - logs.sum(2)  # log(2 pi)
    frames = torch.cat([z * z, z], 2)
    tokens = torch.cat([-0.5 * precision, m * precision], 2)
    with ieee_products():
        scores = torch.baddbmm(of_token.unsqueeze(1), frames, tokens.transpose(1, 2))
    return scores.transpose(1, 2)
