"""Convolutions of the discriminators on a CPU, as products of matrices: each output step is what its window of the
input gives, so that forward, gradient by input and gradient by weight are one product each. (Grouped ones, which have
few products, stay convolutions.)

Sequences lie as `[N, T, C]`, in which a window of K steps is K * C numbers in a row:

    y[t]  = w x[s t - p : s t - p + K]     one product with the windows, copied out
    dw    = dy^T windows                   copied out again, which takes 2 to 10 % of the product and no memory between
    dx    = dy w, each window added where it was read

oneDNN's gradient by weight of a convolution leaves the processor's matrix units idle: with 1,024 channels of bfloat16
it does 100 GFLOP/s on a thread where the product does 800 (AMX), with float32 100 where the product does 150.

In float32 layers of stride 1, which have more than half of the products, go through the Fourier domain where that pays
(`fft_learning`).
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad

from fastvits_kernels.onednn import fft_learning
from fastvits_kernels.onednn.convolution import native_dtypes

__all__ = ["convolved"]


def convolved(layer: nn.Module, x: Tensor) -> Tensor:
    """What an undilated convolution with filters `[K]` or `[K, 1]` makes of `[B, C, T]` or `[B, C, T, P]`.

    The result may be changed in place.
    """
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    if not x.is_cpu or dtype not in native_dtypes() or _hooked(layer):
        return cast(Tensor, layer(x))
    weight, bias = layer.weight, cast(Tensor, layer.bias)
    stride, padding = layer.stride[0], cast(int, layer.padding[0])
    with torch.autocast("cpu", enabled=False):
        x, filters, bias = x.to(dtype), weight.flatten(2).to(dtype), bias.to(dtype)
        if layer.groups > 1:
            return cast(Tensor, _Grouped.apply(x, filters, bias, stride, padding, layer.groups))
        if stride == 1 and filters.shape[2] == 2 * padding + 1 and _fourier_pays(x, filters):
            return cast(Tensor, _Fourier.apply(x, filters, bias))
        return _product(x, filters, bias, stride, padding)


def _product(x: Tensor, filters: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
    # [C_out, taps * C_in], as a window lies in memory
    matrix = filters.transpose(1, 2).contiguous().flatten(1)
    return cast(Tensor, _Windows.apply(x, matrix, bias, filters.shape[2], stride, padding))


def _hooked(layer: nn.Module) -> bool:
    """Whether somebody watches the layer, which therefore has to be called."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks)


def _fourier_pays(x: Tensor, filters: Tensor) -> bool:
    return fft_learning.convolution_pays(filters.permute(2, 1, 0), x.numel() // x.shape[1], x.dtype)


class _Fourier(torch.autograd.Function):
    """A convolution that keeps the number of steps, by filters `[C_out, C_in, taps]`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, filters: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, filters, bias)
        out = _empty(x, len(filters), x.shape[2])
        weight, padding = filters.permute(2, 1, 0), filters.shape[2] // 2
        fft_learning.convolved(_sequences(x), weight, bias, 1, padding, out=_sequences(out))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, filters, bias = ctx.saved_tensors
        taps = filters.shape[2]
        padding = taps // 2
        if torch.is_grad_enabled():  # the gradient is wanted with a gradient of its own
            made = _product(x, filters, bias, 1, padding)
            wanted = [given for given, want in zip((x, filters, bias), ctx.needs_input_grad, strict=True) if want]
            found = iter(torch.autograd.grad(made, wanted, grad, create_graph=True))
            return tuple(next(found) if want else None for want in ctx.needs_input_grad)
        sequences = _sequences(grad)
        of_x = of_filters = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _folded(fft_learning.by_input(sequences, filters.permute(2, 1, 0), 1, padding), x)
        if ctx.needs_input_grad[1]:
            of_filters = fft_learning.by_weight(_sequences(x), sequences, taps, 1, padding).permute(2, 1, 0)
        if ctx.needs_input_grad[2]:
            of_bias = sequences.sum((0, 1))
        return of_x, of_filters, of_bias


class _Grouped(torch.autograd.Function):
    """A grouped convolution of `[B, C, T]` with `[C_out, C / groups, K]`. oneDNN computes it and its gradient by
    weight; that by input, for which it takes two to four times as long, is here a convolution that makes the channels
    of `stride` steps side by side:

        dx[stride q + r - padding] = sum_i w[r + stride i] dy[q - i]
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, filters: Tensor, bias: Tensor, stride: int, padding: int, groups: int) -> Tensor:
        ctx.save_for_backward(x, filters)
        ctx.geometry = stride, padding, groups
        return conv1d(x, filters, bias, stride, padding, 1, groups)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, filters = ctx.saved_tensors
        stride, padding, groups = ctx.geometry
        of_filters = of_bias = None
        if ctx.needs_input_grad[1]:
            _, of_filters, _ = torch.ops.aten.convolution_backward(
                grad, x, filters, None, [stride], [padding], [1], False, [0], groups, (False, True, False)
            )
        if ctx.needs_input_grad[2]:
            of_bias = grad.sum((0, 2))
        of_x = _by_input(grad, filters, x.shape[2], *ctx.geometry) if ctx.needs_input_grad[0] else None
        return of_x, of_filters, of_bias, None, None, None


