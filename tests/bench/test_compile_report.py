"""Every kernel compiles for every target, without spills, within its shared memory, on tensor cores; and what is
compiled is what the launchers choose.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.configurations import CONFIGURATIONS, TOKENS_A_SECOND, meta_model
from bench.gpu import compile_plan, compile_report
from fastvits.planning.explain import planned_calls
from fastvits.planning.tuning import allowing_tf32
from fastvits_kernels.dispatch import devices, registry
from fastvits_kernels.launch import jit, tiles
from tests.support.op_cases import CASES

FEW = compile_plan.FEW_TARGETS
ROOT = Path(__file__).parents[2]
KEYS = {
    "op",
    "config",
    "target",
    "registers",
    "stack_bytes",
    "local_bytes",
    "shared_bytes",
    "tensor_cores",
    "wgmma",
    "compile_seconds",
}


def quick_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of the quick report, made by the command: in this process Triton may be interpreting."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    command = [sys.executable, "-m", "bench.compile_report", "--quick", "--jobs", "2", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert path.exists(), done.stderr
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    assert (done.returncode != 0) == any(compile_report.faults(row) for row in rows), done.stderr
    return rows


@pytest.mark.slow
def test_every_op_compiles_for_every_dtype_and_target(tmp_path: Path) -> None:
    """One test and no fixture: tests that share one may run in several processes, and each would compile everything."""
    rows = quick_rows(tmp_path / "rows.json")
    check_completeness(rows)
    # No kernel spills, wants more shared memory than there is, or misses the tensor cores.
    found = [f"{fault}: {compile_report.as_line(row)}" for row in rows for fault in compile_report.faults(row)]
    assert not found, "\n".join(found)
    check_products(rows)


def check_completeness(quick_rows: list[dict[str, Any]]) -> None:
    assert all(set(row) == KEYS for row in quick_rows)
    assert all(row["registers"] > 0 and row["compile_seconds"] > 0 for row in quick_rows)
    compiled = {(row["op"], row["config"]["dtype"], row["target"]) for row in quick_rows}
    assert len(compiled) == len(quick_rows), "the quick report has one configuration for each op, dtype and target"
    planned = compile_plan.quick_plan()
    assert compiled == {(c.op, c.mode, target) for c, targets in planned.items() for target in targets}
    # An op that is made of others has no kernels of its own.
    with_kernels = {
        name for name, op in registry.ops().items() if "triton" in op.implementations and op.composed is None
    }
    others = set(compile_plan.TARGETS) - set(compile_plan.FEW_TARGETS)
    dealt = {(op, target) for op, _, target in compiled if target in others}
    assert {target for _, target in dealt} == others
    assert Counter(op for op, _ in dealt) == dict.fromkeys(with_kernels, 2)
    with_kernels |= {"conv1d_backward", "layer_norm_backward", "length_regulator_backward"}
    with_kernels |= {"rational_quadratic_spline_backward"}
    # The text encoder, which alone attends, and the duration predictor are in float32 in every model.
    of_text = {"relative_attention_backward", "relative_attention_weights_backward", "spline_coupling_backward"}
    of_text |= {"depth_separable_layer_backward"}
    # The text encoder's ops, which no model has in half precision, are there in float16 for one and in bfloat16 for the
    # other of the two targets: nothing else of any op and dtype is left out.
    halved = {op.removesuffix("_backward") for op in of_text} | {"conv1d_layer_norm", "conv1d_layer_norm_projection"}
    halved |= {"durations", "left_align"}
    for mode in ("float32", "float16", "bfloat16"):
        at = [{op for op, other, target in compiled if (other, target) == (mode, few)} for few in FEW]
        if mode == "float32":
            assert at == [with_kernels | of_text] * 2
        else:
            assert at[0] | at[1] == with_kernels
            assert at[0] ^ at[1] == halved
    for op in halved:
        assert {target for other, mode, target in compiled if other == op and mode.endswith("float16")} == set(FEW)


def check_products(quick_rows: list[dict[str, Any]]) -> None:
    """A look at the evidence itself: half precision multiplies in its own type, TF32 as TF32, and Hopper with wgmma."""
    products = {(row["op"], row["config"]["dtype"]): row["config"]["products"] for row in quick_rows}
    assert products["conv1d", "float32"] == ["ieee"]
    assert products["conv1d", "tf32"] == ["tf32"]
    assert products["conv1d", "float16"] == ["f16"]
    assert products["conv1d", "bfloat16"] == ["bf16"]
    assert products["layer_norm", "float32"] == []
    wgmma = {row["target"] for row in quick_rows if row["wgmma"]}
    assert wgmma == {"sm_90"}


def test_what_is_compiled_is_what_the_launchers_choose() -> None:
    """Whole models under `use_backend("triton")` at other lengths than the plan has launch nothing that it lacks.

    A third of its lengths, without what training adds: what is in this part is in the whole.
    """
    plan = compile_plan.plan(["sm_90"], compile_plan.SECONDS[::3], gradients=False)
    compiled = {(c.op, c.mode, *c.chosen) for c in plan}
    generator = torch.Generator().manual_seed(0)
    launched = set()
    for name in CONFIGURATIONS:
        for mode, (dtype, allow_tf32) in compile_plan.MODES.items():
            model = compile_plan.model_of(name, dtype)
            for second in range(1, 31, 6):
                start = float(torch.rand((), generator=generator)) + second - 0.5
                frames = round(min(max(start, 1.0), 30.0) * model.config.sampling_rate / 256)
                for batch in (1, 32):
                    launches = launches_of_model(model, frames, batch, allow_tf32)
                    launched |= {(c.op, name_of(c, mode), *c.chosen) for c in launches}
    assert launched
    assert launched <= compiled, "\n".join(map(str, sorted(map(str, launched - compiled))))


def name_of(configuration: compile_plan.Configuration, mode: str) -> str:
    """The mode a launch counts as: what a half-precision model does in float32, it does as a float32 model."""
    pointers = {kind for _, kind in configuration.signature}
    return "float32" if mode in ("float16", "bfloat16") and not pointers & {"*fp16", "*bf16"} else mode


@torch.no_grad()
def launches_of_model(model: Any, frames: int, batch: int, allow_tf32: bool) -> list[compile_plan.Configuration]:
    """What an utterance launches, run through the ops as a user's call runs them."""
    tokens = max(1, round(TOKENS_A_SECOND * frames / (model.config.sampling_rate / 256)))
    ids = torch.empty(batch, tokens, dtype=torch.int64, device="meta")
    lengths = ids.new_empty(batch)
    valid = lengths if batch > 1 else None
    with (
        allowing_tf32(allow_tf32),
        tiles.target_arch("sm_90"),
        devices.assume(torch.device("cuda")),
        registry.use_backend("triton"),
        jit.recording() as launches,
    ):
        encoding = model.text_encoder.encode(ids, lengths)
        model.duration_predictor.predict(encoding.hidden, lengths, None, encoding.hidden.new_empty(batch, 2, tokens).mT)
        noise = torch.empty(batch, frames, model.config.flow_size, dtype=model.dtype, device="meta")
        latents = registry.ops()["length_regulator"](
            encoding.means, encoding.log_scales, ids, noise, encoding.means.new_empty(batch)
        )
        model.decoder.decode(model.flow.transform(latents, valid, None, reverse=True), valid, None)
    return [compile_plan.configuration_of(launch, "") for launch in launches]


