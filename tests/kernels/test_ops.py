"""Every op, case and dtype against the reference in float64, under one rule.

`err(fast) <= 2 * err(eager, same dtype) + floor`, and an absolute ceiling beside it, where the error is the relative
RMS distance from the reference run in float64 on the same rounded inputs. Kernels run in Triton's interpreter where
there is no GPU.

Every allocation of an implementation is poisoned with NaN and fenced with sentinels; inputs must come out unchanged; a
second run must be bit-equal; beyond `lengths` there must be exact zeros.
"""

import inspect
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from fastvits_kernels.dispatch import registry
from fastvits_kernels.launch import jit
from tests.support.numerics import assert_as_good_as_eager, converted, outputs_of
from tests.support.op_cases import CASES, Case, full_arguments

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FAST = ("triton",) if DEVICE == "cuda" else ("triton", "onednn")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize(
    ("case", "backend"),
    [
        pytest.param(case, backend, id=f"{case.id}-{backend}")
        for case in CASES
        for backend in registry.ops()[case.op].implementations
    ],
)
def test_implementation_is_as_good_as_eager(case: Case, backend: str, dtype: torch.dtype) -> None:
    op = registry.ops()[case.op]
    implementation = op.implementations[backend]
    arguments = case.arguments(dtype, DEVICE)
    reason = implementation.supports(*arguments)
    if reason is not None:
        # A refusal is a promise too: asked for by name, the op must raise with that reason and not run something else.
        with registry.use_backend("auto", **{case.op: backend}), pytest.raises(registry.BackendError, match=case.op):
            op(*arguments)
        return
    assert_as_good_as_eager(op, implementation.run, arguments, dtype)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_operator_contract(case: Case) -> None:
    """`torch.library.opcheck`: schema, fake implementation, autograd registration and tracing of the operator."""
    op = registry.ops()[case.op]
    torch.library.opcheck(op.library_op, case.arguments(torch.float32, DEVICE))


@pytest.mark.parametrize("op", sorted(registry.ops()))
def test_operator_contract_with_gradients(op: str) -> None:
    def leaf(tensor: Tensor) -> Tensor:
        return tensor.detach().clone().requires_grad_(tensor.is_floating_point())

    arguments = converted(tuple(full_arguments(op, DEVICE).values()), leaf)
    torch.library.opcheck(registry.ops()[op].library_op, arguments)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("op", sorted(registry.ops()))
def test_lengths_and_conditions_may_be_one_for_all_and_have_any_stride(op: str, backend: str) -> None:
    """What is not contiguous, and one row for all items, is read as the reference reads it."""
    names = list(inspect.signature(registry.ops()[op].reference).parameters)
    for name in {"lengths", "cond"} & set(names):
        position = names.index(name)
        drawn = (case.arguments(torch.float32, DEVICE) for case in CASES if case.op == op)
        several = [found for found in drawn if found[position] is not None and len(found[position]) > 1]
        assert several, f"no case of {op} has {name} for several items"
        # Of the smallest, for the interpreter runs it four times; sizes matter to the cases above.
        arguments = min(several, key=lambda found: sum(tensor.numel() for tensor in registry.tensors_in(found)))
        rows = arguments[position]

        def run(
            replacement: Tensor, arguments: tuple[Any, ...] = arguments, position: int = position
        ) -> tuple[Tensor, ...]:
            changed = (*arguments[:position], replacement, *arguments[position + 1 :])
            return outputs_of(registry.ops()[op].implementations[backend].run(*changed))

        spread = torch.stack([rows, torch.zeros_like(rows)], -1)[..., 0]
        assert not spread.is_contiguous()
        shared = rows[:1]
        for one, other in ((rows, spread), (shared.repeat(len(rows), *[1] * (rows.dim() - 1)), shared)):
            for expected, found in zip(run(one), run(other), strict=True):
                assert torch.equal(expected, found)


