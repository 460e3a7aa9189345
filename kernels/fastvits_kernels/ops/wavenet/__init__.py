"""The WaveNet layer of the residual couplings and the posterior encoder, and its gate.

    a        = conv(x; in_weight, dilation) + in_bias + cond
    z        = dropout(tanh(a[:C]) * sigmoid(a[C:]))
    r        = z @ out_weight + out_bias

(van den Oord et al. 2016, "WaveNet", equations 2 and 3). With `out_weight` `[C, 2 C]` a layer in the middle returns the
next state `[x + r[:C] | skip + r[C:]]`; with `[C, C]` the last one returns `skip + r`. `x` counts as zero outside
`[0, lengths[b])` and the result is zero there. `dropout` leaves out elements as a seed says (`ops.dropout`), and is
nothing without one.

Axes: `x` `[B, T, C]`, `skip` `[B, T, C]` or None (zeros): the two halves of the state `[B, T, 2 C]` that the previous
layer returned; `in_weight` `[K, C, 2 C]`, `in_bias` `[2 C]`, `cond` `[B or 1, 2 C]` or None. All have one dtype and any
strides; `lengths` is int64. `C` is any number; `(K - 1) * dilation` is even and split evenly. Work:
`2 B T C (2 K C + C_out)` FLOPs. Eager moves about `15 B T C` elements, fused `4 B T C`.

The fused layer is one launch. A program makes `BLOCK_T` steps of all outputs, since the 1x1 product needs every
channel of the gate. It makes `BLOCK_Z` of these at a time and multiplies them into the outputs' accumulator at once, so
that the gate is never whole in registers. Sums, gate and residual are float32; the gate is rounded to the input's dtype
before the 1x1 product. Where `C_out` is larger than the tile's `BLOCK_N`, further programs make the other columns and
compute the gate again. Triton has no kernel for float64.

With `ranges`, the bounds `[low, high]` of `x`, the dilated convolution multiplies numbers of 8 bits (`int8`), without
gradients, and on oneDNN only; the 1x1 product, a sixth of the work, does not.
"""

# torch 2.6 reads `typing.Sequence` in an operator's signature, and not that of collections.abc.
from typing import TYPE_CHECKING, Sequence  # noqa: UP035

from torch import Tensor

from ...dispatch.masking import one_each
from ...dispatch.packing import contiguous
from ...dispatch.registry import Implementation, Op, named
from ...dispatch.shapes import axes, expect, expect_each, expect_even_padding
from ...launch import tiles
from ...launch.jit import dot_precision, kernel, launch, padded, unsupported
from ..conv import tanh_tile
from ..dropout import check_dropout, draw_seed, dropout_scale, keeps
from ..int8 import check_ranges, refuse_gradients
from .reference import gated_activation_reference, wavenet_layer_reference

if TYPE_CHECKING:
    import triton.language as tl

__all__ = [
    "gated_activation",
    "gated_activation_reference",
    "wavenet_layer",
    "wavenet_layer_reference",
]


@kernel
def _gate(filtered, gate):
    """`tanh(filtered) * sigmoid(gate)` in float32."""
    return tanh_tile(filtered) / (1.0 + tl.exp(-gate))


