"""A stage of the HiFi-GAN decoder: upsampling, then multi-receptive-field fusion (MRF), between leaky ReLUs.

    h   = the upsampling of f_in(x), a transposed convolution (`conv_transpose1d`)
    out = f_out( (1 / R) sum_r block_r(h) )

Block `r` is `depths[r]` steps one after the other, each with a residual around it (Kong et al. 2020, "HiFi-GAN",
section 2.2):

    first type     y <- y + conv2(f(conv1(f(y))))      conv1 has a dilation, conv2 has none
    second type    y <- y + conv1(f(y))

`f_in`, `f` and `f_out` are leaky ReLUs of the slopes `in_slope`, `slope` and `out_slope` (1 means none). `x` counts as
zero outside `[0, lengths[b])`, so does everything in between, and `out` is zero beyond `lengths[b] * stride`.

Axes: `x` `[B, T, C_in]`, `weight` `[K, C_in, C]` (taps first), `bias` `[C]` or None; `weights1`, `biases1` of `conv1`
`[K_s, C, C]` and `[C]`, one for each step, those of block 0 first; `weights2`, `biases2` of `conv2` likewise, or empty
for the second type; `dilations` one for each step. Out `[B, T * stride, C]`. `K - 2 * padding == stride`, and every
`(K_s - 1) * dilation_s` is even.

Work: `2 B T C_in C K + 2 B T stride C^2 sum_s K_s` FLOPs. With `N = B T stride C` elements in each of R branches,
eager moves some 10 R N a step of the first type; Triton 5 R N, and the mean costs no pass.

In Triton it is the launches of its parts, one for the upsampling, then two (first type) or one (second type) for a step
of all blocks. Between them tensors are stored as what reads them next wants them: behind their leaky ReLU, which is
undone, once, where a residual needs the tensor itself (see `resblock.forward`). Blocks of unequal depth run one after
another but for their last steps. Supported is what the parts support; at most four blocks. Where gradients are wanted
the stage is its parts, ops with gradients of their own.

With `ranges` every convolution multiplies numbers of 8 bits (`int8`), without gradients, and on oneDNN only. They are
bounds, a pair for each tensor that a convolution reads, behind its leaky ReLU: `x`; `h`, which all blocks read; then
block by block, and in it step by step, `y` (but that of the first step, which is `h`) and, in the first type, what
`conv1` gives to `conv2`.
"""

# torch 2.6 reads `typing.Sequence` in an operator's signature, and not that of collections.abc.
from collections.abc import Callable
from typing import Any, Sequence  # noqa: UP035

import torch
from torch import Tensor
from torch.nn import functional

from ..dispatch.masking import zero_beyond
from ..dispatch.registry import Implementation, Op, Selection, gradients_of, ops, use_selection
from ..dispatch.shapes import expect, expect_even_padding
from ..launch.tiles import preference
from . import conv_transpose
from .conv import conv1d_reference
from .int8 import check_ranges, quantized, quantized_weight, refuse_gradients
from .resblock.forward import MAX_BRANCHES, _launch_resblock_pair, _launch_resblock_step, tile_for

_is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)  # torch 2.6 has no such question
_MIN_INVERTED_SLOPE = 1e-3
"""Of a smaller slope the inverse is not exact enough to store what is behind the leaky ReLU only."""


def mrf_stage_reference(
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
    ranges: Sequence[float] | None = None,
) -> Tensor:
    """The stage of the module's docstring: the specification of the op."""
    if ranges is not None:
        weight = quantized_weight(weight)
        weights1, weights2 = [quantized_weight(w) for w in weights1], [quantized_weight(w) for w in weights2]

    def behind(index: int, y: Tensor, slope: float) -> Tensor:
        """What convolutions read: the `index`-th tensor that `ranges` count."""
        y = zero_beyond(y, lengths)
        y = y if slope == 1.0 else functional.leaky_relu(y, slope)
        return y if ranges is None else quantized(y, ranges[2 * index], ranges[2 * index + 1])

    h = conv_transpose.conv_transpose1d_reference(
        behind(0, x, in_slope), weight, bias, lengths, stride, padding, slope=1.0
    )
    lengths = None if lengths is None else lengths * stride

    def convolved(y: Tensor, weight: Tensor, bias: Tensor, dilation: int, residual: Tensor | None) -> Tensor:
        pad = (weight.shape[0] - 1) * dilation // 2
        return conv1d_reference(y, weight, bias, None, residual, lengths, dilation, pad, 1.0, "none", 1.0)

    shared = behind(1, h, slope)
    total, first, index = None, 0, 2
    for depth in depths:
        y, inner = h, shared
        for step in range(first, first + depth):
            if step > first:
                inner, index = behind(index, y, slope), index + 1
            if weights2:
                hidden = convolved(inner, weights1[step], biases1[step], dilations[step], None)
                hidden, index = behind(index, hidden, slope), index + 1
                y = convolved(hidden, weights2[step], biases2[step], 1, y)
            else:
                y = convolved(inner, weights1[step], biases1[step], dilations[step], y)
        total, first = y if total is None else total + y, first + depth
    assert total is not None
    out = total / len(depths)
    return out if out_slope == 1.0 else functional.leaky_relu(out, out_slope)