def _by_input(grad: Tensor, filters: Tensor, steps: int, stride: int, padding: int, groups: int) -> Tensor:
    batch, made = len(grad), grad.shape[2]
    outputs, inputs, taps = filters.shape
    number = -(-taps // stride)
    # [groups, C_out / groups, C / groups, stride, number], the last in the order in which the input's steps come.
    phases = pad(filters, (0, number * stride - taps)).view(groups, -1, inputs, number, stride).transpose(3, 4).flip(4)
    phases = phases.permute(0, 2, 3, 1, 4).reshape(groups * inputs * stride, outputs // groups, number)
    rows = -(-(steps + padding) // stride)
    side_by_side = conv1d(pad(grad, (number - 1, rows - made)), phases, groups=groups)
    long = side_by_side.view(batch, groups * inputs, stride, rows).transpose(2, 3).flatten(2)
    return long[..., padding : padding + steps]


class _Windows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, bias: Tensor, taps: int, stride: int, padding: int) -> Tensor:
        out = _empty(x, len(matrix), (x.shape[2] + 2 * padding - taps) // stride + 1)
        rows = _sequences(out).view(-1, len(matrix))
        torch.addmm(bias, _windows(x, taps, stride, padding), matrix.t(), out=rows)
        ctx.save_for_backward(x, matrix)
        ctx.geometry = taps, stride, padding
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, matrix = ctx.saved_tensors
        rows = grad.transpose(1, -1).reshape(-1, len(matrix))
        of_x = of_matrix = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _gathered(rows, matrix, x, *ctx.geometry)
        if ctx.needs_input_grad[1]:
            of_matrix = rows.t() @ _windows(x, *ctx.geometry)
        if ctx.needs_input_grad[2]:
            of_bias = rows.sum(0)
        return of_x, of_matrix, of_bias, None, None, None


def _empty(x: Tensor, channels: int, steps: int) -> Tensor:
    """Of the published shape, but the channels side by side in memory, so that `_sequences` copies nothing."""
    order = (0, *reversed(range(1, x.dim())))
    return torch.empty_permuted((len(x), channels, steps, *x.shape[3:]), order, dtype=x.dtype)


def _sequences(x: Tensor) -> Tensor:
    """`[B, C, T]` or `[B, C, T, P]` -> `[B * P, T, C]`."""
    return x.transpose(1, -1).reshape(-1, x.shape[2], x.shape[1])


def _folded(sequences: Tensor, x: Tensor) -> Tensor:
    """`[B * P, T, C]` as `[B, C, T]` or `[B, C, T, P]`, of the batch and the periods of `x`."""
    return sequences.reshape(len(x), *x.shape[3:], *sequences.shape[1:]).transpose(1, -1)


def _windows(x: Tensor, taps: int, stride: int, padding: int) -> Tensor:
    """`[B, C, T]` or `[B, C, T, P]` -> what each output step sees, `[B * P * T_out, taps * C]`."""
    channels, steps = x.shape[1:3]
    sequences = _sequences(x)
    padded = pad(sequences, (0, 0, padding, padding))
    count, long = len(sequences), steps + 2 * padding
    seen = (count, (long - taps) // stride + 1, taps * channels)
    return padded.as_strided(seen, (long * channels, stride * channels, 1)).reshape(-1, taps * channels)


def _gathered(rows: Tensor, matrix: Tensor, x: Tensor, taps: int, stride: int, padding: int) -> Tensor:
    """The gradient by `x` from that of the output steps, `rows` `[B * P * T_out, C_out]`: of each window its gradient
    is added where it was read.

    Of a window `stride` steps at a time are one product, of all windows; the next ones are added a row further on.
    """
    channels, steps = x.shape[1:3]
    count = x.numel() // (channels * steps)
    hops, width = -(-taps // stride), stride * channels
    # Zeros behind a sequence, so that nothing of it is added to the next one.
    rows = pad(rows.view(count, -1, len(matrix)), (0, 0, 0, hops - 1)).flatten(0, 1)
    first = matrix[:, :width]
    out = rows @ (first if first.shape[1] == width else pad(first, (0, width - first.shape[1])))
    for hop in range(1, hops):
        part = matrix[:, hop * width : (hop + 1) * width]
        out[hop:, : part.shape[1]].addmm_(rows[:-hop], part)
    long = out.view(count, -1, channels)[:, padding : padding + steps]
    if long.shape[1] < steps:  # behind the last window nothing was read
        long = pad(long, (0, 0, 0, steps - long.shape[1]))
    return _folded(long, x)
