"""What a case is made of and kept in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

LONG = 300
"""Steps of the cases that go over many tiles: beyond 256, so that rows for 1,024 steps are taken, and no multiple of a
tile. More of them would be more tiles in the middle, which are all alike.
"""


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

    def dropout(self, rate: float) -> tuple[Tensor, float] | tuple[()]:
        """A seed `[1]` with a rate, or the defaults of these for a rate of 0."""
        if not rate:
            return ()
        return torch.randint(2**62, (1,), generator=self.generator).to(self.device), rate

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
