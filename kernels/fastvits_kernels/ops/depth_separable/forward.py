"""The fused layer: one launch, whose programs make all channels of some steps."""

from typing import TYPE_CHECKING

from torch import Tensor

from ...dispatch.masking import one_each
from ...dispatch.packing import contiguous
from ...launch import tiles
from ...launch.jit import kernel, launch, padded
from ..dropout import dropout_scale, keeps
from ..normalisation import statistics

if TYPE_CHECKING:
    import triton.language as tl


@kernel
def _depthwise(
    x_first,  # the tile's first row, [., C]
    weight_ptr,  # [K, C], contiguous, as are the parameters that follow
    bias_ptr,  # [C]
    first,
    length,
    dilation,
    stride_xt,
    stride_xc,
    offs_c,
    mask_c,
    CHANNELS: "tl.constexpr",
    KERNEL_SIZE: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
):
    """The depthwise convolution of `BLOCK_T` steps from `first` and of the channels `offs_c`, float32."""
    rows = tl.arange(0, BLOCK_T)
    total = tl.load(bias_ptr + offs_c, mask=mask_c, other=0.0).to(tl.float32)[None, :]
    for tap in tl.static_range(KERNEL_SIZE):
        shift = tap * dilation - (KERNEL_SIZE - 1) * dilation // 2
        t = first + shift + rows
        x = tl.load(
            x_first + tl.cast(shift, tl.int64) * stride_xt + rows[:, None] * stride_xt + offs_c[None, :] * stride_xc,
            mask=((t >= 0) & (t < length))[:, None] & mask_c[None, :],
            other=0.0,
        ).to(tl.float32)
        weight = tl.load(weight_ptr + tap * CHANNELS + offs_c, mask=mask_c, other=0.0).to(tl.float32)
        total += x * weight[None, :]
    return total


@kernel
def _gelu(x):
    """The exact GELU, `x Phi(x)`."""
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@kernel
def _pointwise_sum(
    x_first,  # the tile's first row, [., C]
    depthwise_ptr,  # [K, C], contiguous, as are the parameters that follow
    depthwise_bias_ptr,  # [C]
    norm1_weight_ptr,  # [C]
    norm1_bias_ptr,  # [C]
    pointwise_ptr,  # [C, C]
    pointwise_bias_ptr,  # [C]
    hidden_first,  # where to keep the tile's h, [., C], contiguous; or None
    first,
    steps,
    length,
    dilation,
    eps,
    stride_xt,
    stride_xc,
    CHANNELS: "tl.constexpr",
    KERNEL_SIZE: "tl.constexpr",
    PRECISION: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_C: "tl.constexpr",
    BLOCK_N: "tl.constexpr",
):
    """What the second norm is applied to, `BLOCK_T` steps from `first` on, `[BLOCK_T, BLOCK_N]` in float32."""
    rows = tl.arange(0, BLOCK_T)
    offs_n = tl.arange(0, BLOCK_N)
    mask_n = offs_n < CHANNELS
    whole = _depthwise(
        x_first,
        depthwise_ptr,
        depthwise_bias_ptr,
        first,
        length,
        dilation,
        stride_xt,
        stride_xc,
        offs_n,
        mask_n,
        CHANNELS,
        KERNEL_SIZE,
        BLOCK_T,
    )  # [BLOCK_T, BLOCK_N]
    mean, scale = statistics(whole, mask_n, eps, CHANNELS)
    acc = tl.zeros((BLOCK_T, BLOCK_N), tl.float32)
    for c_first in range(0, CHANNELS, BLOCK_C):
        c = c_first + tl.arange(0, BLOCK_C)
        mask_c = c < CHANNELS
        h = _depthwise(
            x_first,
            depthwise_ptr,
            depthwise_bias_ptr,
            first,
            length,
            dilation,
            stride_xt,
            stride_xc,
            c,
            mask_c,
            CHANNELS,
            KERNEL_SIZE,
            BLOCK_T,
        )  # [BLOCK_T, BLOCK_C]
        norm_weight = tl.load(norm1_weight_ptr + c, mask=mask_c, other=0.0).to(tl.float32)
        norm_bias = tl.load(norm1_bias_ptr + c, mask=mask_c, other=0.0).to(tl.float32)
        # In the padding the weight and the bias are zero, and so is the GELU.
        h = _gelu((h - mean[:, None]) * scale[:, None] * norm_weight[None, :] + norm_bias[None, :])
        pointwise = tl.load(
            pointwise_ptr + c[:, None] * CHANNELS + offs_n[None, :],
            mask=mask_c[:, None] & mask_n[None, :],
            other=0.0,
        )  # [BLOCK_C, BLOCK_N]
        h = h.to(pointwise.dtype)
        if hidden_first is not None:
            hidden_ptrs = hidden_first + rows[:, None] * CHANNELS + c[None, :]
            valid = (rows < length - first)[:, None] & mask_c[None, :]
            tl.store(hidden_ptrs, tl.where(valid, h, 0.0), mask=(rows < steps - first)[:, None] & mask_c[None, :])
        acc = tl.dot(h, pointwise, acc, input_precision=PRECISION)
    return acc + tl.load(pointwise_bias_ptr + offs_n, mask=mask_n, other=0.0).to(tl.float32)[None, :]


