"""Derived weights follow their parameters."""

import gc
import threading
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

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
    assert sum(mark.expired() for mark, _ in packing._kept.values()) <= packing._SWEEP_EVERY


def test_tensors_made_in_inference_mode_are_not_kept() -> None:
    with torch.inference_mode():
        weight = torch.zeros(3)
        values = []
        for i in range(3):
            weight.fill_(i)
            values.append(packing.packed(weight, "value", lambda: float(weight[0])))
    assert values == [0.0, 1.0, 2.0]


SILENT_WRITES: dict[str, Callable[[torch.Tensor], object]] = {
    "scaled": lambda w: w.data.mul_(0.999),
    "copied": lambda w: w.data.copy_(torch.randn(w.shape)),
    "one element": lambda w: w.data[3, 1, 2].add_(1e-3),
    "negated": lambda w: w.data.neg_(),
    "a channel zeroed": lambda w: w.data[5].zero_(),
    "taps in reverse": lambda w: w.data.copy_(w.data.flip(-1)),
    "two channels exchanged": lambda w: w.data[:2].copy_(w.data[:2].flip(0)),
    "through numpy": lambda w: w.detach().numpy().__setitem__((0, 0, 0), 7.0),
    "through storage": lambda w: w.untyped_storage().fill_(0),
    "one of an average": lambda w: w.data.lerp_(torch.randn(w.shape).to(w.dtype), 1e-2),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(8, 3, 5), (64, 48, 5), (7, 331, 3)])
