"""`fastvits tune`: candidates, their check, the table that is written and looked up; timed in Triton's interpreter
here.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from fastvits import VitsConfig
from fastvits.cli import main
from fastvits.planning import tuning
from fastvits.planning.tuning import Size, candidates, shapes_of, tune, write_table
from fastvits_kernels.dispatch import registry
from fastvits_kernels.launch import ahead, jit, tiles
from tests.support.models import SMALL

pytestmark = pytest.mark.skipif(not jit.interpreting(), reason="tunes for a CPU, where Triton only interprets")

CPU = torch.device("cpu")
# The plain duration predictor normalises in an op of its own, the smallest there is.
PLAIN = VitsConfig(**SMALL | {"use_stochastic_duration_prediction": False, "duration_predictor_filter_channels": 32})
TINY = {"ops": ["layer_norm"], "modes": ["float32"], "sizes": [Size(3, 4, 1)]}


def wall_clock(functions: Sequence[Callable[[], Any]]) -> list[float]:
    """One run of each function, timed."""
    taken = []
    for function in functions:
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return taken


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of tables with the default's copy, and nothing remembered of the real one."""
    (tmp_path / "default.json").write_text((tiles.TUNED / "default.json").read_text())
    monkeypatch.setattr(tiles, "TUNED", tmp_path)
    tiles.table.cache_clear()
    tiles._choose.cache_clear()
    yield tmp_path
    tiles.table.cache_clear()
    tiles._choose.cache_clear()


