"""Gradients of the ops with long convolutions on a CPU: `conv1d`, `resblock_step`, `resblock_pair`, `wavenet_layer` and
`conv_transpose1d`.

A convolution's gradient by its input is a convolution with the taps in reverse order and the channels exchanged; that
by its weight is a product of matrices for each tap, over the steps of all items. Both over channels-last images cost a
half to two thirds of what torch's own backward takes, and of each op only what lies between two convolutions is
computed again: where autograd goes through the reference, both convolutions are. (One AVX-512 thread, batch 8, kernel
sizes 3 to 11 of 32 to 256 channels: 1.6 to 4 times as fast as the reference forwards and backwards.)

A gradient that no argument asks for is not computed: those of a discriminator's weights, while the generator learns. In
half precision everything is widened to float32 and rounded once, at the end.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..dispatch.masking import zero_beyond
from ..dispatch.registry import gradients_of, ops
from ..ops.conv import apply_activation


def _image(x: Tensor) -> Tensor:
    """A contiguous `[N, T, C]` as the image `[N, C, 1, T]`, channels last."""
    return x.transpose(1, 2).unsqueeze(2)


def _sequence(image: Tensor) -> Tensor:
    return image.squeeze(2).transpose(1, 2)


def _filter(weight: Tensor) -> Tensor:
    """`[K, C_in, C_out]` as an image's filter `[C_out, C_in, 1, K]`, channels last."""
    return weight.permute(2, 1, 0).unsqueeze(2).contiguous(memory_format=torch.channels_last)


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, pad_left: int) -> Tensor:
    """The convolution of `x` `[B, T, C_in]` with `[K, C_in, C_out]`, `[B, T, C_out]`."""
    taps = weight.shape[0]
    if taps == 1:
        return functional.linear(x, weight[0].t(), bias)
    right = (taps - 1) * dilation - pad_left
    padding = (0, pad_left) if pad_left == right else (0, 0)
    if pad_left != right:
        x = functional.pad(x, (0, 0, pad_left, right))
    image = _image(x.contiguous())
    return _sequence(torch.conv2d(image, _filter(weight), bias, padding=padding, dilation=(1, dilation)))


def by_input(g: Tensor, weight: Tensor, dilation: int, pad_left: int) -> Tensor:
    """The gradient by the input of a convolution whose output has the gradient `g` `[B, T, C_out]`."""
    backwards = weight.flip(0).transpose(1, 2)
    return convolved(g, backwards, None, dilation, (weight.shape[0] - 1) * dilation - pad_left)


def by_weight(x: Tensor, g: Tensor, taps: int, dilation: int, pad_left: int) -> Tensor:
    """The gradient by the weight, `[K, C_in, C_out]`, of a convolution of `x` `[B, T, C_in]`.

    Input and gradient get rows of zeros, so that both are one long sequence and a tap is a shift of it.
    """
    span = (taps - 1) * dilation
    rows = functional.pad(x, (0, 0, pad_left, span - pad_left)).reshape(-1, x.shape[2])
    grads = functional.pad(g, (0, 0, 0, span)).reshape(-1, g.shape[2])
    count = rows.shape[0] - span
    return torch.stack([rows[k * dilation : k * dilation + count].t() @ grads[:count] for k in range(taps)])


def _sums(g: Tensor) -> Tensor:
    return g.sum((0, 1))


