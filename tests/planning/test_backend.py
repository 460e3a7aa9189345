"""Which implementation runs: what is asked for, in order of precedence, what is possible, and what `explain` says of
it.
"""

import asyncio
import copy
import logging
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fastvits
from fastvits import BackendError, VitsConfig, VitsModel, explain, set_backend, use_backend
from fastvits_kernels.dispatch import devices, registry
from fastvits_kernels.launch import jit, tiles
from tests.support.models import SMALL, random_ids

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No choice made elsewhere reaches these tests, nor one made here anything else."""
    monkeypatch.delenv(registry.ENVIRONMENT_VARIABLE, raising=False)
    registry.forget_decisions()
    yield
    set_backend(None)
    registry.forget_decisions()


@pytest.fixture(scope="module")
def small_model() -> VitsModel:
    torch.manual_seed(0)
    return VitsModel(VitsConfig(**SMALL), inference_only=True).eval()


@pytest.fixture
def model(small_model: VitsModel) -> Iterator[VitsModel]:
    small_model.backend = None
    yield small_model
    small_model.backend = None


def chosen(op: str = "layer_norm") -> str:
    """The backend that a call of `op` would take here and now, on tensors that Triton can interpret."""
    x, weight = torch.ones(1, 2, 16), torch.ones(16)
    arguments: dict[str, tuple[Any, ...]] = {
        "layer_norm": (x, None, weight, weight, None, 1e-5),
        "gated_activation": (x, None),
    }
    return registry.ops()[op].resolve(*arguments[op]).backend


def automatic() -> str:
    """What `auto` takes here."""
    with use_backend("auto"):
        return chosen()


def implementations_of(model: VitsModel) -> set[str]:
    """The implementations that a call of the model took."""
    registry.forget_decisions()
    with torch.no_grad():
        model(random_ids(1, 3))
    return {decision.backend for decision in registry.decisions()}


def test_context_wins_over_process_and_process_over_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen() == automatic()
    monkeypatch.setenv(registry.ENVIRONMENT_VARIABLE, "triton")
    assert chosen() == "triton"
    set_backend("eager")
    assert chosen() == "eager"
    with use_backend("triton"):
        assert chosen() == "triton"
        with use_backend("eager"):
            assert chosen() == "eager"
        assert chosen() == "triton"
    assert chosen() == "eager"
    set_backend(None)
    assert chosen() == "triton"


def test_a_choice_by_op_is_an_exception_to_the_choice_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    with use_backend("eager", layer_norm="triton"):
        assert (chosen(), chosen("gated_activation")) == ("triton", "eager")
    set_backend("triton", layer_norm="eager")
    assert (chosen(), chosen("gated_activation")) == ("eager", "triton")
    set_backend(None)
    monkeypatch.setenv(registry.ENVIRONMENT_VARIABLE, " eager, gated_activation = triton ")
    assert (chosen(), chosen("gated_activation")) == ("eager", "triton")


def test_the_choice_ends_with_its_block_also_when_it_raises() -> None:
    with pytest.raises(KeyError), use_backend("triton"):
        raise KeyError
    assert chosen() == automatic()


def test_threads_and_tasks_choose_for_themselves() -> None:
    found: list[str] = []
    with use_backend("triton"):
        thread = threading.Thread(target=lambda: found.append(chosen()))
        thread.start()
        thread.join()
    assert found == [automatic()]

    async def task(backend: str) -> str:
        with use_backend(backend):
            await asyncio.sleep(0)
            return chosen()

    async def both() -> list[str]:
        return list(await asyncio.gather(task("triton"), task("eager")))

    assert asyncio.run(both()) == ["triton", "eager"]


@pytest.mark.parametrize("choose", [use_backend, set_backend])
def test_unknown_choices_are_refused(choose: Callable[..., Any]) -> None:
    def made(*names: Any, **by_op: Any) -> None:
        context = choose(*names, **by_op)
        if context is not None:
            with context:
                pass

    with pytest.raises(ValueError, match=r"unknown backend 'cuda'.*auto, eager, triton, onednn"):
        made("cuda")
    with pytest.raises(ValueError, match=r"unknown backend 'fast' for layer_norm"):
        made("auto", layer_norm="fast")
    with pytest.raises(ValueError, match=r"unknown op 'layernorm'; the ops are .*layer_norm"):
        made("auto", layernorm="eager")
    with pytest.raises(TypeError, match="int"):
        made(3)
    assert chosen() == automatic()


def test_the_environment_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(registry.ENVIRONMENT_VARIABLE, "trition")
    with pytest.raises(ValueError, match="FASTVITS_BACKEND='trition': unknown backend 'trition'"):
        chosen()
    monkeypatch.setenv(registry.ENVIRONMENT_VARIABLE, "auto,spline=eager")
    with pytest.raises(ValueError, match="unknown op 'spline'"):
        chosen()


def test_an_explicit_choice_that_cannot_run_raises_with_the_reason(
    model: VitsModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.ones(1, 2, 16, dtype=torch.float64)
    op = registry.ops()["gated_activation"]
    with use_backend("triton"), pytest.raises(BackendError, match=r"'triton' cannot run gated_activation: .*float64"):
        op(x, None)
    monkeypatch.setattr(op, "implementations", {})
    with use_backend("auto", gated_activation="onednn"), pytest.raises(BackendError, match="no onednn implementation"):
        op(x, None)
    double = copy.deepcopy(model).double()
    with use_backend("triton"), pytest.raises(BackendError, match="float64"), torch.no_grad():
        double(random_ids(1, 3))
    with use_backend("triton"), pytest.raises(BackendError, match="float64"):
        explain(double)


def test_auto_falls_back_and_says_so_once_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    registry._logged.clear()
    caplog.set_level(logging.INFO, logger="fastvits")
    arguments = (torch.empty(1, 2, 16, dtype=torch.float64, device="meta"), None)
    with tiles.target_arch("sm_90"), devices.assume(torch.device("cuda:0")):
        for name in ("gated_activation", "gated_activation"):
            decision = registry.ops()[name].resolve(*arguments)
            assert (decision.backend, decision.measured) == ("eager", False)
            assert decision.reason
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    assert decision.reason in caplog.text
    assert "gated_activation" in caplog.text


def test_a_device_that_triton_does_not_know_runs_eager() -> None:
    for name in ("mps", "xpu"):
        with devices.assume(torch.device(name)):
            decision = registry.ops()["gated_activation"].resolve(torch.empty(1, 2, 16, device="meta"), None)
        assert decision.backend == "eager"
        assert name in decision.reason


def test_the_model_has_a_choice_of_its_own(model: VitsModel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert model.backend is None
    monkeypatch.setenv(registry.ENVIRONMENT_VARIABLE, "triton")
    model.backend = "eager"
    assert implementations_of(model) == {"eager"}
    set_backend("triton")
    assert implementations_of(model) == {"eager"}, "the model's choice is above the process's"
    model.backend = "eager,length_regulator=triton"
    assert implementations_of(model) == {"eager", "triton"}
    with use_backend("eager"):
        assert implementations_of(model) == {"eager"}, "a surrounding context is above the model's choice"
    assert not registry.context_is_set()


def test_the_models_choice_is_checked_when_it_is_made(model: VitsModel) -> None:
    for wrong, error, message in (
        ("cuda", ValueError, "backend='cuda': unknown backend"),
        ("auto,spline=eager", ValueError, "unknown op 'spline'"),
        ("", ValueError, "empty"),
        (3, TypeError, "int"),
    ):
        with pytest.raises(error, match=message):
            model.backend = wrong  # type: ignore[assignment]
        assert model.backend is None


def test_the_models_choice_is_copied_and_pickled(model: VitsModel) -> None:
    model.backend = "eager"
    assert copy.deepcopy(model).backend == "eager"
    assert pickle.loads(pickle.dumps(model)).backend == "eager"


def test_from_pretrained_takes_a_backend(model: VitsModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    assert VitsModel.from_pretrained(tmp_path).backend is None
    loaded = VitsModel.from_pretrained(tmp_path, backend="eager,length_regulator=triton")
    assert loaded.backend == "eager,length_regulator=triton"
    assert implementations_of(loaded) == {"eager", "triton"}
    with pytest.raises(ValueError, match="unknown backend 'fastest'"):
        VitsModel.from_pretrained(tmp_path / "not there", backend="fastest")


@pytest.mark.parametrize("resblock_type", [1, 2])
def test_explain_tells_what_a_call_takes(resblock_type: int) -> None:
    settings = SMALL | {"resblock_type": resblock_type, "num_speakers": 3, "speaker_embedding_size": 8}
    model = VitsModel(VitsConfig(**settings), inference_only=True).eval()
    model.backend = "eager"
    explanation = explain(model)
    assert {(row.implementation, row.reason) for row in explanation} == {("eager", "asked for")}
    rows = {row.op: row for row in explanation}
    assert len(rows) == len(explanation)
    registry.forget_decisions()
    with torch.no_grad():
        model(random_ids(1, 3), speaker_id=1)
    assert set(rows) == {decision.op for decision in registry.decisions()}
    assert rows["mrf_stage"].calls == len(model.config.upsample_rates)
    assert rows["relative_attention"].calls == 2
    assert rows["wavenet_layer"].calls == 4
    with use_backend("triton", wavenet_layer="eager"):
        rows = {row.op: row for row in explain(model, batch=3)}
    assert rows["conv1d"].implementation == "triton"
    assert (rows["wavenet_layer"].implementation, rows["wavenet_layer"].reason) == ("eager", "asked for")
    model.backend = None
    with torch.no_grad():
        registry.forget_decisions()
        model(random_ids(1, 100), speaker_id=1)
    taken = {(decision.op, decision.backend) for decision in registry.decisions()}
    assert {(row.op, row.implementation) for row in explain(model)} == taken


def test_explain_prints_a_table_and_gives_data(model: VitsModel) -> None:
    model.backend = "eager"
    explanation = explain(model)
    lines = str(explanation).splitlines()
    assert lines[0].split() == ["op", "implementation", "calls", "reason"]
    assert len(lines) == 1 + len(explanation)
    dictionaries = explanation.as_dicts()
    assert set(dictionaries[0]) == {"op", "implementation", "reason", "measured", "calls"}
    assert [row["op"] for row in dictionaries] == sorted(row["op"] for row in dictionaries)
    assert lines[1].split()[:3] == [dictionaries[0]["op"], "eager", str(dictionaries[0]["calls"])]


def test_explain_without_a_model_tells_what_was_taken(model: VitsModel) -> None:
    assert len(explain()) == 0
    model.backend = "eager"
    with torch.no_grad():
        model(random_ids(1, 3))
    rows = explain().rows
    assert {row.op for row in rows} == {row.op for row in explain(model)}
    assert {row.calls for row in rows} == {0}


def test_explain_says_whether_a_gpus_table_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU `auto` takes Triton unless the table says that eager won; no GPU is needed to say what would run."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    jit._unavailable_on.cache_clear()
    own = {"gated_activation": [{"tile": {"BLOCK_T": 16, "BLOCK_C": 64, "num_warps": 4, "num_stages": 1}}]}
    measured = own["gated_activation"][0] | {"measured": True}
    arguments = (torch.empty(1, 2, 32, device="meta"), None)
    outcomes = []
    rows = (own["gated_activation"][0], measured, *(measured | {"winner": name} for name in ("eager", "channels_last")))
    for row in rows:
        monkeypatch.setattr(tiles, "table", lambda arch, row=row: {"gated_activation": [row]})
        tiles._choose.cache_clear()
        with tiles.target_arch("sm_90"), devices.assume(torch.device("cuda:0")):
            decision = registry.ops()["gated_activation"].resolve(*arguments)
        outcomes.append((decision.backend, decision.reason, decision.measured))
    tiles._choose.cache_clear()
    jit._unavailable_on.cache_clear()
    assert outcomes == [
        ("triton", "not measured", False),
        ("triton", "measured", True),
        ("eager", "measured", True),
        ("eager", "measured", True),  # a gate has no convolution
    ]


def test_explain_changes_nothing(model: VitsModel) -> None:
    """It works on a copy without memory: the model speaks the same, keeps its device and its cached weights."""
    torch.manual_seed(0)
    with torch.no_grad():
        before = model(random_ids(1, 5)).waveform
    explain(model)
    torch.manual_seed(0)
    with torch.no_grad():
        after = model(random_ids(1, 5)).waveform
    assert torch.equal(before, after)
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    with pytest.raises(ValueError, match="frames must be at least 1"):
        explain(model, frames=0)


def test_operators_compute_what_the_functions_compute() -> None:
    """`torch.ops.fastvits` runs the implementation in force, with gradients through the reference."""
    x = torch.randn(2, 5, 32, requires_grad=True)
    operator = torch.ops.fastvits.gated_activation
    expected = registry.ops()["gated_activation"].reference(x, None)
    expected.sum().backward()
    expected_gradient, x.grad = x.grad, None
    for backend in ("eager", "triton"):
        with use_backend(backend):
            found = operator(x, None)
        found.sum().backward()
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(x.grad, expected_gradient, rtol=1e-5, atol=1e-6)
        x.grad = None


WITHOUT_TRITON = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "triton":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
import importlib.util
import torch
import fastvits
import fastvits_kernels
from fastvits_kernels.dispatch import devices, registry

model = fastvits.VitsModel(fastvits.VitsConfig(**SETTINGS), inference_only=True).eval()
with torch.no_grad():
    waveform = model(torch.tensor([[1, 2, 3]])).waveform
assert waveform.isfinite().all()
assert {row.implementation for row in fastvits.explain(model)} <= {"eager", "onednn"}
registry._logged.clear()
with devices.assume(torch.device("cuda:0")):
    decision = registry.ops()["gated_activation"].resolve(torch.empty(1, 2, 16, device="meta"), None)
assert (decision.backend, decision.reason) == ("eager", "triton is not installed"), decision
try:
    with fastvits.use_backend("triton"), torch.no_grad():
        model(torch.tensor([[1, 2, 3]]))
except fastvits.BackendError as error:
    print(error)
assert not any(name.split(".")[0] == "triton" for name in sys.modules)
"""


def test_without_triton_everything_imports_and_runs_eager() -> None:
    program = WITHOUT_TRITON.replace("SETTINGS", repr(SMALL))
    paths = [str(ROOT), str(ROOT / "kernels")]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}\n{program}"],
        env={"TRITON_INTERPRET": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "triton is not installed" in done.stdout
    assert "cuda:0" not in done.stdout


def test_the_public_names_are_the_kernels_own() -> None:
    assert fastvits.use_backend is registry.use_backend
    assert fastvits.set_backend is registry.set_backend
    assert fastvits.BackendError is registry.BackendError


def test_meta_tensors_stand_for_a_device_only_where_that_is_said() -> None:
    x: Tensor = torch.empty(1, device="meta")
    assert devices.device_of(None, x).type == "meta"
    with devices.assume(torch.device("cuda:1")):
        assert devices.device_of(x) == torch.device("cuda:1")
        assert devices.device_of(torch.empty(1)).type == "cpu"
    assert devices.device_of(x).type == "meta"