def test_every_tile_of_every_table_is_compiled() -> None:
    """A row of a table that no utterance looks up is compiled too: the plan grows by the tile of a new row."""
    op, marker = "gated_activation", {"BLOCK_T": 2, "BLOCK_C": 32, "num_warps": 1, "num_stages": 1}
    before = compile_plan.plan(["sm_90"], seconds=(1,), gradients=False)
    rows = tiles.table("default")[op]
    rows.insert(0, {"when": {"channels": 1}, "tile": marker})
    try:
        tiles._choose.cache_clear()
        grown = compile_plan.plan(["sm_90"], seconds=(1,), gradients=False)
    finally:
        rows.pop(0)
        tiles._choose.cache_clear()
    added = [configuration for configuration in grown if configuration not in before]
    assert added
    assert all(c.op == op and dict(c.constants)["BLOCK_T"] == 2 and c.num_warps == 1 for c in added)


def test_faults_are_found() -> None:
    row = {
        "op": "conv1d",
        "target": "sm_90",
        "stack_bytes": 0,
        "local_bytes": 0,
        "shared_bytes": 227 * 1024,
        "tensor_cores": True,
        "config": {"products": ["f16"]},
    }
    assert compile_report.faults(row) == []
    assert "spills" in compile_report.faults(row | {"stack_bytes": 8})[0]
    assert "spills" in compile_report.faults(row | {"local_bytes": 8})[0]
    assert "shared memory" in compile_report.faults(row | {"shared_bytes": 227 * 1024 + 1})[0]
    assert "shared memory" in compile_report.faults(row | {"target": "gfx942"})[0]
    assert "without tensor cores" in compile_report.faults(row | {"tensor_cores": False})[0]
    ieee = row | {"config": {"products": ["ieee"]}, "tensor_cores": False, "stack_bytes": 640}
    assert compile_report.faults(ieee) == []
    assert "shared memory" in compile_report.faults(ieee | {"shared_bytes": 2**20})[0]
    no_product = row | {"config": {"products": []}, "tensor_cores": False}
    assert compile_report.faults(no_product) == []
    assert "spills" in compile_report.faults(no_product | {"stack_bytes": 8})[0]


def test_a_recorded_launch_is_the_real_one() -> None:
    """The constants that are recorded for meta tensors are those that tensors with memory are launched with."""
    for case in CASES:
        op = registry.ops()[case.op]
        implementation = op.implementations.get("triton")
        if implementation is None:
            continue
        found = []
        for device in ("cpu", "meta"):
            arguments = case.arguments(torch.float16, device)
            with tiles.target_arch("sm_90"), jit.recording() as launches:
                if implementation.supports(*arguments) is None:
                    implementation.run(*arguments)
            found.append([replace(launch, source=None) for launch in launches])
        assert found[0] == found[1], case.id


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_another_length_compiles_nothing(name: str, batch: int) -> None:
    """Lengths that 16 divides, and that it does not, of one bucket of work launch the same binaries.

    But for what reads the duration predictor's single channels, whose rows are as far apart as a text is long.
    """
    model = meta_model(CONFIGURATIONS[name], torch.float16)

    def launched(tokens: int, frames: int) -> set[tuple[Any, ...]]:
        with registry.use_backend("eager"):
            calls = planned_calls(model, tokens=tokens, frames=frames, batch=batch, masked=True, ragged=batch > 1)
        found = [c for call in calls for c in compile_plan.launches_of(call, "float16", "sm_90")]
        return {(c.op, *c.binary) for c in found if c.op != "spline_coupling" and dict(c.constants).get("C_IN") != 1}

    expected = launched(48, 160)
    assert {entry[0] for entry in expected} >= {"conv1d", "durations", "left_align", "length_regulator"}
    for tokens, frames in ((37, 151), (64, 144), (63, 145)):
        assert launched(tokens, frames) == expected
