"""What is compiled ahead is what is launched."""

import importlib.util
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.configurations import CONFIGURATIONS, meta_model
from fastvits import VitsConfig, VitsModel, use_backend
from fastvits.planning.explain import planned_calls
from fastvits.runtime import stages
from fastvits.runtime.graphs import GraphCache
from fastvits_kernels.dispatch import registry
from fastvits_kernels.launch import ahead, jit, tiles
from tests.support.fake_gpu.recorder import FakeRecorder
from tests.support.models import SMALL, random_ids
from tests.support.op_cases import CASES

ROOT = Path(__file__).parents[2]

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")

FAKE = """
import json, sys
import torch
from fastvits_kernels.launch.ahead import compile_ahead
from fastvits_kernels.dispatch.registry import ops
from tests.support.fake_gpu import driver
from tests.support.op_cases import CASES

driver.shared_bytes = int(sys.argv[1])
rows = []
for name, dtype in json.loads(sys.argv[2]):
    case = next(case for case in CASES if case.id == name)
    arguments = case.arguments(getattr(torch, dtype), "cpu")
    run = ops()[case.op].implementations["triton"].run
    before = len(driver.compiled)
    new = compile_ahead(lambda: run(*arguments), torch.device("cpu"))
    ahead = len(driver.compiled) - before
    again = compile_ahead(lambda: run(*arguments), torch.device("cpu"))
    launched, error = len(driver.launched), ""
    try:
        run(*arguments)
    except Exception as raised:
        error = str(raised)
    late = len(driver.compiled) - before - ahead
    launched = len(driver.launched) - launched
    rows.append(dict(name=name, new=new, ahead=ahead, again=again, launched=launched, late=late, error=error))
print(json.dumps(rows))
"""