@kernel
def tile_of_program(
    lengths_ptr,  # [B] or None
    steps,
    CHANNELS: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_N: "tl.constexpr",
):
    """What a program computes, `BLOCK_T` steps of an item in all channels: the item, the first step, the item's length,
    rows, channels and which of these there are, and where the first row stands in `[B, T, C]`.

    One axis for tiles and items: a grid's other axes hold 65535 programs at most. Tiles are addressed from their first
    row, so that only that address has 64 bits.
    """
    blocks_t = tl.cdiv(steps, BLOCK_T)
    pid_b = (tl.program_id(0) // blocks_t).to(tl.int64)
    first = tl.program_id(0) % blocks_t * BLOCK_T
    rows = tl.arange(0, BLOCK_T)
    offs_n = tl.arange(0, BLOCK_N)
    length = steps if lengths_ptr is None else tl.minimum(tl.load(lengths_ptr + pid_b), steps).to(tl.int32)
    return pid_b, first, length, rows, offs_n, offs_n < CHANNELS, (pid_b * steps + first) * CHANNELS


@kernel
def _depth_separable_layer_fwd_kernel(
    x_ptr,  # [B, T, C]
    depthwise_ptr,  # [K, C], contiguous, as are the parameters that follow
    depthwise_bias_ptr,  # [C]
    norm1_weight_ptr,  # [C]
    norm1_bias_ptr,  # [C]
    pointwise_ptr,  # [C, C]
    pointwise_bias_ptr,  # [C]
    norm2_weight_ptr,  # [C]
    norm2_bias_ptr,  # [C]
    lengths_ptr,  # [B] or None
    seed_ptr,  # [1] int64, or None
    out_ptr,  # [B, T, C], contiguous
    steps,
    dilation,
    eps,
    rate,  # of the dropout
    kept_scale,
    stride_xb,
    stride_xt,
    stride_xc,
    CHANNELS: "tl.constexpr",
    KERNEL_SIZE: "tl.constexpr",
    PRECISION: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_C: "tl.constexpr",
    BLOCK_N: "tl.constexpr",
):
    pid_b, first, length, rows, offs_n, mask_n, tile_first = tile_of_program(
        lengths_ptr, steps, CHANNELS, BLOCK_T, BLOCK_N
    )
    out_first = out_ptr + tile_first
    if first >= length:
        tl.store(
            out_first + rows[:, None] * CHANNELS + offs_n[None, :],
            tl.zeros((BLOCK_T, BLOCK_N), out_ptr.dtype.element_ty),
            mask=(rows < steps - first)[:, None] & mask_n[None, :],
        )
        return

    x_first = x_ptr + pid_b * stride_xb + first.to(tl.int64) * stride_xt
    acc = _pointwise_sum(
        x_first, depthwise_ptr, depthwise_bias_ptr, norm1_weight_ptr, norm1_bias_ptr, pointwise_ptr, pointwise_bias_ptr,
        None, first, steps, length, dilation, eps, stride_xt, stride_xc,
        CHANNELS, KERNEL_SIZE, PRECISION, BLOCK_T, BLOCK_C, BLOCK_N,
    )  # fmt: skip
    mean, scale = statistics(acc, mask_n, eps, CHANNELS)
    norm_weight = tl.load(norm2_weight_ptr + offs_n, mask=mask_n, other=0.0).to(tl.float32)
    norm_bias = tl.load(norm2_bias_ptr + offs_n, mask=mask_n, other=0.0).to(tl.float32)
    acc = _gelu((acc - mean[:, None]) * scale[:, None] * norm_weight[None, :] + norm_bias[None, :])
    if seed_ptr is not None:
        kept = keeps(tl.load(seed_ptr), pid_b.to(tl.int32), (first + rows)[:, None], offs_n[None, :], rate)
        acc = tl.where(kept, acc * kept_scale, 0.0)
    valid = (rows < length - first)[:, None]
    acc += tl.load(
        x_first + rows[:, None] * stride_xt + offs_n[None, :] * stride_xc, mask=valid & mask_n[None, :], other=0.0
    ).to(tl.float32)
    tl.store(
        out_first + rows[:, None] * CHANNELS + offs_n[None, :],
        tl.where(valid, acc, 0.0).to(out_ptr.dtype.element_ty),
        mask=(rows < steps - first)[:, None] & mask_n[None, :],
    )


def tile_of(x: Tensor) -> tiles.Tile:
    batch, steps, channels = x.shape
    return tiles.choose(
        "depth_separable_layer",
        x.device,
        x.dtype,
        channels=channels,
        work=batch * steps,
    )


def _launch_depth_separable_layer(
    x: Tensor,
    depthwise: Tensor,
    depthwise_bias: Tensor,
    norm1_weight: Tensor,
    norm1_bias: Tensor,
    pointwise: Tensor,
    pointwise_bias: Tensor,
    norm2_weight: Tensor,
    norm2_bias: Tensor,
    lengths: Tensor | None,
    dilation: int,
    eps: float,
    seed: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    batch, steps, channels = x.shape
    first = (depthwise, depthwise_bias, norm1_weight, norm1_bias)
    second = (pointwise, pointwise_bias, norm2_weight, norm2_bias)
    out = x.new_empty(x.shape)
    tile = tile_of(x)
    # tl.dot takes no fewer than 16 rows or columns.
    block_n = padded(channels, 16)
    launch(
        "depth_separable_layer",
        _depth_separable_layer_fwd_kernel,
        (-(-steps // tile.sizes["BLOCK_T"]) * batch,),
        (
            x,
            *(contiguous(parameter) for parameter in (*first, *second)),
            one_each(lengths, batch),
            seed if dropout else None,
            out,
            steps,
            dilation,
            *(float(eps), float(dropout), dropout_scale(dropout)),
            *x.stride(),
        ),
        {
            "CHANNELS": channels,
            "KERNEL_SIZE": depthwise.shape[0],
            "PRECISION": "ieee",
            **tile.sizes,
            "BLOCK_C": min(tile.sizes["BLOCK_C"], block_n),
            "BLOCK_N": block_n,
        },
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )
    return out
