"""What an op asks of a call: callbacks get the arguments that they name, and nothing else."""

import ast
import inspect
import textwrap
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from fastvits_kernels.dispatch import registry, selection


def scaled_reference(x: Tensor, bias: Tensor | None, factor: float, name: str = "none") -> Tensor:
    return x * factor if bias is None else x * factor + bias


@pytest.fixture
def op() -> Iterator[registry.Op]:
    known = registry.ops().get("test_scaled")
    seen: list[object] = []

    def fake(x: Tensor) -> Tensor:
        return x.new_empty(x.shape)

    def check(name: str, x: Tensor) -> None:
        seen.append((name, x))
        if name not in ("none", "other"):
            raise ValueError(f"no {name}")

    made = known or registry.Op("test_scaled", scaled_reference, fake, check)
    made.seen = seen  # type: ignore[attr-defined]
    yield made
    registry._ops.pop("test_scaled", None)
    selection.known_ops.discard("test_scaled")


def test_callbacks_get_what_they_name_in_their_own_order(op: registry.Op) -> None:
    x = torch.ones(3)
    assert torch.equal(op(x, None, 2.0), torch.full((3,), 2.0))
    assert op.seen == [("none", x)]  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="no such"):
        op(x, None, 2.0, "such")

    def supports(factor: float) -> str | None:
        return "too large" if factor > 5 else None

    def prefers(bias: Tensor | None) -> tuple[str, str, bool]:
        return ("onednn", "measured", True) if bias is None else ("eager", "not measured", False)

    op.register("onednn", registry.Implementation(lambda x, bias, factor, name: -x, supports, prefers))
    assert torch.equal(op(x, None, 2.0), -x)
    assert op.resolve(x, None, 9.0).reason == "too large"
    assert op.resolve(x, x, 2.0).backend == "eager"
    assert op.implementations["onednn"].supports(x, None, 9.0, "other") == "too large"
    with registry.use_backend(test_scaled="onednn"), pytest.raises(registry.BackendError, match="too large"):
        op(x, None, 9.0)


def test_what_a_call_keeps_is_for_its_own_gradients_once(op: registry.Op) -> None:
    seen = []

    def run(x: Tensor, bias: Tensor | None, factor: float, name: str) -> Tensor:
        if name == "other":
            registry.keep(x + 1)
        return x * factor

    def backward(
        grads: tuple[Tensor, ...], arguments: tuple[object, ...], kept: tuple[Tensor, ...] = ()
    ) -> tuple[object, ...]:
        seen.append([tensor.tolist() for tensor in kept])
        return grads[0] * arguments[2], None, None, None

    op.register("onednn", registry.Implementation(run, backward=backward))
    x = torch.ones(3, requires_grad=True)
    keeping, other = op(x, None, 2.0, "other"), op(x, None, 3.0)
    for result, kept in ((other, []), (keeping, [[2.0] * 3]), (keeping, [])):
        seen.clear()
        (found,) = torch.autograd.grad(result.sum(), x, retain_graph=True)
        assert found.tolist() == [3.0 if result is other else 2.0] * 3
        assert seen == [kept]
    with torch.no_grad():  # as code runs that was compiled: nobody takes what is kept
        op.library_op(x, None, 2.0, "other")
    seen.clear()
    torch.autograd.grad(op(x, None, 3.0).sum(), x)
    assert seen == [[]]


def test_what_is_no_argument_is_refused_at_registration(op: registry.Op) -> None:
    def supports(x: Tensor, *_: object) -> str | None:
        return None

    for wrong in (supports, lambda weight: None, registry.named(supports, "x", "weight")):
        with pytest.raises(TypeError, match="test_scaled has no argument"):
            op.register("onednn", registry.Implementation(scaled_reference, wrong))


def test_no_callback_names_more_arguments_than_its_op_has_and_all_are_resolved() -> None:
    for op in registry.ops().values():
        for callback in (op.check, op.fake, *(found.supports for found in op.implementations.values())):
            assert isinstance(callback, registry.Callback)


def test_callbacks_read_all_that_they_name() -> None:
    for op in registry.ops().values():
        for callback in (op.check, op.fake, *(found.supports for found in op.implementations.values())):
            source = inspect.getsource(callback.function)
            for name in inspect.signature(callback.function).parameters:
                used = [node for node in ast.walk(ast.parse(textwrap.dedent(source))) if isinstance(node, ast.Name)]
                assert name in {node.id for node in used}, f"{callback.function.__name__} of {op.name} reads no {name}"
