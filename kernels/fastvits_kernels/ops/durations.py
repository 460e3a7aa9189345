"""Frames of each token, and of each item, from log durations.

    durations[b, i] = ceil(exp(log_durations[b, i]) * inverse_rates[b]),   frames[b] = max(sum_i durations[b, i], 1)

(Kim et al. 2021, section 2.2.2). Tokens beyond `lengths` have no frames. A duration beyond `MAX_FRAMES`, an infinite
one and NaN count as `MAX_FRAMES`, so that sums stay exact and whoever reads them sees the overflow.

Axes: `log_durations` `[B, T_text]`, `inverse_rates` `[B]`, in float32 or float64 (half precision is computed in
float32); out `durations` `[B, T_text]` and `frames` `[B]`, int64. No gradients: these are whole numbers.

An utterance's length must not depend on the backend, and `ceil` tells the last bit: the kernel takes the exponential in
float64 and rounds it once to float32, since a GPU's fast one is off by several units. torch's own is off by one at
most, so that only a tie to within round-off falls elsewhere.

Traffic: 12 bytes a token, in one launch; eager some nine. One program an item; any strides. Not supported by the
kernel: float64.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..dispatch.masking import one_each, zero_beyond
from ..dispatch.registry import Implementation, Op
from ..dispatch.shapes import axes, expect, expect_each
from ..launch.jit import kernel, launch, unsupported

if TYPE_CHECKING:
    import triton.language as tl

MAX_FRAMES = 2**40
"""The most frames that a token can have, exact in float32; the sum of 8 million such tokens fits 64 bits."""


def durations_reference(log_durations: Tensor, inverse_rates: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """The equations of the module's docstring: the specification of the op."""
    dtype = torch.promote_types(log_durations.dtype, torch.float32)
    spoken = torch.ceil(log_durations.detach().to(dtype).exp() * inverse_rates.detach().to(dtype)[:, None])
    counts = torch.where(spoken <= MAX_FRAMES, spoken, MAX_FRAMES).long()
    counts = zero_beyond(counts, lengths)
    return counts, counts.sum(1).clamp_min(1)


@kernel
def _durations_fwd_kernel(
    log_durations_ptr,  # [B, T_text], any strides
    inverse_rates_ptr,  # [B], any stride
    lengths_ptr,  # [B] int64, or None
    durations_ptr,  # [B, T_text] int64, contiguous
    frames_ptr,  # [B] int64, contiguous
    row_stride_l,
    stride_lt,
    stride_r,
    T,
    MAX: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
):
    b = tl.program_id(0).to(tl.int64)
    rate = tl.load(inverse_rates_ptr + b * stride_r).to(tl.float32)
    total = b * 0
    for start in range(0, T, BLOCK_T):
        offs_t = start + tl.arange(0, BLOCK_T).to(tl.int64)
        mask_t = offs_t < T
        mask_valid = mask_t
        if lengths_ptr is not None:
            mask_valid = mask_t & (offs_t < tl.load(lengths_ptr + b))
        pointers = log_durations_ptr + b * row_stride_l + offs_t * stride_lt
        log_duration = tl.load(pointers, mask=mask_valid, other=0.0).to(tl.float32)  # [BLOCK_T]
        spoken = tl.ceil(tl.exp(log_duration.to(tl.float64)).to(tl.float32) * rate)
        counts = tl.where(spoken <= MAX, spoken, MAX).to(tl.int64)  # a comparison with NaN is false
        counts = tl.where(mask_valid, counts, 0)
        total += tl.sum(counts, 0)
        tl.store(durations_ptr + b * T + offs_t, counts, mask=mask_t)
    tl.store(frames_ptr + b, tl.maximum(total, 1))


def _launch_durations(log_durations: Tensor, inverse_rates: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    batch, steps = log_durations.shape
    durations, frames = _fake(log_durations)
    launch(
        "durations",
        _durations_fwd_kernel,
        (batch,),
        (
            log_durations,
            inverse_rates,
            one_each(lengths, batch),
            durations,
            frames,
            *log_durations.stride(),
            *inverse_rates.stride(),
            steps,
        ),
        {"MAX": float(MAX_FRAMES), "BLOCK_T": 256},
    )
    return durations, frames


def _supports_durations(log_durations: Tensor, inverse_rates: Tensor) -> str | None:
    return unsupported(log_durations, inverse_rates)


def _fake(log_durations: Tensor) -> tuple[Tensor, Tensor]:
    counts = log_durations.new_empty(log_durations.shape, dtype=torch.int64)
    return counts, counts.new_empty(counts.shape[:1])


def _check(log_durations: Tensor, inverse_rates: Tensor, lengths: Tensor | None) -> None:
    batch, _ = axes(log_durations, "log_durations [B, T_text]")
    expect(inverse_rates, "inverse_rates [B]", batch)
    expect_each(lengths, "lengths [B or 1]", batch)


_DURATIONS = Op("durations", durations_reference, _fake, _check)
_DURATIONS.register("triton", Implementation(_launch_durations, _supports_durations))


def durations(log_durations: Tensor, inverse_rates: Tensor, *, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Frames of tokens `[B, T_text]` and of items `[B]`; see the module's docstring."""
    counts, frames = _DURATIONS(log_durations.detach(), inverse_rates.detach(), lengths)
    return counts, frames