def _wants(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.requires_grad


def _leaky(x: Tensor, slope: float) -> Tensor:
    return x if slope == 1.0 else functional.leaky_relu(x, slope)


def _through_leaky(g: Tensor, x: Tensor, slope: float) -> Tensor:
    return g if slope == 1.0 else torch.ops.aten.leaky_relu_backward(g, x, slope, False)


def _of_condition(g: Tensor, cond: Tensor) -> Tensor:
    """The gradient of what is added to all steps of an item, or of all items."""
    each = g.sum(1)
    return each.sum(0, keepdim=True) if cond.shape[0] == 1 else each


def conv1d_backward(
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
    of_residual = g if _wants(residual) else None
    inside = zero_beyond(x, lengths)
    source = _leaky(inside, slope)
    if alpha != 1.0:
        g = g * alpha
    if activation != "none":
        y = convolved(source, weight, bias, dilation, pad_left)
        y = (y if cond is None else y + cond.unsqueeze(1)).detach()
        with torch.enable_grad():
            y.requires_grad_()
            (g,) = torch.autograd.grad(apply_activation(y, activation), y, g)
    of_x = of_weight = None
    if _wants(x):
        of_x = zero_beyond(_through_leaky(by_input(g, weight, dilation, pad_left), inside, slope), lengths)
    if _wants(weight):
        of_weight = by_weight(source, g, weight.shape[0], dilation, pad_left)
    of_bias = _sums(g) if _wants(bias) else None
    of_cond = _of_condition(g, cond) if cond is not None and _wants(cond) else None
    return of_x, of_weight, of_bias, of_cond, of_residual, *(None,) * 7


def _branch(x: Tensor, r: int) -> Tensor:
    return x[r if x.shape[0] > 1 else 0]


def _gathered(parts: list[Tensor | None], x: Tensor | None) -> Tensor | None:
    """The gradients by branch as that of `x`: the sum of them where all branches share it."""
    if not _wants(x) or x is None:
        return None
    given = [part for part in parts if part is not None]
    if x.shape[0] > 1:
        return torch.stack(given)
    return torch.stack(given).sum(0, keepdim=True) if len(given) > 1 else given[0].unsqueeze(0)


def resblock_step_backward(
    g: Tensor,
    x: Tensor,
    residual: Tensor | None,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    lengths: Tensor | None,
    dilations: Sequence[int],
    slope: float,
    mean: bool,
    activated: bool,
    out_slope: float,
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
        if _wants(x):
            by_x = _through_leaky(by_input(of_out, weight, dilation, pad), inside, slope)
            of_x.append(zero_beyond(by_x, lengths))
        of_residual.append(of_out)
        wanted = _wants(weight)
        of_weights.append(by_weight(_leaky(inside, slope), of_out, weight.shape[0], dilation, pad) if wanted else None)
        of_biases.append(_sums(of_out) if _wants(bias) else None)
    rest = (None,) * 6
    return _gathered(of_x, x), _gathered(of_residual, residual), of_weights, of_biases, *rest


def resblock_pair_backward(
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
    activated: bool,
    out_slope: float,
) -> tuple[Any, ...]:
    """Gradients of `resblock_pair`'s arguments, branch by branch; the first convolution is computed again."""
    shared = zero_beyond(g, lengths) / len(weights1) if mean else None
    of_x: list[Tensor | None] = []
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
        source = _leaky(inside, slope)
        hidden = zero_beyond(convolved(source, first, bias1, dilation, pad1), lengths)
        of_hidden = zero_beyond(_through_leaky(by_input(of_out, second, 1, pad2), hidden, slope), lengths)
        wanted = _wants(second)
        of_second.append(by_weight(_leaky(hidden, slope), of_out, second.shape[0], 1, pad2) if wanted else None)
        of_bias2.append(_sums(of_out) if _wants(bias2) else None)
        of_first.append(by_weight(source, of_hidden, first.shape[0], dilation, pad1) if _wants(first) else None)
        of_bias1.append(_sums(of_hidden) if _wants(bias1) else None)
        if _wants(x):
            by_x = _through_leaky(by_input(of_hidden, first, dilation, pad1), inside, slope)
            of_x.append(zero_beyond(by_x, lengths) + of_out)
    return _gathered(of_x, x), of_first, of_bias1, of_second, of_bias2, *(None,) * 6


def wavenet_layer_backward(
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
) -> tuple[Any, ...]:
    """Gradients of `wavenet_layer`'s arguments; the gate and the convolution in front of it are computed again."""
    channels = x.shape[2]
    g = zero_beyond(g, lengths)
    inside = zero_beyond(x, lengths)
    pad = (in_weight.shape[0] - 1) * dilation // 2
    a = convolved(inside, in_weight, in_bias, dilation, pad)
    if cond is not None:
        a = a + cond.unsqueeze(1)
    filtered, gate = a[..., :channels].tanh(), a[..., channels:].sigmoid()
    of_z = functional.linear(g, out_weight)
    of_a = torch.cat([of_z * gate * (1 - filtered * filtered), of_z * filtered * gate * (1 - gate)], -1)
    of_x = None
    if _wants(x):
        of_x = zero_beyond(by_input(of_a, in_weight, dilation, pad), lengths)
        if out_weight.shape[1] == 2 * channels:
            of_x = of_x + g[..., :channels]
    of_in = by_weight(inside, of_a, in_weight.shape[0], dilation, pad) if _wants(in_weight) else None
    z = filtered * gate
    of_out = z.reshape(-1, channels).t() @ g.reshape(-1, g.shape[2]) if _wants(out_weight) else None
    return (
        of_x,
        g[..., -channels:].contiguous() if _wants(skip) else None,
        of_in,
        _sums(of_a) if _wants(in_bias) else None,
        _of_condition(of_a, cond) if cond is not None and _wants(cond) else None,
        of_out,
        _sums(g) if _wants(out_bias) else None,
        None,
        None,
    )


def conv_transpose1d_backward(
    g: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lengths: Tensor | None,
    stride: int,
    padding: int,
    slope: float,
    out_slope: float,
) -> tuple[Any, ...]:
    """Gradients of `conv_transpose1d`'s arguments, by oneDNN's backward of channels-last images."""
    g = zero_beyond(g, None if lengths is None else lengths * stride)
    inside = zero_beyond(x, lengths)
    of_x, of_weight, _ = torch.ops.aten.convolution_backward(
        _image(g.contiguous()),
        _image(_leaky(inside, slope).contiguous()),
        weight.permute(1, 2, 0).unsqueeze(2).contiguous(memory_format=torch.channels_last),
        None,
        [1, stride],
        [0, padding],
        [1, 1],
        True,
        [0, 0],
        1,
        (_wants(x), _wants(weight), False),
    )
    if of_x is not None:
        of_x = zero_beyond(_through_leaky(_sequence(of_x), inside, slope), lengths)
    if of_weight is not None:
        of_weight = of_weight.squeeze(2).permute(2, 0, 1)
    return of_x, of_weight, _sums(g) if _wants(bias) else None, *(None,) * 5


def _behind_leaky(arguments: tuple[Any, ...], names: Sequence[str]) -> bool:
    """Whether tensors are stored behind their leaky ReLU: on a GPU alone."""
    found = dict(zip(names, arguments, strict=True))
    return bool(found.get("activated", False)) or found.get("out_slope", 1.0) != 1.0


def _register(name: str, backward: Any) -> None:
    op = ops()[name]
    names = list(op.parameters)

    def run(grads: tuple[Tensor, ...], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        floats = [t for t in arguments if isinstance(t, Tensor) and t.is_floating_point()]
        if any(not t.numel() for t in floats) or _behind_leaky(arguments, names):
            return gradients_of(op.reference, arguments, grads)
        return _rounded(backward(grads[0].float(), *_widened(arguments)), arguments)

    op.implementations["onednn"] = replace(op.implementations["onednn"], backward=run)


def _widened(arguments: tuple[Any, ...]) -> list[Any]:
    """The arguments in float32 and outside of any graph, still saying which of them want a gradient."""

    def widened(argument: Any) -> Any:
        if isinstance(argument, list):
            return [widened(item) for item in argument]
        if not isinstance(argument, Tensor) or not argument.is_floating_point():
            return argument
        return argument.detach().float().requires_grad_(argument.requires_grad)

    return [widened(argument) for argument in arguments]


def _rounded(gradients: tuple[Any, ...], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Each gradient in the dtype of its argument."""

    def rounded(gradient: Any, argument: Any) -> Any:
        if isinstance(gradient, list):
            return [rounded(*pair) for pair in zip(gradient, argument, strict=True)]
        return None if gradient is None else gradient.to(argument.dtype)

    return tuple(rounded(*pair) for pair in zip(gradients, arguments, strict=True))


_register("conv1d", conv1d_backward)
_register("resblock_step", resblock_step_backward)
_register("resblock_pair", resblock_pair_backward)
_register("wavenet_layer", wavenet_layer_backward)
_register("conv_transpose1d", conv_transpose1d_backward)
