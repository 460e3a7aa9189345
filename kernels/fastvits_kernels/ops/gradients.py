"""Gradients of the ops that hold long convolutions, written once for every way to convolve.

Where autograd goes through a reference, all of its convolutions are computed again. Here only those are whose results
the gradients need: none of a `conv1d` without an activation nor of a `resblock_step`, the first of a `resblock_pair`,
that of a `wavenet_layer`. Neither is where a backend has kept them.

    by input    dx = convolution of dy with the taps in reverse order and the channels exchanged
    by weight   dw[k] = sum_{b, t} x[b, t - pad_left + k * dilation]^T dy[b, t]
    leaky ReLU  from the sign of what it was given
    gate        da = [dz s (1 - t^2) | dz t s (1 - s)],  t = tanh, s = sigmoid of the two halves of a
    dropout     of z = t s is on dz alike

A gradient that no argument asks for is not computed: those of a discriminator's weights, while the generator learns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..dispatch.masking import zero_beyond
from ..dispatch.registry import tensors_in
from .conv import apply_activation
from .dropout import dropout_scale, keep_mask


@dataclass(frozen=True)
class Convolutions:
    """How a backend convolves.

    `convolved(x, weight, bias, dilation, pad_left)`, `by_input(g, weight, dilation, pad_left)` and `by_weight(x, g,
    taps, dilation, pad_left)`, of `x` `[B, T, C_in]`, `g` `[B, T, C_out]` and `weight` `[K, C_in, C_out]`. What is
    beyond the lengths is zero already.
    """

    convolved: Callable[..., Tensor]
    by_input: Callable[..., Tensor]
    by_weight: Callable[..., Tensor]


def sums(g: Tensor) -> Tensor:
    return g.sum((0, 1))


def wants(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.requires_grad


def leaky(x: Tensor, slope: float) -> Tensor:
    return x if slope == 1.0 else functional.leaky_relu(x, slope)


def through_leaky(g: Tensor, x: Tensor, slope: float) -> Tensor:
    return g if slope == 1.0 else torch.ops.aten.leaky_relu_backward(g, x, slope, False)


def _of_condition(g: Tensor, cond: Tensor) -> Tensor:
    """The gradient of what is added to all steps of an item, or of all items."""
    each = g.sum(1)
    return each.sum(0, keepdim=True) if cond.shape[0] == 1 else each


def conv1d_backward(
    with_: Convolutions,
    g: Tensor,
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
    ieee: bool,
) -> tuple[Any, ...]:
    """Gradients of `conv1d`'s arguments; what is behind its convolution is computed again for an activation."""
    g = zero_beyond(g, lengths)
    of_residual = g if wants(residual) else None
    inside = zero_beyond(x, lengths)
    source = leaky(inside, slope)
    if alpha != 1.0:
        g = g * alpha
    if activation != "none":
        y = with_.convolved(source, weight, bias, dilation, pad_left)
        y = (y if cond is None else y + cond.unsqueeze(1)).detach()
        with torch.enable_grad():
            y.requires_grad_()
            (g,) = torch.autograd.grad(apply_activation(y, activation), y, g)
    of_x = of_weight = None
    if wants(x):
        of_x = zero_beyond(through_leaky(with_.by_input(g, weight, dilation, pad_left), inside, slope), lengths)
    if wants(weight):
        of_weight = with_.by_weight(source, g, weight.shape[0], dilation, pad_left)
    of_bias = sums(g) if wants(bias) else None
    of_cond = _of_condition(g, cond) if cond is not None and wants(cond) else None
    return of_x, of_weight, of_bias, of_cond, of_residual, *(None,) * 7


