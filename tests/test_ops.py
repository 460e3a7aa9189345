"""Every op, case and dtype against the reference in float64, under one rule.

`err(fast) <= 2 * err(eager, same dtype) + floor`, and an absolute ceiling beside it, where the error is the relative
RMS distance from the reference run in float64 on the same rounded inputs. Kernels run in Triton's interpreter where
there is no GPU.

Every allocation of an implementation is poisoned with NaN and fenced with sentinels; inputs must come out unchanged; a
second run must be bit-equal; beyond `lengths` there must be exact zeros.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from fastvits_kernels import jit, registry
from tests.numerics import allowed_error, converted, outputs_of, relative_error, to_float64
from tests.op_cases import CASES, Case

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
SENTINEL = 1234.0
FENCE = 64


@contextmanager
def poisoned_allocations() -> Iterator[Callable[[], None]]:
    """`torch.empty` and its kin give NaN (or the largest integer) inside, between fences; yields a check of the
    fences."""
    fenced: list[Tensor] = []
    real_empty = torch.empty

    def empty(*size: Any, **options: Any) -> Tensor:
        shape = torch.Size(size[0] if len(size) == 1 and not isinstance(size[0], int) else size)
        dtype, device = options.pop("dtype", None) or torch.get_default_dtype(), options.pop("device", None)
        assert not options, f"an implementation allocates with unforeseen options {sorted(options)}"
        whole = real_empty(shape.numel() + 2 * FENCE, dtype=dtype, device=device)
        poison = float("nan") if dtype.is_floating_point else torch.iinfo(dtype).max if dtype != torch.bool else True
        whole.fill_(SENTINEL if dtype != torch.bool else True)
        inside = whole[FENCE : FENCE + shape.numel()].view(shape)
        inside.fill_(poison)
        fenced.append(whole)
        return inside

    def empty_like(tensor: Tensor, **options: Any) -> Tensor:
        return empty(tensor.shape, dtype=options.pop("dtype", tensor.dtype), device=tensor.device, **options)

    def new_empty(tensor: Tensor, *size: Any, **options: Any) -> Tensor:
        dtype, device = options.pop("dtype", tensor.dtype), options.pop("device", tensor.device)
        return empty(*size, dtype=dtype, device=device, **options)

    def check() -> None:
        for whole in fenced:
            expected = torch.full(
                (FENCE,), SENTINEL if whole.dtype != torch.bool else True, dtype=whole.dtype, device=whole.device
            )
            assert torch.equal(whole[:FENCE], expected), "a kernel wrote before its output"
            assert torch.equal(whole[-FENCE:], expected), "a kernel wrote beyond its output"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty", empty)
        patch.setattr(torch, "empty_like", empty_like)
        patch.setattr(Tensor, "new_empty", new_empty)
        yield check


def padding(expected: Tensor) -> Tensor:
    """Where whole steps are zero in the reference: what lies beyond `lengths`."""
    return (expected == 0).all(-1, keepdim=True).expand_as(expected)


def assert_as_good_as_eager(
    op: registry.Op, fast: Callable[..., Any], arguments: tuple[Any, ...], dtype: torch.dtype
) -> None:
    """The whole rule for one implementation at one set of arguments."""
    expected = outputs_of(op.reference(*converted(arguments, to_float64)))
    eager = outputs_of(op.reference(*arguments))
    before = converted(arguments, torch.clone)
    with poisoned_allocations() as check_fences:
        first = outputs_of(fast(*arguments))
        second = outputs_of(fast(*arguments))
        check_fences()
    for old, new in zip(registry.tensors_in(before), registry.tensors_in(arguments), strict=True):
        torch.testing.assert_close(new, old, rtol=0, atol=0, equal_nan=True, msg="an input was changed")
    for one, other, reference, plain in zip(first, second, expected, eager, strict=True):
        assert one.shape == reference.shape
        assert one.dtype == plain.dtype
        assert torch.equal(one, other), "two runs differ"
        assert not one[padding(reference)].any(), "something else than zero stands beyond the lengths"
        error, allowed = relative_error(one, reference), allowed_error(relative_error(plain, reference), dtype)
        assert error <= allowed, f"relative error {error:.3g}, allowed {allowed:.3g}"


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
    arguments = case.arguments(torch.float32, DEVICE)
    tests = ("test_schema", "test_faketensor")
    torch.library.opcheck(op.library_op, arguments, test_utils=tests)


@pytest.mark.parametrize("op", sorted(registry.ops()))
def test_lengths_may_have_any_stride(op: str) -> None:
    """Lengths that are not contiguous, and one length for all items, are read as the reference reads them."""
    implementation = registry.ops()[op].implementations.get("triton")
    for case in CASES:
        arguments = case.arguments(torch.float32, DEVICE)
        ragged = [a for a in arguments if isinstance(a, Tensor) and a.dtype == torch.int64 and a.dim() == 1]
        if case.op == op and ragged and len(ragged[0]) > 1:
            break
    else:
        pytest.skip(f"{op} takes no lengths")
    assert implementation is not None
    (lengths,) = ragged
    spread = torch.stack([lengths, torch.zeros_like(lengths)], 1)[:, 0]
    assert not spread.is_contiguous()
    shared = lengths[:1]

    def run(replacement: Tensor) -> list[Tensor]:
        return outputs_of(implementation.run(*(replacement if a is lengths else a for a in arguments)))

    for one, other in ((lengths, spread), (shared.repeat(len(lengths)), shared)):
        for expected, found in zip(run(one), run(other), strict=True):
            assert torch.equal(expected, found)


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
