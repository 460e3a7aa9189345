"""The dtype and the device that weights are loaded in, and keywords that are refused."""

from __future__ import annotations

import json

import pytest
import torch

from fastvits import VitsConfig, VitsModel
from fastvits.weights import loading as checkpoint
from tests.weights.folders import HALF, SMALL, assert_same, edit_config, rewrite


def protected(name: str) -> bool:
    return checkpoint.target_dtype(name, torch.float16) == torch.float32


def test_text_encoder_and_duration_predictor_are_protected_from_half_precision():
    assert protected("text_encoder.embed_tokens.weight")
    assert protected("duration_predictor.flows.0.translate")
    assert not protected("decoder.conv_pre.weight")
    model = VitsModel(VitsConfig(**SMALL))
    kept = {name for name, tensor in model.half().named_parameters() if tensor.dtype == torch.float32}
    assert kept == {name for name, _ in model.named_parameters() if protected(name)}
    for dtype in (torch.float32, torch.float64):
        assert checkpoint.target_dtype("text_encoder.embed_tokens.weight", dtype) == dtype


@pytest.mark.parametrize("stored", list(checkpoint.DTYPES.values()))
@pytest.mark.parametrize("dtype", [None, "auto", "float16", "torch.bfloat16", torch.float32, torch.float64])
def test_dtype_is_the_files_or_the_one_asked_for(folder, state, stored, dtype):
    edit_config(
        rewrite(folder, {name: tensor.to(stored) for name, tensor in state.items()}),
        dtype="int8",
        torch_dtype="float16",
    )
    model = VitsModel.from_pretrained(folder, dtype=dtype)
    expected = stored if dtype in (None, "auto") else dtype
    if isinstance(expected, str):
        expected = getattr(torch, expected.removeprefix("torch."))
    assert model.dtype == expected
    for name, tensor in model.state_dict().items():
        wanted = torch.float32 if protected(name) and expected in HALF else expected
        assert tensor.dtype == wanted
        assert torch.equal(tensor, state[name].to(stored).to(wanted))


def test_a_half_precision_model_round_trips(folder, tmp_path):
    model = VitsModel.from_pretrained(folder, dtype=torch.float16)
    model.save_pretrained(tmp_path / "half")
    again = VitsModel.from_pretrained(tmp_path / "half")
    assert again.dtype == torch.float16
    assert_same(again, model.state_dict())
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "float16"


def test_several_dtypes_in_one_file_give_the_one_that_holds_them(folder, state):
    mixed = {name: tensor.half() if name.endswith("bias") else tensor for name, tensor in state.items()}
    assert VitsModel.from_pretrained(rewrite(folder, mixed)).dtype == torch.float32


@pytest.mark.parametrize("dtype", ["int4", "float", "half", torch.int64, torch.complex64, torch.float8_e4m3fn, ""])
def test_other_dtypes_are_refused(folder, dtype):
    with pytest.raises(ValueError, match="choose float16, bfloat16, float32, float64"):
        VitsModel.from_pretrained(folder, dtype=dtype)


def test_a_dtype_of_another_kind_is_refused(folder):
    with pytest.raises(TypeError, match="got int"):
        VitsModel.from_pretrained(folder, dtype=16)


@pytest.mark.parametrize("device_map", [None, "cpu", torch.device("cpu"), {"": "cpu"}, {"": torch.device("cpu")}])
def test_device_map_names_the_cpu(folder, device_map):
    assert VitsModel.from_pretrained(folder, device_map=device_map).device == torch.device("cpu")


def test_device_map_auto_takes_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert checkpoint.resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert checkpoint.resolve_device("auto") == torch.device("cuda")
    assert checkpoint.resolve_device(1) == torch.device("cuda", 1)
    assert checkpoint.resolve_device({"": 0}) == torch.device("cuda", 0)
    with pytest.raises(ValueError, match=r"device_map=2 .* finds 2"):
        checkpoint.resolve_device(2)


@pytest.mark.parametrize(
    "device_map", ["balanced", "toaster", {"decoder": "cpu"}, {"": None}, {"": {"": "cpu"}}, {}, -1, "meta"]
)
def test_impossible_device_maps_are_refused(folder, device_map):
    with pytest.raises(ValueError, match="device_map="):
        VitsModel.from_pretrained(folder, device_map=device_map)


@pytest.mark.parametrize("device_map", [True, 1.5, ["cpu"]])
def test_device_maps_of_another_kind_are_refused(folder, device_map):
    with pytest.raises(TypeError, match="names no device"):
        VitsModel.from_pretrained(folder, device_map=device_map)


def test_unknown_keywords_are_refused(folder, tmp_path):
    with pytest.raises(TypeError, match="hub_token"):
        VitsModel.from_pretrained(folder, hub_token="x")
    model = VitsModel.from_pretrained(folder)
    with pytest.raises(TypeError, match="safe"):
        model.save_pretrained(tmp_path / "other", safe=True)
    with pytest.raises(TypeError, match="repo_id"):
        model.save_pretrained(tmp_path / "other", repo_id="someone/voice")
    assert not (tmp_path / "other").exists()
