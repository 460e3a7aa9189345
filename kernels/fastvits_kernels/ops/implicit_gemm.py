"""The loop of every convolution's kernel: an implicit GEMM, which gathers its matrix from shifted steps.

A tile of outputs `[BLOCK_T, BLOCK_O]` is the sum over taps and blocks of input channels of products of a shifted tile
of `x` with a tile of the weight, in float32. Taps and blocks are one loop, which Triton can pipeline as a whole.

The weight is contiguous. How far its rows are apart is `C_out`, and yet an argument: as a constant it costs
registers, in the text encoder's feed-forward layer a quarter more on sm_90, and on gfx942 instructions too.
"""

from typing import TYPE_CHECKING

from ..launch.jit import kernel

if TYPE_CHECKING:
    import triton.language as tl


@kernel
def add_taps(
    acc,  # [BLOCK_T, BLOCK_O], float32
    x_ptr,  # one item, [T, C_in]
    weight_ptr,  # [K, C_in, C_out], contiguous
    first,  # the turns of the loop to take, of taps * blocks of input channels
    last,
    offs_t,  # [BLOCK_T]
    shift,  # how far the steps that the first tap reads are from those
    tap_shift,  # and the next tap's from them
    first_tap,
    tap_stride,  # from one tap that is taken to the next
    stride_xt,
    stride_xc,
    stride_wi,
    offs_o,  # [BLOCK_O]
    length,
    slope,
    C_IN: "tl.constexpr",
    C_OUT: "tl.constexpr",
    BLOCK_I: "tl.constexpr",
    BLOCK_O: "tl.constexpr",
    LEAKY: "tl.constexpr",
    PRECISION: "tl.constexpr",
):
    """`acc` plus the convolution of `x`, behind a leaky ReLU of `slope` with LEAKY, zero outside `[0, length)`."""
    BLOCKS: tl.constexpr = (C_IN + BLOCK_I - 1) // BLOCK_I
    for index in range(first, last):
        turn = index // BLOCKS
        offs_i = (index % BLOCKS) * BLOCK_I + tl.arange(0, BLOCK_I)
        t = offs_t + (shift + turn * tap_shift)
        mask_x = ((t >= 0) & (t < length))[:, None]
        if C_IN % BLOCK_I != 0:
            mask_x = mask_x & (offs_i < C_IN)[None, :]
        x = tl.load(x_ptr + t[:, None] * stride_xt + offs_i[None, :] * stride_xc, mask=mask_x, other=0.0)
        if LEAKY:
            wide = x.to(tl.float32)
            x = tl.where(wide > 0, wide, wide * slope).to(x.dtype)
        tap = first_tap + turn * tap_stride
        w_ptrs = weight_ptr + (tap * C_IN + offs_i)[:, None] * stride_wi + offs_o[None, :]
        if C_IN % BLOCK_I == 0 and C_OUT % BLOCK_O == 0:
            w = tl.load(w_ptrs)  # [BLOCK_I, BLOCK_O]
        elif C_IN % BLOCK_I == 0:
            w = tl.load(w_ptrs, mask=(offs_o < C_OUT)[None, :], other=0.0)
        else:
            w = tl.load(w_ptrs, mask=(offs_i < C_IN)[:, None] & (offs_o < C_OUT)[None, :], other=0.0)
        acc = tl.dot(x, w, acc, input_precision=PRECISION)  # x is [BLOCK_T, BLOCK_I]
    return acc
