"""Convolutions with long filters through the Fourier domain: a quarter to two fifths of the products of direct ones.

The input is cut into pieces of N steps, each M = N - K + 1 behind the one before. The discrete Fourier transform of a
piece, multiplied by the conjugate of the filter's, is the transform of their cyclic correlation, whose first M steps
are the convolution's (overlap-save). So K products of matrices for each output step become, for M of them together, one
product for each frequency, over channels and pieces:

    y[m] = sum_k w[k] x[m + k],  0 <= m < M   <=>   Y[f] = X[f] conj(W[f]),  f = 0 ... N/2

One grouped convolution of oneDNN does them all; with AVX2 one batched product of MKL, which is as fast there, and wants
its matrices in no layout of its own. Frequencies 0 and N/2 are real. For the others a complex product is
either one real product of matrices twice as wide on both sides, or three (Gauss) of the width itself. The transforms of
16 to 32 steps are products with small matrices, which costs less than the passes over memory of butterflies.
With float32 the result is nearer to float64 than oneDNN's direct convolution: fewer terms are summed in a row.

Source: Mathieu, Henaff & LeCun 2013, "Fast Training of Convolutional Networks through FFTs"; cut into small pieces, and
with Gauss' products: Zlateski, Jia, Li & Durand 2018, "FFT Convolutions are Faster than Winograd on Modern CPUs, Here
is Why".
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from ..dispatch.packing import packed
from .convolution import convolve, has_avx2_only, whole_steps
from .scratch import scratch


@dataclass(frozen=True)
class Spectrum:
    """A filter in the Fourier domain, and the matrices that lead there and back."""

    forward: Tensor
    """`[R, N]`: a piece's steps to the R rows that are multiplied."""
    inverse: Tensor
    """`[M, R]`: the products back to output steps."""
    weight: Tensor
    """For a grouped convolution with one tap, in oneDNN's own layout; or `[groups, C_in, C_out]`, plain."""
    groups: int


_GROUPS_AT_ONCE = 8
"""Products of a filter's spectrum that are computed together."""


_SUITED: dict[str, dict[int, tuple[tuple[int, int], ...]]] = {
    "AVX512": {128: ((7, 2048),), 256: ((7, 1024),)},
    "AVX2": {64: ((11, 4096),), 128: ((7, 2048), (11, 1024)), 256: ((5, 1536), (7, 512))},
}
"""By torch's name of a processor's vectors, and by channels: pairs of how many taps and how many steps it was measured
to pay from."""


@lru_cache
def _suited() -> dict[int, tuple[tuple[int, int], ...]]:
    """The row of `_SUITED` for this machine; empty without MKL, for the many small products of the transforms."""
    return _SUITED.get(torch.backends.cpu.get_cpu_capability(), {}) if torch.backends.mkl.is_available() else {}


def _batched() -> bool:
    """Whether the products are MKL's; it has AVX-512 for Intel's processors only."""
    return has_avx2_only()


def pays(weight: Tensor, dtype: torch.dtype, steps: int) -> bool:
    """Whether a convolution of `steps` with `weight` `[K, C_in, C_out]`, computed in `dtype`, is faster this way.

    With few channels or taps the transforms cost what they save. AVX2 has half the products of AVX-512 for the same
    passes over memory, so more pays there: on a thread of an AMD EPYC 7003 11 taps are 1.2 to 1.4 times as fast with 64
    channels (8,192 steps), 1.6 to 1.9 times with 128 (8,192) and 256 (1,024). Few steps do not pay for reading the
    spectrum, which is three to seven times as large as the filter. Groups of a convolution that are not 256 wide may
    want their weights in a layout that depends on the number of rows, and have them rearranged in every call (192: for
    20 ms).
    """
    taps, channels, channels_out = weight.shape
    if dtype != torch.float32 or channels_out != channels or weight.is_inference():
        return False  # an inference tensor's spectrum would not be kept
    return any(taps >= least and steps >= shortest for least, shortest in _suited().get(channels, ()))


def _packed_bias(bias: Tensor, alpha: float, filter: Spectrum) -> Tensor:
    """`alpha * bias`, `[C_out]`, in the row of frequency 0: the same for every step of a piece."""
    rows, size = filter.forward.shape

    def build() -> Tensor:
        scaled = (bias.detach().double() * (alpha * size)).float()
        return torch.constant_pad_nd(scaled, (0, (rows - 1) * scaled.shape[0]))

    return packed(bias, ("onednn fft", alpha, rows, size), build)


