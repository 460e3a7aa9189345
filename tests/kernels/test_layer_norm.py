"""Mathematical properties of residual addition with layer normalisation, of the reference and of the kernel alike."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import fastvits_kernels as kernels
from fastvits_kernels.dispatch import registry
from tests.support.tolerances import LAYER_NORM_PROPERTY_FLOAT32

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(params=("eager", "triton"), autouse=True)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with registry.use_backend("auto", layer_norm=request.param):
        yield request.param


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def test_mean_zero_and_variance_one() -> None:
    x = 5 * draw(2, 9, 48) + 3
    out = kernels.layer_norm(x, None, torch.ones(48, device=DEVICE), torch.zeros(48, device=DEVICE), eps=0.0)
    torch.testing.assert_close(out.mean(-1), torch.zeros(2, 9, device=DEVICE), rtol=0, atol=LAYER_NORM_PROPERTY_FLOAT32)
    torch.testing.assert_close(
        out.var(-1, correction=0), torch.ones(2, 9, device=DEVICE), rtol=0, atol=LAYER_NORM_PROPERTY_FLOAT32
    )


def test_shift_and_scale_of_the_input_do_not_matter() -> None:
    x, weight, bias = draw(1, 5, 32), draw(32, seed=1), draw(32, seed=2)
    plain = kernels.layer_norm(x, None, weight, bias, eps=0.0)
    moved = kernels.layer_norm(x * 8, torch.full_like(x, 4.0), weight, bias, eps=0.0)
    torch.testing.assert_close(moved, plain, rtol=0, atol=LAYER_NORM_PROPERTY_FLOAT32)


def test_constant_channels_give_the_bias() -> None:
    bias = draw(24, seed=2)
    out = kernels.layer_norm(torch.full((1, 3, 24), 7.0, device=DEVICE), None, draw(24), bias)
    assert torch.equal(out, bias.expand(1, 3, 24))


def test_padding_may_hold_anything() -> None:
    x, residual = draw(2, 7, 16), draw(2, 7, 16, seed=1)
    lengths = torch.tensor([7, 3], device=DEVICE)
    weight, bias = draw(16, seed=2), draw(16, seed=3)
    clean = kernels.layer_norm(x, residual, weight, bias, lengths=lengths)
    x[1, 3:], residual[1, 3:] = float("nan"), float("inf")
    assert torch.equal(kernels.layer_norm(x, residual, weight, bias, lengths=lengths), clean)
    assert not clean[1, 3:].any()
