"""Convolutions of the discriminators on a CPU, as products of matrices: each output step is what its window of the
input gives, so that forward, gradient by input and gradient by weight are one product each.

Sequences lie as `[N, T, C]`, in which a window of K steps is K * C numbers in a row:

    y[t]  = w x[s t - p : s t - p + K]     one product with the windows, copied out
    dw    = dy^T windows                   copied out again, which takes 2 to 10 % of the product and no memory between
    dx    = dy w, each window added where it was read

oneDNN's gradient by weight of a convolution leaves the processor's matrix units idle: with 1,024 channels of bfloat16
it does 100 GFLOP/s on a thread where the product does 800 (AMX), with float32 100 where the product does 150.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from fastvits_kernels.onednn.convolution import native_dtypes

__all__ = ["convolved"]


def convolved(layer: nn.Module, x: Tensor) -> Tensor:
    """What an undilated convolution with filters `[K]` or `[K, 1]` makes of `[B, C, T]` or `[B, C, T, P]`.

    The result may be changed in place.
    """
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    if not x.is_cpu or dtype not in native_dtypes() or layer.groups > 1 or _hooked(layer):
        return cast(Tensor, layer(x))
    weight, bias = layer.weight, cast(Tensor, layer.bias)
    taps = weight.shape[2]
    with torch.autocast("cpu", enabled=False):
        # [C_out, taps * C_in], as a window lies in memory
        matrix = weight.flatten(2).transpose(1, 2).to(dtype, memory_format=torch.contiguous_format).flatten(1)
        product = _Windows.apply(x.to(dtype), matrix, bias.to(dtype), taps, layer.stride[0], layer.padding[0])
    return cast(Tensor, product)


def _hooked(layer: nn.Module) -> bool:
    """Whether somebody watches the layer, which therefore has to be called."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks)


class _Windows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, bias: Tensor, taps: int, stride: int, padding: int) -> Tensor:
        batch, _, steps, *periods = x.shape
        steps = (steps + 2 * padding - taps) // stride + 1
        # Of the published shape, but the channels side by side in memory.
        order = (0, *reversed(range(1, x.dim())))
        out = torch.empty_permuted((batch, len(matrix), steps, *periods), order, dtype=x.dtype)
        torch.addmm(bias, _windows(x, taps, stride, padding), matrix.t(), out=out.permute(order).view(-1, len(matrix)))
        ctx.save_for_backward(x, matrix)
        ctx.geometry = taps, stride, padding
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, matrix = ctx.saved_tensors
        rows = grad.transpose(1, -1).reshape(-1, len(matrix))
        of_x = of_matrix = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _gathered(rows @ matrix, x, *ctx.geometry)
        if ctx.needs_input_grad[1]:
            of_matrix = rows.t() @ _windows(x, *ctx.geometry)
        if ctx.needs_input_grad[2]:
            of_bias = rows.sum(0)
        return of_x, of_matrix, of_bias, None, None, None


def _windows(x: Tensor, taps: int, stride: int, padding: int) -> Tensor:
    """`[B, C, T]` or `[B, C, T, P]` -> what each output step sees, `[B * P * T_out, taps * C]`."""
    channels, steps = x.shape[1:3]
    sequences = x.transpose(1, -1).reshape(-1, steps, channels)
    padded = pad(sequences, (0, 0, padding, padding))
    count, long = len(sequences), steps + 2 * padding
    seen = (count, (long - taps) // stride + 1, taps * channels)
    return padded.as_strided(seen, (long * channels, stride * channels, 1)).reshape(-1, taps * channels)


def _gathered(of_windows: Tensor, x: Tensor, taps: int, stride: int, padding: int) -> Tensor:
    """The gradient by `x` from that by its windows: each is added where it was read."""
    channels, steps = x.shape[1:3]
    count = x.numel() // (channels * steps)
    of_windows = of_windows.view(count, -1, taps * channels)
    made = of_windows.shape[1]
    # `stride` steps behind each other belong to one window only.
    hops = -(-taps // stride)
    out = of_windows.new_zeros(count, made + hops, stride * channels)
    for hop in range(hops):
        part = of_windows[..., hop * stride * channels : (hop + 1) * stride * channels]
        out[:, hop : hop + made, : part.shape[2]] += part
    long = out.view(count, -1, channels)[:, padding : padding + steps]
    if long.shape[1] < steps:  # behind the last window nothing was read
        long = pad(long, (0, 0, 0, steps - long.shape[1]))
    return long.reshape(len(x), *x.shape[3:], steps, channels).transpose(1, -1)
