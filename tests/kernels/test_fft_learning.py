"""Convolutions with weights that learn, and their gradients, through the Fourier domain."""

from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from fastvits_kernels import conv1d, use_backend
from fastvits_kernels.onednn import fft_learning, images
from tests.support.numerics import relative_error
from tests.support.tolerances import OP_ERROR_FLOOR

FLOOR = OP_ERROR_FLOOR[torch.float32]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def shifted(x: Tensor, taps: int, dilation: int, left: int) -> list[Tensor]:
    """What each tap sees."""
    span = (taps - 1) * dilation
    padded = torch.nn.functional.pad(x, (0, 0, left, span - left))
    return [padded[:, k * dilation : k * dilation + x.shape[1]] for k in range(taps)]


def all_three(x: Tensor, g: Tensor, weight: Tensor, bias: Tensor, dilation: int, left: int) -> list[Tensor]:
    """The convolution and both gradients, tap by tap."""
    taps = weight.shape[0]
    seen = shifted(x, taps, dilation, left)
    made = sum((one @ weight[k] for k, one in enumerate(seen)), bias)
    back = shifted(g, taps, dilation, (taps - 1) * dilation - left)
    of_x = sum(one @ weight[taps - 1 - k].t() for k, one in enumerate(back))
    of_weight = torch.stack([one.flatten(0, 1).t() @ g.flatten(0, 1) for one in seen])
    return [made, of_x, of_weight]


@pytest.mark.parametrize("pieces", [2, 256])
@pytest.mark.parametrize("spectrum_bytes", [1 << 12, 16 << 20])
@pytest.mark.parametrize(("taps", "dilation", "left"), [(5, 1, 2), (7, 3, 9), (11, 5, 25), (4, 2, 1), (5, 1, 0)])
def test_it_is_the_convolution_and_its_gradients(
    taps: int, dilation: int, left: int, pieces: int, spectrum_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As exact as products tap by tap; piece by piece, with a part of the spectrum at a time, and all at once."""
    monkeypatch.setattr(fft_learning, "_PIECES", pieces)
    monkeypatch.setattr(fft_learning, "_SPECTRUM_BYTES", spectrum_bytes)
    inputs, outputs = 24, 40
    # As parameters lie.
    weight = (random(outputs, inputs, taps) / (taps * inputs) ** 0.5).permute(2, 1, 0)
    bias = random(outputs, seed=1)
    for batch, steps in ((1, 1), (1, 61), (3, 5), (2, 143)):
        x, g = random(batch, steps, inputs, seed=2), random(batch, steps, outputs, seed=3)
        wide = [tensor.double() for tensor in (x, g, weight, bias)]
        for given in (weight, weight.contiguous()):
            found = [
                fft_learning.convolved(x, given, bias, dilation, left),
                fft_learning.by_input(g, given, dilation, left),
                fft_learning.by_weight(x, g, taps, dilation, left),
            ]
            plain = all_three(x, g, weight, bias, dilation, left)
            truth = all_three(*wide, dilation, left)
            for one, other, true in zip(found, plain, truth, strict=True):
                assert one.shape == true.shape
                assert relative_error(one, true) <= 2 * relative_error(other, true) + FLOOR
        assert torch.equal(
            fft_learning.convolved(x, weight, None, dilation, left) + bias,
            fft_learning.convolved(x, weight, bias, dilation, left),
        )


def test_an_op_that_learns_takes_it_where_it_pays() -> None:
    x, weight, bias = random(2, 300, 128), random(7, 128, 128, seed=1) / 30, random(128, seed=2)

    def gradients() -> list[Tensor]:
        given = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]
        with use_backend("onednn"):
            made = conv1d(*given, pad_left=3)
        return list(torch.autograd.grad((made * random(2, 300, 128, seed=3)).sum(), given))

    with (
        patch.object(images.fft_learning, "by_input", wraps=fft_learning.by_input) as by_input,
        patch.object(images.fft_learning, "by_weight", wraps=fft_learning.by_weight) as by_weight,
    ):
        through, again = gradients(), gradients()
    assert (by_input.call_count, by_weight.call_count) == (2, 2)
    assert all(map(torch.equal, through, again))
    with patch.object(fft_learning, "_FEW_STEPS", 601):
        direct = gradients()
    assert all(relative_error(one, other) <= 4 * FLOOR for one, other in zip(through, direct, strict=True))


@pytest.mark.parametrize(
    ("taps", "inputs", "outputs", "steps", "dtype"),
    [
        (3, 256, 256, 4096, torch.float32),
        (7, 32, 32, 4096, torch.float32),
        (7, 256, 64, 4096, torch.float32),
        (7, 256, 256, 100, torch.float32),
        (7, 256, 256, 4096, torch.bfloat16),
        (7, 256, 256, 4096, torch.float64),
    ],
)
def test_few_taps_channels_or_steps_and_other_dtypes_stay_direct(taps, inputs, outputs, steps, dtype) -> None:
    assert not fft_learning.convolution_pays(torch.empty(taps, inputs, outputs), steps, dtype)
    assert fft_learning.convolution_pays(torch.empty(7, 256, 256), 4096, torch.float32)
