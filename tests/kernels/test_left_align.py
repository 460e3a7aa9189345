"""Properties of token ids moved to the start, of the reference and of the kernel alike."""

from collections.abc import Iterator

import pytest
import torch

import fastvits_kernels as kernels
from fastvits_kernels.dispatch import registry
from fastvits_kernels.ops.left_align import BAD_MASK, OUTSIDE_VOCABULARY, SILENT

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(params=("eager", "triton"), autouse=True)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with registry.use_backend("auto", left_align=request.param):
        yield request.param


def test_padding_goes_behind_and_comes_back() -> None:
    ids = torch.tensor([[9, 9, 3, 4, 5], [6, 7, 9, 9, 9], [9, 8, 0, 1, 9]], device=DEVICE)
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 1, 1, 0]], device=DEVICE)
    found, lengths, places, faults = kernels.left_align(ids, mask, 9)
    assert found.tolist() == [[3, 4, 5, 0, 0], [6, 7, 0, 0, 0], [8, 0, 1, 0, 0]]
    assert lengths.tolist() == [3, 2, 3]
    assert faults.tolist() == [0, 0, 0], "9 is no id, but nobody looks under a zero"
    assert torch.equal(found.gather(1, places[1]), ids * mask)
    assert torch.equal(ids.gather(1, places[0]).gather(1, places[1]), ids)


def test_every_fault_is_the_items_own() -> None:
    ids = torch.tensor([[1, 2, 3]] * 6, device=DEVICE)
    ids[1, 2], ids[5, 0] = -1, 0
    mask = torch.ones_like(ids)
    mask[2, 1], mask[3], mask[4, 0], mask[5, 1:] = 0, 0, 2, 0
    faults = kernels.left_align(ids, mask, 4)[3].tolist()
    assert faults == [0, OUTSIDE_VOCABULARY, BAD_MASK, BAD_MASK, BAD_MASK, SILENT]
    assert kernels.left_align(ids[:, :1], None, 4)[3].tolist() == [0] * 5 + [SILENT]
    ids[1] = 7
    mask[1, 1] = 0
    assert kernels.left_align(ids, mask, 4)[3].tolist()[1] == OUTSIDE_VOCABULARY + BAD_MASK
