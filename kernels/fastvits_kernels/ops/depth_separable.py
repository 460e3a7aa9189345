"""One layer of the dilated depth-separable stack of the duration predictors.

    h   = GELU(LayerNorm_1(depthwise(x) + depthwise_bias))
    out = x + GELU(LayerNorm_2(h @ pointwise + pointwise_bias))

(Kim et al. 2021, "Conditional Variational Autoencoder with Adversarial Learning for End-to-End Text-to-Speech",
appendix B; GELU in its exact form.) `x` counts as zero outside `[0, lengths[b])`, `out` is zero there.

Axes: `x` `[B, T, C]`, `depthwise` `[K, C]`, `pointwise` `[C_in, C_out]` with `C_in = C_out = C`, biases and norms
`[C]`, all of one dtype and with any strides; `lengths` is int64. `(K - 1) * dilation` is even and split evenly. Work:
`2 B T C (C + K)` FLOPs. Eager moves about `18 B T C` elements, fused `2 B T C`.

The fused layer is one launch. A program makes `BLOCK_T` steps of all channels, since both norms need them all. It forms
the depthwise convolution twice: whole, for the first norm's statistics, and then `BLOCK_C` channels at a time, which
are normalised and multiplied into the accumulator `[BLOCK_T, C]` of the pointwise product. `K` more loads an element,
from the cache, are the price: a register tile cannot be sliced, so the first result cannot be kept. Sums, norms and
GELU are float32; the first GELU is rounded to the input's dtype before the product. Up to 1024 channels; Triton has no
kernel for float64.
"""

from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional

from ..dispatch.masking import one_each, zero_beyond
from ..dispatch.packing import contiguous
from ..dispatch.registry import Implementation, Op
from ..dispatch.shapes import axes, expect, expect_each, expect_even_padding
from ..launch import tiles
from ..launch.jit import kernel, launch, padded, unsupported

if TYPE_CHECKING:
    import triton.language as tl


def depth_separable_layer_with_dropout(
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
    dropout: float,
) -> Tensor:
    """The layer as in training, with dropout on the branch."""
    channels = x.shape[-1]
    x = zero_beyond(x, lengths)
    h = functional.conv1d(
        x.transpose(1, 2),
        depthwise.t().unsqueeze(1),
        depthwise_bias,
        padding=(depthwise.shape[0] - 1) * dilation // 2,
        dilation=dilation,
        groups=channels,
    ).transpose(1, 2)
    h = functional.gelu(functional.layer_norm(h, (channels,), norm1_weight, norm1_bias, eps))
    h = functional.linear(h, pointwise.t(), pointwise_bias)
    h = functional.gelu(functional.layer_norm(h, (channels,), norm2_weight, norm2_bias, eps))
    if dropout:
        h = functional.dropout(h, dropout)
    return zero_beyond(x + h, lengths).contiguous()


