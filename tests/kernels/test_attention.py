"""Mathematical properties of relative-position attention, of the reference and of the kernels alike."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor

import fastvits_kernels as kernels
from fastvits_kernels.dispatch import registry
from fastvits_kernels.ops.attention import relative_attention_reference
from fastvits_kernels.ops.dropout import keep_mask
from tests.support.tolerances import ATTENTION_PROPERTY_FLOAT32

BACKENDS = ("eager", "triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(params=BACKENDS, autouse=True)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with registry.use_backend("auto", relative_attention=request.param, relative_attention_weights=request.param):
        yield request.param


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def test_definition_term_by_term() -> None:
    """Against the equation written as loops over queries and keys."""
    steps, head_dim, window = 11, 8, 3
    q, k, v = (draw(1, steps, 1, head_dim, seed=seed) for seed in range(3))
    rel_k, rel_v = (draw(2 * window + 1, head_dim, seed=seed) for seed in (3, 4))
    out, weights = kernels.relative_attention_weights(q, k, v, rel_k, rel_v)
    zero = torch.zeros(head_dim, device=DEVICE)
    for t in range(steps):
        near = [abs(s - t) <= window for s in range(steps)]
        keys = torch.stack([k[0, s, 0] + (rel_k[s - t + window] if near[s] else zero) for s in range(steps)])
        values = torch.stack([v[0, s, 0] + (rel_v[s - t + window] if near[s] else zero) for s in range(steps)])
        expected = torch.softmax(keys @ q[0, t, 0] * head_dim**-0.5, 0)
        torch.testing.assert_close(weights[0, 0, t], expected, rtol=0, atol=ATTENTION_PROPERTY_FLOAT32)
        torch.testing.assert_close(out[0, t, 0], expected @ values, rtol=0, atol=ATTENTION_PROPERTY_FLOAT32)


def test_weights_are_a_distribution_over_valid_keys_only() -> None:
    lengths = torch.tensor([40, 0, 17], device=DEVICE)
    q, k, v = draw(3, 40, 3, 2, 16).unbind(2)
    rel = draw(9, 16, seed=1)
    out, weights = kernels.relative_attention_weights(q, k, v, rel, rel, lengths=lengths)
    for item, length in enumerate(lengths.tolist()):
        sums = weights[item, :, :length].sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=ATTENTION_PROPERTY_FLOAT32)
        assert not weights[item, :, length:].any()
        assert not weights[item, :, :, length:].any()
        assert not out[item, length:].any()


def test_an_item_is_the_same_alone_and_padded() -> None:
    """What stands beyond an item's length, in the same batch, has no influence on it."""
    q, k, v = draw(2, 45, 3, 2, 16).unbind(2)
    rel = draw(9, 16, seed=1)
    together = kernels.relative_attention(q, k, v, rel, rel, lengths=torch.tensor([45, 20], device=DEVICE))
    alone = kernels.relative_attention(q[1:, :20], k[1:, :20], v[1:, :20], rel, rel)
    torch.testing.assert_close(together[1:, :20], alone, rtol=0, atol=ATTENTION_PROPERTY_FLOAT32)


def test_relative_embeddings_move_with_the_sequence() -> None:
    """Equal inputs at every step: far from the ends, every query gives the same answer."""
    row = draw(1, 1, 3, 1, 16)
    q, k, v = row.expand(1, 30, 3, 1, 16).unbind(2)
    rel_k, rel_v = draw(7, 16, seed=1), draw(7, 16, seed=2)
    out = kernels.relative_attention(q, k, v, rel_k, rel_v)[0, 3:-3]
    for one, other in pairwise(out):
        torch.testing.assert_close(one, other, rtol=0, atol=ATTENTION_PROPERTY_FLOAT32)


def test_scores_beyond_exp_do_not_overflow() -> None:
    q, k, v = (draw(1, 20, 1, 16, seed=seed) * scale for seed, scale in enumerate((100.0, 100.0, 1.0)))
    out = kernels.relative_attention(q, k, v)
    expected = relative_attention_reference(q.double(), k.double(), v.double(), None, None, None)
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=100 * ATTENTION_PROPERTY_FLOAT32)


