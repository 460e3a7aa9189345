"""The shapes that ops are checked and timed at: hand-picked cases, shared by `tests/test_ops.py` and the benchmarks.

A case makes an op's arguments from a `Draw`, which knows the dtype, the device and the random generator. The arguments are in the
order of the op's schema (its reference's parameters).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """Makes tensors of one dtype on one device from one generator."""

    dtype: torch.dtype
    device: torch.device
    generator: torch.Generator

    def normal(self, *shape: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
        """Normal values, drawn in float64 and rounded, contiguous."""
        values = torch.randn(shape, generator=self.generator, dtype=torch.float64) * scale + shift
        return values.to(self.device, self.dtype)

    def uniform(self, *shape: int, low: float, high: float) -> Tensor:
        """Uniform values in [low, high], drawn in float64 and rounded, contiguous."""
        values = torch.rand(shape, generator=self.generator, dtype=torch.float64) * (high - low) + low
        return values.to(self.device, self.dtype)

    def sliced(self, *shape: int, scale: float = 1.0) -> Tensor:
        """Normal values as a slice of a wider tensor: the last axis has stride 1, the others skip what lies beside it."""
        wide = self.normal(*shape[:-1], 2 * shape[-1] + 3, scale=scale)
        return wide[..., 2 : 2 + shape[-1]]

    def transposed(self, *shape: int, scale: float = 1.0) -> Tensor:
        """Normal values whose last two axes are swapped in memory, as a channels-first sequence has them."""
        return self.normal(*shape[:-2], shape[-1], shape[-2], scale=scale).transpose(-1, -2)

    def weight(self, taps: int, inputs: int, outputs: int) -> Tensor:
        """A convolution's weight `[K, C_in, C_out]` that keeps the variance."""
        return self.normal(taps, inputs, outputs, scale=(taps * inputs) ** -0.5)

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
        return self.make(Draw(dtype, torch.device(device), torch.Generator().manual_seed(seed)))


CASES: list[Case] = []


def case(op: str, name: str) -> Callable[[Callable[[Draw], tuple[Any, ...]]], Callable[[Draw], tuple[Any, ...]]]:
    """Decorator: register a function of a `Draw` as a case of `op`."""

    def register(make: Callable[[Draw], tuple[Any, ...]]) -> Callable[[Draw], tuple[Any, ...]]:
        CASES.append(Case(op, name, make))
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
_conv("long-thin-sliced", (1, 1000, 16), 16, 7, layout="sliced", slope=0.1)
_conv("dilation-beyond-T-transposed", (2, 9, 32), 16, 3, dilation=11, layout="transposed", lengths=[9, 4])
_conv("coupling-residual-minus", (2, 65, 32), 16, 1, residual=True, alpha=-1.0, lengths=[65, 33])
_conv("one-input-channel", (2, 33, 1), 32, 1, residual=True, lengths=[33, 20])
_conv("one-output-channel-tanh", (2, 70, 32), 1, 7, slope=0.01, activation="tanh", bias=False, lengths=[70, 41])
_conv("condition-pre", (2, 20, 32), 64, 7, cond=True, lengths=[20, 11])
_conv("gelu", (1, 20, 16), 16, activation="gelu")
_conv("gelu_new", (1, 20, 16), 16, activation="gelu_new")
_conv("selu", (1, 20, 16), 16, activation="selu")
_conv("empty-batch", (0, 5, 16), 16)
