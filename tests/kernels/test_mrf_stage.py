"""What holds of a decoder's stage beside the rule of numbers: it is its parts, in launches, gradients and choices."""

from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from fastvits_kernels import mrf_stage
from fastvits_kernels.dispatch import registry
from fastvits_kernels.launch import jit
from fastvits_kernels.ops.mrf_stage import composed
from tests.support.gradients import leaf
from tests.support.numerics import converted, relative_error
from tests.support.op_cases import CASES
from tests.support.tolerances import OP_ERROR_CEILING

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
OP = registry.ops()["mrf_stage"]
STAGES = {case.name: case for case in CASES if case.op == "mrf_stage" and not case.name.startswith("int8")}
FLOAT32 = OP_ERROR_CEILING[torch.float32]


def arguments_of(name: str, dtype: torch.dtype = torch.float32, device: str = DEVICE) -> tuple[Any, ...]:
    return STAGES[name].arguments(dtype, device)


@pytest.mark.parametrize("name", STAGES)
def test_the_reference_is_the_parts(name: str) -> None:
    arguments = arguments_of(name, torch.float64)
    with registry.use_backend("eager"):
        assert relative_error(composed(*arguments), OP.reference(*arguments)) < 1e-14


@pytest.mark.parametrize(
    ("name", "launches"),
    [
        ("one-step", 1 + 2),
        ("ragged", 1 + 2 * 2),
        ("single-steps-sliced", 1 + 2),
        ("unequal-depths", 1 + 2 + 2),
        ("rectified", 1 + 2),
    ],
)
def test_a_stage_launches_its_upsampling_and_one_or_two_kernels_a_step(name: str, launches: int) -> None:
    """The mean and the leaky ReLUs cost none."""
    with jit.recording() as found:
        OP.implementations["triton"].run(*arguments_of(name))
    assert len(found) == launches


@pytest.mark.parametrize("backend", ["eager", "triton", "onednn"])
def test_with_gradients_the_parts_run_by_what_was_asked_for_the_whole(backend: str) -> None:
    arguments = converted(arguments_of("ragged", device="cpu"), leaf)
    wanted = [tensor for tensor in registry.tensors_in(arguments) if tensor.requires_grad]
    registry.forget_decisions()
    with registry.use_backend("auto", mrf_stage=backend):
        out = OP(*arguments)
    taken = {(decision.op, decision.backend) for decision in registry.decisions()}
    whole = {("mrf_stage", backend)}
    assert taken == whole | (
        set() if backend == "eager" else {("conv_transpose1d", backend), ("resblock_pair", backend)}
    )
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad(out, wanted, grad)
    expected = torch.autograd.grad(OP.reference(*arguments), wanted, grad)
    for one, other in zip(found, expected, strict=True):
        assert relative_error(one, other) < FLOAT32


def test_an_exception_for_a_part_holds_where_the_parts_run() -> None:
    arguments = converted(arguments_of("one-step", device="cpu"), leaf)
    registry.forget_decisions()
    with registry.use_backend("onednn", conv_transpose1d="eager"):
        OP(*arguments)
    taken = {(decision.op, decision.backend) for decision in registry.decisions()}
    assert taken == {("mrf_stage", "onednn"), ("resblock_pair", "onednn"), ("conv_transpose1d", "eager")}


def test_without_gradients_the_stage_is_one_decision() -> None:
    registry.forget_decisions()
    with torch.no_grad(), registry.use_backend("onednn"), patch.object(OP, "composed", side_effect=AssertionError):
        OP(*converted(arguments_of("ragged", device="cpu"), leaf))
    assert [(decision.op, decision.backend) for decision in registry.decisions()] == [("mrf_stage", "onednn")]


def test_parts_are_told_without_running_them() -> None:
    arguments = converted(arguments_of("single-steps-sliced"), lambda tensor: tensor.to("meta"))
    with registry.use_backend("eager"):
        parts = OP.parts(*arguments)
        assert [part.op.name for part in parts] == ["conv_transpose1d", "resblock_step", "resblock_step"]
        assert registry.ops()["conv1d"].parts() == []


def test_lists_that_do_not_fit_are_refused() -> None:
    x, weight, bias, first, its_biases, second, their_biases = arguments_of("one-step")[:7]

    def run(*lists: list[Tensor], depths: list[int] = [1], dilations: list[int] = [1]) -> None:  # noqa: B006
        mrf_stage(x, weight, bias, *lists, stride=2, padding=1, depths=depths, dilations=dilations)

    run(first, its_biases, second, their_biases)
    run(first, its_biases)
    for depths in ([], [0, 1], [2]):
        with pytest.raises(ValueError, match="depths must be at least 1 each and together as many as there are dilat"):
            run(first, its_biases, depths=depths)
    with pytest.raises(
        ValueError, match="weights1, biases1 and dilations must be lists of one for each step, got 1, 0"
    ):
        run(first, [])
    with pytest.raises(
        ValueError, match="weights2 and biases2 must be lists of one for each of 1 steps, or both empty"
    ):
        run(first, its_biases, second * 2, their_biases * 2)
    with pytest.raises(ValueError, match=r"\(K - 1\) \* dilation must be even, got K = 2 and a dilation of 1"):
        run([first[0][:2]], its_biases)