def depth_separable_layer_reference(
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
) -> Tensor:
    """The layer of the module's docstring: the specification of the op."""
    return depth_separable_layer_with_dropout(
        x,
        depthwise,
        depthwise_bias,
        norm1_weight,
        norm1_bias,
        pointwise,
        pointwise_bias,
        norm2_weight,
        norm2_bias,
        lengths,
        dilation,
        eps,
        0.0,
    )


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
def _statistics(x, mask_c, eps, CHANNELS: "tl.constexpr"):
    """The mean and the reciprocal standard deviation of each row over its valid channels."""
    mean = tl.sum(tl.where(mask_c[None, :], x, 0.0), axis=1) / CHANNELS
    centred = tl.where(mask_c[None, :], x - mean[:, None], 0.0)
    return mean, 1.0 / tl.sqrt(tl.sum(centred * centred, axis=1) / CHANNELS + eps)


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
    out_ptr,  # [B, T, C], contiguous
    steps,
    dilation,
    eps,
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
    # One axis for tiles and items: a grid's other axes hold 65535 programs at most.
    blocks_t = tl.cdiv(steps, BLOCK_T)
    pid_b = (tl.program_id(0) // blocks_t).to(tl.int64)
    first = tl.program_id(0) % blocks_t * BLOCK_T
    rows = tl.arange(0, BLOCK_T)
    offs_n = tl.arange(0, BLOCK_N)
    mask_n = offs_n < CHANNELS
    # Tiles are addressed from their first row, so that only that address has 64 bits.
    out_first = out_ptr + (pid_b * steps + first) * CHANNELS
    length = steps if lengths_ptr is None else tl.minimum(tl.load(lengths_ptr + pid_b), steps).to(tl.int32)
    if first >= length:
        tl.store(
            out_first + rows[:, None] * CHANNELS + offs_n[None, :],
            tl.zeros((BLOCK_T, BLOCK_N), out_ptr.dtype.element_ty),
            mask=(rows < steps - first)[:, None] & mask_n[None, :],
        )
        return

    x_first = x_ptr + pid_b * stride_xb + first.to(tl.int64) * stride_xt
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
    mean, scale = _statistics(whole, mask_n, eps, CHANNELS)
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
        acc = tl.dot(h.to(x_ptr.dtype.element_ty), pointwise, acc, input_precision=PRECISION)
    acc += tl.load(pointwise_bias_ptr + offs_n, mask=mask_n, other=0.0).to(tl.float32)[None, :]
    mean, scale = _statistics(acc, mask_n, eps, CHANNELS)
    norm_weight = tl.load(norm2_weight_ptr + offs_n, mask=mask_n, other=0.0).to(tl.float32)
    norm_bias = tl.load(norm2_bias_ptr + offs_n, mask=mask_n, other=0.0).to(tl.float32)
    acc = _gelu((acc - mean[:, None]) * scale[:, None] * norm_weight[None, :] + norm_bias[None, :])
    valid = (rows < length - first)[:, None]
    acc += tl.load(
        x_first + rows[:, None] * stride_xt + offs_n[None, :] * stride_xc, mask=valid & mask_n[None, :], other=0.0
    ).to(tl.float32)
    tl.store(
        out_first + rows[:, None] * CHANNELS + offs_n[None, :],
        tl.where(valid, acc, 0.0).to(out_ptr.dtype.element_ty),
        mask=(rows < steps - first)[:, None] & mask_n[None, :],
    )


def _tile(x: Tensor) -> tiles.Tile:
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
) -> Tensor:
    batch, steps, channels = x.shape
    first = (depthwise, depthwise_bias, norm1_weight, norm1_bias)
    second = (pointwise, pointwise_bias, norm2_weight, norm2_bias)
    out = x.new_empty(x.shape)
    tile = _tile(x)
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
            out,
            steps,
            dilation,
            float(eps),
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


def _supports(
    x: Tensor,
    depthwise: Tensor,
    depthwise_bias: Tensor,
    norm1_weight: Tensor,
    norm1_bias: Tensor,
    pointwise: Tensor,
    pointwise_bias: Tensor,
    norm2_weight: Tensor,
    norm2_bias: Tensor,
) -> str | None:
    channels = x.shape[2]
    if channels > 1024:
        return f"a step's channels do not fit in registers: {channels}, at most 1024"
    weights = (depthwise, depthwise_bias, norm1_weight, norm1_bias, pointwise, pointwise_bias)
    return unsupported(x, *weights, norm2_weight, norm2_bias)


def _fake(x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


def _check(
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
) -> None:
    batch, _, channels = axes(x, "x [B, T, C]")
    expect(depthwise, "depthwise [K, C]", None, channels)
    expect_even_padding(depthwise.shape[0], dilation)
    expect(depthwise_bias, "depthwise_bias [C]", channels)
    expect(norm1_weight, "norm1_weight [C]", channels)
    expect(norm1_bias, "norm1_bias [C]", channels)
    expect(pointwise, "pointwise [C_in, C_out]", channels, channels)
    expect(pointwise_bias, "pointwise_bias [C]", channels)
    expect(norm2_weight, "norm2_weight [C]", channels)
    expect(norm2_bias, "norm2_bias [C]", channels)
    expect_each(lengths, "lengths [B or 1]", batch)


_DEPTH_SEPARABLE_LAYER = Op("depth_separable_layer", depth_separable_layer_reference, _fake, _check, ieee=True)
_DEPTH_SEPARABLE_LAYER.register(
    "triton",
    Implementation(_launch_depth_separable_layer, _supports, lambda x: tiles.preference(_tile(x))),
)


def depth_separable_layer(
    x: Tensor,
    depthwise: Tensor,
    depthwise_bias: Tensor,
    norm1_weight: Tensor,
    norm1_bias: Tensor,
    pointwise: Tensor,
    pointwise_bias: Tensor,
    norm2_weight: Tensor,
    norm2_bias: Tensor,
    *,
    lengths: Tensor | None = None,
    dilation: int = 1,
    eps: float = 1e-5,
) -> Tensor:
    """The layer of the module's docstring, `[B, T, C]`."""
    return _DEPTH_SEPARABLE_LAYER(
        x,
        depthwise,
        depthwise_bias,
        norm1_weight,
        norm1_bias,
        pointwise,
        pointwise_bias,
        norm2_weight,
        norm2_bias,
        lengths,
        dilation,
        eps,
    )
