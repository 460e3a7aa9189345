"""Cases of the decoder's ops."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fastvits_kernels.ops.mrf_stage import tensors_read

from .draw import LONG, Draw, case

# --- conv_transpose1d: x, weight, bias, lengths, stride, padding, slope


def conv_transpose(
    name: str,
    shape: tuple[int, int, int],
    outputs: int,
    taps: int,
    stride: int,
    *,
    lengths: Sequence[int] | None = None,
    slope: float = 0.1,
    bias: bool = True,
    layout: str = "normal",
) -> None:
    batch, steps, inputs = shape

    @case("conv_transpose1d", name)
    def make(draw: Draw) -> tuple[Any, ...]:
        weight = draw.transposed_weight(taps, inputs, outputs, stride)
        return (
            getattr(draw, layout)(batch, steps, inputs),
            weight,
            draw.normal(outputs) if bias else None,
            draw.lengths(lengths),
            stride,
            (taps - stride) // 2,
            slope,
        )


conv_transpose("one-step-k16-s8", (1, 1, 32), 16, 16, 8)
conv_transpose("k16-s8-ragged", (3, 33, 16), 16, 16, 8, lengths=[33, 0, 12])
conv_transpose("k4-s2-192-to-32", (1, 40, 192), 32, 4, 2, lengths=[31])
conv_transpose("k8-s8-transposed", (1, 64, 32), 32, 8, 8, layout="transposed", slope=1.0)
conv_transpose("k4-s4-sliced", (2, 63, 16), 24, 4, 4, layout="sliced", lengths=[63, 5], bias=False)
conv_transpose("k5-s3-odd-channels", (1, 17, 20), 29, 5, 3)
conv_transpose("k4-s2-256-to-96", (1, 9, 256), 96, 4, 2, lengths=[7])
conv_transpose("long-k4-s2", (1, LONG, 16), 16, 4, 2)
conv_transpose("empty-batch", (0, 5, 16), 16, 4, 2)


# --- resblock_step: x, residual, weights, biases, lengths, dilations, slope, mean
# --- resblock_pair: x, weights1, biases1, weights2, biases2, lengths, dilations, slope, mean


def resblock(
    name: str,
    shape: tuple[int, int, int],
    taps: Sequence[int] = (3, 7, 11),
    dilations: Sequence[int] = (1, 3, 5),
    *,
    shared: bool = False,
    mean: bool = False,
    residual: bool = True,
    lengths: Sequence[int] | None = None,
    slope: float = 0.1,
    layout: str = "normal",
    ops: Sequence[str] = ("resblock_step", "resblock_pair"),
) -> None:
    batch, steps, channels = shape
    inputs = 1 if shared else len(taps)
    settings = (list(dilations), slope, mean)

    def convolutions(draw: Draw) -> tuple[list[Tensor], list[Tensor]]:
        return [draw.weight(k, channels, channels) for k in taps], [draw.normal(channels) for _ in taps]

    def step(draw: Draw) -> tuple[Any, ...]:
        x = getattr(draw, layout)(inputs, batch, steps, channels)
        added = getattr(draw, layout)(inputs, batch, steps, channels) if residual else None
        return (x, added, *convolutions(draw), draw.lengths(lengths), *settings)

    def pair(draw: Draw) -> tuple[Any, ...]:
        x = getattr(draw, layout)(inputs, batch, steps, channels)
        return (x, *convolutions(draw), *convolutions(draw), draw.lengths(lengths), *settings)

    for op, make in (("resblock_step", step), ("resblock_pair", pair)):
        if op in ops:
            case(op, name)(make)


resblock("one-step", (1, 1, 16), (3, 5), (1, 3), mean=True)
resblock("ragged-shared", (3, 64, 32), (1, 3, 5), shared=True, lengths=[64, 0, 17])
resblock("ragged-mean-sliced", (2, 63, 16), (3, 7), (5, 1), mean=True, lengths=[63, 30], layout="sliced")
resblock("transposed", (2, 40, 16), (3, 5), (1, 3), layout="transposed", lengths=[40, 39])
resblock("long-thin-mean", (1, LONG, 16), (3,), (3,), mean=True)
resblock("dilation-beyond-T-four-branches", (1, 7, 32), (3, 3, 1, 5), (9, 1, 2, 12), lengths=[6])
resblock("wide-192", (1, 20, 192), (1,), (1,), mean=True, shared=True, lengths=[19])
resblock("wide-256", (1, 17, 256), (1,), (3,), residual=False)
resblock("uneven-channels", (2, 33, 24), (3, 5), (5, 1), mean=True, lengths=[33, 20], slope=0.2)
resblock("96-channels-slope-1", (1, 30, 96), (3,), (2,), slope=1.0)
resblock("five-branches", (1, 8, 16), (3, 3, 3, 3, 3), (1, 1, 1, 1, 1))
resblock("empty-batch", (0, 5, 16))


# --- mrf_stage: x, weight, bias, weights1, biases1, weights2, biases2, lengths, stride, padding, depths, dilations,
# --- slope, in_slope, out_slope, ranges


def stage(
    name: str,
    shape: tuple[int, int, int],
    channels: int,
    upsampling: tuple[int, int],
    blocks: Sequence[tuple[int, Sequence[int]]],
    *,
    pairs: bool = True,
    lengths: Sequence[int] | None = None,
    slopes: tuple[float, float, float] = (0.1, 1.0, 0.1),
    bias: bool = True,
    layout: str = "normal",
    int8: bool = False,
) -> None:
    """`upsampling` is a kernel size and a stride, `blocks` are kernel sizes with the dilations of their steps."""
    taps, stride = upsampling
    sizes = [kernel_size for kernel_size, dilations in blocks for _ in dilations]

    @case("mrf_stage", name)
    def make(draw: Draw) -> tuple[Any, ...]:
        def convolutions(count: int) -> tuple[list[Tensor], list[Tensor]]:
            some = sizes[:count]
            return [draw.weight(k, channels, channels) for k in some], [draw.normal(channels) for _ in some]

        return (
            getattr(draw, layout)(*shape),
            draw.transposed_weight(taps, shape[2], channels, stride),
            draw.normal(channels) if bias else None,
            *convolutions(len(sizes)),
            *convolutions(len(sizes) if pairs else 0),
            draw.lengths(lengths),
            stride,
            (taps - stride) // 2,
            [len(dilations) for _, dilations in blocks],
            [dilation for _, dilations in blocks for dilation in dilations],
            *slopes,
            [-0.3, 1.7] * tensors_read([len(dilations) for _, dilations in blocks], pairs=pairs) if int8 else None,
        )


stage("one-step", (1, 1, 16), 16, (4, 2), [(3, (1,))])
stage("ragged", (2, 9, 20), 16, (4, 2), [(3, (1, 2)), (3, (3, 1))], lengths=[9, 4])
stage("single-steps-sliced", (2, 7, 20), 24, (4, 4), [(3, (1, 2))] * 2, pairs=False, lengths=[7, 1], layout="sliced")
stage("unequal-depths", (1, 9, 16), 16, (2, 2), [(3, (1,)), (3, (2, 4))], slopes=(0.2, 0.2, 0.01), bias=False)
stage("unequal-single-steps", (1, 8, 16), 16, (2, 2), [(1, (1, 1)), (3, (5,))], pairs=False, slopes=(0.1, 0.1, 1.0))
stage("rectified", (1, 9, 16), 16, (4, 2), [(3, (1,)), (3, (2,))], slopes=(0.0, 1.0, 0.1), layout="transposed")
stage("five-branches", (1, 4, 16), 16, (2, 2), [(3, (1,))] * 5, slopes=(0.1, 0.1, 1.0))
stage("int8-ragged", (3, 9, 20), 16, (4, 2), [(3, (1, 2)), (5, (3, 1))], lengths=[9, 0, 4], int8=True)
stage("int8-single-steps", (1, 40, 48), 32, (8, 4), [(3, (1, 2)), (7, (3, 12))], pairs=False, int8=True)
stage("int8-unequal-depths", (1, 9, 16), 16, (2, 2), [(3, (1,)), (3, (2, 4))], slopes=(0.2, 0.2, 1.0), int8=True)
stage("empty-batch", (0, 5, 16), 16, (4, 2), [(3, (1,))])
