"""Convolutions with weights that learn, through the Fourier domain, and their gradients by weight.

As in `fft_convolution`, K products of matrices for each step become, for M steps together, one for each row of the
spectrum (three for each frequency, Gauss): with `N = M + K - 1` steps a piece these are `3 N / 2 - 1` for `M K`, a
quarter to a half. `B` takes a piece of the input there, `G` the filter, and `A` the products back:

    y  = A^T ((G w) * (B x))
    dw = G^T of the sum of (B x)^T (A dy) over all pieces
    dx = as y, of the turned filter

The weights are other ones in every step, so that their spectrum is made in each call, a part of it at a time where it
is large: what is made stays in the cache until it is multiplied. The items of a batch are one long sequence, with zeros
between them that serve the end of one and the start of the next. Only float32.

The convolutions are nearer to float64 than direct ones, as fewer terms are summed in a row. On one thread of an AMD
EPYC 7003 (AVX2), batch 8, against direct ones of oneDNN and products tap by tap, convolution and gradient by input take
two thirds of the time with 192 to 384 channels and 5 taps, half to three quarters with 256 channels and 7 or 11 taps,
0.8 to 1.2 with 128 channels and 7 taps, half to 0.8 with 11; the gradient by weight takes two fifths to four fifths.
"""

from functools import lru_cache

import torch
from torch import Tensor

from .fft_convolution import transforms
from .scratch import scratch

_SPECTRUM_BYTES = 16 << 20
"""Of a filter's spectrum so much at a time."""
_PIECES = 256
"""So many pieces of the input at a time."""
_FEW_STEPS = 512
"""Steps of all items, below which nothing pays for the filter's spectrum."""


def convolution_pays(weight: Tensor, steps: int, dtype: torch.dtype) -> bool:
    """Whether a convolution with `[K, C_in, C_out]` over `steps` of all items, or its gradient by input, is faster this
    way."""
    taps, inputs, outputs = weight.shape
    return _suits(steps, dtype) and min(inputs, outputs) >= 128 and taps >= 5


def weight_gradient_pays(x: Tensor, g: Tensor, taps: int) -> bool:
    """Whether the gradient by `taps` taps from input and gradient `[B, T, C]` is faster this way."""
    channels = min(x.shape[2], g.shape[2])
    wide = (channels >= 128 and taps >= 5) or (channels >= 64 and taps >= 7) or (channels >= 32 and taps >= 11)
    return wide and _suits(x.shape[0] * x.shape[1], x.dtype)


def _suits(steps: int, dtype: torch.dtype) -> bool:
    # Of the transforms, which are many small products, MKL makes a batch.
    return dtype == torch.float32 and steps >= _FEW_STEPS and torch.backends.mkl.is_available()