def _spectrum(weight: Tensor, alpha: float) -> Spectrum:
    taps, channels, _ = weight.shape
    # With many channels the products outweigh the transforms. Long pieces save products, short ones transforms and
    # memory.
    gauss = channels > 128
    size = 4 * math.ceil((taps + 9) / 4) if gauss else 8 * round(3 * taps / 8)
    forward, filters, inverse = transforms(taps, size, gauss)
    # Some at a time: all of them in float64, and their parts, would take several times the memory that the result does.
    groups, width = (filters.shape[0], channels) if gauss else (filters.shape[0] // 2, 2 * channels)
    wide = (weight.double() * alpha).transpose(1, 2).contiguous()
    products = torch.empty(groups, width, width, dtype=torch.float32, device=weight.device)
    for first in range(0, groups, _GROUPS_AT_ONCE):
        last = min(first + _GROUPS_AT_ONCE, groups)
        if gauss:
            products[first:last] = torch.tensordot(filters[first:last], wide, 1)
            continue
        rows = torch.tensordot(filters[2 * first : 2 * last], wide, 1)
        real, imaginary, product = rows[0::2], rows[1::2], products[first:last]
        product[:, :channels, :channels] = product[:, channels:, channels:] = real
        product[:, :channels, channels:], product[:, channels:, :channels] = -imaginary, imaginary
    if not gauss:
        # The two frequencies that are real share a group.
        products[0, channels:, channels:] = products[0, channels:, :channels]
        products[0, :channels, channels:] = products[0, channels:, :channels] = 0
    if _batched():
        return Spectrum(forward.float(), inverse.float(), products.transpose(1, 2), groups)
    filter = products.view(-1, width, 1, 1).contiguous(memory_format=torch.channels_last)
    del products, wide
    shape = [1, groups * width, 1, 1024]
    filter = torch.ops.mkldnn._reorder_convolution_weight(filter, [0, 0], [1, 1], [1, 1], groups, shape)
    return Spectrum(forward.float(), inverse.float(), filter, groups)


@lru_cache
def transforms(taps: int, size: int, gauss: bool) -> tuple[Tensor, Tensor, Tensor]:
    """`[R, N]`, `[R, K]` and `[M, R]` in float64: of a piece and of a filter to the rows that are multiplied with each
    other, and from the products to the output.

    The first two rows are the frequencies 0 and N/2, which are real. Of the others each has a real and an imaginary
    row, or with `gauss` three, for (a + ib)(c + id) = (c(a + b) - b(c + d)) + i(c(a + b) + a(d - c)).
    """
    double = torch.float64
    # Whatever torch's default device is.
    n, k, m = (torch.arange(length, dtype=double, device="cpu") for length in (size, taps, size - taps + 1))
    forward, filters, inverse = [], [], []
    for sign in (1.0, -1.0):
        forward.append(sign**n)
        filters.append(sign**k)
        inverse.append(sign**m / size)
    for frequency in range(1, size // 2):
        angle = 2 * math.pi * frequency / size
        a, b = torch.cos(angle * n), -torch.sin(angle * n)
        c, d = torch.cos(angle * k), torch.sin(angle * k)
        real, imaginary = 2 / size * torch.cos(angle * m), -2 / size * torch.sin(angle * m)
        if gauss:
            forward += [a + b, a, b]
            filters += [c, d - c, c + d]
            inverse += [real + imaginary, imaginary, -real]
        else:
            forward += [a, b]
            filters += [c, d]
            inverse += [real, imaginary]
    return torch.stack(forward), torch.stack(filters), torch.stack(inverse, dim=1).contiguous()


def _products(spectra: Tensor, filter: Spectrum, bias: Tensor) -> Tensor:
    """`[N, R, C]`, `[R C_out]` -> `[N, R, C_out]`: each row multiplied with the filter's."""
    number, rows, _ = spectra.shape
    if filter.weight.is_mkldnn:
        made = convolve(spectra.view(1, number, -1), filter.weight, bias, groups=filter.groups)
        return made.view(number, rows, -1)
    channels_out = bias.shape[0] // rows
    out = scratch("fft products", (number, rows, channels_out), spectra.dtype)
    grouped, products = (x.view(number, filter.groups, -1).transpose(0, 1) for x in (spectra, out))
    torch.bmm(grouped, filter.weight, out=products)
    out[:, 0].add_(bias[:channels_out])
    return out


def fft_convolve(
    x: Tensor, weight: Tensor, bias: Tensor, *, alpha: float = 1.0, dilation: int = 1, slope: float = 1.0
) -> Tensor:
    """Contiguous `x` `[1, T, C]` convolved with `alpha * weight` `[K, C, C_out]`, K > 1, and `alpha * bias` ->
    `[1, T - (K - 1) dilation, C_out]`, contiguous, behind a leaky ReLU; in memory that the next call in this thread
    takes.

    The result may be the input of the next call if that has no dilation.
    """
    filter = packed(weight, ("onednn fft", alpha), lambda: _spectrum(weight.detach(), alpha))
    channels, hop = x.shape[2], filter.inverse.shape[0]
    rows, size = filter.forward.shape
    steps = x.shape[1] - (weight.shape[0] - 1) * dilation
    apart, span = hop * dilation, size * dilation
    pieces = -(-steps // apart)
    # oneDNN generates code for each number; what stands in the last ones does not matter.
    whole = pieces * dilation if _batched() else whole_steps(pieces * dilation)
    spectra = scratch("fft spectra", (whole, rows, channels), x.dtype)
    inside = max((x.shape[1] - span) // apart + 1, 0)
    if inside:
        shape = (inside, dilation, size, channels)
        strides = (apart * channels, channels, dilation * channels, 1)
        cut = x.as_strided(shape, strides, x.storage_offset())
        if dilation > 1:
            cut = scratch("fft pieces", shape, x.dtype).copy_(cut)
        torch.matmul(filter.forward, cut.view(-1, size, channels), out=spectra[: inside * dilation])
    for piece in range(inside, pieces):
        edge = x.new_zeros(span, channels)
        left = x[0, piece * apart :]
        edge[: left.shape[0]] = left
        edge = edge.view(size, dilation, channels).transpose(0, 1)
        torch.matmul(filter.forward, edge, out=spectra[piece * dilation : (piece + 1) * dilation])
    products = _products(spectra, filter, _packed_bias(bias, alpha, filter))[: pieces * dilation]
    out = scratch("fft output", (pieces * dilation, hop, products.shape[2]), x.dtype)
    torch.matmul(filter.inverse, products, out=out)
    if dilation > 1:
        ordered = scratch("fft pieces", (pieces, hop, dilation, products.shape[2]), x.dtype)
        out = ordered.copy_(out.view(pieces, dilation, hop, -1).transpose(1, 2))
    out = out.view(1, -1, products.shape[2])[:, :steps]
    return out if slope == 1.0 else functional.leaky_relu_(out, slope)