@pytest.mark.parametrize("backend", ["eager", *FAST])
@pytest.mark.parametrize(
    "op",
    [op for op, found in sorted(registry.ops().items()) if "lengths" in inspect.signature(found.reference).parameters],
)
def test_what_is_beyond_the_lengths_is_never_seen(op: str, backend: str) -> None:
    """NaN in the padding of every input that has steps changes no bit of the result."""
    arguments = full_arguments(op, DEVICE)
    lengths = arguments["lengths"]
    axis = 1 if op.startswith("resblock") else 0  # that of the items
    shape = next(iter(arguments.values())).shape[axis : axis + 2]

    def poisoned(tensor: Tensor) -> Tensor:
        if tensor.shape[axis : axis + 2] != shape:
            return tensor
        beyond = torch.arange(shape[1], device=DEVICE) >= lengths[:, None]
        beyond = beyond.reshape((1,) * axis + beyond.shape + (1,) * (tensor.dim() - axis - 2))
        return tensor.masked_fill(beyond, float("nan"))

    with registry.use_backend(backend):
        clean = outputs_of(registry.ops()[op](*arguments.values()))
        found = outputs_of(registry.ops()[op](*converted(tuple(arguments.values()), poisoned)))
    for one, other in zip(clean, found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("case", [c for c in CASES if c.name.startswith("empty-batch")], ids=lambda c: c.id)
def test_large_batches_fit_a_grid(case: Case) -> None:
    """CUDA takes 65535 programs at most along a grid's second and third axes."""

    def of_many(tensor: Tensor) -> Tensor:
        return torch.empty([size or 70_000 for size in tensor.shape], dtype=tensor.dtype, device="meta")

    arguments = converted(case.arguments(torch.float32, "cpu"), of_many)
    with jit.recording() as launches:
        registry.ops()[case.op].implementations["triton"].run(*arguments)
    assert launches
    for launch in launches:
        assert max(launch.grid[1:], default=1) <= 65535, f"{launch.kernel} has a grid of {launch.grid}"


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize(
    ("name", "backend"),
    [(name, backend) for name, op in sorted(registry.ops().items()) for backend in op.implementations],
)
def test_a_refusal_hides_no_implementation(name: str, backend: str, dtype: torch.dtype) -> None:
    """Of every op each implementation really runs a case in every dtype, Triton's with a launch."""
    op, implementation = registry.ops()[name], registry.ops()[name].implementations[backend]
    drawn = (case.arguments(dtype, DEVICE) for case in CASES if case.op == name)
    taken = [arguments for arguments in drawn if implementation.supports(*arguments) is None]
    taken = [arguments for arguments in taken if next(registry.tensors_in(arguments)).numel()]
    assert taken, f"{backend} declines every case of {name} in {dtype}"
    arguments = min(taken, key=lambda found: sum(tensor.numel() for tensor in registry.tensors_in(found)))
    otherwise = "eager" if backend == "channels_last" else "auto"
    with patch.object(jit, "built", wraps=jit.built) as built, registry.use_backend(otherwise, **{name: backend}):
        assert op.resolve(*arguments).backend == backend
        op(*arguments)
    assert bool(built.call_count) == (backend == "triton")


def test_every_op_has_cases() -> None:
    assert {case.op for case in CASES} == set(registry.ops())


def test_the_rule_catches_a_wrong_implementation() -> None:
    """The checks above must be able to fail: an output off by little, an unwritten element, a write beyond the end."""
    op = registry.ops()["conv1d"]
    case = next(c for c in CASES if c.id == "conv1d-one-step")
    arguments = case.arguments(torch.float32, DEVICE)

    def slightly_off(*args: Any) -> Tensor:
        return op.reference(*args) * (1 + 1e-5)

    def unwritten(*args: Any) -> Tensor:
        out = torch.empty(op.reference(*args).shape, device=DEVICE)
        out.view(-1)[1:] = op.reference(*args).reshape(-1)[1:]
        return out

    def overrun(*args: Any) -> Tensor:
        result = op.reference(*args)
        out = torch.empty(result.shape, device=DEVICE)
        out.copy_(result)
        torch.as_strided(out, (1,), (1,), out.storage_offset() + out.numel()).zero_()
        return out

    for wrong in (slightly_off, unwritten, overrun):
        with pytest.raises(AssertionError):
            assert_as_good_as_eager(op, wrong, arguments, torch.float32)
