"""What many workers would do: the arithmetic, and the parts that are measured without a voice."""

from pathlib import Path

import pytest

from bench.processes import prediction

COSTS = prediction.Costs(
    start=10.0, sentences_a_second=5.0, deal=1e-5, files_a_second=500.0, merge=2e-5, bytes_a_file=1e5
)


def test_the_parts_add_up() -> None:
    one, many = (prediction.parts(COSTS, 10**6, workers) for workers in (1, 1000))
    assert one == pytest.approx({"start": 10, "deal": 10, "speak": 200_000, "store": 2000, "merge": 20})
    assert many == pytest.approx({"start": 10, "deal": 10, "speak": 200, "store": 2000, "merge": 20})
    assert (prediction.total(one), prediction.total(many)) == pytest.approx((200_040, 2040))


def test_the_first_bottleneck_is_named_with_its_arithmetic() -> None:
    said = list(prediction.lines(COSTS, 10**6))
    assert (
        "1000 workers, 1,000,000 sentences: start 10 s + deal 10 s + max(speak 1,000,000 / (1000 x 5.00) = 200 s"
        in said[4]
    )
    assert said[-1].startswith("the first bottleneck is store, from 100 workers on")
    other = prediction.Costs(**{**vars(COSTS), "files_a_second": 1e6, "deal": 1e-3})
    assert list(prediction.lines(other, 10**6))[-1].startswith("the first bottleneck is deal, from 200 workers on")


def test_rows_and_files_are_timed(tmp_path: Path) -> None:
    assert 0 < prediction.dealing(tmp_path, 200) < 0.1
    files, merging = prediction.storing(tmp_path / "stored", 1000, 5)
    assert files > 0
    assert merging > 0
    assert len(list((tmp_path / "stored").glob("*.wav"))) == 5
