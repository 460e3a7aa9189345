"""Cases of the ops between a text and its latents: attention, alignment, durations, splines."""

from collections.abc import Sequence
from typing import Any

import torch

from .draw import LONG, Draw, case

# --- relative_attention and relative_attention_weights: q, k, v, rel_k, rel_v, lengths, seed, dropout


def attention(
    name: str,
    shape: tuple[int, int, int, int],
    window: int | None = 4,
    *,
    lengths: Sequence[int] | None = None,
    scale: float = 1.0,
    layout: str = "fused",
    dropout: float = 0.0,
) -> None:
    """`shape` is `[B, T, H, D]`; layout `fused` makes q, k and v views of one projection, as the text encoder does."""
    batch, steps, heads, head_dim = shape

    def make(draw: Draw) -> tuple[Any, ...]:
        if layout == "fused":
            q, k, v = draw.normal(batch, steps, 3, heads, head_dim, scale=scale).unbind(2)
        else:
            q, k, v = (getattr(draw, layout)(*shape, scale=scale) for _ in range(3))
        rows = None if window is None else 2 * window + 1
        rel_k = None if rows is None else draw.normal(rows, head_dim, scale=scale)
        rel_v = None if rows is None else draw.sliced(rows, head_dim)
        return q, k, v, rel_k, rel_v, draw.lengths(lengths), *draw.dropout(dropout)

    case("relative_attention", name)(make)
    case("relative_attention_weights", name)(make)


attention("one-step", (1, 1, 1, 16))
attention("ragged-96", (3, 35, 2, 96), lengths=[35, 0, 17])
attention("two-tiles-ragged", (2, 18, 1, 6), 2, lengths=[18, 5])
attention("no-window-sliced", (2, 48, 2, 32), None, lengths=[48, 33], layout="sliced")
attention("window-1-transposed", (2, 33, 2, 48), 1, lengths=[33, 20], layout="transposed")
attention("window-beyond-T", (2, 12, 1, 16), 30, lengths=[12, 5])
attention("wide-window", (1, 40, 1, 16), 20, lengths=[37])
attention("window-0", (1, 20, 1, 16), 0)
attention("sharp", (1, 33, 1, 32), scale=3.0)
attention("head-dim-192", (1, 20, 1, 192), lengths=[19])
attention("head-dim-256", (1, 9, 1, 256))
attention("head-dim-6", (1, 20, 2, 6), lengths=[19])
attention("long-thin", (1, 82, 1, 16), lengths=[75])
attention("dropout-two-tiles-ragged", (2, 18, 1, 6), 2, lengths=[18, 5], dropout=0.4)
attention("dropout-two-heads", (1, 18, 2, 6), 2, lengths=[17], dropout=0.2)
attention("dropout-no-window", (2, 9, 1, 8), None, lengths=[9, 4], dropout=0.1)
attention("dropout-ragged-96", (1, 35, 2, 96), lengths=[33], dropout=0.1)
attention("dropout-all", (1, 7, 1, 16), 1, dropout=1.0)
attention("empty-batch", (0, 5, 2, 16), layout="normal")


# --- layer_norm: x, residual, weight, bias, lengths, eps


def layer_norm(
    name: str,
    shape: tuple[int, int, int],
    *,
    lengths: Sequence[int] | None = None,
    residual: str | None = "normal",
    layout: str = "normal",
    scale: float = 1.0,
    eps: float = 1e-5,
) -> None:
    @case("layer_norm", name)
    def make(draw: Draw) -> tuple[Any, ...]:
        return (
            getattr(draw, layout)(*shape, scale=scale),
            getattr(draw, residual)(*shape) if residual else None,
            draw.normal(shape[2], shift=1.0, scale=0.3),
            draw.normal(shape[2]),
            draw.lengths(lengths),
            eps,
        )


layer_norm("one-step", (1, 1, 16))
layer_norm("ragged-192", (3, 63, 192), lengths=[63, 0, 17])
layer_norm("no-residual-96-sliced", (2, 64, 96), residual=None, layout="sliced", lengths=[64, 1])
layer_norm("transposed-256", (2, 33, 256), residual="sliced", layout="transposed", lengths=[33, 9])
layer_norm("tiny-against-epsilon", (2, 9, 32), residual=None, scale=1e-3)
layer_norm("long-thin", (1, LONG, 16), eps=1e-3)
layer_norm("wide", (1, 3, 1200))
layer_norm("empty-batch", (0, 5, 16))


# --- length_regulator: means, log_scales, durations, noise, noise_scale


