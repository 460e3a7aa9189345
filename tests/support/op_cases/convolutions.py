"""Cases of the ops around one convolution, and of the layers that hold a few."""

from collections.abc import Sequence
from typing import Any

from .draw import LONG, Draw, case

# --- conv1d: x, weight, bias, cond, residual, lengths, dilation, pad_left, slope, activation, alpha


def conv(
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


conv("one-step", (1, 1, 16), 32)
conv("pointwise-192-ragged", (3, 63, 192), 96, 1, lengths=[63, 0, 17])
conv("asymmetric-padding-relu", (2, 64, 32), 96, 4, pad_left=1, activation="relu", lengths=[64, 31])
conv("long-thin-sliced", (1, LONG, 16), 16, 3, layout="sliced", slope=0.1)
conv("dilation-far-beyond-T", (1, 20, 16), 16, 11, dilation=9)
conv("dilation-beyond-T-transposed", (2, 9, 32), 16, 3, dilation=11, layout="transposed", lengths=[9, 4])
conv("coupling-residual-minus", (2, 65, 32), 16, 1, residual=True, alpha=-1.0, lengths=[65, 33])
conv("one-input-channel", (2, 33, 1), 32, 1, residual=True, lengths=[33, 20])
conv("one-output-channel-tanh", (2, 70, 32), 1, 7, slope=0.01, activation="tanh", bias=False, lengths=[70, 41])
conv("condition-pre", (2, 20, 32), 64, 7, cond=True, lengths=[20, 11])
conv(
    "everything", (3, 17, 16), 32, lengths=[17, 0, 5], slope=0.1, activation="relu", alpha=0.5, cond=True, residual=True
)
conv("gelu", (1, 20, 16), 16, activation="gelu")
conv("gelu_new", (1, 20, 16), 16, activation="gelu_new")
conv("selu", (1, 20, 16), 16, activation="selu")
conv("five-input-channels", (2, 17, 5), 29, 3, slope=0.1, lengths=[17, 3])
conv("channels-no-multiple", (1, 33, 29), 40, 3, layout="sliced", dilation=2, activation="relu")
conv("one-channel-each", (2, 65, 1), 1, 5, lengths=[65, 64], alpha=0.5, residual=True)
conv("channels-256", (1, 16, 256), 32, 1, layout="transposed", slope=0.1, cond=True, lengths=[11])
conv("empty-batch", (0, 5, 16), 16)


# --- conv1d_layer_norm: x, weight, bias, residual, norm_weight, norm_bias, lengths, pad_left, eps, seed, dropout


def norm_inputs(
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


def conv_norm(
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
    dropout: float = 0.0,
) -> None:
    @case("conv1d_layer_norm", name)
    def make(draw: Draw) -> tuple[Any, ...]:
        return (
            *norm_inputs(draw, shape, channels, taps, bias, layout),
            draw.lengths(lengths),
            pad_left,
            eps,
            *draw.dropout(dropout),
        )


conv_norm("one-step", (1, 1, 16), 16)
conv_norm("192-ragged", (3, 33, 48), 192, 3, lengths=[33, 0, 17], pad_left=1)
conv_norm("asymmetric-padding-sliced", (2, 64, 29), 96, 4, lengths=[64, 7], pad_left=2, layout="sliced", eps=1e-3)
conv_norm("transposed-256-no-bias", (1, 17, 32), 256, bias=False, layout="transposed")
conv_norm("dropout", (2, 9, 5), 18, 3, lengths=[9, 4], pad_left=2, layout="transposed", dropout=0.4)
conv_norm("dropout-192-ragged", (3, 8, 16), 192, lengths=[8, 0, 5], dropout=0.5)
conv_norm("long-thin", (1, LONG, 16), 16, 2, pad_left=0)
conv_norm("empty-batch", (0, 5, 16), 16)


# --- conv1d_layer_norm_projection: x, weight, bias, residual, norm_weight, norm_bias, projection, its bias, lengths,
# --- pad_left, eps


def conv_norm_projection(
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
            *norm_inputs(draw, shape, channels, taps, bias, layout),
            draw.matrix(channels, outputs),
            draw.normal(outputs) if bias else None,
            draw.lengths(lengths),
            pad_left,
            eps,
        )


# Up to 256 steps in all the sum has as many parts as it has blocks, eight at most; beyond 4096 it has one.
conv_norm_projection("one-step", (1, 1, 16), 16, 16, 1, pad_left=0)
conv_norm_projection("192-ragged", (3, 33, 48), 192, 72, lengths=[33, 0, 17])
conv_norm_projection("two-outputs-sliced", (2, 41, 29), 96, 2, 4, lengths=[41, 7], pad_left=2, layout="sliced")
conv_norm_projection("transposed-no-bias", (1, 17, 130), 29, 19, 1, pad_left=0, bias=False, layout="transposed")
conv_norm_projection("long-thin", (1, LONG, 16), 16, 24, 2, pad_left=0, eps=1e-3)
conv_norm_projection("longer-one-part", (1, 4100, 16), 16, 16, lengths=[70])
conv_norm_projection("wide-288", (1, 20, 40), 288, 40, lengths=[19])
conv_norm_projection("empty-batch", (0, 5, 16), 16, 8)


# --- gated_activation: x, cond
# --- wavenet_layer: x, skip, in_weight, in_bias, cond, out_weight, out_bias, lengths, dilation, ranges,
# --- seed, dropout


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
    return draw.sliced(1, LONG, 64), None


@case("gated_activation", "wide-256")
def _(draw: Draw) -> tuple[Any, ...]:
    return draw.normal(1, 17, 2 * 256), None


@case("gated_activation", "empty-batch")
def _(draw: Draw) -> tuple[Any, ...]:
    return draw.normal(0, 5, 32), None


def wavenet(
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
    int8: bool = False,
    dropout: float = 0.0,
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
            [-3.1, 2.9] if int8 else None,
            *draw.dropout(dropout),
        )


wavenet("one-step", (2, 1, 16))
wavenet("first-192-ragged", (3, 17, 192), 1, lengths=[17, 0, 5])
wavenet("middle-condition-96-sliced", (2, 18, 96), 3, skip="sliced", cond=True, lengths=[16, 18], layout="sliced")
wavenet("last-32-transposed", (2, 64, 32), 3, last=True, skip="transposed", lengths=[64, 1], layout="transposed")
wavenet("last-without-skip", (1, 63, 32), 1, last=True)
wavenet("dilation-beyond-T", (2, 9, 32), 3, skip="normal", dilation=11, lengths=[9, 4])
wavenet("wide-256", (1, 16, 256), 1, skip="normal", cond=True)
wavenet("beyond-one-tile-288", (1, 16, 288), 1, skip="normal", lengths=[15])
wavenet("long-thin", (1, LONG, 16), 3, skip="normal", dilation=2)
wavenet("dropout", (2, 8, 16), 3, skip="normal", cond=True, lengths=[8, 4], dropout=0.4)
wavenet("dropout-last-96", (1, 17, 96), 3, last=True, dropout=0.1)
wavenet("int8-condition-ragged", (3, 18, 96), 3, skip="sliced", cond=True, lengths=[18, 0, 5], int8=True)
wavenet("int8-last", (1, 63, 32), 5, last=True, dilation=2, int8=True)
wavenet("empty-batch", (0, 5, 16))


# --- depth_separable_layer: x, depthwise, its bias, norm 1, pointwise, its bias, norm 2, lengths, dilation, eps, seed,
# --- dropout


def depth_separable(
    name: str,
    shape: tuple[int, int, int],
    taps: int = 3,
    *,
    lengths: Sequence[int] | None = None,
    dilation: int = 1,
    layout: str = "normal",
    dropout: float = 0.0,
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
            *draw.dropout(dropout),
        )


depth_separable("one-step", (3, 1, 16))
depth_separable("192-ragged", (3, 33, 192), dilation=3, lengths=[33, 0, 16])
depth_separable("96-sliced", (2, 64, 96), 5, lengths=[64, 31], layout="sliced")
depth_separable("dilation-far-beyond-T", (1, 7, 16), 5, dilation=125)
depth_separable("dilation-beyond-T-transposed", (2, 9, 32), dilation=11, lengths=[9, 4], layout="transposed")
depth_separable("dropout", (2, 9, 32), dilation=2, lengths=[9, 4], layout="transposed", dropout=0.4)
depth_separable("dropout-192-ragged", (3, 8, 192), lengths=[8, 0, 5], dropout=0.5)
depth_separable("dropout-all", (1, 7, 18), dropout=1.0)
depth_separable("long-thin", (1, LONG, 16), dilation=9)
depth_separable("wide-256", (1, 17, 256), 1)
depth_separable("empty-batch", (0, 5, 16))
