"""Token ids and their attention mask as the model takes them: every item at the start, with what is wrong about them.

Item `b` holds the run of ones of `attention_mask[b]`, from its first one on; the rest is padding, on either side. With
`first[b]` the place of that one (0 where there is no mask, and so no padding):

    places[0, b, t] = (t + first[b]) mod T,   places[1, b, t] = (t - first[b]) mod T
    ids[b, t] = input_ids[b, places[0, b, t]] where the mask is set there, clamped to the vocabulary; else 0

`places[0]` moves what belongs to a token from the caller's positions to ours, `places[1]` back. `lengths[b]` counts the
ones. `faults[b]` adds up `OUTSIDE_VOCABULARY` (an id under a one is none), `BAD_MASK` (values other than 0 and 1, a
hole, or no one) and `SILENT` (one token, and that a blank, id 0): the host judges them when it reads the number of
frames.

Axes: `input_ids` `[B, T]` integers, `attention_mask` `[B, T]` of any real dtype, or None; out `ids` `[B, T]`, `lengths`
`[B]`, `places` `[2, B, T]`, `faults` `[B]`, all int64.

Traffic: some 50 bytes a token, in one launch; eager some 30 launches. One program an item walks over the mask and then
over the ids. Any strides. Not supported by the kernel: unsigned integers wider than 8 bits.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..dispatch.registry import Implementation, Op
from ..dispatch.shapes import axes, expect
from ..launch.jit import kernel, launch, unavailable

if TYPE_CHECKING:
    import triton.language as tl

BLANK = 0
"""The id between tokens. An item that consists of one is what an empty text becomes."""

OUTSIDE_VOCABULARY, BAD_MASK, SILENT = 1, 2, 4
"""The faults of an item, to be added up."""

_DTYPES = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_MASK_DTYPES = (*_DTYPES, torch.float16, torch.bfloat16, torch.float32, torch.float64)


def left_align_reference(
    input_ids: Tensor, attention_mask: Tensor | None, vocab_size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The equations of the module's docstring: the specification of the op."""
    steps = input_ids.shape[1]
    mask = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask
    valid = mask != 0
    lengths = valid.sum(1)
    first = valid.int().argmax(1)
    position = torch.arange(steps, device=input_ids.device)
    run = (position >= first[:, None]) & (position < (first + lengths)[:, None])
    bad_mask = ((run != valid) | (valid & (mask != 1))).any(1) | (lengths == 0)
    ids = input_ids.long().masked_fill(~valid, 0)
    outside = ((ids < 0) | (ids >= vocab_size)).any(1)
    places = (position + torch.stack([first, -first])[..., None]) % steps
    ids = ids.clamp(0, vocab_size - 1).gather(1, places[0])
    silent = (lengths == 1) & (ids[:, 0] == BLANK)
    return ids, lengths, places, outside * OUTSIDE_VOCABULARY + bad_mask * BAD_MASK + silent * SILENT


