"""Gradients: of the references against finite differences, and of the implementations under the rule of numbers.

`err(fast) <= 2 * err(eager, same dtype) + floor` for every gradient: see `tests/support/gradients.py`.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from fastvits_kernels.dispatch import registry
from fastvits_kernels.launch import tiles
from fastvits_kernels.onednn import gradients, images, resblock, wavenet
from tests.support.gradients import assert_gradients_as_good_as_eager, flat, leaf
from tests.support.numerics import assert_as_good_as_eager, converted, outputs_of, relative_error
from tests.support.op_cases import CASES, Case, full_arguments
from tests.support.tolerances import OP_ERROR_CEILING

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DISCRETE = {"durations", "left_align", "monotonic_alignment"}
"""Ops whose results are whole numbers and have no gradients."""

SMALL = {
    "conv1d": "condition-pre",
    "conv1d_layer_norm": "dropout",
    "conv1d_layer_norm_projection": "transposed-no-bias",
    "conv_transpose1d": "k5-s3-odd-channels",
    "depth_separable_layer": "dropout",
    "gated_activation": "saturated-transposed-192",
    "layer_norm": "transposed-256",
    "mrf_stage": "single-steps-sliced",
    "length_regulator": "zero-durations-at-both-ends",
    "rational_quadratic_spline": "transposed",
    "relative_attention": "dropout-two-tiles-ragged",
    "relative_attention_weights": "dropout-two-tiles-ragged",
    "resblock_pair": "ragged-mean-sliced",
    "resblock_step": "transposed",
    "spline_coupling": "transposed-five-bins",
    "wavenet_layer": "dropout",
}


def test_every_op_with_gradients_has_a_small_case() -> None:
    assert set(registry.ops()) == set(SMALL) | DISCRETE


@pytest.mark.parametrize("name", SMALL)
def test_references_have_the_gradients_of_finite_differences(name: str) -> None:
    op = registry.ops()[name]
    (case,) = [case for case in CASES if (case.op, case.name) == (name, SMALL[name])]
    arguments = list(op.complete(converted(case.arguments(torch.float64, DEVICE), leaf)))
    wanted = list(registry.tensors_in(tuple(arguments)))
    wanted = [tensor for tensor in wanted if tensor.requires_grad]

    def function(*tensors: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(map(id, wanted), tensors, strict=True))
        return outputs_of(op.reference(*converted(tuple(arguments), lambda t: given.get(id(t), t))))

    assert torch.autograd.gradcheck(function, tuple(wanted), fast_mode=True)


HALVES = {"onednn": torch.bfloat16, "triton": torch.float16}
"""The half precision that gradients are checked in; Triton's interpreter rounds bfloat16 once more than hardware, which
adds up over the convolutions of a gradient."""


def with_backward() -> Iterator[Any]:
    """Cases and dtypes for every backward; for kernels those that the interpreter has done in a second."""
    for case in CASES:
        if case.name.startswith("int8"):
            continue
        arguments = case.arguments(torch.float32, DEVICE)
        first = next(registry.tensors_in(arguments))
        for backend, implementation in registry.ops()[case.op].implementations.items():
            limit = 2100 if backend == "triton" and DEVICE == "cpu" else 1 << 20
            # Of what is made of others the parts are checked. Behind several leaky ReLUs in half precision eager itself
            # is a fifth away: rounding moves signs.
            whole = registry.ops()[case.op].composed is not None
            limit = limit // 16 if whole else limit
            # Tiles of scores take the interpreter longest.
            limit = 220 if "attention" in case.op and backend == "triton" and DEVICE == "cpu" else limit
            if implementation.backward is None or first.numel() > limit:
                continue
            if implementation.supports(*arguments) is not None:
                continue
            for dtype in (torch.float32,) if whole else (torch.float32, HALVES[backend]):
                if dtype == torch.float32 or 8 * first.numel() < limit:
                    name = str(dtype).removeprefix("torch.")
                    yield pytest.param(case, backend, dtype, id=f"{case.id}-{backend}-{name}")


@pytest.mark.parametrize(("case", "backend", "dtype"), list(with_backward()))
def test_gradients_are_as_good_as_eager(case: Case, backend: str, dtype: torch.dtype) -> None:
    op = registry.ops()[case.op]
    implementation = op.implementations[backend]
    arguments = case.arguments(dtype, DEVICE)
    assert implementation.backward is not None
    assert_gradients_as_good_as_eager(op, implementation.backward, arguments, dtype)


LEARNING = [
    pytest.param(case, dtype, id=f"{case.id}-{str(dtype).removeprefix('torch.')}")
    for case in CASES
    if case.op in ("resblock_pair", "resblock_step", "wavenet_layer") and not case.name.startswith("int8")
    for dtype in (torch.float32, torch.bfloat16)
]


@pytest.mark.skipif(DEVICE != "cpu", reason="oneDNN is for CPUs")
@pytest.mark.parametrize(("case", "dtype"), LEARNING)
def test_weights_that_learn_are_convolved_as_well_as_packed_ones(case: Case, dtype: torch.dtype) -> None:
    """On oneDNN they take another way; here through the implementation itself, as autograd's own runs it."""
    op = registry.ops()[case.op]
    arguments = op.complete(converted(case.arguments(dtype, DEVICE), leaf))
    if op.implementations["onednn"].supports(*arguments) is not None:
        pytest.skip("not for oneDNN")
    with torch.no_grad(), registry._in_operator():
        assert_as_good_as_eager(op, op.implementations["onednn"].run, arguments, dtype)