def test_writes_that_no_version_counts_are_seen(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    parameter = nn.Parameter(torch.randn(shape).to(dtype))

    def get() -> torch.Tensor:
        view = parameter.detach().permute(2, 1, 0)
        return packing.packed(view, "contiguous copy", lambda: view.clone(memory_format=torch.contiguous_format))

    get()
    for name, write in SILENT_WRITES.items():
        if name == "through numpy" and dtype == torch.bfloat16:  # which numpy does not have
            continue
        before = parameter._version
        write(parameter)
        assert parameter._version == before, name
        assert torch.equal(get(), parameter.permute(2, 1, 0)), name


def test_a_buffer_that_is_used_again_is_another_weight() -> None:
    """Compiled code writes one tensor after another into one buffer, and counts no versions."""
    buffer = torch.empty(64 * 48 * 5)
    for value in range(3):
        weight = buffer.as_strided((64, 48, 5), (240, 5, 1)).data
        weight.copy_(torch.full((64, 48, 5), float(value)))
        assert packing.packed(weight, "mean", lambda weight=weight: float(weight.mean())) == value


def test_nothing_is_kept_of_what_is_traced_or_transformed() -> None:
    weight = torch.randn(4, 6)
    built: list[int] = []

    def get(tensor: torch.Tensor) -> torch.Tensor:
        return packing.packed(tensor, "traced", lambda: built.append(1) or tensor * 1)

    with FakeTensorMode() as mode:
        get(mode.from_tensor(weight))
    torch.func.vmap(get)(weight)
    torch.func.grad(lambda x: get(x).sum())(weight)
    torch.jit.trace(get, (weight,), check_trace=False)
    make_fx(get)(weight)
    before = len(built)
    assert torch.equal(get(weight), weight)
    assert len(built) == before + 1


def test_private_tensors_are_not_read_again() -> None:
    derived = torch.randn(100, 100)
    packing.make_private(derived)
    packing.packed(derived, "private", lambda: 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "fingerprint", None)
        assert packing.packed(derived, "private", lambda: 2) == 1
    derived.add_(1)
    assert packing.packed(derived, "private", lambda: 3) == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_bytes_of_half_precision_are_summed_exactly(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_sums_bytes", lambda dtype: dtype in (torch.float16, torch.bfloat16))
    weight = torch.randn(3 * 8192 + 2500).to(dtype)
    rows, rest = packing._rows(weight)
    sums = packing.fingerprint(weight)
    factors = packing._factors(torch.int32).long()
    data = weight.view(torch.int8).long()
    whole = 2 * rows.numel()
    last = data[whole:] if rest.numel() else data[:0]
    expected = [row @ factors[: len(row)] for row in (*data[:whole].view(rows.shape[0], -1), last) if len(row)]
    assert sums.dtype == torch.int32
    assert torch.equal(sums.long(), torch.stack(expected))

    def exchanged(bits: torch.Tensor) -> None:
        bits[[17, 18]] = bits[[18, 17]]

    changes: list[Callable[[torch.Tensor], object]] = [
        lambda bits: bits[5].bitwise_xor_(1),
        lambda bits: bits[-1].bitwise_xor_(1),
        lambda bits: bits.bitwise_xor_(-(1 << 15)),  # all signs
        lambda bits: bits.copy_(bits.roll(1)),
        lambda bits: bits.copy_(bits.flip(0)),
        exchanged,
    ]
    for change in changes:
        other = weight.clone()
        change(other.view(torch.int16))
        assert not torch.equal(packing.fingerprint(other), sums)


class Calls:
    """A model of one weight, and how often its calls looked at contents."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.watch, self.weight, self.looks = packing.Watch(), nn.Parameter(torch.zeros(100, 100)), 0
        real = packing._sum_into

        def counted(*rows: torch.Tensor) -> None:
            self.looks += 1
            real(*rows)

        monkeypatch.setattr(packing, "_sum_into", counted)

    def get(self) -> float:
        with torch.no_grad():
            return packing.packed(self.weight.t(), "sum", lambda: float(self.weight.sum()))

    def call(self, times: int = 3) -> tuple[list[float], int]:
        self.looks = 0
        call = self.watch.begin()
        with packing.during(call):
            found = [self.get() for _ in range(times)]
        self.watch.end(call, lambda: [self.weight])
        return found, self.looks


def test_a_weight_is_watched_once_however_many_parts_a_call_has(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    call = calls.watch.begin()
    for _ in range(3):
        with calls.watch.part(call, lambda: [calls.weight]):
            calls.get()
    calls.call()
    assert calls.call() == ([0.0] * 3, 1)


def test_a_call_looks_once_at_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    for _ in range(2):
        assert calls.call()[0] == [0.0] * 3
    assert calls.call() == ([0.0] * 3, 1)
    for value in range(1, 4):
        calls.weight.data.fill_(value)
        assert calls.call()[0] == [10_000.0 * value] * 3
        assert calls.call()[0] == [10_000.0 * value] * 3
        calls.weight.data = torch.full((100, 100), -float(value))
        assert calls.call()[0] == [-10_000.0 * value] * 3
        calls.weight.data[3, 4] += 1
        assert calls.call()[0] == [-10_000.0 * value + 1] * 3
    calls.call()
    assert calls.call()[1] == 1
    calls.weight.data.fill_(9)
    assert calls.get() == 90_000.0  # outside any call


def test_writes_that_are_counted_are_seen_within_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    for _ in range(3):
        calls.call()
    call = calls.watch.begin()
    with packing.during(call), torch.no_grad():
        assert calls.get() == 0.0
        calls.weight.add_(1)
        assert calls.get() == 10_000.0
        with packing.during(None):
            calls.weight.data.fill_(2)
            assert calls.get() == 20_000.0


def test_a_call_of_another_thread_looks_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    for _ in range(3):
        calls.call()
    found = []

    def other() -> None:
        calls.weight.data.fill_(1)
        found.extend(calls.call()[0])

    with packing.during(calls.watch.begin()):
        assert calls.get() == 0.0
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert found == [10_000.0] * 3
    assert calls.call()[0] == [10_000.0] * 3


def test_what_is_watched_may_die(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    calls.call()
    calls.weight = nn.Parameter(torch.ones(100, 100))
    gc.collect()
    for _ in range(3):
        assert calls.call()[0] == [10_000.0] * 3