def on_a_fake_gpu(wanted: list[tuple[str, str]], cache: Path, shared_bytes: int) -> list[dict[str, Any]]:
    """Compile the cases ahead, and launch them; in a process of its own, for in this one Triton may be interpreting."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    paths = [str(ROOT), str(ROOT / "kernels"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment |= {"PYTHONPATH": os.pathsep.join(paths), "TRITON_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", FAKE, str(shared_bytes), json.dumps(wanted)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    assert len(rows) == len(wanted)
    return rows


@needs_triton
def test_a_launch_finds_what_was_compiled_ahead(tmp_path: Path) -> None:
    with_kernels = [case for case in CASES if "triton" in registry.ops()[case.op].implementations]
    one_each = {case.op: case for case in reversed(with_kernels) if case.name != "empty-batch"}.values()
    wanted = [(case.id, "float16" if at % 2 else "float32") for at, case in enumerate(one_each)]
    for row in on_a_fake_gpu(wanted, tmp_path, 227 * 1024):
        assert row["new"] == row["ahead"] >= 1, row
        assert row["again"] == 0, row
        assert row["launched"] >= row["new"], row
        assert row["late"] == 0, row
        assert not row["error"], row


@needs_triton
def test_a_kernel_without_room_is_left_to_its_launch(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.op == "conv1d" and case.name != "empty-batch")
    (row,) = on_a_fake_gpu([(case.id, "float16")], tmp_path, 1)
    assert row["new"] == 1
    assert row["launched"] == 0
    assert "shared memory" in row["error"]


@pytest.fixture
def model() -> VitsModel:
    """A model whose CPU counts as a device with graphs, which are switched off."""
    settings = SMALL | {"num_speakers": 3, "speaker_embedding_size": 8, "flow_size": 16}
    torch.manual_seed(0)
    model = VitsModel(VitsConfig(**settings), inference_only=True).eval()
    model.graph_cache = GraphCache({"cpu": FakeRecorder})
    model.graphs = "off"
    return model


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[set[object]]:
    """The binaries that were to be compiled ahead, call by call."""
    calls: list[set[object]] = []

    def noted(run: Callable[[], Any], device: torch.device) -> int:
        calls.append({launch.binary for launch in ahead.recorded(run)})
        return len(calls[-1])

    monkeypatch.setattr(stages, "compile_ahead", noted)
    return calls


def launched_by(monkeypatch: pytest.MonkeyPatch) -> set[object]:
    """Filled with the binaries that are launched from now on."""
    binaries: set[object] = set()
    launch = jit.launch

    def noted(op: str, kernel: object, grid: tuple[int, ...], *rest: object, **options: int) -> None:
        if not jit.is_recording():
            with jit.recording() as launches:
                launch(op, kernel, grid, *rest, **options)  # type: ignore[arg-type]
            binaries.update(one.binary for one in launches)
        launch(op, kernel, grid, *rest, **options)  # type: ignore[arg-type]

    for name, module in list(sys.modules.items()):
        if name.startswith("fastvits_kernels.") and getattr(module, "launch", None) is launch:
            monkeypatch.setattr(module, "launch", noted)
    return binaries


@pytest.mark.skipif(not jit.interpreting(), reason="launches on a CPU, in the interpreter")
def test_a_call_compiles_ahead_all_that_it_launches(
    model: VitsModel, prepared: list[set[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = random_ids(2, 5)
    mask = torch.ones_like(ids)
    mask[1, 3:] = 0
    launched = launched_by(monkeypatch)
    with torch.no_grad(), use_backend("triton"):
        model(ids, mask, speaker_id=1, seed=0)
    assert len(prepared) == 2, "once for each half of the call"
    # What aligns the text comes before anything can be known of it.
    late = {binary[0].__name__ for binary in launched - set.union(*prepared)}  # type: ignore[index]
    assert late == {"_left_align_fwd_kernel"}
    assert set.union(*prepared) <= launched


def test_calls_of_one_kind_launch_the_same() -> None:
    """So that what was compiled ahead for the first of them serves all."""
    model = meta_model(CONFIGURATIONS["standard"], torch.float16)
    found: dict[object, set[object]] = {}
    for frames in (100, 127, 128, 129, 171, 180, 188, 258, 300, 341, 342, 400, 512, 513):
        with use_backend("eager"):
            calls = planned_calls(model, tokens=16, frames=frames, masked=False)
        begin = next(at for at, call in enumerate(calls) if call.op.name == "length_regulator") + 1
        with tiles.target_arch("sm_90"), jit.recording() as launches:
            for call in calls[begin:]:
                call.op.implementations["triton"].run(*call.args)
        binaries: set[object] = {launch.binary for launch in launches}
        kind = model.stage_runner(None).work_of(torch.empty(1, frames, 192, device="meta"))
        assert found.setdefault(kind, binaries) == binaries, frames
    assert 1 < len(found) < 14


def test_without_triton_nothing_is_compiled_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in CASES if case.op == "gated_activation")
    run = registry.ops()["gated_activation"].implementations["triton"].run
    arguments = case.arguments(torch.float32, "cpu")
    monkeypatch.setattr(jit, "interpreting", lambda: False)
    assert ahead.compile_ahead(lambda: run(*arguments), torch.device("cpu")) == 0
    # Even if it breaks on the way.
    monkeypatch.setattr(jit, "compiles_for", lambda device: True)
    monkeypatch.setattr(ahead, "_compile_all", lambda *_: 1 / 0)
    assert ahead.compile_ahead(lambda: run(*arguments), torch.device("cpu")) == 0
    monkeypatch.setattr(ahead, "_compile_all", lambda *_: None)
    with use_backend("eager"):
        assert ahead.compile_ahead(lambda: run(*arguments), torch.device("cpu")) == 0
    assert ahead.compile_ahead(lambda: run(*arguments), torch.device("cpu")) == 1
    assert ahead.compile_ahead(lambda: run(*arguments), torch.device("cpu")) == 0


def test_a_copy_in_another_process_compiles_anew(model: VitsModel, prepared: list[set[object]]) -> None:
    with torch.no_grad(), use_backend("eager"):
        model(random_ids(1, 9), speaker_id=1)
    assert len(model.graph_cache.compiled_for) == 2
    assert not pickle.loads(pickle.dumps(model)).graph_cache.compiled_for


def test_compiles_ahead_once_for_each_size_and_backend(
    model: VitsModel, prepared: list[set[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a GPU, where nobody looks whether a mask masks anything.
    monkeypatch.setattr("fastvits.models.inputs.read_at_once", lambda device: False)
    with torch.no_grad():
        for steps, mask, backend, times in [
            (9, False, "auto", 2),
            (9, False, "auto", 2),
            (9, False, "eager", 4),
            (9, True, "auto", 5),
            (40, False, "auto", 7),
        ]:
            ids = random_ids(1, steps)
            # Equally many frames for equally many tokens.
            durations = torch.full_like(ids, 2)
            with use_backend(backend):
                model(ids, torch.ones_like(ids) if mask else None, speaker_id=1, durations=durations)
            assert len(prepared) == times


def test_warming_up_without_graphs_compiles_ahead(model: VitsModel, prepared: list[set[object]]) -> None:
    with use_backend("eager"):
        model.warmup(tokens=9, frames=20, progress=False)
    assert len(prepared) == 2


def test_nothing_runs_twice_where_somebody_would_see_it(model: VitsModel, prepared: list[set[object]]) -> None:
    ids = random_ids(1, 9)
    seen: list[object] = []
    hook = model.decoder.register_forward_hook(lambda *_: seen.append(None))
    with torch.no_grad():
        model(ids, speaker_id=1)
    hook.remove()
    model.train()
    with torch.no_grad():
        model(ids, speaker_id=1)
    assert len(seen) == 1
    assert not prepared