def test_tiles_of_a_shape_are_compiled_together(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together: list[int] = []

    def noted(run: Callable[[], Any], device: torch.device) -> int:
        together.append(len({launch.binary for launch in ahead.recorded(run)}))
        return together[-1]

    monkeypatch.setattr(tuning, "compile_ahead", noted)
    tune([PLAIN], CPU, timer=wall_clock, **TINY)
    (shape,) = shapes_of([PLAIN], CPU, **TINY)
    assert sum(together) == len(candidates(shape, CPU))
    assert max(together) > 1


def test_a_measured_table_is_written_and_looked_up(tables: Path) -> None:
    seen: list[tuple[int, int]] = []
    table = tune([PLAIN], CPU, timer=wall_clock, progress=lambda *at: seen.append(at), **TINY)
    assert seen[0][0] == 0
    assert seen[-1][0] == seen[-1][1] == len(table["ops"]["layer_norm"])
    (row,) = table["ops"]["layer_norm"]
    assert row["when"] == {"dtype": ["float32"], "channels": 32, "kernel_size": 1, "work": 4}
    assert row["measured"] is True
    assert row["winner"] == min(row["microseconds"], key=row["microseconds"].get)

    write_table(table, tables / "sm_90.json")
    assert json.loads((tables / "sm_90.json").read_text()) == table
    assert [path.name for path in sorted(tables.iterdir())] == ["default.json", "sm_90.json"]
    tiles.table.cache_clear()
    tiles._choose.cache_clear()
    with tiles.target_arch("sm_90"):
        inside = tiles.choose("layer_norm", CPU, torch.float32, channels=32, work=3)
        outside = tiles.choose("layer_norm", CPU, torch.float32, channels=33, work=3)
    assert inside == tiles.tile_of(row)
    assert tiles.preference(inside) == (row["winner"], "measured", True)
    assert not outside.measured


def test_the_fastest_right_tile_wins(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tile whose result is wrong, or that does not launch, is not even timed; of the others the fastest is taken."""
    op = registry.ops()["layer_norm"]
    real = op.implementations["triton"]
    timed: list[tiles.Tile] = []

    def run(*arguments: Any) -> Any:
        (forced,) = (tiles._forced.get() or {}).values()
        if forced.num_warps == 1:
            raise RuntimeError("out of resources")
        result = real.run(*arguments)
        return result * 1.01 if forced.num_warps == 2 else result

    def timer(functions: Sequence[Callable[[], Any]]) -> list[float]:
        for function in functions[1:]:
            with tiles.observing() as choices:
                function()
            timed.append(choices[0].tile)
        return [1.0] + [0.5 if tile.num_warps == 8 else 2.0 for tile in timed]

    monkeypatch.setitem(op.implementations, "triton", registry.Implementation(run, real.supports, real.prefers))
    table = tune([PLAIN], CPU, timer=timer, **TINY)
    (row,) = table["ops"]["layer_norm"]
    assert {tile.num_warps for tile in timed}.isdisjoint({1, 2})
    assert row["tile"]["num_warps"] == 8
    assert row["winner"] == "triton"
    assert row["microseconds"] == {"triton": 500000.0, "eager": 1000000.0}


def test_without_patience_one_tile_is_tried_for_each_shape(tables: Path) -> None:
    tried: list[int] = []

    def timer(functions: Sequence[Callable[[], Any]]) -> list[float]:
        tried.append(len(functions) - 1)
        return [1.0] * len(functions)

    found: list[dict[str, Any]] = []
    sizes = [Size(3, 4, 1), Size(30, 64, 1)]
    options = TINY | {"sizes": sizes, "timer": timer, "finished": found.append}
    table = tune([PLAIN], CPU, patience=lambda: -1.0, **options)
    assert tried == [1, 1]
    assert [row for one in found for row in one["ops"]["layer_norm"]] == table["ops"]["layer_norm"]
    tune([PLAIN], CPU, patience=lambda: 1000.0, **options)
    assert min(tried[2:]) > 1


def test_eager_can_win(tables: Path) -> None:
    table = tune([PLAIN], CPU, timer=lambda functions: [0.1] + [0.2] * (len(functions) - 1), **TINY)
    assert table["ops"]["layer_norm"][0]["winner"] == "eager"


def test_channels_last_can_win(tables: Path) -> None:
    def timer(functions: Sequence[Callable[[], Any]]) -> list[float]:
        return [0.2, 0.1] + [0.3] * (len(functions) - 2)

    # One tile for each shape is enough to lose against.
    table = tune([PLAIN], CPU, timer=timer, patience=lambda: -1.0, **TINY | {"ops": ["conv1d"]})
    assert {row["winner"] for row in table["ops"]["conv1d"]} == {"channels_last"}
    assert {"triton", "eager", "channels_last"} == set(table["ops"]["conv1d"][0]["microseconds"])


def test_rows_are_for_the_shapes_that_a_model_has(tables: Path) -> None:
    shapes = shapes_of([VitsConfig(**SMALL)], CPU, sizes=[Size(3, 4, 1), Size(30, 64, 2)])
    assert {shape.op for shape in shapes} | {"mrf_stage"} == {call.call.op.name for call in shapes} | {"resblock_pair"}
    assert {shape.dtype for shape in shapes} == set(tuning.MODES)
    assert {shape.dtype for shape in shapes if shape.op == "relative_attention"} <= {"float32", "tf32"}
    assert {shape.channels for shape in shapes if shape.op == "resblock_pair"} == {16, 8}
    assert {shape.call.op.name for shape in shapes if shape.op == "resblock_pair"} == {"mrf_stage"}
    assert {shape.call.op.name for shape in shapes if shape.op == "conv_transpose1d"} == {"conv_transpose1d"}
    keys = [json.dumps([shape.op, shape.when]) for shape in shapes]
    assert len(set(keys)) == len(keys)


def test_candidates_are_known_tiles_and_their_neighbours(tables: Path) -> None:
    (shape,) = shapes_of([PLAIN], CPU, **TINY)
    found = candidates(shape, CPU)
    assert shape.tile.sizes in [tile.sizes for tile in found]
    assert len({(json.dumps(tile.sizes), tile.num_warps, tile.num_stages) for tile in found}) == len(found) > 3
    assert all(1 <= tile.num_warps <= 16 and 1 <= tile.num_stages <= 5 for tile in found)


def test_candidates_have_their_sides_halved_and_doubled() -> None:
    config = VitsConfig(**SMALL)
    (shape, *_) = shapes_of(
        [config], CPU, ops=["conv1d_layer_norm_projection"], modes=["float32"], sizes=[Size(3, 4, 1)]
    )
    sizes = [tile.sizes for tile in candidates(shape, CPU)]
    assert shape.tile.sizes["SPLITS"] == 8
    for name, least in (("BLOCK_T", 16), ("BLOCK_C_OUT", 16), ("SPLITS", 1)):
        for other in (shape.tile.sizes[name] // 2, shape.tile.sizes[name] * 2):
            assert ({**shape.tile.sizes, name: other} in sizes) == (other >= least)


def test_tuning_needs_a_device_that_triton_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(registry.BackendError, match="triton has no kernels for tensors on xpu"):
        tune([VitsConfig(**SMALL)], torch.device("xpu"))
    with pytest.raises(ValueError, match="unknown op 'spline'"):
        tune([VitsConfig(**SMALL)], CPU, ops=["spline"])
    with pytest.raises(ValueError, match="modes are float32, tf32"):
        tune([VitsConfig(**SMALL)], CPU, modes=["float64"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="the message is for machines without a GPU")
def test_the_command_says_that_there_is_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune"]) == 2
    assert capsys.readouterr().err == "fastvits: error: tuning measures kernels on a GPU, and torch finds none here\n"
