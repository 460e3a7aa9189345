"""One-dimensional convolution of a channels-last sequence, with what VITS puts before and after it.

    y[b, t] = act( bias + cond[b] + sum_j  f(x[b, t - pad_left + j * dilation]) @ weight[j] )
    out     = residual + alpha * y

where `f` is the leaky ReLU of slope `slope` (1 means none), `x` counts as zero outside `[0, lengths[b])`, and `out` is
zero there. `T` is kept: the padding on the right is `(K - 1) * dilation - pad_left`.

Axes: `x` `[B, T, C_in]`, `weight` `[K, C_in, C_out]` (taps first), `bias` `[C_out]`, `cond` `[B or 1, C_out]`,
`residual` `[B, T, C_out]`, all with any strides; `out` contiguous. `activation` is one of `ACTIVATIONS`.

Work: `2 B T K C_in C_out` FLOPs. Eager moves up to `B T (3 C_in + 7 C_out)` elements (prologue, convolution,
activation, scaling, residual, mask), fused `B T (C_in + 2 C_out)`.

In Triton it is an implicit GEMM: a program makes `[BLOCK_T, BLOCK_C_OUT]` outputs from `K C_in / BLOCK_C_IN` products
of a shifted tile of `x` with a tile of `weight`, accumulated in float32. Fewer than 16 input channels are too few for
tensor cores and are summed as outer products; a single output channel is summed along `C_in` without a product of
matrices. Takes float32, float16 and bfloat16, one dtype for all tensors; not supported: float64, an item of 2^31
elements or more. A `weight` that is not contiguous is copied once and kept (`packing`).
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from ..dispatch.masking import zero_beyond
from ..dispatch.packing import contiguous
from ..dispatch.registry import Implementation, Op
from ..dispatch.shapes import axes, expect, expect_each, expect_taps
from ..launch.jit import dot_precision, kernel, launch, unsupported
from ..launch.tiles import Tile, choose, fit, preference
from .implicit_gemm import add_taps

if TYPE_CHECKING:
    import triton.language as tl

ACTIVATIONS = ("none", "relu", "gelu", "gelu_new", "selu", "tanh")


def apply_activation(x: Tensor, activation: str) -> Tensor:
    """The activation of that name; `gelu_new` is the tanh approximation of the GELU (Hendrycks and Gimpel 2016)."""
    if activation == "none":
        return x
    if activation == "relu":
        return functional.relu(x)
    if activation == "gelu":
        return functional.gelu(x)
    if activation == "gelu_new":
        return functional.gelu(x, approximate="tanh")
    if activation == "selu":
        return functional.selu(x)
    if activation == "tanh":
        return x.tanh()
    raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")


def conv1d_reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    cond: Tensor | None,
    residual: Tensor | None,
    lengths: Tensor | None,
    dilation: int,
    pad_left: int,
    slope: float,
    activation: str,
    alpha: float,
    ieee: bool = False,
) -> Tensor:
    """The convolution of the module's docstring: the specification of the op."""
    span = (weight.shape[0] - 1) * dilation
    x = zero_beyond(x, lengths).transpose(1, 2)
    if slope != 1.0:
        x = functional.leaky_relu(x, slope)
    if span == 2 * pad_left:
        y = functional.conv1d(x, weight.permute(2, 1, 0), bias, padding=pad_left, dilation=dilation)
    else:
        y = functional.conv1d(
            functional.pad(x, (pad_left, span - pad_left)), weight.permute(2, 1, 0), bias, dilation=dilation
        )
    y = y.transpose(1, 2)
    if cond is not None:
        y = y + cond.unsqueeze(1)
    y = apply_activation(y, activation)
    if alpha != 1.0:
        y = y * alpha
    if residual is not None:
        y = residual + y
    return zero_beyond(y, lengths).contiguous()


def _fake(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], weight.shape[2])


@kernel
def tanh_tile(x):
    """tanh in float32, to a few units in the last place for arguments of any size.

    It is `(1 - e) / (1 + e)` with `e = exp(-2 |x|)`, which cannot overflow but cancels near 0; there it is an odd
    polynomial, fitted on `|x| <= 0.6` by least squares (relative error 3e-9).
    """
    square = x * x
    series = -0.005893945228308439 * square + 0.020794617012143135
    series = series * square - 0.053783293813467026
    series = series * square + 0.13331915438175201
    series = series * square - 0.33333298563957214
    near = x + x * square * series
    magnitude = tl.abs(x)
    decay = tl.exp(-2.0 * magnitude)
    far = (1.0 - decay) / (1.0 + decay)
    far = tl.where(x < 0.0, -far, far)
    return tl.where(magnitude < 0.6, near, far)