def length_regulator(
    name: str,
    durations: Sequence[Sequence[int]],
    frames: int,
    channels: int,
    *,
    layout: str = "normal",
    prior_dtype: torch.dtype | None = None,
) -> None:
    @case("length_regulator", name)
    def make(draw: Draw) -> tuple[Any, ...]:
        batch, tokens = len(durations), len(durations[0]) if durations else 3
        prior = Draw(prior_dtype or draw.dtype, draw.device, draw.generator)
        means, log_scales = prior.normal(batch, tokens, 2 * channels).split(channels, dim=-1)
        counts = torch.tensor(durations, dtype=torch.int64, device=draw.device).reshape(batch, tokens)
        noise = getattr(draw, layout)(batch, frames, channels)
        return means, log_scales, counts, noise, prior.uniform(batch, low=0.0, high=1.0)


length_regulator("one-frame", [[1]], 1, 16)
length_regulator("ragged-192", [[3, 0, 9, 1, 50], [0, 0, 0, 0, 0], [17, 0, 0, 2, 0]], 63, 192)
length_regulator("zero-durations-at-both-ends", [[0, 0, 5, 0, 0, 7, 0]], 15, 32, layout="transposed")
length_regulator("more-frames-drawn-than-kept", [[2, 2], [40, 40]], 64, 96, layout="sliced")
length_regulator("many-frames", [[i % 20 for i in range(52)]], 500, 16)
length_regulator("many-tokens", [[int(i % 9 == 8) for i in range(300)]], 33, 16)
length_regulator("prior-in-float32", [[4, 5], [1, 0]], 9, 256, prior_dtype=torch.float32)
length_regulator("empty-batch", [], 5, 16)


# --- durations: log_durations, inverse_rates, lengths


def log_durations(
    name: str, shape: tuple[int, int], *, lengths: Sequence[int] | None = None, first: float = 0.3
) -> None:
    """Up to some hundred frames a token, none of them a tie in float32."""

    @case("durations", name)
    def make(draw: Draw) -> tuple[Any, ...]:
        log_durations = draw.normal(*shape, 2, scale=2.0)[..., 1]
        log_durations[:1, :1] = first
        return log_durations, draw.uniform(shape[0], low=0.5, high=3.0), draw.lengths(lengths)


log_durations("one-token", (1, 1))
log_durations("ragged", (4, 63), lengths=[63, 0, 17, 1])
log_durations("long", (2, 1000), lengths=[1000, 300])
log_durations("overflow", (2, 5), first=1e4)
log_durations("not-a-number", (2, 5), first=float("nan"))
log_durations("silent", (1, 1), first=-1e4)
log_durations("empty-batch", (0, 5))


# --- monotonic_alignment: scores, text_lengths, frame_lengths


def alignment(
    name: str,
    shape: tuple[int, int, int],
    text_lengths: Sequence[int],
    frame_lengths: Sequence[int],
    *,
    layout: str = "normal",
    scale: float = 1.0,
    minus_infinity: bool = False,
) -> None:
    @case("monotonic_alignment", name)
    def make(draw: Draw) -> tuple[Any, ...]:
        scores = getattr(draw, layout)(*shape, scale=scale)
        if minus_infinity:
            scores = scores.masked_fill(scores > 0, float("-inf"))
        return scores, draw.lengths(text_lengths), draw.lengths(frame_lengths)


alignment("one-cell", (1, 1, 1), [1], [1])
alignment("ragged", (5, 17, 40), [17, 0, 5, 1, 9], [40, 0, 5, 33, 31])
alignment("no-path", (5, 9, 12), [9, 9, 0, 10, 3], [12, 8, 4, 12, 13])
alignment("transposed", (2, 33, 66), [20, 33], [64, 66], layout="transposed")
alignment("far-below-any-sentinel", (1, 20, 65), [20], [65], scale=1e4)
alignment("minus-infinity-all-over", (2, 9, 21), [9, 8], [21, 20], minus_infinity=True)
alignment("ties", (2, 7, 19), [7, 4], [19, 19], scale=0.0)
alignment("many-tokens", (1, 130, 133), [130], [133], layout="sliced")
alignment("empty-batch", (0, 5, 7), [], [])


# --- left_align: input_ids, attention_mask, vocab_size


def left_align(
    name: str,
    runs: Sequence[tuple[int, int]] | None,
    shape: tuple[int, int],
    *,
    ids_dtype: torch.dtype = torch.int64,
    mask_dtype: torch.dtype = torch.int64,
    stray: Sequence[tuple[int, int, float]] = (),
    vocab_size: int = 38,
    low: int = 0,
) -> None:
    """Ids in `[low, 38)`; ones from `start` to `stop` for each of `runs`, and `stray` values `(item, place, value)`."""

    @case("left_align", name)
    def make(draw: Draw) -> tuple[Any, ...]:
        ids = torch.randint(low, 38, shape, generator=draw.generator).to(draw.device, ids_dtype)
        if runs is None:
            return ids, None, vocab_size
        mask = torch.zeros(shape[1], shape[0], dtype=mask_dtype)
        for item, (start, stop) in enumerate(runs):
            mask[start:stop, item] = 1
        for item, place, value in stray:
            mask[place, item] = value
        return ids, mask.t().to(draw.device), vocab_size


