"""Derived weights follow their parameters."""

import gc

import torch
from torch import nn

from fastvits_kernels.dispatch import packing


def test_a_packed_weight_is_kept_and_follows_every_change() -> None:
    parameter = nn.Parameter(torch.randn(4, 3, 5))
    built = []

    def get() -> torch.Tensor:
        with torch.no_grad():
            view = parameter.permute(2, 1, 0)
            return packing.packed(view, "contiguous", lambda: built.append(1) or view.contiguous())

    for _ in range(3):
        assert torch.equal(get(), parameter.permute(2, 1, 0))
    assert len(built) == 1
    with torch.inference_mode():
        assert torch.equal(packing.packed(parameter.permute(2, 1, 0), "contiguous", lambda: built.append(1)), get())
    assert len(built) == 1
    for change in (
        lambda: parameter.mul_(2),
        lambda: parameter.copy_(torch.randn(4, 3, 5)),
        lambda: setattr(parameter, "data", torch.randn(4, 3, 5)),
    ):
        with torch.no_grad():
            change()
        before = len(built)
        assert torch.equal(get(), parameter.permute(2, 1, 0))
        assert len(built) == before + 1


def test_forms_and_views_do_not_mix() -> None:
    weight = torch.randn(2, 6)
    assert packing.packed(weight, "a", lambda: 1) == 1
    assert packing.packed(weight, "b", lambda: 2) == 2
    assert packing.packed(weight[1:], "a", lambda: 3) == 3
    assert packing.packed(weight.t(), "a", lambda: 4) == 4
    assert packing.packed(weight, "a", lambda: 5) == 1


def test_nothing_survives_its_weight() -> None:
    """A new tensor at the address of a dead one must not get the dead one's packed form."""
    for i in range(200):
        weight = torch.full((64,), float(i))
        assert packing.packed(weight, "value", lambda weight=weight: float(weight[0])) == i
        del weight
    gc.collect()
    for _ in range(300):
        packing.packed(torch.zeros(1), "sweep", lambda: 0)
    assert sum(reference.expired() for reference, _, _ in packing._kept.values()) <= packing._SWEEP_EVERY


def test_tensors_made_in_inference_mode_are_not_kept() -> None:
    with torch.inference_mode():
        weight = torch.zeros(3)
        values = []
        for i in range(3):
            weight.fill_(i)
            values.append(packing.packed(weight, "value", lambda: float(weight[0])))
    assert values == [0.0, 1.0, 2.0]