@kernel
def activation_tile(x, ACTIVATION: "tl.constexpr"):
    """`apply_activation` of a float32 tile; every branch passes NaN on, as torch does."""
    if ACTIVATION == "relu":
        x = tl.where(x < 0, 0.0, x)
    elif ACTIVATION == "gelu":
        x = 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    elif ACTIVATION == "gelu_new":
        x = 0.5 * x * (1.0 + tanh_tile(0.7978845608028654 * (x + 0.044715 * x * x * x)))
    elif ACTIVATION == "selu":
        # exp(x) - 1 cancels near zero; 2 t / (1 - t) with t = tanh(x / 2) is the same and does not.
        half = tanh_tile(tl.where(x > 0, 0.0, x) * 0.5)
        x = 1.0507009873554805 * tl.where(x > 0, x, 1.6732632423543772 * (2.0 * half / (1.0 - half)))
    elif ACTIVATION == "tanh":
        x = tanh_tile(x)
    return x


@kernel
def _conv1d_fwd_kernel(
    x_ptr,  # [B, T, C_in]
    weight_ptr,  # [K, C_in, C_out], contiguous
    bias_ptr,  # [C_out] or None
    cond_ptr,  # [B, C_out] or None
    residual_ptr,  # [B, T, C_out] or None
    lengths_ptr,  # [B] or None
    out_ptr,  # [B, T, C_out], contiguous
    steps,  # T
    stride_xb,
    stride_xt,
    stride_xc,
    stride_wi,
    stride_bias,
    stride_cb,
    stride_cc,
    stride_rb,
    stride_rt,
    stride_rc,
    stride_lengths,
    dilation,
    pad_left,
    slope,
    alpha,
    C_IN: "tl.constexpr",
    C_OUT: "tl.constexpr",
    TAPS: "tl.constexpr",
    LEAKY: "tl.constexpr",
    ACTIVATION: "tl.constexpr",
    PRECISION: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_C_OUT: "tl.constexpr",
    BLOCK_C_IN: "tl.constexpr",
):
    # Programs that share a tile of x are neighbours, so that it is read from L2 but once from memory.
    BLOCKS_OUT: tl.constexpr = (C_OUT + BLOCK_C_OUT - 1) // BLOCK_C_OUT
    BLOCKS_IN: tl.constexpr = (C_IN + BLOCK_C_IN - 1) // BLOCK_C_IN
    pid = tl.program_id(0)
    blocks_t = tl.cdiv(steps, BLOCK_T)
    pid_o = pid % BLOCKS_OUT
    pid_t = (pid // BLOCKS_OUT) % blocks_t
    pid_b = (pid // BLOCKS_OUT // blocks_t).to(tl.int64)

    length = steps
    if lengths_ptr is not None:
        length = tl.minimum(tl.load(lengths_ptr + pid_b * stride_lengths), steps).to(tl.int32)
    offs_t = pid_t * BLOCK_T + tl.arange(0, BLOCK_T)
    offs_o = pid_o * BLOCK_C_OUT + tl.arange(0, BLOCK_C_OUT)
    mask_o = offs_o < C_OUT
    x_base = x_ptr + pid_b * stride_xb
    # A tile beyond the length takes no step of the loop, and stores zeros.
    inside = (pid_t * BLOCK_T < length).to(tl.int32)
    acc = tl.zeros((BLOCK_T, BLOCK_C_OUT), dtype=tl.float32)

    if C_IN < 16:
        for index in range(0, inside * (TAPS * C_IN)):
            tap = index // C_IN
            channel = index % C_IN
            offs_x = offs_t + (tap * dilation - pad_left)
            mask_x = (offs_x >= 0) & (offs_x < length)
            x = tl.load(x_base + offs_x * stride_xt + channel * stride_xc, mask=mask_x, other=0.0)  # [BLOCK_T]
            if LEAKY:
                wide = x.to(tl.float32)
                x = tl.where(wide > 0, wide, wide * slope).to(x.dtype)
            w = tl.load(weight_ptr + index * stride_wi + offs_o, mask=mask_o, other=0.0)  # [BLOCK_C_OUT]
            acc += x.to(tl.float32)[:, None] * w.to(tl.float32)[None, :]
    elif C_OUT == 1:
        products = tl.zeros((BLOCK_T, BLOCK_C_IN), dtype=tl.float32)
        for index in range(0, inside * (TAPS * BLOCKS_IN)):
            tap = index // BLOCKS_IN
            offs_i = (index % BLOCKS_IN) * BLOCK_C_IN + tl.arange(0, BLOCK_C_IN)
            mask_i = offs_i < C_IN
            offs_x = offs_t + (tap * dilation - pad_left)
            mask_x = (offs_x >= 0) & (offs_x < length)
            x_ptrs = x_base + offs_x[:, None] * stride_xt + offs_i[None, :] * stride_xc
            x = tl.load(x_ptrs, mask=mask_x[:, None] & mask_i[None, :], other=0.0)  # [BLOCK_T, BLOCK_C_IN]
            if LEAKY:
                wide = x.to(tl.float32)
                x = tl.where(wide > 0, wide, wide * slope).to(x.dtype)
            w = tl.load(weight_ptr + (tap * C_IN + offs_i) * stride_wi, mask=mask_i, other=0.0)  # [BLOCK_C_IN]
            products += x.to(tl.float32) * w.to(tl.float32)[None, :]
        acc = tl.sum(products, axis=1)[:, None]
    else:
        acc = add_taps(
            acc, x_base, weight_ptr, 0, inside * (TAPS * BLOCKS_IN), offs_t, -pad_left, dilation, 0, 1, stride_xt,
            stride_xc, stride_wi, offs_o, length, slope, C_IN, C_OUT, BLOCK_C_IN, BLOCK_C_OUT, LEAKY, PRECISION,
        )  # fmt: skip

    valid = (offs_t < length)[:, None] & mask_o[None, :]
    if bias_ptr is not None:
        acc += tl.load(bias_ptr + offs_o * stride_bias, mask=mask_o, other=0.0).to(tl.float32)[None, :]
    if cond_ptr is not None:
        cond_ptrs = cond_ptr + pid_b * stride_cb + offs_o * stride_cc
        acc += tl.load(cond_ptrs, mask=mask_o, other=0.0).to(tl.float32)[None, :]
    if ACTIVATION != "none":
        acc = activation_tile(acc, ACTIVATION)
    acc *= alpha
    if residual_ptr is not None:
        r_ptrs = residual_ptr + pid_b * stride_rb + offs_t[:, None] * stride_rt + offs_o[None, :] * stride_rc
        acc += tl.load(r_ptrs, mask=valid, other=0.0).to(tl.float32)
    out_ptrs = out_ptr + pid_b * steps * C_OUT + offs_t[:, None] * C_OUT + offs_o[None, :]
    mask_out = (offs_t < steps)[:, None] & mask_o[None, :]
    tl.store(out_ptrs, tl.where(valid, acc, 0.0).to(out_ptr.dtype.element_ty), mask=mask_out)


def _precision(x: Tensor, ieee: bool) -> str:
    return "ieee" if ieee else dot_precision(x.dtype)


def _tile(x: Tensor, weight: Tensor, ieee: bool) -> Tile:
    taps, _, outputs = weight.shape
    work, precision = x.shape[0] * x.shape[1], _precision(x, ieee)
    return choose("conv1d", x.device, x.dtype, channels=outputs, kernel_size=taps, work=work, precision=precision)


def item_extent(tensor: Tensor) -> int:
    """How far an item's last element lies from its first, in elements: what a kernel's 32-bit offsets must hold."""
    return sum((size - 1) * stride for size, stride in zip(tensor.shape[1:], tensor.stride()[1:], strict=True))


def _supports_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None, cond: Tensor | None, residual: Tensor | None
) -> str | None:
    extents = [item_extent(x), x.shape[1] * weight.shape[2], 0 if residual is None else item_extent(residual)]
    if max(extents) >= 2**31:
        return "the kernel takes items of fewer than 2^31 elements"
    return unsupported(x, weight, bias, cond, residual)


def _launch_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    cond: Tensor | None,
    residual: Tensor | None,
    lengths: Tensor | None,
    dilation: int,
    pad_left: int,
    slope: float,
    activation: str,
    alpha: float,
    ieee: bool = False,
) -> Tensor:
    batch, steps, inputs = x.shape
    taps, _, outputs = weight.shape
    # What is one for all items gets a stride of zero.
    cond = None if cond is None else cond.expand(batch, outputs)
    lengths = None if lengths is None else lengths.expand(batch)
    weight = contiguous(weight)
    tile = _tile(x, weight, ieee)
    block_out = 1 if outputs == 1 else fit(tile.sizes["BLOCK_C_OUT"], outputs)
    block_t = tile.sizes["BLOCK_T"]
    out = torch.empty(batch, steps, outputs, dtype=x.dtype, device=x.device)
    launch(
        "conv1d",
        _conv1d_fwd_kernel,
        (batch * -(-steps // block_t) * -(-outputs // block_out),),
        (
            *(x, weight, bias, cond, residual, lengths, out, steps),
            *x.stride(),
            outputs,
            *((0,) if bias is None else bias.stride()),
            *((0, 0) if cond is None else cond.stride()),
            *((0, 0, 0) if residual is None else residual.stride()),
            *((0,) if lengths is None else lengths.stride()),
            *(dilation, pad_left, float(slope), float(alpha)),
        ),
        {
            "C_IN": inputs,
            "C_OUT": outputs,
            "TAPS": taps,
            "LEAKY": slope != 1.0,
            "ACTIVATION": activation,
            "PRECISION": _precision(x, ieee),
            "BLOCK_T": block_t,
            "BLOCK_C_OUT": block_out,
            "BLOCK_C_IN": fit(tile.sizes["BLOCK_C_IN"], inputs),
        },
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )
    return out


def _ieee(ieee: bool) -> bool:
    return ieee


def _prefers_conv1d(x: Tensor, weight: Tensor, ieee: bool) -> tuple[str, str, bool]:
    return preference(_tile(x, weight, ieee))


def _check(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    cond: Tensor | None,
    residual: Tensor | None,
    lengths: Tensor | None,
    dilation: int,
    pad_left: int,
    activation: str,
) -> None:
    batch, steps, inputs = axes(x, "x [B, T, C_in]")
    expect(weight, "weight [K, C_in, C_out]", None, inputs, None)
    taps, _, outputs = weight.shape
    expect(bias, "bias [C_out]", outputs)
    expect_each(cond, "cond [B or 1, C_out]", batch, outputs)
    expect(residual, "residual [B, T, C_out]", batch, steps, outputs)
    expect_each(lengths, "lengths [B or 1]", batch)
    expect_taps(taps, dilation)
    span = (taps - 1) * dilation
    if not 0 <= pad_left <= span:
        raise ValueError(f"pad_left must lie in [0, (K - 1) * dilation] = [0, {span}], got {pad_left}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")


_CONV1D = Op("conv1d", conv1d_reference, _fake, _check, _ieee)
_CONV1D.register("triton", Implementation(_launch_conv1d, _supports_conv1d, _prefers_conv1d))


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    cond: Tensor | None = None,
    residual: Tensor | None = None,
    lengths: Tensor | None = None,
    dilation: int = 1,
    pad_left: int | None = None,
    slope: float = 1.0,
    activation: str = "none",
    alpha: float = 1.0,
    ieee: bool = False,
) -> Tensor:
    """The convolution of the module's docstring; `pad_left` None pads evenly, which needs an even `(K - 1) * dilation`.

    `ieee` multiplies float32 as such even where torch's flags allow TF32 (see `precision`).
    Raises ValueError for an unknown activation, shapes that do not fit, or an impossible padding.
    """
    if pad_left is None:
        axes(weight, "weight [K, C_in, C_out]")
        span = (weight.shape[0] - 1) * dilation
        if span % 2:
            raise ValueError(
                f"kernel size {weight.shape[0]} with dilation {dilation} cannot be padded evenly; give pad_left"
            )
        pad_left = span // 2
    return _CONV1D(x, weight, bias, cond, residual, lengths, dilation, pad_left, slope, activation, alpha, ieee)
