"""Arguments whose shapes do not fit each other are refused by one error, whatever the backend, before any work."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from fastvits_kernels.dispatch import registry
from tests.support.numerics import converted
from tests.support.op_cases import full_arguments

UNBOUND = {
    "conv1d": {("weight", 0)},
    "conv1d_layer_norm": {("weight", 0)},
    "conv1d_layer_norm_projection": {("weight", 0)},
    "conv_transpose1d": {("x", 1)},
    "depth_separable_layer": {("x", 1), ("depthwise", 0)},
    "durations": {("log_durations", 1)},
    "gated_activation": {("x", 1)},
    "length_regulator": {("noise", 1)},
    "monotonic_alignment": {("scores", 1), ("scores", 2)},
    "mrf_stage": {("x", 1), ("weights1", 0), ("weights2", 0)},
    "resblock_pair": {("x", 2), ("weights1", 0), ("weights2", 0)},
    "resblock_step": {("weights", 0)},
    "wavenet_layer": {("in_weight", 0)},
}
"""The axes whose sizes nothing else decides: kernel sizes, and steps that one argument alone has."""

ONE_FOR_ALL = {"lengths": registry.ops().keys(), "cond": {"conv1d", "gated_activation", "wavenet_layer"}} | {
    name: {"resblock_step", "resblock_pair"} for name in ("x", "residual")
}
"""The arguments whose first axis may have the size 1, and the ops where it may."""


def replaced(value: Any, index: int | None, tensor: Tensor) -> Any:
    """`value`, or the entry `index` of the list that it is, replaced by `tensor`."""
    return tensor if index is None else [*value[:index], tensor, *value[index + 1 :]]


def tensors(arguments: dict[str, Any]) -> Iterator[tuple[str, int | None, Tensor]]:
    """The tensors among arguments: name, place in a list or None, and the tensor."""
    for name, value in arguments.items():
        if isinstance(value, Tensor):
            yield name, None, value
        elif isinstance(value, list):
            yield from ((name, index, item) for index, item in enumerate(value) if isinstance(item, Tensor))


def with_axis(tensor: Tensor, axis: int, size: int) -> Tensor:
    return torch.zeros(*tensor.shape[:axis], size, *tensor.shape[axis + 1 :], dtype=tensor.dtype)


def misfits(op: str) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    """Arguments of which one does not fit: what was done to it, the argument's name, and all arguments."""
    arguments = full_arguments(op)
    for name, index, tensor in tensors(arguments):
        wrong = {"has an axis too many": tensor.unsqueeze(0), "lacks an axis": tensor.flatten()[0]}
        for axis, size in enumerate(tensor.shape):
            if (name, axis) in UNBOUND.get(op, ()):
                continue
            wrong[f"is longer by 1 along {axis}"] = with_axis(tensor, axis, size + 1)
            if size > 1 and not (axis == 0 and op in ONE_FOR_ALL.get(name, ())):
                wrong[f"has the size 1 along {axis}"] = with_axis(tensor, axis, 1)
        for what, other in wrong.items():
            yield what, name, tuple({**arguments, name: replaced(arguments[name], index, other)}.values())
    for name, value in arguments.items():
        if isinstance(value, list):
            yield "lacks an entry", name, tuple({**arguments, name: value[:-1]}.values())


@pytest.mark.parametrize("backend", ["eager", "triton", "onednn"])
@pytest.mark.parametrize("op", sorted(registry.ops()))
def test_arguments_that_do_not_fit_are_refused_before_any_work(op: str, backend: str) -> None:
    messages: dict[str, set[str]] = {}
    for what, name, arguments in misfits(op):
        registry.forget_decisions()
        with registry.use_backend(backend), torch.no_grad():
            try:
                registry.ops()[op](*arguments)
            except ValueError as error:
                messages.setdefault(name, set()).add(str(error))
            else:
                pytest.fail(f"{name} {what} and was taken")
        assert not registry.decisions(), f"{name} {what}: an implementation was chosen"
    assert all(" must be " in message and " got " in message for found in messages.values() for message in found)
    # That of an argument names it, or one that it has to fit.
    assert {name for name, _, _ in tensors(full_arguments(op))} <= messages.keys()


@pytest.mark.parametrize("op", sorted(registry.ops()))
def test_sizes_that_nothing_decides_are_free(op: str) -> None:
    arguments = full_arguments(op)
    for name, index, tensor in tensors(arguments):
        fitting = [with_axis(tensor, axis, tensor.shape[axis] + 2) for n, axis in UNBOUND.get(op, ()) if n == name]
        if op in ONE_FOR_ALL.get(name, ()):
            fitting.append(with_axis(tensor, 0, 1))
        for other in fitting:
            registry.ops()[op].check(*{**arguments, name: replaced(arguments[name], index, other)}.values())


@pytest.mark.parametrize("op", sorted(registry.ops()))
def test_operators_refuse_too_and_so_do_their_fakes(op: str) -> None:
    _, _, arguments = next(misfits(op))
    with pytest.raises(ValueError, match=" must be "):
        registry.ops()[op].library_op(*arguments)
    with FakeTensorMode() as mode, pytest.raises(ValueError, match=" must be "):
        registry.ops()[op].library_op(*converted(arguments, mode.from_tensor))


@pytest.mark.parametrize(
    ("op", "weights"),
    [
        ("depth_separable_layer", "depthwise"),
        ("mrf_stage", "weights1"),
        ("mrf_stage", "weights2"),
        ("resblock_pair", "weights1"),
        ("resblock_pair", "weights2"),
        ("resblock_step", "weights"),
        ("wavenet_layer", "in_weight"),
    ],
)
def test_padding_that_cannot_be_even_is_refused(op: str, weights: str) -> None:
    arguments = full_arguments(op)
    name, index, tensor = next(entry for entry in tensors(arguments) if entry[0] == weights)
    assert tensor.shape[0] % 2, "the case's own padding must be even"
    wrong = replaced(arguments[name], index, with_axis(tensor, 0, tensor.shape[0] + 1))
    with pytest.raises(ValueError, match=r"\(K - 1\) \* dilation must be even, got K = "):
        registry.ops()[op](*{**arguments, name: wrong}.values())


@pytest.mark.parametrize("dilation", [0, -1])
def test_dilations_are_positive(dilation: int) -> None:
    for op in ("conv1d", "depth_separable_layer", "resblock_step", "wavenet_layer"):
        arguments = full_arguments(op)
        name = "dilations" if op == "resblock_step" else "dilation"
        wrong = [dilation] * len(arguments[name]) if op == "resblock_step" else dilation
        with pytest.raises(ValueError, match=f"K and dilation must be at least 1, got .* a dilation of {dilation}"):
            registry.ops()[op](*{**arguments, name: wrong}.values())


def test_ids_without_a_token_are_refused() -> None:
    with pytest.raises(ValueError, match=r"input_ids must be \[B, T\] with at least one token, got \(2, 0\)"):
        registry.ops()["left_align"](torch.zeros(2, 0, dtype=torch.int64), None, 5)


def test_an_error_names_what_was_wrong_and_what_is_allowed() -> None:
    arguments = full_arguments("conv1d")
    for name, wrong, message in (
        ("weight", torch.zeros(3, 15, 32), "weight must be [K, C_in, C_out] with C_in = 16, got (3, 15, 32)"),
        ("cond", torch.zeros(2, 32), "cond must be [B or 1, C_out] with B = 3, C_out = 32, got (2, 32)"),
        ("x", torch.zeros(16), "x must be [B, T, C_in], got (16,)"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            registry.ops()["conv1d"](*{**arguments, name: wrong}.values())
