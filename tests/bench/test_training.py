"""The run of training that the documentation shows, two updates of it."""

import math
from pathlib import Path

import pytest

from bench.training.run import run
from bench.training.sentences import sentences
from fastvits.storage import read_json
from fastvits.training.settings import TrainingSettings
from tests.support.recogniser import SENTENCES


def test_two_updates_of_the_run_are_measured_and_heard(tmp_path: Path) -> None:
    settings = TrainingSettings(
        steps=2,
        batch_size=2,
        learning_rate=1e-3,
        samples=0,
        validation_interval=2,
        checkpoint_interval=2,
        max_seconds=2,
    )
    result = run(tmp_path, settings, 16, SENTENCES[:1])
    assert read_json(tmp_path / "result.json") == result
    assert result["steps"] == 2
    first, last = result["validation"]
    assert last["mel"] < first["mel"]
    assert all(math.isfinite(value) for value in last.values())
    # The voice itself is understood; a posterior encoder that has learnt for two updates is not.
    assert result["spoken"]["words_heard"] > result["words"] / 2 > result["after"]["words_heard"]
    for name in ("spoken.mp3", "before.mp3", "after.mp3", "mel.svg"):
        assert 200 < (tmp_path / name).stat().st_size < 100_000, name


def test_sentences_are_the_same_each_time_and_no_two_alike() -> None:
    assert sentences(50) == sentences(60)[:50]
    assert len(set(sentences(60))) == 60
    with pytest.raises(ValueError, match="count must lie in 1 to"):
        sentences(0)