def conv_transpose1d_backward(
    with_: Convolutions,
    g: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lengths: Tensor | None,
    stride: int,
    padding: int,
    slope: float,
) -> tuple[Any, ...]:
    """Gradients of `conv_transpose1d`'s arguments, as those of an ordinary convolution.

    `stride` steps of `g`, from `padding` zeros in front of it on, are one step of so many times more channels: what a
    step of `x` has gone into are `I = ceil(K / stride)` of these, one after the other.
    """
    g = zero_beyond(g, None if lengths is None else lengths * stride)
    inside = zero_beyond(x, lengths)
    batch, steps, inputs = x.shape
    taps, _, outputs = weight.shape
    rows = -(-taps // stride)
    more = rows - 1
    behind = (steps + more) * stride - steps * stride - padding
    phases = functional.pad(g, (0, 0, padding, behind)).view(batch, steps + more, stride * outputs)
    of_x = of_weight = None
    if wants(x):
        whole = functional.pad(weight.detach(), (0, 0, 0, 0, 0, rows * stride - taps))
        by_phase = whole.view(rows, stride, inputs, outputs).transpose(2, 3).reshape(rows, stride * outputs, inputs)
        by_x = with_.convolved(phases, by_phase, None, 1, 0)[:, :steps]
        of_x = zero_beyond(through_leaky(by_x, inside, slope), lengths)
    if wants(weight):
        source = functional.pad(leaky(inside, slope), (0, 0, 0, more))
        by_phase = with_.by_weight(phases, source, rows, 1, 0)  # [I, stride * C_out, C_in]
        of_weight = by_phase.view(rows * stride, outputs, inputs)[:taps].transpose(1, 2)
    return of_x, of_weight, sums(g) if wants(bias) else None, *(None,) * 4


def _branch(x: Tensor, r: int) -> Tensor:
    return x[r if x.shape[0] > 1 else 0]


def _gathered(parts: list[Tensor | None], x: Tensor | None) -> Tensor | None:
    """The gradients by branch as that of `x`: the sum of them where all branches share it."""
    if not wants(x) or x is None:
        return None
    given = [part for part in parts if part is not None]
    if x.shape[0] > 1:
        return torch.stack(given)
    return torch.stack(given).sum(0, keepdim=True) if len(given) > 1 else given[0].unsqueeze(0)


def resblock_step_backward(
    with_: Convolutions,
    g: Tensor,
    x: Tensor,
    residual: Tensor | None,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    lengths: Tensor | None,
    dilations: Sequence[int],
    slope: float,
    mean: bool,
) -> tuple[Any, ...]:
    """Gradients of `resblock_step`'s arguments, branch by branch."""
    shared = zero_beyond(g, lengths) / len(weights) if mean else None
    of_x: list[Tensor | None] = []
    of_residual: list[Tensor | None] = []
    of_weights: list[Tensor | None] = []
    of_biases: list[Tensor | None] = []
    for r, (weight, bias, dilation) in enumerate(zip(weights, biases, dilations, strict=True)):
        pad = (weight.shape[0] - 1) * dilation // 2
        of_out = zero_beyond(g[r], lengths) if shared is None else shared
        inside = zero_beyond(_branch(x, r), lengths)
        if wants(x):
            by_x = through_leaky(with_.by_input(of_out, weight, dilation, pad), inside, slope)
            of_x.append(zero_beyond(by_x, lengths))
        of_residual.append(of_out)
        wanted = wants(weight)
        of_weights.append(
            with_.by_weight(leaky(inside, slope), of_out, weight.shape[0], dilation, pad) if wanted else None
        )
        of_biases.append(sums(of_out) if wants(bias) else None)
    rest = (None,) * 4
    return _gathered(of_x, x), _gathered(of_residual, residual), of_weights, of_biases, *rest


def resblock_pair_backward(
    with_: Convolutions,
    g: Tensor,
    x: Tensor,
    weights1: Sequence[Tensor],
    biases1: Sequence[Tensor],
    weights2: Sequence[Tensor],
    biases2: Sequence[Tensor],
    lengths: Tensor | None,
    dilations: Sequence[int],
    slope: float,
    mean: bool,
    kept: Sequence[Tensor] | None = None,
) -> tuple[Any, ...]:
    """Gradients of `resblock_pair`'s arguments, branch by branch; the first convolution is computed again but for
    `kept`, what each branch's second one has heard, zero beyond the lengths."""
    shared = zero_beyond(g, lengths) / len(weights1) if mean else None
    of_x: Tensor | None = None
    of_first: list[Tensor | None] = []
    of_second: list[Tensor | None] = []
    of_bias1: list[Tensor | None] = []
    of_bias2: list[Tensor | None] = []
    for r, (first, bias1, second, bias2, dilation) in enumerate(
        zip(weights1, biases1, weights2, biases2, dilations, strict=True)
    ):
        pad1, pad2 = (first.shape[0] - 1) * dilation // 2, (second.shape[0] - 1) // 2
        of_out = zero_beyond(g[r], lengths) if shared is None else shared
        inside = zero_beyond(_branch(x, r), lengths)
        source = leaky(inside, slope)
        heard = (
            leaky(zero_beyond(with_.convolved(source, first, bias1, dilation, pad1), lengths), slope)
            if kept is None
            else kept[r]
        )
        # Of what the leaky ReLU was given only the sign is read, which it leaves.
        of_hidden = zero_beyond(through_leaky(with_.by_input(of_out, second, 1, pad2), heard, slope), lengths)
        wanted = wants(second)
        of_second.append(with_.by_weight(heard, of_out, second.shape[0], 1, pad2) if wanted else None)
        of_bias2.append(sums(of_out) if wants(bias2) else None)
        of_first.append(with_.by_weight(source, of_hidden, first.shape[0], dilation, pad1) if wants(first) else None)
        of_bias1.append(sums(of_hidden) if wants(bias1) else None)
        if wants(x):
            by_x = through_leaky(with_.by_input(of_hidden, first, dilation, pad1), inside, slope)
            if of_x is None:
                of_x = g.new_empty(x.shape)
            if r == 0 or x.shape[0] > 1:
                torch.add(zero_beyond(by_x, lengths), of_out, out=_branch(of_x, r))
            else:
                of_x += zero_beyond(by_x, lengths) + of_out
    return of_x, of_first, of_bias1, of_second, of_bias2, *(None,) * 4


def wavenet_layer_backward(
    with_: Convolutions,
    g: Tensor,
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
    kept: Sequence[Tensor] | None = None,
) -> tuple[Any, ...]:
    """Gradients of `wavenet_layer`'s arguments; the gate and the convolution in front of it are computed again but for
    `kept`, of which the one tensor is `[t | s]`."""
    channels = x.shape[2]
    g = zero_beyond(g, lengths)
    inside = zero_beyond(x, lengths)
    pad = (in_weight.shape[0] - 1) * dilation // 2
    if kept is None:
        a = with_.convolved(inside, in_weight, in_bias, dilation, pad)
        if cond is not None:
            a = a + cond.unsqueeze(1)
        filtered, gate = a[..., :channels].tanh(), a[..., channels:].sigmoid()
    else:
        filtered, gate = kept[0].chunk(2, -1)
    of_z, z = functional.linear(g, out_weight), filtered * gate
    if seed is not None and dropout:
        left = (keep_mask(seed, x.shape[0], x.shape[1], channels, dropout) * dropout_scale(dropout)).to(x.dtype)
        of_z, z = of_z * left, z * left
    by_filtered = of_z * gate
    of_a = by_filtered.new_empty(*g.shape[:2], 2 * channels)
    torch.addcmul(by_filtered, by_filtered * filtered, filtered, value=-1, out=of_a[..., :channels])
    by_filtered.mul_(filtered)
    torch.addcmul(by_filtered, by_filtered, gate, value=-1, out=of_a[..., channels:])
    of_x = None
    if wants(x):
        of_x = zero_beyond(with_.by_input(of_a, in_weight, dilation, pad), lengths)
        if out_weight.shape[1] == 2 * channels:
            of_x = of_x + g[..., :channels]
    of_in = with_.by_weight(inside, of_a, in_weight.shape[0], dilation, pad) if wants(in_weight) else None
    of_out = z.reshape(-1, channels).t() @ g.reshape(-1, g.shape[2]) if wants(out_weight) else None
    return (
        of_x,
        g[..., -channels:].contiguous() if wants(skip) else None,
        of_in,
        sums(of_a) if wants(in_bias) else None,
        _of_condition(of_a, cond) if cond is not None and wants(cond) else None,
        of_out,
        sums(g) if wants(out_bias) else None,
        *(None,) * 5,
    )


BACKWARD: dict[str, Callable[..., tuple[Any, ...]]] = {
    "conv1d": conv1d_backward,
    "conv_transpose1d": conv_transpose1d_backward,
    "resblock_step": resblock_step_backward,
    "resblock_pair": resblock_pair_backward,
    "wavenet_layer": wavenet_layer_backward,
}
"""By op; each takes a `Convolutions`, the gradient of the result, and the op's arguments."""


def derivable(arguments: tuple[Any, ...]) -> bool:
    """Whether the forms above are for these arguments: whether there is something to compute."""
    return all(tensor.numel() for tensor in tensors_in(arguments))