left_align("unmasked", None, (2, 63))
left_align("unmasked-id-too-large", None, (3, 300), vocab_size=20, ids_dtype=torch.uint8)
left_align("unmasked-negative-id", None, (1, 64), low=-1, ids_dtype=torch.int32)
left_align("unmasked-blanks", None, (3, 1), vocab_size=1)
left_align("both-sides", [(0, 9), (4, 9), (0, 3), (2, 5), (8, 9)], (5, 9), mask_dtype=torch.bool)
left_align("long", [(0, 1000), (711, 1000), (0, 256)], (3, 1000), mask_dtype=torch.int8)
left_align("hole-and-no-token", [(0, 9), (0, 0), (3, 9)], (3, 9), stray=[(0, 4, 0)], mask_dtype=torch.float32)
left_align("neither-0-nor-1", [(0, 5), (0, 5)], (2, 5), stray=[(0, 4, 2), (1, 2, 0.5)], mask_dtype=torch.float64)
left_align("mask-not-a-number", [(0, 5)], (1, 5), stray=[(0, 4, float("nan"))], mask_dtype=torch.float16)
left_align("faults-under-zeros", [(0, 0)], (1, 40), low=-5, vocab_size=3)
left_align("empty-batch", [], (0, 5))


# --- rational_quadratic_spline: x, widths, heights, derivatives, tail_bound, reverse
# --- spline_coupling: h, weight, bias, x, lengths, num_bins, tail_bound, reverse


def spline(
    name: str,
    shape: tuple[int, ...],
    bins: int = 10,
    *,
    scale: float = 1.0,
    tail_bound: float = 5.0,
    directions: Sequence[bool] = (False, True),
) -> None:
    """The spline and its inverse, parameters sliced from one tensor, inputs inside, at and beyond the bounds."""
    for reverse in directions:

        @case("rational_quadratic_spline", f"{name}-inverse" if reverse else name)
        def make(draw: Draw, reverse: bool = reverse) -> tuple[Any, ...]:
            x = draw.uniform(*shape, low=-1.1 * tail_bound, high=1.1 * tail_bound)
            x.view(-1)[:2] = torch.tensor([-tail_bound, tail_bound])[: x.numel()]
            parameters = draw.normal(*shape, 3 * bins - 1, scale=scale)
            return x, *parameters.split([bins, bins, bins - 1], dim=-1), tail_bound, reverse


spline("ten-bins", (2, 63, 2))
spline("one-value-one-bin", (1,), 1)
spline("parameters-of-ten-thousand", (2, 64), scale=1e4)
spline("long-seventeen-bins", (LONG,), 17, tail_bound=3.0, directions=[True])
spline("empty-batch", (0, 5, 1), directions=[True])


@case("rational_quadratic_spline", "transposed")
def _(draw: Draw) -> tuple[Any, ...]:
    return (
        draw.transposed(2, 21, 3, scale=2.0),
        draw.transposed(2, 21, 3, 4),
        draw.sliced(2, 21, 3, 4),
        draw.normal(2, 21, 3, 3),
        5.0,
        True,
    )


def coupling(
    name: str,
    shape: tuple[int, int, int],
    channels: int = 1,
    *,
    bins: int = 10,
    lengths: Sequence[int] | None = None,
    reverse: bool = True,
    scale: float = 4.0,
    layout: str = "normal",
) -> None:
    batch, steps, features = shape

    @case("spline_coupling", name)
    def make(draw: Draw) -> tuple[Any, ...]:
        outputs = channels * (3 * bins - 1)
        return (
            getattr(draw, layout)(*shape, scale=scale),
            draw.matrix(features, outputs),
            draw.normal(outputs),
            getattr(draw, layout)(batch, steps, channels, scale=2.5),
            draw.lengths(lengths),
            bins,
            5.0,
            reverse,
        )


coupling("one-step", (8, 1, 16), scale=1.0)
coupling("inverse-192-ragged", (3, 63, 192), lengths=[63, 0, 17])
coupling("forward-96-two-channels", (2, 64, 96), 2, lengths=[64, 31], reverse=False)
coupling("transposed-five-bins", (2, 20, 32), 3, bins=5, layout="transposed")
coupling("forward-three-channels-ragged", (2, 33, 16), 3, lengths=[33, 12], reverse=False, layout="sliced")
coupling("long-thin-sliced", (1, LONG, 16), layout="sliced", lengths=[LONG - 30])
coupling("wide-256", (1, 17, 256))
coupling("empty-batch", (0, 5, 16))
