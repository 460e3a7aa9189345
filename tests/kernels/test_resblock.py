"""What holds of the residual blocks' mathematics, for the reference and for the kernels alike."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from fastvits_kernels.dispatch import registry
from fastvits_kernels.launch import jit
from fastvits_kernels.ops import resblock
from tests.support.tolerances import RESBLOCK_REASSOCIATED

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BRANCHES, BATCH, STEPS, CHANNELS = 3, 2, 37, 16
KERNEL_SIZES, DILATIONS = (3, 5, 3), (1, 2, 5)


@pytest.fixture(params=["eager", "triton"], autouse=True)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs each test with either implementation of both ops."""
    with registry.use_backend("auto", resblock_step=request.param, resblock_pair=request.param):
        yield request.param


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator).to(DEVICE)


def convolutions(generator: torch.Generator) -> tuple[list[Tensor], list[Tensor]]:
    weights = [normal(generator, k, CHANNELS, CHANNELS) / (k * CHANNELS) ** 0.5 for k in KERNEL_SIZES]
    return weights, [normal(generator, CHANNELS) for _ in KERNEL_SIZES]


def assert_same(actual: Tensor, expected: Tensor) -> None:
    """Equal but for the order of the sums."""
    assert ((actual - expected).norm() / expected.norm()).item() <= RESBLOCK_REASSOCIATED


def test_a_pair_is_two_steps(generator: torch.Generator) -> None:
    x, lengths = normal(generator, BRANCHES, BATCH, STEPS, CHANNELS), torch.tensor([STEPS, 20], device=DEVICE)
    first, second = convolutions(generator), convolutions(generator)
    hidden = resblock.resblock_step(x, None, *first, lengths=lengths, dilations=DILATIONS)
    expected = resblock.resblock_step(hidden, x, *second, lengths=lengths, dilations=[1] * BRANCHES, mean=True)
    pair = resblock.resblock_pair(x, *first, *second, lengths=lengths, dilations=DILATIONS, mean=True)
    assert_same(pair, expected)


def test_the_mean_is_that_of_the_branches(generator: torch.Generator) -> None:
    x = normal(generator, 1, BATCH, STEPS, CHANNELS)
    weights, biases = convolutions(generator)
    each = resblock.resblock_step(x, x, weights, biases, dilations=DILATIONS)
    mean = resblock.resblock_step(x, x, weights, biases, dilations=DILATIONS, mean=True)
    assert_same(mean, each.mean(0))


def test_an_item_is_the_same_alone_and_beside_padding(generator: torch.Generator) -> None:
    """Between a pair's convolutions stand zeros beyond the length, not what the biases make of zeros."""
    length = 21
    alone = normal(generator, BRANCHES, 1, length, CHANNELS)
    padded = torch.full((BRANCHES, BATCH, STEPS, CHANNELS), float("nan"), device=DEVICE)
    padded[:, 1, :length] = alone[:, 0]
    lengths = torch.tensor([0, length], device=DEVICE)
    first, second = convolutions(generator), convolutions(generator)
    expected = resblock.resblock_pair(alone, *first, *second, dilations=DILATIONS)
    out = resblock.resblock_pair(padded, *first, *second, lengths=lengths, dilations=DILATIONS)
    assert_same(out[:, 1, :length], expected[:, 0])
    assert not out[:, 0].any()
    assert not out[:, 1, length:].any()


def test_weights_of_zero_leave_the_residual(generator: torch.Generator) -> None:
    x = normal(generator, BRANCHES, BATCH, STEPS, CHANNELS)
    weights = [torch.zeros(k, CHANNELS, CHANNELS, device=DEVICE) for k in KERNEL_SIZES]
    biases = [torch.zeros(CHANNELS, device=DEVICE) for _ in KERNEL_SIZES]
    out = resblock.resblock_pair(x, weights, biases, weights, biases, dilations=DILATIONS)
    assert torch.equal(out, x)


def test_a_step_reaches_as_far_as_its_taps(generator: torch.Generator) -> None:
    """An impulse spreads to `(K - 1) / 2 * dilation` steps on each side, at multiples of the dilation only."""
    x = torch.zeros(1, 1, STEPS, CHANNELS, device=DEVICE)
    x[0, 0, 18] = 1.0
    weights, _ = convolutions(generator)
    biases = [torch.zeros(CHANNELS, device=DEVICE) for _ in KERNEL_SIZES]
    out = resblock.resblock_step(x, None, weights, biases, dilations=DILATIONS)
    for branch, kernel_size, dilation in zip(out, KERNEL_SIZES, DILATIONS, strict=True):
        reached = branch[0].abs().sum(-1).nonzero().flatten().tolist()
        half = (kernel_size - 1) // 2
        assert reached == [18 + tap * dilation for tap in range(-half, half + 1)]


def test_unlike_branches_are_refused(backend: str, generator: torch.Generator) -> None:
    """More branches than a launch serves, and a dtype without a kernel, are refused by name."""
    if backend == "eager":
        return
    weights, biases = convolutions(generator)
    x = normal(generator, 1, 1, 4, CHANNELS)
    with pytest.raises(registry.BackendError, match="1 to 4 branches, not 5"):
        resblock.resblock_step(x, x, weights[:1] * 5, biases[:1] * 5, dilations=[1] * 5)
    with pytest.raises(registry.BackendError, match="float64"):
        resblock.resblock_step(x.double(), None, [w.double() for w in weights], biases, dilations=DILATIONS)


@pytest.mark.parametrize("lengths", [(3000, 4000), (20000, 30000)])
def test_a_stage_is_few_launches_and_no_length_is_compiled(lengths: tuple[int, int]) -> None:
    """A pair is two launches for all branches and its mean, and other lengths of like size take the same binaries."""
    recorded = []
    for steps in lengths:
        weights = [torch.empty(k, 64, 64, device="meta", dtype=torch.float16) for k in (3, 7, 11)]
        biases = [torch.empty(64, device="meta", dtype=torch.float16) for _ in weights]
        x = torch.empty(3, 1, steps * 16, 64, device="meta", dtype=torch.float16)
        implementation = registry.ops()["resblock_pair"].implementations["triton"]
        with jit.recording() as launches:
            out = implementation.run(x, weights, biases, weights, biases, None, [3, 3, 3], 0.1, True, True, 0.1)
        assert out.shape == x.shape[1:]
        assert len(launches) == 2
        recorded.append([(launch.signature, launch.constants, launch.divisible) for launch in launches])
    assert recorded[0] == recorded[1]
