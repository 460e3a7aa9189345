"""Mathematical properties of the length regulator, of the reference and of the kernel alike."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import fastvits_kernels as kernels
from fastvits_kernels.dispatch import registry

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(params=("eager", "triton"), autouse=True)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with registry.use_backend("auto", length_regulator=request.param):
        yield request.param


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def test_without_noise_each_token_is_repeated_exactly() -> None:
    means, durations = draw(1, 6, 16), torch.tensor([[2, 0, 5, 1, 0, 3]], device=DEVICE)
    zero = torch.zeros(1, device=DEVICE)
    out = kernels.length_regulator(means, draw(1, 6, 16, seed=1), durations, draw(1, 14, 16, seed=2), zero)
    assert torch.equal(out[0, :11], means[0].repeat_interleave(durations[0], 0))
    assert not out[0, 11:].any()


def test_noise_has_the_standard_deviation_of_its_token_and_item() -> None:
    """Noise of ones: what is added to the mean is `exp(log_scale) * noise_scale`."""
    means = torch.zeros(2, 3, 16, device=DEVICE)
    log_scales = torch.tensor([-1.0, 0.0, 2.0], device=DEVICE)[None, :, None].expand(2, 3, 16)
    durations = torch.tensor([[1, 2, 1], [2, 0, 2]], device=DEVICE)
    noise_scale = torch.tensor([0.5, 2.0], device=DEVICE)
    out = kernels.length_regulator(means, log_scales, durations, torch.ones(2, 4, 16, device=DEVICE), noise_scale)
    exponents = torch.tensor([[-1.0, 0.0, 0.0, 2.0], [-1.0, -1.0, 2.0, 2.0]], device=DEVICE)
    torch.testing.assert_close(out[..., 0], exponents.exp() * noise_scale[:, None])
    assert torch.equal(out, out[..., :1].expand_as(out))


def test_tokens_beyond_a_tile_are_found() -> None:
    """More tokens than one step of the walk takes, and a token that spans several tiles of frames."""
    durations = torch.zeros(1, 400, dtype=torch.int64, device=DEVICE)
    durations[0, 3], durations[0, 200], durations[0, 399] = 40, 1, 2
    means = torch.arange(400.0, device=DEVICE)[None, :, None].expand(1, 400, 4)
    out = kernels.length_regulator(means, draw(1, 400, 4), durations, draw(1, 50, 4), torch.zeros(1, device=DEVICE))
    expected = torch.tensor([3.0] * 40 + [200.0] + [399.0] * 2 + [0.0] * 7, device=DEVICE)
    assert torch.equal(out, expected[None, :, None].expand(1, 50, 4))


def test_durations_beyond_32_bits_do_not_wrap() -> None:
    durations = torch.tensor([[2**31, 2**33, 1]], device=DEVICE)
    means = draw(1, 3, 4)
    out = kernels.length_regulator(means, draw(1, 3, 4), durations, draw(1, 20, 4), torch.zeros(1, device=DEVICE))
    assert torch.equal(out, means[:, :1].expand(1, 20, 4))
