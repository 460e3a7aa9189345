"""One step of the HiFi-GAN residual blocks, for all branches of a multi-receptive-field fusion (MRF) at once.

Branch `r` of `R` computes

    y_r = residual_r + bias_r + sum_j  f(x_r[t + (j - (K_r - 1) / 2) * dilation_r]) @ weight_r[j]

with `f` the leaky ReLU of slope `slope` (Kong et al. 2020, "HiFi-GAN", section 2.2). With `mean` the result is the mean
over the branches, which ends a stage. `x` counts as zero outside `[0, lengths[b])` and the result is zero there.

A block of the first type is pairs of steps, the first without residual (`resblock_pair`); one of the second type is
single steps. A whole stage of the decoder is `mrf_stage`, which is made of these where gradients are wanted.

Axes: `x` `[R, B, T, C]`, or `[1, B, T, C]` when all branches share their input; `residual` likewise or None;
`weights[r]` `[K_r, C, C]` (taps first), `biases[r]` `[C]`. Out `[R, B, T, C]`, or `[B, T, C]` with `mean`. Every
`(K_r - 1) * dilation_r` is even.

Work: `2 B T C^2 sum_r K_r` FLOPs a step. Elements moved a step, beside the weights, at `N = R B T C`: eager 7 N (leaky
ReLU 2, convolution 2, residual 3) and more for the mean; the kernel 2 N, or 3 N with a residual, of which `mean` saves
`(R - 1) / R` N. How the kernel works stands in `forward`.

Triton kernels: float32 (TF32 where torch's flags allow it), float16, bfloat16; any strides of `x` and `residual`; any
C; at most four branches.
"""

from collections.abc import Sequence

from torch import Tensor

from ...dispatch.registry import Implementation, Op
from ...dispatch.shapes import axes, expect, expect_each, expect_even_padding
from ...launch.tiles import preference
from .forward import _launch_resblock_pair, _launch_resblock_step, tile_of, unsupported_steps
from .reference import resblock_pair_reference, resblock_step_reference


def _fake_of(x: Tensor, branches: int, mean: bool) -> Tensor:
    return x.new_empty(x.shape[1:]) if mean else x.new_empty(branches, *x.shape[1:])


def _step_fake(x: Tensor, weights: Sequence[Tensor], mean: bool) -> Tensor:
    return _fake_of(x, len(weights), mean)


def _pair_fake(x: Tensor, weights1: Sequence[Tensor], mean: bool) -> Tensor:
    return _fake_of(x, len(weights1), mean)


def _supports_step(x: Tensor, residual: Tensor | None, weights: Sequence[Tensor]) -> str | None:
    return unsupported_steps(x, residual, weights)


def _supports_pair(x: Tensor, weights1: Sequence[Tensor], weights2: Sequence[Tensor]) -> str | None:
    return unsupported_steps(x, x, weights1) or unsupported_steps(x, x, weights2)


def _prefers_step(x: Tensor, weights: Sequence[Tensor], mean: bool) -> tuple[str, str, bool]:
    return preference(tile_of("resblock_step", x, weights, mean))


def _prefers_pair(x: Tensor, weights1: Sequence[Tensor]) -> tuple[str, str, bool]:
    return preference(tile_of("resblock_pair", x, weights1, False))


def _check_step(
    x: Tensor,
    residual: Tensor | None,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    lengths: Tensor | None,
    dilations: Sequence[int],
) -> None:
    branches = len(weights)
    _, batch, steps, channels = axes(x, "x [R or 1, B, T, C]")
    _check_convolutions(weights, biases, dilations, channels)
    expect_each(x, "x [R or 1, B, T, C]", branches, batch, steps, channels)
    expect_each(residual, "residual [R or 1, B, T, C]", branches, batch, steps, channels)
    expect_each(lengths, "lengths [B or 1]", batch)


def _check_pair(
    x: Tensor,
    weights1: Sequence[Tensor],
    biases1: Sequence[Tensor],
    weights2: Sequence[Tensor],
    biases2: Sequence[Tensor],
    lengths: Tensor | None,
    dilations: Sequence[int],
) -> None:
    _check_step(x, None, weights1, biases1, lengths, dilations)
    _check_convolutions(weights2, biases2, [1] * len(weights1), x.shape[3])


def _check_convolutions(
    weights: Sequence[Tensor], biases: Sequence[Tensor], dilations: Sequence[int], channels: int
) -> None:
    if not len(weights) == len(biases) == len(dilations) > 0:
        raise ValueError(
            "weights, biases and dilations must be lists of one for each branch, "
            f"got {len(weights)}, {len(biases)} and {len(dilations)}"
        )
    for weight, bias, dilation in zip(weights, biases, dilations, strict=True):
        expect(weight, "weights [K, C, C]", None, channels, channels)
        expect_even_padding(weight.shape[0], dilation)
        expect(bias, "biases [C]", channels)


_RESBLOCK_STEP = Op("resblock_step", resblock_step_reference, _step_fake, _check_step)
_RESBLOCK_PAIR = Op("resblock_pair", resblock_pair_reference, _pair_fake, _check_pair)
_RESBLOCK_STEP.register("triton", Implementation(_launch_resblock_step, _supports_step, _prefers_step))
_RESBLOCK_PAIR.register("triton", Implementation(_launch_resblock_pair, _supports_pair, _prefers_pair))


def resblock_step(
    x: Tensor,
    residual: Tensor | None,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    *,
    lengths: Tensor | None = None,
    dilations: Sequence[int],
    slope: float = 0.1,
    mean: bool = False,
) -> Tensor:
    """One step of every branch; see the module's docstring. Raises ValueError for shapes that do not fit."""
    return _RESBLOCK_STEP(x, residual, list(weights), list(biases), lengths, list(dilations), slope, mean)


def resblock_pair(
    x: Tensor,
    weights1: Sequence[Tensor],
    biases1: Sequence[Tensor],
    weights2: Sequence[Tensor],
    biases2: Sequence[Tensor],
    *,
    lengths: Tensor | None = None,
    dilations: Sequence[int],
    slope: float = 0.1,
    mean: bool = False,
) -> Tensor:
    """A pair of steps of every branch, the residual around both; see the module's docstring. Raises ValueError for
    shapes that do not fit."""
    first, second = (list(weights1), list(biases1)), (list(weights2), list(biases2))
    return _RESBLOCK_PAIR(x, *first, *second, lengths, list(dilations), slope, mean)
