"""What is written is read again, here and by transformers."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from fastvits import VitsConfig, VitsModel
from fastvits.weights import saving
from tests.weights.folders import SMALL, assert_same, assert_same_tensors, edit_config, tiny_speech


@pytest.mark.parametrize("max_shard_size", ["5GB", "30KB", 30_000])
def test_transformers_reads_what_is_saved_and_says_the_same(published, folder, state, tmp_path, max_shard_size):
    VitsModel.from_pretrained(folder).save_pretrained(tmp_path / "out", max_shard_size=max_shard_size)
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    if max_shard_size == "5GB":
        assert files == ["config.json", "model.safetensors"]
    else:
        assert "model.safetensors.index.json" in files
        shards = list((tmp_path / "out").glob("model-*.safetensors"))
        assert len(shards) > 2
        for shard in shards:
            tensors = load_file(shard)
            assert len(tensors) == 1 or sum(tensor.nbytes for tensor in tensors.values()) <= 30_000
        index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in state.values())
        assert index["weight_map"].keys() == state.keys()
    again, report = transformers.VitsModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert_same(again, state)
    assert torch.equal(tiny_speech(again.eval()), tiny_speech(published))
    assert_same(VitsModel.from_pretrained(tmp_path / "out"), state)


def test_saved_files_have_what_others_look_for(folder, tmp_path):
    edit_config(folder, my_own_key=[1, 2])
    model = VitsModel.from_pretrained(folder)
    model.save_pretrained(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == ["VitsModel"]
    assert config["model_type"] == "vits"
    assert config["dtype"] == "float32"
    assert config["my_own_key"] == [1, 2]
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    umask = os.umask(0)
    os.umask(umask)
    for path in (tmp_path / "out").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_resblocks_of_the_second_type_round_trip(tmp_path):
    torch.manual_seed(0)
    model = VitsModel(VitsConfig(**SMALL, resblock_type=2))
    assert "decoder.resblocks.0.convs.0.weight" in model.state_dict()
    model.save_pretrained(tmp_path)
    again = VitsModel.from_pretrained(tmp_path)
    assert_same(again, model.state_dict())
    assert again.config == VitsModel.from_pretrained(tmp_path).config
    assert again.config.resblock_type == 2


def test_names_are_written_in_the_newer_spelling_whatever_wraps_the_module(folder, state, tmp_path):
    model = VitsModel.from_pretrained(folder)
    model.decoder = torch.nn.ModuleDict({"_orig_mod": model.decoder})  # as torch.compile(model.decoder) names things
    layer = model.flow.flows[0].wavenet.in_layers[0]
    parts = layer.parametrizations["weight"]
    layer.weight_g, layer.weight_v = parts.original0, parts.original1
    del layer.parametrizations
    assert model.state_dict().keys() != state.keys()
    saving._write_weights(saving._state(model.state_dict()), tmp_path, 10**9, {"format": "pt"})
    assert_same_tensors(load_file(tmp_path / "model.safetensors"), state)


def test_saving_into_the_folder_that_the_weights_are_mapped_from(folder, state):
    model = VitsModel.from_pretrained(folder)
    with torch.no_grad():
        model.decoder.conv_pre.bias.add_(1)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.save_pretrained(folder)
    model.save_pretrained(folder)
    assert_same(model, expected)
    assert_same(VitsModel.from_pretrained(folder), expected)


def test_saving_again_in_another_number_of_files_leaves_no_old_ones(folder, state):
    model = VitsModel.from_pretrained(folder)
    (folder / "model-card.md").write_text("mine")
    for size, single in (("30KB", False), ("60KB", False), ("5GB", True), ("30KB", False)):
        model.save_pretrained(folder, max_shard_size=size)
        assert (folder / "model.safetensors").exists() == single
        index = folder / "model.safetensors.index.json"
        assert index.exists() != single
        if not single:
            named = set(json.loads(index.read_text())["weight_map"].values())
            assert named == {path.name for path in folder.glob("model-*.safetensors")}
        assert_same(VitsModel.from_pretrained(folder), state)
    assert (folder / "model-card.md").read_text() == "mine"


def test_a_save_that_fails_leaves_the_old_files(folder, state, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    model = VitsModel.from_pretrained(folder)

    def fail(tensors: dict[str, Tensor], filename: Path, metadata: dict[str, str]) -> None:
        Path(filename).write_bytes(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match="No space left"):
        model.save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_cannot_be_saved(folder, tmp_path):
    model = VitsModel.from_pretrained(folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="is a file"):
        model.save_pretrained(tmp_path / "file")
    for size in ("", "large", "-1GB", 0, -5, "5 parsecs", True):
        with pytest.raises(ValueError, match="max_shard_size"):
            model.save_pretrained(tmp_path / "out", max_shard_size=size)
    with pytest.raises(TypeError, match="hidden_act"):
        VitsModel(VitsConfig(**SMALL, hidden_act=torch.tanh)).save_pretrained(tmp_path / "out")
    with pytest.raises(ValueError, match="meta device"):
        model.to("meta").save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tied_and_strided_parameters_are_written_out(folder, tmp_path):
    model = VitsModel.from_pretrained(folder)
    first, second = model.decoder.resblocks[0].convs1[0], model.decoder.resblocks[0].convs1[1]
    second.weight = first.weight
    first.bias = torch.nn.Parameter(torch.arange(2.0 * first.bias.numel())[::2])
    model.save_pretrained(tmp_path / "out")
    assert_same(VitsModel.from_pretrained(tmp_path / "out"), model.state_dict())