@kernel
def _left_align_fwd_kernel(
    input_ids_ptr,  # [B, T] integers, any strides
    mask_ptr,  # [B, T] any real dtype and strides, or None
    ids_ptr,  # [B, T] int64, contiguous
    lengths_ptr,  # [B] int64, contiguous
    places_ptr,  # [2, B, T] int64, contiguous
    faults_ptr,  # [B] int64, contiguous
    row_stride_i,
    stride_it,
    row_stride_m,
    stride_mt,
    T,
    vocab_size,
    BLANK: "tl.constexpr",
    OUTSIDE_VOCABULARY: "tl.constexpr",
    BAD_MASK: "tl.constexpr",
    SILENT: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
):
    b = tl.program_id(0).to(tl.int64)
    first = b * 0
    length = first + T
    faults = first
    if mask_ptr is not None:
        first, last, length, stray = first + T, first - 1, first, first
        for start in range(0, T, BLOCK_T):
            offs_t = start + tl.arange(0, BLOCK_T).to(tl.int64)
            value = tl.load(mask_ptr + b * row_stride_m + offs_t * stride_mt, mask=offs_t < T, other=0)  # [BLOCK_T]
            valid = value != 0
            first = tl.minimum(first, tl.min(tl.where(valid, offs_t, T), 0))
            last = tl.maximum(last, tl.max(tl.where(valid, offs_t, -1), 0))
            length += tl.sum(valid.to(tl.int64), 0)
            stray += tl.sum((valid & (value != 1)).to(tl.int64), 0)
        bad = (length == 0) | (last - first + 1 != length) | (stray != 0)
        faults += bad.to(tl.int64) * BAD_MASK
        first = first % T

    outside = b * 0
    spoken = b * 0
    for start in range(0, T, BLOCK_T):
        offs_t = start + tl.arange(0, BLOCK_T).to(tl.int64)
        mask_t = offs_t < T
        source = (offs_t + first) % T
        valid = mask_t
        if mask_ptr is not None:
            valid = mask_t & (tl.load(mask_ptr + b * row_stride_m + source * stride_mt, mask=mask_t, other=0) != 0)
        token = tl.load(input_ids_ptr + b * row_stride_i + source * stride_it, mask=valid, other=0).to(tl.int64)
        outside += tl.sum(((token < 0) | (token >= vocab_size)).to(tl.int64), 0)
        token = tl.minimum(tl.maximum(token, 0), vocab_size - 1)
        spoken += tl.sum((valid & (token != BLANK)).to(tl.int64), 0)
        tl.store(ids_ptr + b * T + offs_t, token, mask=mask_t)
        tl.store(places_ptr + b * T + offs_t, source, mask=mask_t)
        tl.store(places_ptr + (tl.num_programs(0) + b) * T + offs_t, (offs_t + T - first) % T, mask=mask_t)
    faults += (outside != 0).to(tl.int64) * OUTSIDE_VOCABULARY
    faults += ((length == 1) & (spoken == 0)).to(tl.int64) * SILENT
    tl.store(lengths_ptr + b, length)
    tl.store(faults_ptr + b, faults)


def _launch_left_align(
    input_ids: Tensor, attention_mask: Tensor | None, vocab_size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch, steps = input_ids.shape
    outputs = _fake(input_ids)
    mask = attention_mask
    if mask is not None and mask.dtype == torch.bool:
        mask = mask.view(torch.uint8)
    strides = (*input_ids.stride(), *((0, 0) if mask is None else mask.stride()))
    launch(
        "left_align",
        _left_align_fwd_kernel,
        (batch,),
        (input_ids, mask, *outputs, *strides, steps, vocab_size),
        {
            "BLANK": BLANK,
            "OUTSIDE_VOCABULARY": OUTSIDE_VOCABULARY,
            "BAD_MASK": BAD_MASK,
            "SILENT": SILENT,
            "BLOCK_T": 256,
        },
    )
    return outputs


def _supports_left_align(input_ids: Tensor, attention_mask: Tensor | None) -> str | None:
    if input_ids.dtype not in _DTYPES[1:]:
        return f"there is no kernel for ids in {input_ids.dtype}"
    if attention_mask is not None and attention_mask.dtype not in _MASK_DTYPES:
        return f"there is no kernel for a mask in {attention_mask.dtype}"
    return unavailable(input_ids)


def _fake(input_ids: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch, steps = input_ids.shape
    ids = input_ids.new_empty((batch, steps), dtype=torch.int64)
    return ids, ids.new_empty((batch,)), ids.new_empty((2, batch, steps)), ids.new_empty((batch,))


def _check(input_ids: Tensor, attention_mask: Tensor | None) -> None:
    batch, steps = axes(input_ids, "input_ids [B, T]")
    if not steps:
        raise ValueError(f"input_ids must be [B, T] with at least one token, got {(batch, steps)}")
    expect(attention_mask, "attention_mask [B, T]", batch, steps)


_LEFT_ALIGN = Op("left_align", left_align_reference, _fake, _check)
_LEFT_ALIGN.register("triton", Implementation(_launch_left_align, _supports_left_align))


def left_align(
    input_ids: Tensor, attention_mask: Tensor | None, vocab_size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`ids`, `lengths`, `places` and `faults`; see the module's docstring."""
    ids, lengths, places, faults = _LEFT_ALIGN(input_ids, attention_mask, vocab_size)
    return ids, lengths, places, faults
