"""Convolutions of 8-bit numbers on oneDNN: twice the products of bfloat16 in an instruction (VNNI, AMX).

oneDNN multiplies unsigned activations with signed weights, and scales the sums into float32 or bfloat16, bias and
residual included. The number `z` that stands for 0 goes into the bias, as `-s z sum(w)`: oneDNN's own way takes a tenth
longer. Where one convolution of a stage ends and the next begins, numbers are rounded to 8 bits in passes over memory,
for torch has the leaky ReLU among the post-operations of bfloat16 only; the residual stays in the dtype of `x`.

In CPU time of one AVX-512 thread a convolution takes 0.5 to 0.6 of bfloat16's, and a whole stage 0.55 (128 channels) to
0.7 (32 channels).
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from ..dispatch.packing import packed
from ..ops.int8 import quantized as rounded
from ..ops.int8 import quantized_weight, step_and_zero, weight_steps
from .conv_transpose import phases
from .convolution import clear_beyond, compute_dtype, items, padded, whole_steps
from .scratch import scratch

_MAGIC = float(1 << 23)
"""From here to twice as much a float32 is a whole number, which its lowest byte has modulo 256."""


class Bounds:
    """Between which a tensor lies: its step, and the number that stands for 0."""

    __slots__ = ("key", "step", "zero")

    def __init__(self, low: float, high: float) -> None:
        self.step, self.zero = step_and_zero(low, high)
        self.key = (self.step, self.zero)


@dataclass(frozen=True)
class Filter:
    """A weight `[K, C_in, C_out]` of 8 bits, for activations between certain bounds."""

    weight: Tensor
    """In oneDNN's own layout."""
    steps: Tensor
    """`[C_out]`"""
    shift: Tensor
    """`[C_out]`: what `z` adds to every sum."""
    zeros: Tensor
    input_step: float
    dilation: int


@lru_cache
def unsupported() -> str | None:
    """Why convolutions of 8 bits cannot be computed here, found by trying a small one; None where they can."""
    if not (torch.cpu._is_vnni_supported() or torch.cpu._is_amx_tile_supported()):
        return "this processor has no instructions for int8 (AVX-512 VNNI, AMX)"
    found = ["the trial of oneDNN's convolutions of 8 bits ended early"]

    def run() -> None:
        found[0] = _tried() or ""

    # In a thread of its own, as oneDNN's other convolutions are tried.
    trial = threading.Thread(target=run, name="fastvits-trial-of-int8")
    trial.start()
    trial.join()
    return found[0] or None


def _tried() -> str | None:
    with torch.no_grad():
        x, weight, bias, out = (
            torch.linspace(-1, 1, size, dtype=torch.float32, device="cpu").view(shape)
            for size, shape in ((144, (1, 9, 16)), (768, (3, 16, 16)), (16, (16,)), (112, (1, 7, 16)))
        )
        bounds = (-0.3, 1.1)
        exact = functional.conv1d(rounded(x, *bounds).transpose(1, 2), quantized_weight(weight).permute(2, 1, 0), bias)
        expected = out + exact.transpose(1, 2)
        try:
            heard = Bounds(*bounds)
            convolve_onto(out, quantized(x, 1.0, heard, 0, 0), _filter(weight, heard, 1), bias)
        except (AttributeError, RuntimeError, TypeError) as error:
            return f"oneDNN's convolutions of 8 bits do not run here: {str(error).splitlines()[0]}"
    return None if torch.allclose(out, expected, atol=1e-3) else "oneDNN's convolutions of 8 bits give wrong results"


def packed_weight(weight: Tensor, heard: Bounds, dilation: int) -> Filter:
    """`weight` `[K, C_in, C_out]`, packed once, for activations between these bounds."""
    return packed(weight, ("onednn int8", dilation, heard.key), lambda: _filter(weight.detach(), heard, dilation))


def _filter(weight: Tensor, heard: Bounds, dilation: int) -> Filter:
    wide = weight.float()
    return _packed(wide, weight_steps(wide), heard, dilation)


