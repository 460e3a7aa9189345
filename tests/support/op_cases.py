"""The shapes that ops are checked and timed at: hand-picked cases, shared by `tests/test_ops.py` and the benchmarks.

`CASES` are small and odd, to check ops at. `MODEL_CASES`, whose names begin with `model-`, are calls that the published
and the bundled configuration make, to time ops at: too large for Triton's interpreter.

A case makes an op's arguments from a `Draw`, which knows the dtype, the device and the random generator. The arguments
are in the order of the op's schema (its reference's parameters).
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastvits_kernels.dispatch import registry


@dataclass(frozen=True)
class Draw:
    """Makes tensors of one dtype on one device from one generator."""

    dtype: torch.dtype
    device: torch.device
    generator: torch.Generator
    published_weights: bool = False
    """Whether weights of convolutions are views of tensors `[C_out, C_in, K]`, as a model's are, or contiguous."""

    def normal(self, *shape: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
        """Normal values, drawn in float64 and rounded, contiguous."""
        values = torch.randn(shape, generator=self.generator, dtype=torch.float64) * scale + shift
        return values.to(self.device, self.dtype)

    def uniform(self, *shape: int, low: float, high: float) -> Tensor:
        """Uniform values in [low, high], drawn in float64 and rounded, contiguous."""
        values = torch.rand(shape, generator=self.generator, dtype=torch.float64) * (high - low) + low
        return values.to(self.device, self.dtype)

    def sliced(self, *shape: int, scale: float = 1.0) -> Tensor:
        """Normal values as a slice of a wider tensor: the last axis has stride 1, the others skip what is beside it."""
        wide = self.normal(*shape[:-1], 2 * shape[-1] + 3, scale=scale)
        return wide[..., 2 : 2 + shape[-1]]

    def transposed(self, *shape: int, scale: float = 1.0) -> Tensor:
        """Normal values whose last two axes are swapped in memory, as a channels-first sequence has them."""
        return self.normal(*shape[:-2], shape[-1], shape[-2], scale=scale).transpose(-1, -2)

    def weight(self, taps: int, inputs: int, outputs: int) -> Tensor:
        """A convolution's weight `[K, C_in, C_out]` that keeps the variance."""
        scale = (taps * inputs) ** -0.5
        if self.published_weights:
            return self.normal(outputs, inputs, taps, scale=scale).permute(2, 1, 0)
        return self.normal(taps, inputs, outputs, scale=scale)

    def matrix(self, inputs: int, outputs: int) -> Tensor:
        """A projection's weight `[C_in, C_out]`, the view of a published `[C_out, C_in]`."""
        return self.normal(outputs, inputs, scale=outputs**-0.5).t()

    def transposed_weight(self, taps: int, inputs: int, outputs: int, stride: int) -> Tensor:
        """The same for a transposed convolution, whose published weight is `[C_in, C_out, K]`."""
        scale = (stride / (taps * inputs)) ** 0.5  # Each output sums K / stride taps.
        if self.published_weights:
            return self.normal(inputs, outputs, taps, scale=scale).permute(2, 0, 1)
        return self.normal(taps, inputs, outputs, scale=scale)

    def lengths(self, values: Sequence[int] | None) -> Tensor | None:
        """Lengths `[B]`, or None."""
        return None if values is None else torch.tensor(values, dtype=torch.int64, device=self.device)


@dataclass(frozen=True)
class Case:
    """One set of arguments for one op."""

    op: str
    name: str
    make: Callable[[Draw], tuple[Any, ...]]

    @property
    def id(self) -> str:
        return f"{self.op}-{self.name}"

    def arguments(self, dtype: torch.dtype, device: torch.device | str, seed: int = 0) -> tuple[Any, ...]:
        """The arguments in `dtype` on `device`, the same values for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        return self.make(Draw(dtype, torch.device(device), generator, published_weights=self.name.startswith("model-")))


CASES: list[Case] = []
MODEL_CASES: list[Case] = []


def case(op: str, name: str) -> Callable[[Callable[[Draw], tuple[Any, ...]]], Callable[[Draw], tuple[Any, ...]]]:
    """Decorator: register a function of a `Draw` as a case of `op`."""

    def register(make: Callable[[Draw], tuple[Any, ...]]) -> Callable[[Draw], tuple[Any, ...]]:
        (MODEL_CASES if name.startswith("model-") else CASES).append(Case(op, name, make))
        return make

    return register


# --- conv1d: x, weight, bias, cond, residual, lengths, dilation, pad_left, slope, activation, alpha


def _conv(
    name: str,
    shape: tuple[int, int, int],
    outputs: int,
    taps: int = 3,
    *,
    lengths: Sequence[int] | None = None,
    dilation: int = 1,
    pad_left: int | None = None,
    slope: float = 1.0,
    activation: str = "none",
    alpha: float = 1.0,
    bias: bool = True,
    cond: bool = False,
    residual: bool = False,
    layout: str = "normal",
) -> None:
    batch, steps, inputs = shape

    @case("conv1d", name)
    def make(draw: Draw) -> tuple[Any, ...]:
        return (
            getattr(draw, layout)(batch, steps, inputs),
            draw.weight(taps, inputs, outputs),
            draw.normal(outputs) if bias else None,
            draw.normal(batch, outputs) if cond else None,
            draw.normal(batch, steps, outputs) if residual else None,
            draw.lengths(lengths),
            dilation,
            (taps - 1) * dilation // 2 if pad_left is None else pad_left,
            slope,
            activation,
            alpha,
        )


_conv("one-step", (1, 1, 16), 32)
_conv("pointwise-192-ragged", (3, 63, 192), 96, 1, lengths=[63, 0, 17])
_conv("asymmetric-padding-relu", (2, 64, 32), 96, 4, pad_left=1, activation="relu", lengths=[64, 31])
_conv("long-thin-sliced", (1, 1000, 16), 16, 3, layout="sliced", slope=0.1)
_conv("dilation-far-beyond-T", (1, 20, 16), 16, 11, dilation=9)
_conv("dilation-beyond-T-transposed", (2, 9, 32), 16, 3, dilation=11, layout="transposed", lengths=[9, 4])
_conv("coupling-residual-minus", (2, 65, 32), 16, 1, residual=True, alpha=-1.0, lengths=[65, 33])
_conv("one-input-channel", (2, 33, 1), 32, 1, residual=True, lengths=[33, 20])
_conv("one-output-channel-tanh", (2, 70, 32), 1, 7, slope=0.01, activation="tanh", bias=False, lengths=[70, 41])
_conv("condition-pre", (2, 20, 32), 64, 7, cond=True, lengths=[20, 11])
_conv(
    "everything", (3, 17, 16), 32, lengths=[17, 0, 5], slope=0.1, activation="relu", alpha=0.5, cond=True, residual=True
)
_conv("gelu", (1, 20, 16), 16, activation="gelu")
_conv("gelu_new", (1, 20, 16), 16, activation="gelu_new")
_conv("selu", (1, 20, 16), 16, activation="selu")
_conv("five-input-channels", (2, 17, 5), 29, 3, slope=0.1, lengths=[17, 3])
_conv("channels-no-multiple", (1, 33, 29), 40, 3, layout="sliced", dilation=2, activation="relu")
_conv("one-channel-each", (2, 65, 1), 1, 5, lengths=[65, 64], alpha=0.5, residual=True)
_conv("channels-256", (1, 16, 256), 32, 1, layout="transposed", slope=0.1, cond=True, lengths=[11])
_conv("empty-batch", (0, 5, 16), 16)


# --- conv1d_layer_norm: x, weight, bias, residual, norm_weight, norm_bias, lengths, pad_left, eps


def _norm_inputs(
    draw: Draw, shape: tuple[int, int, int], channels: int, taps: int, bias: bool, layout: str
) -> tuple[Any, ...]:
    batch, steps, inputs = shape
    return (
        getattr(draw, layout)(*shape),
        draw.weight(taps, inputs, channels),
        draw.normal(channels) if bias else None,
        getattr(draw, layout)(batch, steps, channels),
        draw.normal(channels, shift=1.0, scale=0.3),
        draw.normal(channels),
    )


def _conv_norm(
    name: str,
    shape: tuple[int, int, int],
    channels: int,
    taps: int = 1,
    *,
    lengths: Sequence[int] | None = None,
    pad_left: int = 0,
    bias: bool = True,
    layout: str = "normal",
    eps: float = 1e-5,
) -> None:
    @case("conv1d_layer_norm", name)
    def make(draw: Draw) -> tuple[Any, ...]:
        return (
            *_norm_inputs(draw, shape, channels, taps, bias, layout),
            draw.lengths(lengths),
            pad_left,
            eps,
        )


_conv_norm("one-step", (1, 1, 16), 16)
_conv_norm("192-ragged", (3, 63, 48), 192, 3, lengths=[63, 0, 17], pad_left=1)
_conv_norm("asymmetric-padding-sliced", (2, 64, 29), 96, 4, lengths=[64, 7], pad_left=2, layout="sliced", eps=1e-3)
_conv_norm("transposed-256-no-bias", (1, 17, 32), 256, bias=False, layout="transposed")
_conv_norm("long-thin", (1, 1000, 16), 16, 2, pad_left=0)
_conv_norm("empty-batch", (0, 5, 16), 16)


# --- conv1d_layer_norm_projection: x, weight, bias, residual, norm_weight, norm_bias, projection, its bias, lengths,
# --- pad_left, eps


def _conv_norm_projection(
    name: str,
    shape: tuple[int, int, int],
    channels: int,
    outputs: int,
    taps: int = 3,
    *,
    lengths: Sequence[int] | None = None,
    pad_left: int = 1,
    bias: bool = True,
    layout: str = "normal",
    eps: float = 1e-5,
) -> None:
    @case("conv1d_layer_norm_projection", name)
    def make(draw: Draw) -> tuple[Any, ...]:
        return (
            *_norm_inputs(draw, shape, channels, taps, bias, layout),
            draw.matrix(channels, outputs),
            draw.normal(outputs) if bias else None,
            draw.lengths(lengths),
            pad_left,
            eps,
        )


# Up to 256 steps in all the sum has as many parts as it has blocks, eight at most; beyond 4096 it has one.
_conv_norm_projection("one-step", (1, 1, 16), 16, 16, 1, pad_left=0)
_conv_norm_projection("192-ragged", (3, 63, 48), 192, 72, lengths=[63, 0, 17])
_conv_norm_projection("two-outputs-sliced", (2, 41, 29), 96, 2, 4, lengths=[41, 7], pad_left=2, layout="sliced")
_conv_norm_projection("transposed-no-bias", (1, 17, 130), 29, 19, 1, pad_left=0, bias=False, layout="transposed")
_conv_norm_projection("long-thin", (1, 1000, 16), 16, 24, 2, pad_left=0, eps=1e-3)
_conv_norm_projection("longer-one-part", (1, 4100, 16), 16, 16, lengths=[70])
_conv_norm_projection("wide-288", (1, 20, 40), 288, 40, lengths=[19])
_conv_norm_projection("empty-batch", (0, 5, 16), 16, 8)


# --- conv_transpose1d: x, weight, bias, lengths, stride, padding, slope, out_slope


def _conv_transpose(
    name: str,
    shape: tuple[int, int, int],
    outputs: int,
    taps: int,
    stride: int,
    *,
    lengths: Sequence[int] | None = None,
    slope: float = 0.1,
    out_slope: float = 1.0,
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
            out_slope,
        )


_conv_transpose("one-step-k16-s8", (1, 1, 32), 16, 16, 8)
_conv_transpose("k16-s8-ragged", (3, 33, 16), 16, 16, 8, lengths=[33, 0, 12])
_conv_transpose("k4-s2-192-to-32", (1, 40, 192), 32, 4, 2, lengths=[31])
_conv_transpose("k8-s8-transposed", (1, 64, 32), 32, 8, 8, layout="transposed", slope=1.0)
_conv_transpose("k4-s4-sliced", (2, 63, 16), 24, 4, 4, layout="sliced", lengths=[63, 5], bias=False)
_conv_transpose("k5-s3-odd-channels", (1, 17, 20), 29, 5, 3)
_conv_transpose("k4-s2-256-to-96", (1, 9, 256), 96, 4, 2, lengths=[7])
_conv_transpose("k4-s2-activated", (2, 21, 24), 16, 4, 2, lengths=[21, 8], slope=1.0, out_slope=0.1)
_conv_transpose("long-k4-s2", (1, 1000, 16), 16, 4, 2)
_conv_transpose("empty-batch", (0, 5, 16), 16, 4, 2)


# --- resblock_step: x, residual, weights, biases, lengths, dilations, slope, mean, activated, out_slope
# --- resblock_pair: x, weights1, biases1, weights2, biases2, lengths, dilations, slope, mean, activated, out_slope


def _resblock(
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
    activated: bool = False,
    out_slope: float = 1.0,
    layout: str = "normal",
    ops: Sequence[str] = ("resblock_step", "resblock_pair"),
) -> None:
    batch, steps, channels = shape
    inputs = 1 if shared else len(taps)
    settings = (list(dilations), slope, mean, activated, out_slope)

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


_resblock("one-step", (1, 1, 16), (3, 5), (1, 3), mean=True)
_resblock("ragged-shared", (3, 64, 32), (1, 3, 5), shared=True, lengths=[64, 0, 17])
_resblock("ragged-mean-sliced", (2, 63, 16), (3, 7), (5, 1), mean=True, lengths=[63, 30], layout="sliced")
_resblock("transposed", (2, 40, 16), (3, 5), (1, 3), layout="transposed", lengths=[40, 39])
_resblock("long-thin-mean", (1, 1000, 16), (3,), (3,), mean=True)
_resblock("dilation-beyond-T-four-branches", (1, 7, 32), (3, 3, 1, 5), (9, 1, 2, 12), lengths=[6])
_resblock("wide-192", (1, 20, 192), (1,), (1,), mean=True, shared=True, lengths=[19])
_resblock("wide-256", (1, 17, 256), (1,), (3,), residual=False)
_resblock("uneven-channels", (2, 33, 24), (3, 5), (5, 1), mean=True, lengths=[33, 20], slope=0.2)
_resblock("96-channels-slope-1", (1, 30, 96), (3,), (2,), slope=1.0)
_resblock("activated-ragged", (2, 40, 16), (3, 5), (1, 3), lengths=[40, 21], activated=True, out_slope=0.1)
_resblock("activated-mean-shared", (1, 33, 32), (3, 7), (1, 3), shared=True, mean=True, activated=True, out_slope=0.01)
_resblock("activated-to-plain", (1, 20, 24), (3,), (2,), residual=False, slope=0.2, activated=True)
_resblock("five-branches", (1, 8, 16), (3, 3, 3, 3, 3), (1, 1, 1, 1, 1))
_resblock("empty-batch", (0, 5, 16))


# --- gated_activation: x, cond
# --- wavenet_layer: x, skip, in_weight, in_bias, cond, out_weight, out_bias, lengths, dilation


@case("gated_activation", "plain-96")
def _(draw: Draw) -> tuple[Any, ...]:
    return draw.normal(2, 63, 2 * 96), None


@case("gated_activation", "one-step-condition-16")
def _(draw: Draw) -> tuple[Any, ...]:
    return draw.normal(3, 1, 32, scale=0.01), draw.normal(3, 32, scale=0.01)


@case("gated_activation", "saturated-transposed-192")
def _(draw: Draw) -> tuple[Any, ...]:
    return draw.transposed(2, 64, 2 * 192, scale=60.0), draw.sliced(2, 2 * 192, scale=30.0)


@case("gated_activation", "long-sliced")
def _(draw: Draw) -> tuple[Any, ...]:
    return draw.sliced(1, 1000, 64), None


@case("gated_activation", "wide-256")
def _(draw: Draw) -> tuple[Any, ...]:
    return draw.normal(1, 17, 2 * 256), None


@case("gated_activation", "empty-batch")
def _(draw: Draw) -> tuple[Any, ...]:
    return draw.normal(0, 5, 32), None


def _wavenet(
    name: str,
    shape: tuple[int, int, int],
    taps: int = 5,
    *,
    last: bool = False,
    skip: str | None = None,
    cond: bool = False,
    lengths: Sequence[int] | None = None,
    dilation: int = 1,
    layout: str = "normal",
) -> None:
    batch, _, channels = shape
    outputs = channels if last else 2 * channels

    @case("wavenet_layer", name)
    def make(draw: Draw) -> tuple[Any, ...]:
        return (
            getattr(draw, layout)(*shape),
            getattr(draw, skip)(*shape) if skip else None,
            draw.weight(taps, channels, 2 * channels),
            draw.normal(2 * channels, scale=0.3),
            draw.sliced(batch, 2 * channels) if cond else None,
            draw.matrix(channels, outputs),
            draw.normal(outputs),
            draw.lengths(lengths),
            dilation,
        )


_wavenet("one-step", (2, 1, 16))
_wavenet("first-192-ragged", (3, 17, 192), 1, lengths=[17, 0, 5])
_wavenet("middle-condition-96-sliced", (2, 18, 96), 3, skip="sliced", cond=True, lengths=[16, 18], layout="sliced")
_wavenet("last-32-transposed", (2, 64, 32), 3, last=True, skip="transposed", lengths=[64, 1], layout="transposed")
_wavenet("last-without-skip", (1, 63, 32), 1, last=True)
_wavenet("dilation-beyond-T", (2, 9, 32), 3, skip="normal", dilation=11, lengths=[9, 4])
_wavenet("wide-256", (1, 16, 256), 1, skip="normal", cond=True)
_wavenet("beyond-one-tile-288", (1, 16, 288), 1, skip="normal", lengths=[15])
_wavenet("long-thin", (1, 1000, 16), 3, skip="normal", dilation=2)
_wavenet("empty-batch", (0, 5, 16))


# --- relative_attention and relative_attention_weights: q, k, v, rel_k, rel_v, lengths


def _attention(
    name: str,
    shape: tuple[int, int, int, int],
    window: int | None = 4,
    *,
    lengths: Sequence[int] | None = None,
    scale: float = 1.0,
    layout: str = "fused",
) -> None:
    """`shape` is `[B, T, H, D]`; layout `fused` makes q, k and v views of one projection, as the text encoder does."""
    batch, steps, heads, head_dim = shape

    def make(draw: Draw) -> tuple[Any, ...]:
        if layout == "fused":
            q, k, v = draw.normal(batch, steps, 3, heads, head_dim, scale=scale).unbind(2)
        else:
            q, k, v = (getattr(draw, layout)(*shape, scale=scale) for _ in range(3))
        rows = None if window is None else 2 * window + 1
        rel_k = None if rows is None else draw.normal(rows, head_dim, scale=scale)
        rel_v = None if rows is None else draw.sliced(rows, head_dim)
        return q, k, v, rel_k, rel_v, draw.lengths(lengths)

    case("relative_attention", name)(make)
    case("relative_attention_weights", name)(make)


_attention("one-step", (1, 1, 1, 16))
_attention("ragged-96", (3, 63, 2, 96), lengths=[63, 0, 17])
_attention("no-window-sliced", (2, 64, 2, 32), None, lengths=[64, 33], layout="sliced")
_attention("window-1-transposed", (2, 33, 2, 48), 1, lengths=[33, 20], layout="transposed")
_attention("window-beyond-T", (2, 12, 1, 16), 30, lengths=[12, 5])
_attention("wide-window", (1, 50, 1, 16), 20, lengths=[47])
_attention("window-0", (1, 20, 1, 16), 0)
_attention("sharp", (1, 65, 1, 32), scale=3.0)
_attention("head-dim-192", (1, 20, 1, 192), lengths=[19])
_attention("head-dim-256", (1, 9, 1, 256))
_attention("head-dim-6", (1, 20, 2, 6), lengths=[19])
_attention("long-thin", (1, 1000, 1, 16), lengths=[140])
_attention("empty-batch", (0, 5, 2, 16), layout="normal")


# --- layer_norm: x, residual, weight, bias, lengths, eps


def _layer_norm(
    name: str,
    shape: tuple[int, int, int],
    *,
    lengths: Sequence[int] | None = None,
    residual: str | None = "normal",
    layout: str = "normal",
    scale: float = 1.0,
    eps: float = 1e-5,
) -> None:
    @case("layer_norm", name)
    def make(draw: Draw) -> tuple[Any, ...]:
        return (
            getattr(draw, layout)(*shape, scale=scale),
            getattr(draw, residual)(*shape) if residual else None,
            draw.normal(shape[2], shift=1.0, scale=0.3),
            draw.normal(shape[2]),
            draw.lengths(lengths),
            eps,
        )


_layer_norm("one-step", (1, 1, 16))
_layer_norm("ragged-192", (3, 63, 192), lengths=[63, 0, 17])
_layer_norm("no-residual-96-sliced", (2, 64, 96), residual=None, layout="sliced", lengths=[64, 1])
_layer_norm("transposed-256", (2, 33, 256), residual="sliced", layout="transposed", lengths=[33, 9])
_layer_norm("tiny-against-epsilon", (2, 9, 32), residual=None, scale=1e-3)
_layer_norm("long-thin", (1, 1000, 16), eps=1e-3)
_layer_norm("wide", (1, 3, 1200))
_layer_norm("empty-batch", (0, 5, 16))


# --- length_regulator: means, log_scales, durations, noise, noise_scale


def _length_regulator(
    name: str,
    durations: Sequence[Sequence[int]],
    frames: int,
    channels: int,
    *,
    layout: str = "normal",
    prior_dtype: torch.dtype | None = None,
) -> None:
    @case("length_regulator", name)
    def make(draw: Draw) -> tuple[Any, ...]:
        batch, tokens = len(durations), len(durations[0]) if durations else 3
        prior = Draw(prior_dtype or draw.dtype, draw.device, draw.generator)
        means, log_scales = prior.normal(batch, tokens, 2 * channels).split(channels, dim=-1)
        counts = torch.tensor(durations, dtype=torch.int64, device=draw.device).reshape(batch, tokens)
        noise = getattr(draw, layout)(batch, frames, channels)
        return means, log_scales, counts, noise, prior.uniform(batch, low=0.0, high=1.0)


_length_regulator("one-frame", [[1]], 1, 16)
_length_regulator("ragged-192", [[3, 0, 9, 1, 50], [0, 0, 0, 0, 0], [17, 0, 0, 2, 0]], 63, 192)
_length_regulator("zero-durations-at-both-ends", [[0, 0, 5, 0, 0, 7, 0]], 15, 32, layout="transposed")
_length_regulator("more-frames-drawn-than-kept", [[2, 2], [40, 40]], 64, 96, layout="sliced")
_length_regulator("many-frames", [[i % 40 for i in range(52)]], 1000, 16)
_length_regulator("many-tokens", [[int(i % 9 == 8) for i in range(300)]], 33, 16)
_length_regulator("prior-in-float32", [[4, 5], [1, 0]], 9, 256, prior_dtype=torch.float32)
_length_regulator("empty-batch", [], 5, 16)


# --- durations: log_durations, inverse_rates, lengths


def _log_durations(
    name: str, shape: tuple[int, int], *, lengths: Sequence[int] | None = None, first: float = 0.3
) -> None:
    """Up to some hundred frames a token, none of them a tie in float32."""

    @case("durations", name)
    def make(draw: Draw) -> tuple[Any, ...]:
        log_durations = draw.normal(*shape, 2, scale=2.0)[..., 1]
        log_durations[:1, :1] = first
        return log_durations, draw.uniform(shape[0], low=0.5, high=3.0), draw.lengths(lengths)


_log_durations("one-token", (1, 1))
_log_durations("ragged", (4, 63), lengths=[63, 0, 17, 1])
_log_durations("long", (2, 1000), lengths=[1000, 300])
_log_durations("overflow", (2, 5), first=1e4)
_log_durations("not-a-number", (2, 5), first=float("nan"))
_log_durations("silent", (1, 1), first=-1e4)
_log_durations("empty-batch", (0, 5))


# --- monotonic_alignment: scores, text_lengths, frame_lengths


def _alignment(
    name: str,
    shape: tuple[int, int, int],
    text_lengths: Sequence[int],
    frame_lengths: Sequence[int],
    *,
    layout: str = "normal",
    scale: float = 1.0,
    minus_infinity: bool = False,
) -> None:
    @case("monotonic_alignment", name)
    def make(draw: Draw) -> tuple[Any, ...]:
        scores = getattr(draw, layout)(*shape, scale=scale)
        if minus_infinity:
            scores = scores.masked_fill(scores > 0, float("-inf"))
        return scores, draw.lengths(text_lengths), draw.lengths(frame_lengths)


_alignment("one-cell", (1, 1, 1), [1], [1])
_alignment("ragged", (5, 17, 40), [17, 0, 5, 1, 9], [40, 0, 5, 33, 31])
_alignment("no-path", (5, 9, 12), [9, 9, 0, 10, 3], [12, 8, 4, 12, 13])
_alignment("transposed", (2, 33, 66), [20, 33], [64, 66], layout="transposed")
_alignment("far-below-any-sentinel", (1, 20, 65), [20], [65], scale=1e4)
_alignment("minus-infinity-all-over", (2, 9, 21), [9, 8], [21, 20], minus_infinity=True)
_alignment("ties", (2, 7, 19), [7, 4], [19, 19], scale=0.0)
_alignment("many-tokens", (1, 130, 133), [130], [133], layout="sliced")
_alignment("empty-batch", (0, 5, 7), [], [])


# --- left_align: input_ids, attention_mask, vocab_size


def _left_align(
    name: str,
    runs: Sequence[tuple[int, int]] | None,
    shape: tuple[int, int],
    *,
    ids_dtype: torch.dtype = torch.int64,
    mask_dtype: torch.dtype = torch.int64,
    stray: Sequence[tuple[int, int, float]] = (),
    vocab_size: int = 38,
    low: int = 0,
) -> None:
    """Ids in `[low, 38)`; ones from `start` to `stop` for each of `runs`, and `stray` values `(item, place, value)`."""

    @case("left_align", name)
    def make(draw: Draw) -> tuple[Any, ...]:
        ids = torch.randint(low, 38, shape, generator=draw.generator).to(draw.device, ids_dtype)
        if runs is None:
            return ids, None, vocab_size
        mask = torch.zeros(shape[1], shape[0], dtype=mask_dtype)
        for item, (start, stop) in enumerate(runs):
            mask[start:stop, item] = 1
        for item, place, value in stray:
            mask[place, item] = value
        return ids, mask.t().to(draw.device), vocab_size


_left_align("unmasked", None, (2, 63))
_left_align("unmasked-id-too-large", None, (3, 300), vocab_size=20, ids_dtype=torch.uint8)
_left_align("unmasked-negative-id", None, (1, 64), low=-1, ids_dtype=torch.int32)
_left_align("unmasked-blanks", None, (3, 1), vocab_size=1)
_left_align("both-sides", [(0, 9), (4, 9), (0, 3), (2, 5), (8, 9)], (5, 9), mask_dtype=torch.bool)
_left_align("long", [(0, 1000), (711, 1000), (0, 256)], (3, 1000), mask_dtype=torch.int8)
_left_align("hole-and-no-token", [(0, 9), (0, 0), (3, 9)], (3, 9), stray=[(0, 4, 0)], mask_dtype=torch.float32)
_left_align("neither-0-nor-1", [(0, 5), (0, 5)], (2, 5), stray=[(0, 4, 2), (1, 2, 0.5)], mask_dtype=torch.float64)
_left_align("mask-not-a-number", [(0, 5)], (1, 5), stray=[(0, 4, float("nan"))], mask_dtype=torch.float16)
_left_align("faults-under-zeros", [(0, 0)], (1, 40), low=-5, vocab_size=3)
_left_align("empty-batch", [], (0, 5))


# --- rational_quadratic_spline: x, widths, heights, derivatives, tail_bound, reverse
# --- spline_coupling: h, weight, bias, x, lengths, num_bins, tail_bound, reverse


def _spline(
    name: str,
    shape: tuple[int, ...],
    bins: int = 10,
    *,
    scale: float = 1.0,
    tail_bound: float = 5.0,
    directions: Sequence[bool] = (False, True),
) -> None:
    """The spline and its inverse, parameters sliced from one tensor, inputs inside, at and beyond the bounds."""
    for reverse in directions:

        @case("rational_quadratic_spline", f"{name}-inverse" if reverse else name)
        def make(draw: Draw, reverse: bool = reverse) -> tuple[Any, ...]:
            x = draw.uniform(*shape, low=-1.1 * tail_bound, high=1.1 * tail_bound)
            x.view(-1)[:2] = torch.tensor([-tail_bound, tail_bound])[: x.numel()]
            parameters = draw.normal(*shape, 3 * bins - 1, scale=scale)
            return x, *parameters.split([bins, bins, bins - 1], dim=-1), tail_bound, reverse


_spline("ten-bins", (2, 63, 2))
_spline("one-value-one-bin", (1,), 1)
_spline("parameters-of-ten-thousand", (2, 64), scale=1e4)
_spline("long-seventeen-bins", (1000,), 17, tail_bound=3.0, directions=[True])
_spline("empty-batch", (0, 5, 1), directions=[True])


@case("rational_quadratic_spline", "transposed")
def _(draw: Draw) -> tuple[Any, ...]:
    return (
        draw.transposed(2, 21, 3, scale=2.0),
        draw.transposed(2, 21, 3, 4),
        draw.sliced(2, 21, 3, 4),
        draw.normal(2, 21, 3, 3),
        5.0,
        True,
    )


def _coupling(
    name: str,
    shape: tuple[int, int, int],
    channels: int = 1,
    *,
    bins: int = 10,
    lengths: Sequence[int] | None = None,
    reverse: bool = True,
    scale: float = 4.0,
    layout: str = "normal",
) -> None:
    batch, steps, features = shape

    @case("spline_coupling", name)
    def make(draw: Draw) -> tuple[Any, ...]:
        outputs = channels * (3 * bins - 1)
        return (
            getattr(draw, layout)(*shape, scale=scale),
            draw.matrix(features, outputs),
            draw.normal(outputs),
            getattr(draw, layout)(batch, steps, channels, scale=2.5),
            draw.lengths(lengths),
            bins,
            5.0,
            reverse,
        )


_coupling("one-step", (8, 1, 16), scale=1.0)
_coupling("inverse-192-ragged", (3, 63, 192), lengths=[63, 0, 17])
_coupling("forward-96-two-channels", (2, 64, 96), 2, lengths=[64, 31], reverse=False)
_coupling("transposed-five-bins", (2, 20, 32), 3, bins=5, layout="transposed")
_coupling("long-thin-sliced", (1, 1000, 16), layout="sliced", lengths=[900])
_coupling("wide-256", (1, 17, 256))
_coupling("empty-batch", (0, 5, 16))


# --- depth_separable_layer: x, depthwise, its bias, norm 1, pointwise, its bias, norm 2, lengths, dilation, eps


def _depth_separable(
    name: str,
    shape: tuple[int, int, int],
    taps: int = 3,
    *,
    lengths: Sequence[int] | None = None,
    dilation: int = 1,
    layout: str = "normal",
) -> None:
    channels = shape[2]

    @case("depth_separable_layer", name)
    def make(draw: Draw) -> tuple[Any, ...]:
        return (
            getattr(draw, layout)(*shape),
            draw.normal(channels, taps, scale=taps**-0.5).t(),
            draw.normal(channels, scale=0.3),
            draw.normal(channels, scale=0.3, shift=1.0),
            draw.normal(channels, scale=0.3),
            draw.matrix(channels, channels),
            draw.normal(channels, scale=0.3),
            draw.normal(channels, scale=0.3, shift=1.0),
            draw.normal(channels, scale=0.3),
            draw.lengths(lengths),
            dilation,
            1e-5,
        )


_depth_separable("one-step", (3, 1, 16))
_depth_separable("192-ragged", (3, 63, 192), dilation=3, lengths=[63, 0, 16])
_depth_separable("96-sliced", (2, 64, 96), 5, lengths=[64, 31], layout="sliced")
_depth_separable("dilation-far-beyond-T", (1, 7, 16), 5, dilation=125)
_depth_separable("dilation-beyond-T-transposed", (2, 9, 32), dilation=11, lengths=[9, 4], layout="transposed")
_depth_separable("long-thin", (1, 1000, 16), dilation=9)
_depth_separable("wide-256", (1, 17, 256), 1)
_depth_separable("empty-batch", (0, 5, 16))


# --- What the models call, by length. The published configuration has 62.5 frames a second, the bundled one 86.


ACTIVATED = "-activated"
"""At the end of the names of the calls for which a GPU's decoder stores activations, and a CPU's none."""


def model_cases(device_type: str) -> list[Case]:
    """Of `MODEL_CASES`, what a model calls on such a device."""
    if device_type == "cpu":
        return [case for case in MODEL_CASES if not case.name.endswith(ACTIVATED)]
    ids = {case.id for case in MODEL_CASES}
    return [case for case in MODEL_CASES if case.id + ACTIVATED not in ids]


def _model_cases(label: str, batch: int, seconds: int) -> None:
    tokens, frames, samples = 29 * seconds + 1, 125 * seconds // 2, 125 * seconds // 2 * 256
    text, full_text = (batch, tokens, 192), [tokens] * batch
    latent = (batch, frames, 192)

    def full(steps: int) -> list[int] | None:
        # Behind the durations a single item has no padding, and no lengths.
        return None if batch == 1 else [steps] * batch

    _conv(f"model-{label}-attention-projection", text, 576, 1, lengths=full_text)
    _conv(f"model-{label}-feed-forward", text, 768, 3, lengths=full_text, activation="relu")
    _conv(f"model-{label}-decoder-input", latent, 512, 7, lengths=full(frames))
    last = (batch, samples, 32)
    waveform: dict[str, Any] = {"lengths": full(samples), "activation": "tanh", "bias": False}
    _conv(f"model-{label}-waveform", last, 1, 7, slope=0.01, **waveform)
    _conv(f"model-{label}-waveform{ACTIVATED}", last, 1, 7, **waveform)
    _attention(f"model-{label}", (batch, tokens, 2, 96), lengths=full_text)
    _conv_norm(f"model-{label}-attention", text, 192, lengths=full_text)
    _conv_norm_projection(f"model-{label}-feed-forward", (batch, tokens, 768), 192, 576, lengths=full_text)
    _layer_norm(f"model-{label}", text, lengths=full_text)
    _depth_separable(f"model-{label}", text, dilation=3, lengths=full_text)
    _coupling(f"model-{label}", text, lengths=full_text)
    _spline(f"model-{label}", (batch, tokens, 1), directions=[True])
    _left_align(f"model-{label}", [(0, tokens)] * batch, (batch, tokens))
    _log_durations(f"model-{label}", (batch, tokens), lengths=full_text)
    _length_regulator(f"model-{label}", [_durations(tokens, frames)] * batch, frames, 192)
    _alignment(f"model-{label}", (batch, tokens, frames), full_text, [frames] * batch)
    _wavenet(f"model-{label}", latent, skip="normal", lengths=full(frames))

    @case("gated_activation", f"model-{label}")
    def _(draw: Draw) -> tuple[Any, ...]:
        return draw.normal(batch, frames, 2 * 192), None

    steps = frames
    for channels, stride in ((256, 8), (128, 8), (64, 2), (32, 2)):
        name, shape, taps = f"model-{label}-{channels}", (batch, steps, 2 * channels), 16 if stride == 8 else 4
        _conv_transpose(name, shape, channels, taps, stride, lengths=full(steps))
        slope = 0.1 if channels == 256 else 1.0
        _conv_transpose(
            name + ACTIVATED, shape, channels, taps, stride, lengths=full(steps), slope=slope, out_slope=0.1
        )
        steps *= stride
        pair: dict[str, Any] = {"dilations": (5, 5, 5), "mean": True, "lengths": full(steps), "ops": ["resblock_pair"]}
        _resblock(name, (batch, steps, channels), **pair)
        _resblock(name + ACTIVATED, (batch, steps, channels), activated=True, out_slope=0.1, **pair)
    steps = 86 * seconds * 64
    name, shape = f"model-{label}-bundled-64", (batch, steps, 64)
    single: dict[str, Any] = {"mean": True, "lengths": full(steps), "ops": ["resblock_step"]}
    _resblock(name, shape, (3, 5, 7), (2, 6, 12), **single)
    _resblock(name + ACTIVATED, shape, (3, 5, 7), (2, 6, 12), activated=True, out_slope=0.1, **single)


def _durations(tokens: int, frames: int) -> list[int]:
    """Frames for each token, as even as integers allow."""
    return [frames * (i + 1) // tokens - frames * i // tokens for i in range(tokens)]


_model_cases("3s", 1, 3)
_model_cases("32x10s", 32, 10)


_FULL_CASES = {
    "conv1d": "everything",
    "conv1d_layer_norm": "192-ragged",
    "conv1d_layer_norm_projection": "192-ragged",
    "conv_transpose1d": "k16-s8-ragged",
    "depth_separable_layer": "192-ragged",
    "durations": "ragged",
    "gated_activation": "saturated-transposed-192",
    "layer_norm": "ragged-192",
    "left_align": "both-sides",
    "length_regulator": "ragged-192",
    "monotonic_alignment": "ragged",
    "rational_quadratic_spline": "ten-bins",
    "relative_attention": "ragged-96",
    "relative_attention_weights": "ragged-96",
    "resblock_pair": "ragged-mean-sliced",
    "resblock_step": "ragged-mean-sliced",
    "spline_coupling": "forward-96-two-channels",
    "wavenet_layer": "middle-condition-96-sliced",
}


def full_arguments(op: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The arguments by name, in float32, of the op's case with several items and every tensor that it can take."""
    (case,) = [case for case in CASES if (case.op, case.name) == (op, _FULL_CASES[op])]
    names = inspect.signature(registry.ops()[op].reference).parameters
    return dict(zip(names, case.arguments(torch.float32, device), strict=False))
