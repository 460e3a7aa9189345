"""Files with and without the parts that only training needs."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from safetensors import safe_open

from fastvits import VitsModel
from tests.weights.folders import (
    TRAINING_ONLY,
    assert_same,
    published_model,
    rewrite,
    sharded,
    tiny_speech,
    trouble,
    without,
)


@pytest.mark.parametrize("prefix", TRAINING_ONLY)
def test_a_file_without_one_training_part_loads_without_it(folder, state, prefix):
    rest = without(state, prefix)
    assert len(rest) < len(state)
    assert_same(VitsModel.from_pretrained(rewrite(folder, rest)), rest)


def test_a_file_without_training_parts_loads_without_them(folder, state):
    rest = without(state, *TRAINING_ONLY)
    assert_same(VitsModel.from_pretrained(rewrite(folder, rest)), rest)


def test_the_plain_duration_predictor_has_no_flows_to_lack(tmp_path):
    published = published_model(use_stochastic_duration_prediction=False)
    published.save_pretrained(tmp_path)
    assert_same(VitsModel.from_pretrained(tmp_path), published.state_dict())
    rest = without(published.state_dict(), *TRAINING_ONLY)
    assert_same(VitsModel.from_pretrained(rewrite(tmp_path, rest)), rest)
    assert_same(VitsModel.from_pretrained(tmp_path, inference_only=True), rest)


@pytest.mark.parametrize("left_out", [*((prefix,) for prefix in TRAINING_ONLY), TRAINING_ONLY])
def test_a_model_without_training_parts_speaks_as_with_them(folder, state, left_out):
    expected = tiny_speech(VitsModel.from_pretrained(folder))
    assert torch.equal(tiny_speech(VitsModel.from_pretrained(rewrite(folder, without(state, *left_out)))), expected)


@pytest.mark.parametrize("prefix", TRAINING_ONLY)
def test_part_of_a_training_part_is_an_error_that_names_the_rest(folder, state, prefix):
    own = [name for name in state if name.startswith(prefix)]
    message = trouble(rewrite(folder, without(state, *own[1:])))
    assert all(name in message for name in own[1:])
    assert f"missing ({len(own) - 1})" in message


def test_inference_only_leaves_training_parts_out_and_does_not_read_them(folder, state):
    sharded(folder, state, "safetensors", count=len(state))  # one tensor a file
    weight_map = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    for name, file in weight_map.items():
        if name.startswith(TRAINING_ONLY):
            (folder / file).unlink()
    assert_same(VitsModel.from_pretrained(folder, inference_only=True), without(state, *TRAINING_ONLY))


def test_inference_only_accepts_a_file_with_part_of_a_training_part(folder, state):
    own = [name for name in state if name.startswith(TRAINING_ONLY)]
    rewrite(folder, without(state, *own[::2]))
    assert_same(VitsModel.from_pretrained(folder, inference_only=True), without(state, *TRAINING_ONLY))


def test_saving_a_model_without_training_parts_says_so(folder, state, tmp_path, caplog):
    model = VitsModel.from_pretrained(folder, inference_only=True)
    with caplog.at_level(logging.WARNING, logger="fastvits"):
        model.save_pretrained(tmp_path / "single")
        model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert [record.name for record in caplog.records] == ["fastvits"] * 2
    assert "posterior_encoder" in caplog.text
    with safe_open(tmp_path / "single" / "model.safetensors", "pt") as file:
        assert file.metadata()["left_out"] == "posterior_encoder, duration_predictor.post_*, duration_predictor.flows.1"
    assert (
        "posterior_encoder"
        in json.loads((tmp_path / "shards/model.safetensors.index.json").read_text())["metadata"]["left_out"]
    )
    for name in ("single", "shards"):
        assert_same(VitsModel.from_pretrained(tmp_path / name), without(state, *TRAINING_ONLY))