@kernel
def _gated_activation_fwd_kernel(
    x_ptr,  # [B, T, 2 C]
    cond_ptr,  # [B, 2 C] or None
    out_ptr,  # [B, T, C], contiguous
    steps,
    stride_xb,
    stride_xt,
    stride_xc,
    stride_cond_b,
    stride_cond_c,
    CHANNELS: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_C: "tl.constexpr",
):
    # One axis for tiles and items: a grid's other axes hold 65535 programs at most.
    blocks_t = tl.cdiv(steps, BLOCK_T)
    pid_b = (tl.program_id(0) // blocks_t).to(tl.int64)
    offs_t = tl.program_id(0) % blocks_t * BLOCK_T + tl.arange(0, BLOCK_T)
    offs_c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask_c = offs_c < CHANNELS
    mask = (offs_t < steps)[:, None] & mask_c[None, :]
    rows = x_ptr + pid_b * stride_xb + offs_t.to(tl.int64)[:, None] * stride_xt
    filtered = tl.load(rows + offs_c[None, :] * stride_xc, mask=mask, other=0.0).to(tl.float32)
    gate = tl.load(rows + (offs_c + CHANNELS)[None, :] * stride_xc, mask=mask, other=0.0).to(tl.float32)
    if cond_ptr is not None:
        cond = cond_ptr + pid_b * stride_cond_b
        filtered += tl.load(cond + offs_c * stride_cond_c, mask=mask_c, other=0.0).to(tl.float32)[None, :]
        gate += tl.load(cond + (offs_c + CHANNELS) * stride_cond_c, mask=mask_c, other=0.0).to(tl.float32)[None, :]
    out_rows = out_ptr + (pid_b * steps + offs_t)[:, None] * CHANNELS
    tl.store(out_rows + offs_c[None, :], _gate(filtered, gate).to(out_ptr.dtype.element_ty), mask=mask)


@kernel
def _wavenet_layer_fwd_kernel(
    x_ptr,  # [B, T, C]
    skip_ptr,  # [B, T, C] or None
    in_weight_ptr,  # [K, C, 2 C], contiguous
    in_bias_ptr,  # [2 C]
    cond_ptr,  # [B, 2 C] or None
    out_weight_ptr,  # [C, C_out], contiguous
    out_bias_ptr,  # [C_out]
    lengths_ptr,  # [B] or None
    seed_ptr,  # [1] int64, or None
    out_ptr,  # [B, T, C_out], contiguous
    steps,
    dilation,
    rate,  # of the dropout
    scale,  # what is kept is multiplied with this
    stride_xb,
    stride_xt,
    stride_xc,
    stride_skip_b,
    stride_skip_t,
    stride_skip_c,
    stride_in_bias,
    stride_cond_b,
    stride_cond_c,
    stride_out_bias,
    CHANNELS: "tl.constexpr",
    OUT_CHANNELS: "tl.constexpr",
    KERNEL_SIZE: "tl.constexpr",
    PRECISION: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_C: "tl.constexpr",
    BLOCK_Z: "tl.constexpr",
    BLOCK_N: "tl.constexpr",
):
    # One axis for tiles and items: a grid's other axes hold 65535 programs at most.
    blocks_t = tl.cdiv(steps, BLOCK_T)
    pid_b = (tl.program_id(0) // blocks_t).to(tl.int64)
    first = tl.program_id(0) % blocks_t * BLOCK_T
    rows = tl.arange(0, BLOCK_T)
    offs_n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    mask_n = offs_n < OUT_CHANNELS
    # Tiles are addressed from their first row, so that only that address has 64 bits.
    out_first = out_ptr + (pid_b * steps + first) * OUT_CHANNELS
    length = steps if lengths_ptr is None else tl.minimum(tl.load(lengths_ptr + pid_b), steps).to(tl.int32)
    if first >= length:
        tl.store(
            out_first + rows[:, None] * OUT_CHANNELS + offs_n[None, :],
            tl.zeros((BLOCK_T, BLOCK_N), out_ptr.dtype.element_ty),
            mask=(rows < steps - first)[:, None] & mask_n[None, :],
        )
        return

    x_first = x_ptr + pid_b * stride_xb + first.to(tl.int64) * stride_xt
    offs_c = tl.arange(0, BLOCK_C)
    blocks_c: tl.constexpr = (CHANNELS + BLOCK_C - 1) // BLOCK_C
    acc = tl.zeros((BLOCK_T, BLOCK_N), tl.float32)
    for z_first in range(0, CHANNELS, BLOCK_Z):
        z = z_first + tl.arange(0, BLOCK_Z)
        mask_z = z < CHANNELS
        filtered = tl.zeros((BLOCK_T, BLOCK_Z), tl.float32)
        gate = tl.zeros((BLOCK_T, BLOCK_Z), tl.float32)
        # One loop over taps and blocks of input channels together, so that loads run ahead across taps.
        for step in range(KERNEL_SIZE * blocks_c):
            tap = step // blocks_c
            c = step % blocks_c * BLOCK_C + offs_c
            mask_c = c < CHANNELS
            shift = tap * dilation - (KERNEL_SIZE - 1) * dilation // 2
            t = first + shift + rows
            x = tl.load(
                x_first + tl.cast(shift, tl.int64) * stride_xt + rows[:, None] * stride_xt + c[None, :] * stride_xc,
                mask=((t >= 0) & (t < length))[:, None] & mask_c[None, :],
                other=0.0,
            )  # [BLOCK_T, BLOCK_C]
            weights = in_weight_ptr + (tap * CHANNELS + c)[:, None] * (2 * CHANNELS) + z[None, :]
            mask_w = mask_c[:, None] & mask_z[None, :]
            filter_weight = tl.load(weights, mask=mask_w, other=0.0)  # [BLOCK_C, BLOCK_Z]
            gate_weight = tl.load(weights + CHANNELS, mask=mask_w, other=0.0)
            filtered = tl.dot(x, filter_weight, filtered, input_precision=PRECISION)
            gate = tl.dot(x, gate_weight, gate, input_precision=PRECISION)
        filtered += tl.load(in_bias_ptr + z * stride_in_bias, mask=mask_z, other=0.0).to(tl.float32)[None, :]
        gate += tl.load(in_bias_ptr + (z + CHANNELS) * stride_in_bias, mask=mask_z, other=0.0).to(tl.float32)[None, :]
        if cond_ptr is not None:
            cond = cond_ptr + pid_b * stride_cond_b
            filtered += tl.load(cond + z * stride_cond_c, mask=mask_z, other=0.0).to(tl.float32)[None, :]
            gate += tl.load(cond + (z + CHANNELS) * stride_cond_c, mask=mask_z, other=0.0).to(tl.float32)[None, :]
        out_weight = tl.load(
            out_weight_ptr + z[:, None] * OUT_CHANNELS + offs_n[None, :],
            mask=mask_z[:, None] & mask_n[None, :],
            other=0.0,
        )  # [BLOCK_Z, BLOCK_N]
        gated = _gate(filtered, gate)
        if seed_ptr is not None:
            kept = keeps(tl.load(seed_ptr), pid_b.to(tl.int32), (first + rows)[:, None], z[None, :], rate)
            gated = tl.where(kept, gated * scale, 0.0)
        acc = tl.dot(gated.to(x_ptr.dtype.element_ty), out_weight, acc, input_precision=PRECISION)

    acc += tl.load(out_bias_ptr + offs_n * stride_out_bias, mask=mask_n, other=0.0).to(tl.float32)[None, :]
    # The last C columns continue the sum of the skips; the C before them, where there are any, are the next layer's x.
    skip_from: tl.constexpr = OUT_CHANNELS - CHANNELS
    valid = (rows < length - first)[:, None]
    if skip_from > 0:
        acc += tl.load(
            x_first + rows[:, None] * stride_xt + offs_n[None, :] * stride_xc,
            mask=valid & (offs_n < skip_from)[None, :],
            other=0.0,
        ).to(tl.float32)
    if skip_ptr is not None:
        skip_first = skip_ptr + pid_b * stride_skip_b + first.to(tl.int64) * stride_skip_t
        acc += tl.load(
            skip_first + rows[:, None] * stride_skip_t + (offs_n - skip_from)[None, :] * stride_skip_c,
            mask=valid & ((offs_n >= skip_from) & mask_n)[None, :],
            other=0.0,
        ).to(tl.float32)
    # Selected, not multiplied: a row beyond the length may hold no number.
    tl.store(
        out_first + rows[:, None] * OUT_CHANNELS + offs_n[None, :],
        tl.where(valid, acc, 0.0).to(out_ptr.dtype.element_ty),
        mask=(rows < steps - first)[:, None] & mask_n[None, :],
    )


def _launch_gated_activation(x: Tensor, cond: Tensor | None) -> Tensor:
    batch, steps, channels = x.shape[0], x.shape[1], x.shape[2] // 2
    out = x.new_empty(batch, steps, channels)
    cond = None if cond is None else cond.expand(batch, -1)
    tile = _gate_tile(x)
    block_t = tile.sizes["BLOCK_T"]
    block_c = min(tile.sizes["BLOCK_C"], padded(channels))
    launch(
        "gated_activation",
        _gated_activation_fwd_kernel,
        (-(-steps // block_t) * batch, -(-channels // block_c)),
        (x, cond, out, steps, *x.stride(), *((0, 0) if cond is None else cond.stride())),
        {"CHANNELS": channels, "BLOCK_T": block_t, "BLOCK_C": block_c},
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )
    return out


def _gate_tile(x: Tensor) -> tiles.Tile:
    return tiles.choose("gated_activation", x.device, x.dtype, channels=x.shape[2] // 2, work=x.shape[0] * x.shape[1])


def _launch_wavenet_layer(
    x: Tensor,
    skip: Tensor | None,
    in_weight: Tensor,
    in_bias: Tensor,
    cond: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor,
    lengths: Tensor | None,
    dilation: int,
    ranges: None = None,
    seed: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    batch, steps, channels = x.shape
    kernel_size, out_channels = in_weight.shape[0], out_weight.shape[1]
    in_weight, out_weight = contiguous(in_weight), contiguous(out_weight)
    cond = None if cond is None else cond.expand(batch, -1)
    out = x.new_empty(batch, steps, out_channels)
    tile = _layer_tile(x, in_weight)
    sizes = dict(tile.sizes)
    # tl.dot takes no fewer than 16 rows or columns.
    sizes["BLOCK_N"] = min(sizes["BLOCK_N"], padded(out_channels, 16))
    for name in ("BLOCK_C", "BLOCK_Z"):
        sizes[name] = min(sizes[name], padded(channels, 16))
    launch(
        "wavenet_layer",
        _wavenet_layer_fwd_kernel,
        (-(-steps // sizes["BLOCK_T"]) * batch, -(-out_channels // sizes["BLOCK_N"])),
        (
            x,
            skip,
            in_weight,
            in_bias,
            cond,
            out_weight,
            out_bias,
            one_each(lengths, batch),
            seed if dropout else None,
            out,
            steps,
            dilation,
            float(dropout),
            dropout_scale(dropout),
            *x.stride(),
            *((0, 0, 0) if skip is None else skip.stride()),
            *in_bias.stride(),
            *((0, 0) if cond is None else cond.stride()),
            *out_bias.stride(),
        ),
        {
            "CHANNELS": channels,
            "OUT_CHANNELS": out_channels,
            "KERNEL_SIZE": kernel_size,
            "PRECISION": dot_precision(x.dtype),
            **sizes,
        },
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )
    return out


def _layer_tile(x: Tensor, in_weight: Tensor) -> tiles.Tile:
    batch, steps, channels = x.shape
    return tiles.choose(
        "wavenet_layer",
        x.device,
        x.dtype,
        channels=channels,
        kernel_size=in_weight.shape[0],
        work=batch * steps,
        precision=dot_precision(x.dtype),
    )


def _gate_fake(x: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], x.shape[2] // 2)


def _layer_fake(x: Tensor, out_weight: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], out_weight.shape[1])


def _check_gate(x: Tensor, cond: Tensor | None) -> None:
    batch, _, channels = axes(x, "x [B, T, 2 C]")
    if channels % 2:
        raise ValueError(f"x must be [B, T, 2 C] with an even number of channels, got {tuple(x.shape)}")
    expect_each(cond, "cond [B or 1, 2 C]", batch, channels)


def _check_layer(
    x: Tensor,
    skip: Tensor | None,
    in_weight: Tensor,
    in_bias: Tensor,
    cond: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor,
    lengths: Tensor | None,
    dilation: int,
    ranges: Sequence[float] | None,
    seed: Tensor | None,
    dropout: float,
) -> None:
    batch, steps, channels = axes(x, "x [B, T, C]")
    expect(skip, "skip [B, T, C]", batch, steps, channels)
    expect(in_weight, "in_weight [K, C, 2 C]", None, channels, 2 * channels)
    expect_even_padding(in_weight.shape[0], dilation)
    expect(in_bias, "in_bias [2 C]", 2 * channels)
    expect_each(cond, "cond [B or 1, 2 C]", batch, 2 * channels)
    expect(out_weight, "out_weight [C, C_out]", channels, None)
    outputs = out_weight.shape[1]
    if outputs not in (channels, 2 * channels):
        raise ValueError(f"out_weight must be [C, C] or [C, 2 C] with C = {channels}, got {tuple(out_weight.shape)}")
    expect(out_bias, "out_bias [C_out]", outputs)
    expect_each(lengths, "lengths [B or 1]", batch)
    check_ranges(ranges, 1)
    check_dropout(seed, dropout)


def _supports_layer(
    x: Tensor,
    skip: Tensor | None,
    in_weight: Tensor,
    in_bias: Tensor,
    cond: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor,
    ranges: Sequence[float] | None,
) -> str | None:
    if ranges is not None:
        return "int8 is for CPUs, and oneDNN"
    return unsupported(x, skip, in_weight, in_bias, cond, out_weight, out_bias)


_GATED_ACTIVATION = Op("gated_activation", gated_activation_reference, _gate_fake, _check_gate)
_WAVENET_LAYER = Op("wavenet_layer", wavenet_layer_reference, _layer_fake, _check_layer)
_GATED_ACTIVATION.register(
    "triton",
    Implementation(
        _launch_gated_activation, named(unsupported, "x", "cond"), lambda x: tiles.preference(_gate_tile(x))
    ),
)
_WAVENET_LAYER.register(
    "triton",
    Implementation(
        _launch_wavenet_layer,
        _supports_layer,
        lambda x, in_weight: tiles.preference(_layer_tile(x, in_weight)),
    ),
)


def gated_activation(x: Tensor, cond: Tensor | None = None) -> Tensor:
    """The gate of the module's docstring: `[B, T, 2 C]` (and `[B, 2 C]`) -> `[B, T, C]`."""
    return _GATED_ACTIVATION(x, cond)


def wavenet_layer(
    x: Tensor,
    skip: Tensor | None,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    *,
    cond: Tensor | None = None,
    lengths: Tensor | None = None,
    dilation: int = 1,
    ranges: Sequence[float] | None = None,
    seed: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """The layer of the module's docstring, `[B, T, C_out]`.

    `dropout` is the share of the gate that is left out, 0.0 by default. `seed` int64 `[1]` says which elements; without
    one, torch's generator draws it. Raises ValueError for shapes that do not fit or a rate outside `[0, 1]`,
    RuntimeError where gradients are wanted and `ranges` are given.
    """
    refuse_gradients(ranges, x, skip, in_weight, in_bias, cond, out_weight, out_bias)
    bounds = None if ranges is None else list(ranges)
    if dropout and seed is None:
        seed = draw_seed(x.device)
    return _WAVENET_LAYER(
        x, skip, in_weight, in_bias, cond, out_weight, out_bias, lengths, dilation, bounds, seed, dropout
    )