@pytest.mark.skipif(DEVICE != "cpu", reason="oneDNN is for CPUs")
@pytest.mark.parametrize(("case", "dtype"), LEARNING)
def test_gradients_by_what_the_forward_pass_kept_are_as_good_as_eager(
    case: Case, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As autograd takes them; a pass that comes second through the same graph computes it again."""
    op, kept = registry.ops()[case.op], []
    implementation = op.implementations["onednn"]
    if implementation.supports(*op.complete(case.arguments(dtype, DEVICE))) is not None:
        pytest.skip("not for oneDNN")
    assert implementation.backward is not None

    def noted(*given: Any) -> tuple[Any, ...]:
        kept.append(given[2:])
        assert implementation.backward is not None
        return implementation.backward(*given)

    monkeypatch.setitem(op.implementations, "onednn", replace(implementation, backward=noted))
    monkeypatch.setattr(resblock, "_KEPT_CHANNELS", 1)
    for module in (images, gradients):  # whatever this processor has instructions for
        monkeypatch.setattr(module, "native_dtypes", lambda: {dtype})

    def taken(grads: tuple[Tensor, ...], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        with registry.use_backend("auto", **{op.name: "onednn"}):
            return registry.gradients_of(op, arguments, grads)

    assert_gradients_as_good_as_eager(op, taken, case.arguments(dtype, DEVICE), dtype)
    alike = case.op != "resblock_step" and len({t.dtype for t in kinds(case.arguments(dtype, DEVICE))}) == 1
    assert [bool(one) for one in kept] == [alike] * 2

    arguments = converted(case.arguments(dtype, DEVICE), leaf)
    with registry.use_backend("auto", **{op.name: "onednn"}):
        made = outputs_of(op(*arguments))[0]
    wanted = next(kinds(arguments))
    first, second = (torch.autograd.grad(made.sum(), wanted, retain_graph=True)[0] for _ in range(2))
    assert relative_error(second, first) <= OP_ERROR_CEILING[dtype]
    assert kept[-1] == ()


def kinds(arguments: tuple[Any, ...]) -> Iterator[Tensor]:
    return (tensor for tensor in registry.tensors_in(arguments) if tensor.is_floating_point())


@pytest.mark.skipif(DEVICE != "cpu", reason="oneDNN is for CPUs")
@pytest.mark.parametrize("op", ["resblock_pair", "resblock_step", "wavenet_layer"])
def test_weights_that_could_learn_are_packed_where_nothing_learns(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = []
    for module in (resblock, wavenet):
        learning = module._run_learning

        def noted(*args: Any, learning: Any = learning) -> Tensor:
            ways.append("learning")
            return learning(*args)

        monkeypatch.setattr(module, "_run_learning", noted)
    arguments = converted(tuple(full_arguments(op, DEVICE).values()), leaf)
    with registry.use_backend("onednn"):
        for quiet in (torch.no_grad, torch.inference_mode):
            with quiet():
                registry.ops()[op](*arguments)
        assert ways == []
        outputs_of(registry.ops()[op](*arguments))[0].sum().backward()
    assert ways == ["learning"]


OWN = [
    (name, backend)
    for name, op in sorted(registry.ops().items())
    for backend, found in op.implementations.items()
    if found.backward is not None
]


@pytest.mark.parametrize(("name", "backend"), OWN)
def test_autograd_takes_the_gradients_of_what_ran_and_of_what_is_wanted_only(name: str, backend: str) -> None:
    """Chosen when the op runs, also where the backward pass has left the block; weights that learn nothing get none."""
    op = registry.ops()[name]
    arguments = converted(tuple(full_arguments(name, DEVICE).values()), lambda tensor: tensor.detach().clone())
    tensors = [t for t in registry.tensors_in(arguments) if t.is_floating_point()]
    tensors[0].requires_grad_()
    # Few programs, for the interpreter's sake; the cases above have the tables' tiles.
    few = tiles.Tile({"BLOCK_T": 64, "BLOCK_S": 64, "BLOCK_R": 16}, 4, 1, "triton", False)
    with tiles.forced_tile("relative_attention_backward", few):
        check_gradients_of_what_ran(op, backend, arguments, tensors)


def check_gradients_of_what_ran(
    op: registry.Op, backend: str, arguments: tuple[Any, ...], tensors: list[Tensor]
) -> None:
    with registry.use_backend("auto", **{op.name: backend}):
        results = outputs_of(op(*arguments))
    with patch.object(op, "reference", side_effect=AssertionError("the reference ran")):
        (found,) = torch.autograd.grad(results[0].sum(), tensors[0])
    (expected,) = torch.autograd.grad(outputs_of(op.reference(*arguments))[0].sum(), tensors[0])
    assert relative_error(found, expected) < OP_ERROR_CEILING[torch.float32]
    backward = op.implementations[backend].backward
    assert backward is not None
    with torch.no_grad():  # as the backward pass calls it
        alone = flat(backward(tuple(torch.ones_like(result) for result in results), op.complete(arguments)))
    assert [one is not None for one in alone].count(True) == 1