def _packed(weight: Tensor, steps: Tensor, heard: Bounds, dilation: int) -> Filter:
    taps, inputs, outputs = weight.shape
    whole = (weight / steps).round()
    image = whole.to(torch.int8).permute(2, 1, 0).unsqueeze(2).contiguous(memory_format=torch.channels_last)
    layout = torch.ops.onednn.qconv_prepack(
        image, steps, heard.step, 0, [1, 1], [0, 0], [1, dilation], 1, [1, inputs, 1, 1024 + (taps - 1) * dilation]
    )
    shift = whole.double().sum((0, 1)) * steps.double() * (-heard.step * heard.zero)
    zeros = torch.zeros(outputs, dtype=torch.int64, device="cpu")
    return Filter(layout, steps.contiguous(), shift.float(), zeros, heard.step, dilation)


def _packed_phases(weight: Tensor, heard: Bounds, stride: int) -> Filter:
    """The weight of a transposed convolution as that of an ordinary one; see `conv_transpose`."""

    def build() -> Filter:
        wide = weight.detach().float()
        return _packed(phases(wide, stride), weight_steps(wide).repeat(stride), heard, 1)

    return packed(weight, ("onednn int8 phases", stride, heard.key), build)


def quantized(x: Tensor, slope: float, heard: Bounds, left: int, right: int) -> Tensor:
    """The leaky ReLU of `x` `[N, T, C]` as numbers of 8 bits, between `left` and `right` steps of those that stand for
    0; contiguous, in memory that the next call in this thread takes.

    The fifth pass takes the lowest bytes of what the others put behind `_MAGIC`. torch's own quantized tensors would
    save two of them, and are deprecated.
    """
    wide = padded("int8 wide", x, slope, torch.float32, left, right)
    offset = _MAGIC + heard.zero
    torch.add(_number(offset), wide, alpha=1 / heard.step, out=wide)
    wide.clamp_(_MAGIC, _MAGIC + 255)
    return scratch("int8", wide.shape, torch.uint8).copy_(wide.view(torch.int32))


@lru_cache
def _number(value: float) -> Tensor:
    """`[1]`, for an operator that takes no plain number there."""
    with torch.inference_mode(False):
        return torch.full((1,), value, dtype=torch.float32, device="cpu")