def tensors_read(depths: Sequence[int], *, pairs: bool) -> int:
    """How many tensors the convolutions of a stage read; `pairs` for the first type."""
    steps = sum(depths)
    return 2 + steps - len(depths) + (steps if pairs else 0)


def compose(
    parts: tuple[Callable[..., Tensor], Callable[..., Tensor], Callable[..., Tensor]],
    arguments: tuple[Any, ...],
    *,
    stored: bool = False,
) -> Tensor:
    """The stage from implementations of `conv_transpose1d`, `resblock_pair` and `resblock_step`, and the op's
    arguments; without the last leaky ReLU, unless `stored`.

    With `stored` results are kept behind the leaky ReLUs of what reads them; the parts then take `activated` and
    `out_slope` (the first one only the latter) as further arguments.
    """
    upsample, pair, step = parts
    (x, weight, bias, weights1, biases1, weights2, biases2, lengths) = arguments[:8]
    stride, padding, depths, dilations, slope, in_slope, out_slope = arguments[8:15]
    h = upsample(x, weight, bias, lengths, stride, padding, in_slope, *((slope,) if stored else ()))
    lengths = None if lengths is None else lengths * stride

    def advanced(y: Tensor, steps: range | list[int], mean: bool) -> Tensor:
        """`[R or 1, B, T, C]` -> `[R, B, T, C]`, or `[B, T, C]` with `mean`: one step of as many blocks."""
        behind = (True, out_slope if mean else slope) if stored else ()
        first = [weights1[at] for at in steps], [biases1[at] for at in steps]
        rest = (lengths, [dilations[at] for at in steps], slope, mean, *behind)
        if weights2:
            return pair(y, *first, [weights2[at] for at in steps], [biases2[at] for at in steps], *rest)
        return step(y, y, *first, *rest)

    y, depth, steps = h.unsqueeze(0), depths[0], len(dilations)
    if depth * len(depths) == steps and max(depths) == depth:
        for at in range(depth):
            y = advanced(y, range(at, steps, depth), at == depth - 1)
        return y
    # Blocks of unequal depth keep step in their last one only.
    each, ends, at = [], [], 0
    for depth in depths:
        branch = y
        for inner in range(at, at + depth - 1):
            branch = advanced(branch, [inner], False)
        each.append(branch)
        at += depth
        ends.append(at - 1)
    return advanced(torch.cat(each), ends, True)


def composed(*arguments: Any) -> Tensor:
    """The stage as its parts, each an op with a gradient of its own."""
    out = compose((ops()["conv_transpose1d"], ops()["resblock_pair"], ops()["resblock_step"]), arguments)
    out_slope = arguments[14]
    return out if out_slope == 1.0 else functional.leaky_relu(out, out_slope)


