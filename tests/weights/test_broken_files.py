"""Weights that do not fit, and files that are broken: the trouble is named."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from fastvits import VitsModel
from tests.weights.folders import assert_same, edit_config, rewrite, sharded, trouble


def test_every_tensor_that_does_not_fit_is_named_in_one_error(folder, state):
    broken = dict(state)
    missing = [name for name in state if name.startswith("decoder.resblocks.0.")]
    for name in missing:
        del broken[name]
    broken["text_encoder.embed_tokens.weight"] = torch.zeros(40, 16)
    broken["decoder.conv_pre.bias"] = torch.zeros(16, dtype=torch.int64)
    broken["vocoder.convs.0.weight"] = torch.zeros(3)
    message = trouble(rewrite(folder, broken))
    assert all(name in message for name in missing)
    assert f"missing ({len(missing)})" in message
    assert "unexpected (1):\n    vocoder.convs.0.weight" in message
    assert "text_encoder.embed_tokens.weight is [40, 16] but should be [24, 16]" in message
    assert "decoder.conv_pre.bias is I64" in message
    assert max(len(line) for line in message.splitlines()[1:]) <= 110


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"vocab_size": 30}, "text_encoder.embed_tokens.weight is [24, 16] but should be [30, 16]"),
        ({"num_hidden_layers": 2}, "text_encoder.encoder.layers.1.attention.k_proj.bias"),
        ({"num_speakers": 1, "speaker_embedding_size": 0}, "embed_speaker.weight"),
        ({"prior_encoder_num_flows": 1}, "flow.flows.1.wavenet"),
    ],
)
def test_config_and_weights_that_disagree(folder, changes, named):
    message = trouble(edit_config(folder, **changes))
    assert named in message.replace("\n    ", " ")


@pytest.mark.parametrize("kept", [0, 4, 8, 200, 0.5, 0.999])
def test_truncated_safetensors(folder, kept):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    with pytest.raises(OSError, match=r"model\.safetensors is truncated, corrupt") as caught:
        VitsModel.from_pretrained(folder)
    assert caught.value.__cause__ is None
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("start", [b"\xff" * 8, b"{}", b"PK\x03\x04", bytes(16)])
def test_corrupt_safetensors(folder, start):
    path = folder / "model.safetensors"
    path.write_bytes(start + path.read_bytes()[len(start) :])
    with pytest.raises(OSError, match="truncated, corrupt"):
        VitsModel.from_pretrained(folder)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04garbage"])
def test_corrupt_bin(folder, content):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)
    with pytest.raises((OSError, ValueError), match=r"pytorch_model\.bin .*corrupt"):
        VitsModel.from_pretrained(folder)


class Payload:
    """An object whose unpickling would run a command."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_bin_file_that_runs_code_is_refused_and_not_run(folder, tmp_path, zipped):
    (folder / "model.safetensors").unlink()
    content = {"decoder.conv_pre.weight": Payload(tmp_path / "witness")}
    if zipped:
        torch.save(content, folder / "pytorch_model.bin")
    else:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(content))
    with pytest.raises((OSError, ValueError), match=r"pytorch_model\.bin"):
        VitsModel.from_pretrained(folder)
    assert not (tmp_path / "witness").exists()


def test_a_bin_file_that_is_no_table_of_tensors(folder):
    (folder / "model.safetensors").unlink()
    torch.save([torch.zeros(1)], folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="not a table of names and tensors"):
        VitsModel.from_pretrained(folder)


def test_broken_index_files(folder, state):
    sharded(folder, state, "safetensors")
    index = folder / "model.safetensors.index.json"
    good = json.loads(index.read_text())
    shard = good["weight_map"]["decoder.conv_pre.bias"]
    cases: list[tuple[str, type[Exception], str]] = [
        ("{", ValueError, "not valid JSON"),
        ("[]", ValueError, "not a JSON object"),
        ("{}", ValueError, "weight_map"),
        (json.dumps({"weight_map": {"a": 1}}), ValueError, "weight_map"),
        (json.dumps({"weight_map": {"a": "../model.safetensors"}}), ValueError, "outside its own folder"),
        (json.dumps({"weight_map": {**good["weight_map"], "a": shard}}), ValueError, "lacks tensors"),
        (json.dumps({"weight_map": {**good["weight_map"], "a": "model-9.safetensors"}}), OSError, "not there"),
    ]
    for content, kind, message in cases:
        index.write_text(content)
        with pytest.raises(kind, match=message):
            VitsModel.from_pretrained(folder)
    index.write_text(json.dumps(good))
    (folder / shard).unlink()
    with pytest.raises(OSError, match="not there"):
        VitsModel.from_pretrained(folder)


def test_tensors_that_the_index_forgets_are_read_all_the_same(folder, state):
    sharded(folder, state, "safetensors")
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    del content["weight_map"]["decoder.conv_pre.bias"]
    index.write_text(json.dumps(content))
    assert_same(VitsModel.from_pretrained(folder), state)


def test_folders_that_are_no_model(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match=r"config\.json"):
        VitsModel.from_pretrained(tmp_path / "empty")
    with pytest.raises(OSError, match="nowhere"):
        VitsModel.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(OSError, match="nowhere"):
        VitsModel.from_pretrained(tmp_path, subfolder="nowhere")
    with pytest.raises(OSError, match="safetensors"):
        VitsModel.from_pretrained(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match="has no weights"):
        VitsModel.from_pretrained(folder)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"hidden_size": "\xff"}', '{"hidden_size": "many"}'])
def test_broken_config(folder, content):
    (folder / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises((ValueError, OSError, TypeError)) as caught:
        VitsModel.from_pretrained(folder)
    assert len(str(caught.value).splitlines()) == 1