def convolve(x: Tensor, filter: Filter, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Numbers `x` `[N, T, C_in]` between the filter's bounds -> `[N, T - (K - 1) dilation, C_out]`, contiguous."""
    y = torch.ops.onednn.qconv_pointwise(
        _image(x),
        *(filter.input_step, 0, filter.weight, filter.steps, filter.zeros),
        _bias(filter, bias),
        *([1, 1], [0, 0], [1, filter.dilation], 1),
        *(1.0, 0, dtype),
        *("none", [], None),
    )
    return y.squeeze(2).transpose(1, 2)


def convolve_onto(out: Tensor, x: Tensor, filter: Filter, bias: Tensor | None) -> None:
    """`out += convolution of x`: contiguous `[N, T_out, C_out]` and numbers `[N, T, C_in]`."""
    torch.ops.onednn.qconv2d_pointwise.binary(
        _image(x),
        *(filter.input_step, 0, filter.weight, filter.steps, filter.zeros),
        _image(out),
        _bias(filter, bias),
        *([1, 1], [0, 0], [1, filter.dilation], 1),
        *(1.0, 0, out.dtype),
        *(1.0, 0, "sum", 1.0),
        *("none", [], None),
    )


def _image(x: Tensor) -> Tensor:
    return x.transpose(1, 2).unsqueeze(2)


def _bias(filter: Filter, bias: Tensor | None) -> Tensor:
    return filter.shift if bias is None else filter.shift + bias


def run_stage(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    weights1: Sequence[Tensor],
    biases1: Sequence[Tensor],
    weights2: Sequence[Tensor],
    biases2: Sequence[Tensor],
    lengths: Tensor | None,
    stride: int,
    padding: int,
    depths: Sequence[int],
    dilations: Sequence[int],
    slope: float,
    in_slope: float,
    out_slope: float,
    ranges: Sequence[float],
) -> Tensor:
    """`mrf_stage` with `ranges`, item by item and block by block."""
    dtype = compute_dtype(x.dtype)
    bounds = [Bounds(*pair) for pair in zip(ranges[::2], ranges[1::2], strict=True)]
    batch, steps, _ = x.shape
    out = torch.empty(batch, steps * stride, weight.shape[2], dtype=dtype, device=x.device)
    blocks = (weights1, biases1, weights2, biases2, depths, dilations)
    for chosen, length in items(lengths, batch, steps):
        for item in range(chosen.start, chosen.stop):
            h = _upsampled(x[item : item + 1, :length], weight, bias, stride, padding, in_slope, bounds[0], dtype)
            out[item, : length * stride] = _fused(h, *blocks, slope, out_slope, bounds[1:])[0]
    return clear_beyond(out, None if lengths is None else lengths * stride).to(x.dtype)


def _upsampled(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: int,
    slope: float,
    heard: Bounds,
    dtype: torch.dtype,
) -> Tensor:
    """`[1, T, C_in]` -> `[1, T * stride, C]`, a slice of a longer sequence."""
    steps, taps, outputs = x.shape[1], weight.shape[0], weight.shape[2]
    pad = -(-taps // stride) - 1
    source = quantized(x, slope, heard, pad, pad + whole_steps(steps) - steps)
    full = convolve(source, _packed_phases(weight, heard, stride), None if bias is None else bias.repeat(stride), dtype)
    return full.reshape(1, -1, outputs)[:, padding : padding + steps * stride]


def _fused(
    h: Tensor,
    weights1: Sequence[Tensor],
    biases1: Sequence[Tensor],
    weights2: Sequence[Tensor],
    biases2: Sequence[Tensor],
    depths: Sequence[int],
    dilations: Sequence[int],
    slope: float,
    out_slope: float,
    bounds: Sequence[Bounds],
) -> Tensor:
    """The mean of the blocks of `h` `[1, T, C]`, behind the last leaky ReLU."""
    steps = h.shape[1]
    whole = whole_steps(steps)
    spans = [(w.shape[0] - 1) * d // 2 for w, d in zip(weights1, dilations, strict=True)]
    starts = [sum(depths[:block]) for block in range(len(depths))]
    widest = max(spans[start] for start in starts)
    # The blocks' first convolutions read the same numbers, and another tensor is read before the last of them is done.
    shared = quantized(h, slope, bounds[0], widest, widest + whole - steps).clone()
    total, index = None, 1
    for start, depth in zip(starts, depths, strict=True):
        # With steps behind the last one, so that oneDNN sees few different numbers of them; they hold anything.
        y = torch.empty(1, whole, h.shape[2], dtype=h.dtype, device=h.device)
        y[:, :steps] = h
        for step in range(start, start + depth):
            span = spans[step]
            if step == start:
                heard, source = bounds[0], shared[:, widest - span : shared.shape[1] - (widest - span)]
            else:
                heard, index = bounds[index], index + 1
                source = quantized(y[:, :steps], slope, heard, span, span + whole - steps)
            filter = packed_weight(weights1[step], heard, dilations[step])
            if weights2:
                hidden = convolve(source, filter, biases1[step], torch.float32)
                heard, index = bounds[index], index + 1
                span = (weights2[step].shape[0] - 1) // 2
                source = quantized(hidden[:, :steps], slope, heard, span, span + whole - steps)
                convolve_onto(y, source, packed_weight(weights2[step], heard, 1), biases2[step])
            else:
                convolve_onto(y, source, filter, biases1[step])
        total = y if total is None else total.add_(y)
    assert total is not None
    total = total[:, :steps].mul_(1 / len(depths))
    return total if out_slope == 1.0 else functional.leaky_relu_(total, out_slope)
