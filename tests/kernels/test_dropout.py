"""Dropout by a seed: Philox against published vectors and Triton's own, masks of kernels against those of torch."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fastvits_kernels import conv1d_layer_norm, depth_separable_layer
from fastvits_kernels.dispatch import registry
from fastvits_kernels.launch.jit import kernel, launch, padded
from fastvits_kernels.ops.dropout import check_dropout, draw_seed, dropout_scale, dropped, keep_mask, keeps, philox
from tests.support.numerics import relative_error
from tests.support.op_cases import full_arguments
from tests.support.tolerances import OP_ERROR_CEILING

tl: Any = None  # Triton's language, once a kernel is built

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

KNOWN = [
    # Random123 (Salmon et al. 2011), kat_vectors, philox4x32 of 10 rounds: counter, key, result.
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(int(word, 16)) for word in text.split())


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_the_published_words(counter: str, key: str, expected: str) -> None:
    c0, c1, c2, c3 = words(counter)
    k0, k1 = words(key)
    assert philox((c0, c1, c2, c3), (k0, k1)) == words(expected)


@kernel
def _uniform_kernel(seed_ptr, offset_ptr, out_ptr, BLOCK: "tl.constexpr"):
    place = tl.arange(0, BLOCK)
    offset = tl.load(offset_ptr + place)
    tl.store(out_ptr + place, tl.rand(tl.load(seed_ptr), offset))


@pytest.mark.parametrize("seed", [0, 12345, 2**40 + 7, 2**63 - 1, -1])
def test_philox_is_that_of_triton(seed: int) -> None:
    """`tl.rand` has the counter `(offset, offset >> 32, 0, 0)` and gives the first word, as a number of 31 bits."""
    offsets = torch.tensor([0, 1, 2, 77, 2**31, 2**32 - 1, 2**32, 2**45 + 3], device=DEVICE)
    key = torch.tensor([seed], device=DEVICE)
    found = torch.empty(len(offsets), device=DEVICE)
    launch("uniform", _uniform_kernel, (1,), (key, offsets, found), {"BLOCK": len(offsets)})
    zero = torch.zeros_like(offsets)
    low = 0xFFFFFFFF
    word, *_ = philox((offsets & low, offsets >> 32, zero, zero), (key & low, key >> 32 & low))
    folded = torch.where(word >= 2**31, low - word, word)
    assert torch.equal(found, folded.to(torch.float32) * torch.tensor(4.6566127342e-10, device=DEVICE))


@kernel
def _mask_kernel(
    seed_ptr,
    out_ptr,  # [B, T, C], contiguous
    steps,
    rate,
    CHANNELS: "tl.constexpr",
    BLOCK_T: "tl.constexpr",
    BLOCK_C: "tl.constexpr",
):
    blocks = tl.cdiv(steps, BLOCK_T)
    item = tl.program_id(0) // blocks
    t = tl.program_id(0) % blocks * BLOCK_T + tl.arange(0, BLOCK_T)
    c = tl.arange(0, BLOCK_C)
    kept = keeps(tl.load(seed_ptr), item, t[:, None], c[None, :], rate)
    out_ptrs = out_ptr + (item * steps + t)[:, None] * CHANNELS + c[None, :]
    tl.store(out_ptrs, kept.to(tl.int8), mask=(t < steps)[:, None] & (c < CHANNELS)[None, :])


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 21, 18), (2, 5, 192)])
def test_kernels_keep_what_torch_keeps(shape: tuple[int, int, int], rate: float) -> None:
    batch, steps, channels = shape
    torch.manual_seed(5)
    seed = draw_seed(torch.device(DEVICE))
    found = torch.empty(shape, dtype=torch.int8, device=DEVICE)
    constants = {"CHANNELS": channels, "BLOCK_T": 4, "BLOCK_C": padded(channels)}
    launch("mask", _mask_kernel, (batch * -(-steps // 4),), (seed, found, steps, rate), constants)
    assert torch.equal(found.bool(), keep_mask(seed, *shape, rate))


def test_the_share_that_is_kept_and_its_independence() -> None:
    """Over a million elements the share is within five standard deviations; so is the agreement of neighbours."""
    seeds = torch.tensor([11, 12], device=DEVICE)
    kept = keep_mask(seeds[:1], 4, 512, 512, 0.3)
    count = kept.numel()
    assert abs(kept.double().mean().item() - 0.7) < 5 * (0.7 * 0.3 / count) ** 0.5
    agreement, deviation = 0.7**2 + 0.3**2, (0.58 * 0.42 / count) ** 0.5
    other = keep_mask(seeds[1:], 4, 512, 512, 0.3)
    pairs = [(kept, other), (kept[1:], kept[:-1]), (kept[:, 1:], kept[:, :-1]), (kept[..., 1:], kept[..., :-1])]
    for one, another in pairs:
        assert abs((one == another).double().mean().item() - agreement) < 5 * deviation


def test_masks_depend_on_no_padding_and_no_neighbour() -> None:
    seed = torch.tensor([3], device=DEVICE)
    whole = keep_mask(seed, 3, 9, 14, 0.4)
    assert torch.equal(keep_mask(seed, 2, 5, 14, 0.4), whole[:2, :5])
    assert torch.equal(keep_mask(seed, 3, 9, 7, 0.4), whole[..., :7])


def test_what_is_kept_is_scaled_and_the_rest_is_zero() -> None:
    seed = torch.tensor([3], device=DEVICE)
    x = torch.full((2, 3, 8), float("inf"), device=DEVICE)
    found, kept = dropped(x, seed, 0.5), keep_mask(seed, 2, 3, 8, 0.5)
    assert torch.equal(found, torch.where(kept, x, torch.zeros_like(x)))
    assert torch.equal(dropped(torch.ones_like(x), seed, 0.75).unique(), torch.tensor([0.0, 4.0], device=DEVICE))
    assert dropped(x, None, 0.0) is x
    assert dropped(x, seed, 0.0) is x
    assert not dropped(torch.ones_like(x), seed, 1.0).any()
    assert dropout_scale(0.0) == 1.0


def test_torchs_seed_decides_the_seed() -> None:
    device = torch.device(DEVICE)
    torch.manual_seed(1)
    first, second = draw_seed(device), draw_seed(device)
    torch.manual_seed(1)
    assert torch.equal(draw_seed(device), first)
    assert not torch.equal(first, second)


def test_wrong_seeds_and_rates_are_refused() -> None:
    seed = torch.tensor([3])
    check_dropout(seed, 0.5)
    check_dropout(None, 0.0)
    for rate in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\], got"):
            check_dropout(seed, rate)
    with pytest.raises(ValueError, match=r"seed must be a tensor \[1\] where dropout is not 0, got None"):
        check_dropout(None, 0.5)
    with pytest.raises(ValueError, match=r"seed must have the shape \[1\], got \[2\]"):
        check_dropout(torch.tensor([3, 4]), 0.5)
    with pytest.raises(TypeError, match="seed must be int64, got float32"):
        check_dropout(torch.tensor([3.0]), 0.5)


WITH_DROPOUT = {"conv1d_layer_norm": conv1d_layer_norm, "depth_separable_layer": depth_separable_layer}
"""Public functions that draw a seed for each call."""


@pytest.mark.parametrize("name", WITH_DROPOUT)
def test_ops_draw_one_seed_for_each_call_that_every_backend_follows(name: str) -> None:
    given = full_arguments(name, DEVICE)
    options = {key: given.pop(key) for key in ("lengths", "dilation", "pad_left", "eps") if key in given}

    def run(backend: str) -> Tensor:
        with registry.use_backend(backend):
            result = WITH_DROPOUT[name](*given.values(), **options, dropout=0.3)
        return result if isinstance(result, Tensor) else result[0]

    found = {}
    for backend in ("eager", "triton"):
        torch.manual_seed(7)
        found[backend] = run(backend)
        assert not torch.equal(run(backend), found[backend])
        torch.manual_seed(7)
        assert torch.equal(run(backend), found[backend])
    assert relative_error(found["triton"], found["eager"]) < OP_ERROR_CEILING[torch.float32]