class _Plan:
    """How items of `steps` become pieces, for filters of `taps` that reach `left` steps back."""

    def __init__(self, batch: int, steps: int, taps: int, dilation: int, left: int) -> None:
        self.batch, self.steps, self.dilation, self.left = batch, steps, dilation, left
        self.size = 2 * (taps + 1)
        self.hop = self.size - taps + 1
        self.forward, self.filters, self.inverse = _matrices(taps, self.size)
        self.rows = len(self.forward)
        span = (taps - 1) * dilation
        self.period = steps + max(left, span - left)
        self.pieces = -(-batch * self.period // (self.hop * dilation))
        self.span = span

    def long(self, use: str, x: Tensor, left: int) -> Tensor:
        """`[B, T, C]` as one sequence `[L, C]`: `left` zeros, then each item with zeros behind it."""
        channels = x.shape[2]
        filled = self.batch * self.period
        length = max(self.pieces * self.hop * self.dilation + self.span, left + filled)
        long = scratch(use, (length, channels), x.dtype)
        long[:left].zero_()
        long[left + filled :].zero_()
        items = long[left : left + filled].view(self.batch, self.period, channels)
        items[:, : self.steps].copy_(x)
        items[:, self.steps :].zero_()
        return long

    def chunks(self) -> list[tuple[int, int]]:
        """First and last of the pieces that are worked on together."""
        many = max(_PIECES // self.dilation, 1)
        return [(first, min(first + many, self.pieces)) for first in range(0, self.pieces, many)]

    def spectra(self, use: str, matrix: Tensor, long: Tensor, first: int, last: int) -> Tensor:
        """The pieces of such a sequence, `[pieces * dilation, rows, C]`: each `matrix` `[rows, size]` times its
        steps."""
        channels, size = long.shape[1], matrix.shape[1]
        apart = self.hop * self.dilation * channels
        pieces = long.as_strided(
            (last - first, self.dilation, size, channels),
            (apart, channels, self.dilation * channels, 1),
            long.storage_offset() + first * apart,
        ).reshape(-1, size, channels)
        out = scratch(use, (len(pieces), self.rows, channels), long.dtype)
        return torch.matmul(matrix, pieces, out=out)

    def blocks(self, outputs: int, inputs: int) -> list[slice]:
        """Output channels of the filter, `[C_out, C_in]` for each tap, that are worked on together: of all rows, so
        that the filter itself is read once."""
        many = max(_SPECTRUM_BYTES // (4 * inputs * self.rows), 1)
        return [slice(first, min(first + many, outputs)) for first in range(0, outputs, many)]


@lru_cache
def _matrices(taps: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    forward, filters, inverse = transforms(taps, size, True)
    return forward.float(), filters.float(), inverse.float()


def convolved(
    x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, pad_left: int, out: Tensor | None = None
) -> Tensor:
    """The convolution of `x` `[B, T, C_in]` with `[K, C_in, C_out]`, `[B, T, C_out]`, in `out` where that is given.

    Nothing of the weight is copied where it lies in memory as parameters do, `[C_out, C_in, K]`.
    """
    made = _multiplied(x, weight, dilation, pad_left, backwards=False)
    out = made.new_empty(made.shape) if out is None else out
    return out.copy_(made) if bias is None else torch.add(made, bias, out=out)


def by_input(g: Tensor, weight: Tensor, dilation: int, pad_left: int) -> Tensor:
    """The gradient by the input of such a convolution whose output has the gradient `g` `[B, T, C_out]`."""
    left = (weight.shape[0] - 1) * dilation - pad_left
    return _multiplied(g, weight, dilation, left, backwards=True).clone(memory_format=torch.contiguous_format)


def _multiplied(x: Tensor, weight: Tensor, dilation: int, left: int, backwards: bool) -> Tensor:
    """In memory that the next call takes; `backwards` with the taps in reverse order and the channels exchanged."""
    batch, steps, inputs = x.shape
    taps = weight.shape[0]
    plan = _Plan(batch, steps, taps, dilation, left)
    matrix = plan.filters.flip(1) if backwards else plan.filters
    filter = weight.detach().permute(2, 1, 0)  # [C_out, C_in, K] of the convolution, whose gradient this may be
    outputs = weight.numel() // (taps * inputs)
    long = plan.long("fourier input", x, left)
    blocks = plan.blocks(*filter.shape[:2])
    spectrum = long[:0]
    made = scratch("fourier output", (plan.pieces * plan.hop * dilation, outputs), x.dtype)
    for first, last in plan.chunks():
        spectra = plan.spectra("fourier spectra", plan.forward, long, first, last).transpose(0, 1)
        products = scratch("fourier products", (plan.rows, spectra.shape[1], outputs), x.dtype)
        for some in blocks:
            if len(blocks) > 1 or not first:
                part = filter[some].reshape(-1, taps).t()
                flat = scratch("fourier filter", (plan.rows, part.shape[1]), x.dtype)
                spectrum = torch.mm(matrix, part, out=flat).view(plan.rows, -1, filter.shape[1])
            if not backwards:
                torch.bmm(spectra, spectrum.mT, out=products[:, :, some])
            elif some.start == 0:
                torch.bmm(spectra[:, :, some], spectrum, out=products)
            else:
                products.baddbmm_(spectra[:, :, some], spectrum)
        ready = made[first * plan.hop * dilation : last * plan.hop * dilation]
        if dilation == 1:
            torch.matmul(plan.inverse, products.transpose(0, 1), out=ready.view(-1, plan.hop, outputs))
        else:
            stepped = torch.matmul(plan.inverse, products.transpose(0, 1))
            ordered = stepped.view(last - first, dilation, plan.hop, outputs).transpose(1, 2)
            ready.view(last - first, plan.hop, dilation, outputs).copy_(ordered)
    return made[: batch * plan.period].view(batch, plan.period, outputs)[:, :steps]


def by_weight(x: Tensor, g: Tensor, taps: int, dilation: int, pad_left: int) -> Tensor:
    """The gradient by the weight, `[K, C_in, C_out]`, of a convolution of `x` `[B, T, C_in]` whose output has the
    gradient `g` `[B, T, C_out]`."""
    batch, steps, inputs = x.shape
    outputs = g.shape[2]
    plan = _Plan(batch, steps, taps, dilation, pad_left)
    long_x, long_g = plan.long("fourier input", x, pad_left), plan.long("fourier output", g, 0)
    back = plan.inverse.t().contiguous()
    blocks = plan.blocks(outputs, inputs)
    total = x.new_empty(taps, outputs * inputs)
    chunks = plan.chunks()
    for number, (first, last) in enumerate(chunks):
        of_x = plan.spectra("fourier spectra", plan.forward, long_x, first, last).transpose(0, 1)
        of_g = plan.spectra("fourier products", back, long_g, first, last).permute(1, 2, 0)
        for some in blocks:
            sums = scratch("fourier filter", (plan.rows, some.stop - some.start, inputs), x.dtype)
            part = total[:, some.start * inputs : some.stop * inputs]
            if len(blocks) > 1 or not number:
                torch.bmm(of_g[:, some], of_x, out=sums)
            else:
                sums.baddbmm_(of_g, of_x)
            if len(blocks) > 1 and number:
                part.addmm_(plan.filters.t(), sums.flatten(1))
            elif len(blocks) > 1 or number == len(chunks) - 1:
                torch.mm(plan.filters.t(), sums.flatten(1), out=part)
    return total.view(taps, outputs, inputs).mT
