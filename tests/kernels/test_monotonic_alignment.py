"""Monotonic alignment search against other people's code, against all paths there are, and at ties."""

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal
from torch.utils._python_dispatch import TorchDispatchMode

import fastvits_kernels as kernels
from fastvits_kernels.dispatch import registry
from tests.support.numerics import relative_error
from tests.support.tolerances import ALIGNMENT_SCORES

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BACKENDS = ("eager", "triton", "onednn") if DEVICE == "cpu" else ("eager", "triton")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with registry.use_backend("auto", monotonic_alignment=request.param):
        yield request.param


def durations(scores: Tensor, text_lengths: list[int], frame_lengths: list[int]) -> Tensor:
    return kernels.monotonic_alignment(scores.to(DEVICE), torch.tensor(text_lengths), torch.tensor(frame_lengths)).cpu()


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_cases(count: int, tokens: int, frames: int, batch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Scores with the lengths of tokens and of frames, all possible."""
    generator = torch.Generator().manual_seed(1)
    for seed in range(count // batch):
        frame_lengths = torch.randint(1, frames + 1, (batch,), generator=generator)
        text_lengths = (torch.rand(batch, generator=generator) * frame_lengths.clamp(max=tokens)).long() + 1
        text_lengths = text_lengths.minimum(frame_lengths).clamp(max=tokens)
        # The package takes the table's own size for the longest item's.
        text_lengths[0], frame_lengths[0] = tokens, frames
        yield drawn(batch, tokens, frames, seed=seed), text_lengths, frame_lengths


def published(scores: Tensor, text_lengths: Tensor, frame_lengths: Tensor) -> Tensor:
    """Durations by the Cython code that VITS was published with, as packaged on PyPI."""
    from monotonic_alignment_search import maximum_path

    _, tokens, frames = scores.shape
    inside = torch.arange(tokens) < text_lengths[:, None], torch.arange(frames) < frame_lengths[:, None]
    mask = (inside[0][:, :, None] & inside[1][:, None, :]).float()
    return maximum_path(scores, mask).sum(2).long()


@pytest.mark.parametrize("whole_numbers", [False, True], ids=["random", "full-of-ties"])
@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "triton"])
def test_a_thousand_cases_equal_the_published_code(name: str, whole_numbers: bool) -> None:
    pytest.importorskip("monotonic_alignment_search")
    for scores, text_lengths, frame_lengths in random_cases(1000, 17, 43, 20):
        scores = scores.round() if whole_numbers else scores
        expected = published(scores, text_lengths, frame_lengths)
        with registry.use_backend("auto", monotonic_alignment=name):
            found = kernels.monotonic_alignment(scores.to(DEVICE), text_lengths, frame_lengths)
        assert torch.equal(found.cpu(), expected)


def test_the_kernel_equals_the_published_code() -> None:
    pytest.importorskip("monotonic_alignment_search")
    for scores, text_lengths, frame_lengths in random_cases(6, 9, 34, 3):
        for values in (scores, scores.round()):
            expected = published(values, text_lengths, frame_lengths)
            with registry.use_backend("triton"):
                found = kernels.monotonic_alignment(values.to(DEVICE), text_lengths, frame_lengths)
            assert torch.equal(found.cpu(), expected)


def paths(tokens: int, frames: int) -> Iterator[list[int]]:
    """All durations of at least one frame a token that add up to `frames`."""
    for ends in itertools.combinations(range(1, frames), tokens - 1):
        yield [stop - start for start, stop in itertools.pairwise((0, *ends, frames))]


@pytest.mark.parametrize(("tokens", "frames"), [(1, 4), (3, 3), (3, 8), (4, 9), (6, 8)])
def test_no_path_is_better(backend: str, tokens: int, frames: int) -> None:
    scores = drawn(1, tokens, frames, seed=tokens)
    token = torch.arange(tokens)

    def total(lasting: list[int]) -> float:
        return float(scores[0, token.repeat_interleave(torch.tensor(lasting)), torch.arange(frames)].double().sum())

    best = max(paths(tokens, frames), key=total)
    assert durations(scores, [tokens], [frames])[0].tolist() == best


def test_at_a_tie_the_path_stays_on_the_later_token(backend: str) -> None:
    assert durations(torch.zeros(1, 3, 6), [3], [6])[0].tolist() == [1, 1, 4]
    # The second token may begin with the second frame or with the third.
    scores = torch.tensor([[[0.0, 1.0, 0.0, -9.0], [0.0, 1.0, 2.0, 0.0]]])
    assert durations(scores, [2], [4])[0].tolist() == [1, 3]


def test_scores_below_any_sentinel(backend: str) -> None:
    """A stand-in of -1e9 for minus infinity would be better than what these add up to."""
    scores = drawn(1, 9, 30) - 3e8
    scores[0, :, :] += torch.tensor([3e5, 0.0]).repeat(15)
    lasting = durations(scores, [9], [30])[0]
    assert lasting.sum() == 30
    assert (lasting >= 1).all()


def test_where_all_is_minus_infinity_there_is_a_path_all_the_same(backend: str) -> None:
    lasting = durations(torch.full((1, 5, 9), float("-inf")), [5], [9])[0]
    assert lasting.tolist() == [1, 1, 1, 1, 5]


def test_nothing_beyond_the_lengths_is_seen(backend: str) -> None:
    text_lengths, frame_lengths = [6, 3, 5], [11, 7, 13]
    scores = drawn(3, 6, 13)
    expected = durations(scores, text_lengths, frame_lengths)
    for stray in (float("nan"), float("inf"), float("-inf")):
        changed = scores.clone()
        for item, (tokens, frames) in enumerate(zip(text_lengths, frame_lengths, strict=True)):
            changed[item, tokens:] = stray
            changed[item, :, frames:] = stray
        assert torch.equal(durations(changed, text_lengths, frame_lengths), expected)
    for item, (tokens, frames) in enumerate(zip(text_lengths, frame_lengths, strict=True)):
        alone = durations(scores[item : item + 1, :tokens, :frames], [tokens], [frames])
        assert torch.equal(alone[0], expected[item, :tokens])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_any_layout_and_dtype(backend: str, dtype: torch.dtype) -> None:
    scores = drawn(2, 11, 25).to(dtype)
    expected = durations(scores.float(), [11, 9], [25, 20])
    wide = torch.zeros(2, 11, 25, 2, dtype=dtype)
    wide[..., 1] = scores
    for layout in (scores, scores.transpose(1, 2).contiguous().transpose(1, 2), wide[..., 1]):
        assert torch.equal(durations(layout, [11, 9], [25, 20]), expected)


@pytest.mark.parametrize(
    ("text_lengths", "frame_lengths", "reason"),
    [
        ([3, 5], [6, 4], "item 1 cannot be aligned: it has 5 tokens and 4 frames"),
        ([0, 5], [6, 6], "item 0 cannot be aligned: it has 0 tokens and 6 frames"),
        ([3, 6], [6, 6], "item 1 cannot be aligned: it has 6 tokens and 6 frames"),
        ([3, 5], [6, 7], "item 1 cannot be aligned: it has 5 tokens and 7 frames"),
        ([-1, 5], [6, 6], "item 0 cannot be aligned"),
    ],
)
def test_an_item_without_a_path_is_named(
    backend: str, text_lengths: list[int], frame_lengths: list[int], reason: str
) -> None:
    scores = drawn(2, 5, 6)
    with pytest.raises(ValueError, match=reason):
        durations(scores, text_lengths, frame_lengths)
    # Where lengths are not looked at, beforehand, its durations are no durations, and those of others are right.
    item = int(reason.split()[1])
    op = registry.ops()["monotonic_alignment"]
    found = op(scores.to(DEVICE), *(torch.tensor(n, device=DEVICE) for n in (text_lengths, frame_lengths))).cpu()
    assert (found[item] == -1).all()
    assert found[1 - item].sum() == frame_lengths[1 - item]


def test_misfits_are_refused() -> None:
    with pytest.raises(ValueError, match="text_lengths must be int64"):
        kernels.monotonic_alignment(torch.zeros(1, 2, 3), torch.tensor([2.0]), torch.tensor([3]))
    with pytest.raises(ValueError, match="log_scales must be"):
        kernels.alignment_scores(torch.zeros(1, 4, 8), torch.zeros(1, 3, 8), torch.zeros(1, 2, 8))


def test_gradients_stop_here(backend: str) -> None:
    scores = drawn(1, 3, 6).to(DEVICE).requires_grad_()
    assert not kernels.monotonic_alignment(scores, torch.tensor([3]), torch.tensor([6])).requires_grad


class Largest(TorchDispatchMode):
    """Remembers the most elements that any tensor has."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.elements = max(self.elements, result.untyped_storage().nbytes() // result.element_size())
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_are_log_densities(dtype: torch.dtype) -> None:
    latents, means, log_scales = drawn(2, 40, 24).to(dtype), drawn(2, 15, 24, seed=1).to(dtype), 0.3 * drawn(2, 15, 24)
    with Largest() as largest:
        found = kernels.alignment_scores(latents, means, log_scales.to(dtype))
    wide = Normal(means.double()[:, :, None], log_scales.double().exp()[:, :, None])
    expected = wide.log_prob(latents.double()[:, None]).sum(3)
    assert found.dtype == dtype
    assert found.stride(1) == 1
    assert relative_error(found, expected) < ALIGNMENT_SCORES[dtype]
    assert largest.elements < 2 * 15 * 40 * 24 // 4
    assert kernels.alignment_scores(latents.half(), means.half(), log_scales.half()).dtype == torch.float32
