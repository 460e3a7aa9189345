"""Convolutions through the Fourier domain, as the CPU's backend has them for long filters of many channels."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fastvits_kernels import resblock_pair, use_backend
from fastvits_kernels.dispatch import registry
from fastvits_kernels.onednn import convolution, fft_convolution, resblock, scratch
from fastvits_kernels.onednn.fft_convolution import fft_convolve, pays
from tests.support.numerics import allowed_error, assert_as_good_as_eager, relative_error
from tests.support.op_cases import CASES, Case
from tests.support.tolerances import MODEL_FLOAT32

WIDE = 144
"""Channels with Gauss' three products; with 16, pairs of rows share one."""


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The taps of every filter that `resblock` has applied this way."""
    taps: list[int] = []

    def noted(x: Tensor, weight: Tensor, *args: Any, **options: Any) -> Tensor:
        taps.append(weight.shape[0])
        return fft_convolve(x, weight, *args, **options)

    monkeypatch.setattr(resblock, "fft_convolve", noted)
    return taps


@pytest.fixture(params=[False, True], ids=["grouped", "batched"])
def products(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to multiply, whichever this processor prefers."""
    monkeypatch.setattr(fft_convolution, "_batched", lambda: request.param)


@pytest.mark.usefixtures("products")
@pytest.mark.parametrize("channels", [16, WIDE])
@pytest.mark.parametrize("taps", [3, 4, 7, 11, 13])
@pytest.mark.parametrize("dilation", [1, 3])
def test_it_is_the_convolution(channels: int, taps: int, dilation: int) -> None:
    """For sequences of less than a piece, of a few, and of a number that leaves a rest; as exact as a direct one."""
    weight, bias = random(taps, channels, channels) / (taps * channels) ** 0.5, random(channels, seed=1)
    for steps in (1, 5, 40, 143):
        x = random(1, steps + (taps - 1) * dilation, channels, seed=2)

        def direct(dtype: torch.dtype, x: Tensor = x) -> Tensor:
            y = functional.conv1d(
                x.to(dtype).transpose(1, 2),
                (0.5 * weight).to(dtype).permute(2, 1, 0),
                (0.5 * bias).to(dtype),
                dilation=dilation,
            )
            return functional.leaky_relu(y, 0.1).transpose(1, 2)

        expected = direct(torch.float64)
        actual = fft_convolve(x, weight, bias, alpha=0.5, dilation=dilation, slope=0.1)
        assert actual.shape == expected.shape == (1, steps, channels)
        assert actual.is_contiguous()
        plain = relative_error(direct(torch.float32), expected)
        assert relative_error(actual, expected) <= allowed_error(plain, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["float32", "float16-widened"])
@pytest.mark.parametrize(
    "case", [case for case in CASES if case.op in ("resblock_pair", "resblock_step")], ids=lambda case: case.id
)
def test_residual_blocks(case: Case, dtype: torch.dtype, counted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every case of them with all its filters in the Fourier domain, however few their taps and steps."""
    monkeypatch.setattr(convolution, "native_dtypes", lambda: frozenset({torch.float32}))
    monkeypatch.setattr(resblock, "pays", lambda weight, *_: weight.shape[0] > 1)
    scratch._kept.blocks.clear()  # new ones are poisoned
    op = registry.ops()[case.op]
    arguments = case.arguments(dtype, "cpu")
    assert_as_good_as_eager(op, op.implementations["onednn"].run, arguments, dtype)
    weights = [
        w for w in registry.tensors_in(arguments) if w.dim() == 3 and w.shape[1:] == (arguments[0].shape[-1],) * 2
    ]
    if arguments[0].numel():
        assert {w.shape[0] for w in weights if w.shape[0] > 1} == set(counted)


def asked(taps: int, channels: int, steps: int, *, out: int | None = None, dtype: Any = torch.float32) -> bool:
    return pays(torch.empty(taps, channels, out or channels, device="meta"), dtype, steps)


@pytest.fixture(params=["AVX512", "AVX2"])
def vectors(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a processor computes with, and is asked for by."""
    monkeypatch.setattr(fft_convolution, "_suited", lambda: fft_convolution._SUITED[request.param])
    return str(request.param)


def test_where_it_pays(vectors: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(7, 128, 2048)
    assert asked(11, 256, 1024)
    assert not asked(7, 128, 2047)
    assert not asked(11, 512, 9999)
    assert not asked(11, 192, 9999)
    assert not asked(11, 128, 9999, out=256)
    assert not asked(11, 128, 9999, dtype=torch.bfloat16)
    more = vectors == "AVX2"
    assert asked(11, 64, 4096) is more
    assert asked(11, 128, 1024) is more
    assert asked(7, 256, 512) is more
    assert asked(5, 256, 1536) is more
    assert asked(11, 256, 1023) is more
    assert asked(5, 256, 9999) is more
    assert asked(11, 64, 99999) is more
    assert not asked(7, 64, 99999)
    assert not asked(11, 64, 4095)
    assert not asked(7, 256, 511)
    with torch.inference_mode():
        # For which nothing is kept.
        assert not pays(torch.empty(7, 128, 128), torch.float32, 2048)
    monkeypatch.setattr(fft_convolution, "_suited", dict)
    assert not asked(7, 128, 2048)


@pytest.mark.usefixtures("products", "vectors")
@pytest.mark.parametrize("channels", [128, 256])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_long_filters_of_many_channels_take_it(
    channels: int, mode: type, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their spectra are made once, and made anew when a parameter has changed."""
    made: list[tuple[int, ...]] = []
    real = fft_convolution._spectrum

    def noted(weight: Tensor, alpha: float) -> fft_convolution.Spectrum:
        made.append(weight.shape)
        return real(weight, alpha)

    monkeypatch.setattr(fft_convolution, "_spectrum", noted)
    x = random(1, 1, 2100, channels)
    sizes = (3, 7, 11)
    weights = [[random(k, channels, channels, seed=k) / (channels * k) ** 0.5 for k in sizes] for _ in range(2)]
    biases = [[random(channels, seed=k) for k in sizes] for _ in range(2)]

    def run(backend: str, mode: type) -> Tensor:
        with mode(), use_backend(backend):
            return resblock_pair(x, weights[0], biases[0], weights[1], biases[1], dilations=[1, 3, 5], mean=True)

    first = run("auto", mode)
    assert counted == [7, 7, 11, 11]
    assert relative_error(first, run("eager", mode)) < MODEL_FLOAT32
    assert torch.equal(run("auto", torch.no_grad), first)
    assert len(made) == 4
    weights[0][1].neg_()
    biases[1][2].neg_()
    second = run("auto", torch.no_grad)
    assert len(made) == 5
    assert relative_error(second, run("eager", torch.no_grad)) < MODEL_FLOAT32
    assert not torch.equal(second, first)