def test_gradients_match_the_reference() -> None:
    q, k, v = (draw(1, 12, 1, 16, seed=seed).requires_grad_() for seed in range(3))
    rel_k, rel_v = (draw(9, 16, seed=seed).requires_grad_() for seed in (3, 4))
    inputs = (q, k, v, rel_k, rel_v)
    lengths = torch.tensor([9], device=DEVICE)
    upstream = draw(1, 12, 1, 16, seed=5)
    actual = torch.autograd.grad(kernels.relative_attention(*inputs, lengths=lengths), inputs, upstream)
    expected = torch.autograd.grad(relative_attention_reference(*inputs, lengths), inputs, upstream)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=ATTENTION_PROPERTY_FLOAT32)


def test_dropout_leaves_out_weights_that_a_seed_chooses() -> None:
    """With values that are an identity the output is the weights that were summed; those returned are whole."""
    q, k = draw(2, 16, 2, 2, 16).unbind(2)
    v = torch.eye(16, device=DEVICE)[:, None, :].expand(2, 16, 2, 16)
    seed, rate = torch.tensor([7], device=DEVICE), 0.3
    out, weights = kernels.relative_attention_weights(q, k, v, seed=seed, dropout=rate)
    _, whole = kernels.relative_attention_weights(q, k, v)
    kept = keep_mask(seed, 4, 16, 16, rate).view_as(weights)
    assert 0 < kept.sum() < kept.numel()
    torch.testing.assert_close(weights, whole, rtol=0, atol=ATTENTION_PROPERTY_FLOAT32)
    summed = out.permute(0, 2, 1, 3)
    torch.testing.assert_close(summed, whole * kept / (1 - rate), rtol=0, atol=ATTENTION_PROPERTY_FLOAT32)
    torch.testing.assert_close(kernels.relative_attention(q, k, v, seed=seed, dropout=rate), out, rtol=0, atol=0)


def test_torchs_seed_decides_the_dropout() -> None:
    q, k, v = draw(1, 12, 3, 1, 16).unbind(2)
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(kernels.relative_attention(q, k, v, dropout=0.5))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    before = torch.get_rng_state()
    kernels.relative_attention(q, k, v)
    assert torch.equal(torch.get_rng_state(), before), "a seed was drawn without need"
    with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\], got 1.5"):
        kernels.relative_attention(q, k, v, dropout=1.5)


def test_memory_is_linear() -> None:
    """The launcher allocates its output and nothing else."""
    from fastvits_kernels.launch import jit

    q = torch.empty(1, 100_000, 3, 2, 96, device="meta")
    rel = torch.empty(9, 96, device="meta")
    with torch.device("cpu"):
        torch.zeros(0)  # so that torch does not remember the function below as the one that makes tensors
    launcher = registry.ops()["relative_attention"].implementations["triton"].run
    allocated = []
    real_empty = torch.empty
    with jit.recording() as launches, pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty", lambda *a, **o: allocated.append(real_empty(*a, **o)) or allocated[-1])
        launcher(*q.unbind(2), rel, rel, None)
    assert len(launches) == 1
    assert [tuple(tensor.shape) for tensor in allocated] == [(1, 100_000, 2, 96)]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((1, 3, 2, 8), (1, 4, 2, 8), None, None), r"\[B, T, H, D\] alike"),
        (((1, 3, 2, 8), (1, 3, 2, 8), (9, 8), None), "together or not at all"),
        (((1, 3, 2, 8), (1, 3, 2, 8), (8, 8), (8, 8)), r"\[2 w \+ 1, D\]"),
    ],
)
def test_wrong_shapes_are_named(shapes: tuple[tuple[int, ...] | None, ...], message: str) -> None:
    q, k, rel_k, rel_v = (None if shape is None else draw(*shape) for shape in shapes)
    assert q is not None
    assert k is not None
    with pytest.raises(ValueError, match=message):
        kernels.relative_attention(q, k, k, rel_k, rel_v)