def gradients_by(backend: str) -> Callable[[tuple[Tensor, ...], tuple[Any, ...]], tuple[Any, ...]]:
    """Gradients through the parts, computed again by `backend`: what is between them was not kept."""

    def gradients(grads: tuple[Tensor, ...], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        with use_selection(Selection(backend)):
            return gradients_of(composed, arguments, grads)

    return gradients


def _launch_mrf_stage(*arguments: Any) -> Tensor:
    launchers = (conv_transpose._launch_conv_transpose1d, _launch_resblock_pair, _launch_resblock_step)
    slope, _, out_slope = arguments[12:15]
    if slope >= _MIN_INVERTED_SLOPE:
        return compose(launchers, arguments, stored=True)
    out = compose(launchers, arguments)
    return out if out_slope == 1.0 else functional.leaky_relu(out, out_slope)


def _supports(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    weights1: Sequence[Tensor],
    weights2: Sequence[Tensor],
    stride: int,
    depths: Sequence[int],
    ranges: Sequence[float] | None,
) -> str | None:
    if ranges is not None:
        return "int8 is for CPUs, and oneDNN"
    if len(depths) > MAX_BRANCHES:
        return f"the kernel is for 1 to {MAX_BRANCHES} branches, not {len(depths)}"
    for other in (*weights1, *weights2):
        if other.dtype != x.dtype:
            return "the kernel is for inputs and weights of one dtype"
    return conv_transpose._supports_conv_transpose1d(x, weight, bias, stride)


def _prefers(
    x: Tensor,
    weight: Tensor,
    weights1: Sequence[Tensor],
    weights2: Sequence[Tensor],
    stride: int,
    depths: Sequence[int],
) -> tuple[str, str, bool]:
    """What its blocks prefer, which hold nearly all of the work."""
    op, steps = "resblock_pair" if weights2 else "resblock_step", x.shape[0] * x.shape[1] * stride
    kernel_size = max(each.shape[0] for each in weights1)
    return preference(tile_for(op, x, weight.shape[2], kernel_size, steps * len(depths)))


def _fake(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1] * stride, weight.shape[2])


def _check(
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
    ranges: Sequence[float] | None,
) -> None:
    conv_transpose.check(x, weight, bias, lengths, stride, padding)
    channels, steps = weight.shape[2], len(dilations)
    if not depths or min(depths) < 1 or sum(depths) != steps:
        raise ValueError(
            "depths must be at least 1 each and together as many as there are dilations, "
            f"got {list(depths)} and {steps} dilations"
        )
    if not len(weights1) == len(biases1) == steps:
        raise ValueError(
            "weights1, biases1 and dilations must be lists of one for each step, "
            f"got {len(weights1)}, {len(biases1)} and {steps}"
        )
    if len(weights2) != len(biases2) or len(weights2) not in (0, steps):
        raise ValueError(
            f"weights2 and biases2 must be lists of one for each of {steps} steps, or both empty, "
            f"got {len(weights2)} and {len(biases2)}"
        )
    for one, its_bias, dilation in zip(weights1, biases1, dilations, strict=True):
        expect(one, "weights1 [K, C, C]", None, channels, channels)
        expect_even_padding(one.shape[0], dilation)
        expect(its_bias, "biases1 [C]", channels)
    for one, its_bias in zip(weights2, biases2, strict=True):
        expect(one, "weights2 [K, C, C]", None, channels, channels)
        expect_even_padding(one.shape[0], 1)
        expect(its_bias, "biases2 [C]", channels)
    check_ranges(ranges, tensors_read(depths, pairs=bool(weights2)))


_MRF_STAGE = Op("mrf_stage", mrf_stage_reference, _fake, _check, composed=composed)
_MRF_STAGE.register("triton", Implementation(_launch_mrf_stage, _supports, _prefers, backward=gradients_by("triton")))


def mrf_stage(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    weights1: Sequence[Tensor],
    biases1: Sequence[Tensor],
    weights2: Sequence[Tensor] = (),
    biases2: Sequence[Tensor] = (),
    *,
    lengths: Tensor | None = None,
    stride: int,
    padding: int,
    depths: Sequence[int],
    dilations: Sequence[int],
    slope: float = 0.1,
    in_slope: float = 1.0,
    out_slope: float = 1.0,
    ranges: Sequence[float] | None = None,
) -> Tensor:
    """The stage of the module's docstring; raises ValueError for shapes that do not fit, and RuntimeError where
    gradients are wanted and `ranges` are given."""
    refuse_gradients(ranges, x, weight, bias, *weights1, *biases1, *weights2, *biases2)
    arguments = (
        x,
        weight,
        bias,
        list(weights1),
        list(biases1),
        list(weights2),
        list(biases2),
        lengths,
        stride,
        padding,
        list(depths),
        list(dilations),
        slope,
        in_slope,
        out_slope,
        None if ranges is None else list(ranges),
    )
    # A package compiled ahead hands an empty list on as None, which an op of torch's library refuses.
    if not weights2 and ranges is None and _is_exporting():
        return composed(*arguments)
    result: Tensor = _MRF_STAGE(*arguments)
    return result
