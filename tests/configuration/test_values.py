"""VitsConfig: keys of others, equality, copies and changes."""

import copy
import json
import pickle

import pytest
import torch

from fastvits.configuration import VitsConfig


def test_foreign_keys_survive_and_are_readable(tmp_path):
    content = {
        "model_type": "vits",
        "hidden_size": 64,
        "architectures": ["VitsModel"],
        "torch_dtype": "float16",
        "transformers_version": "4.33.0",
        "house_style": {"voices": ["a", "b"]},
        "limit": {"__float__": "Infinity"},
    }
    (tmp_path / "config.json").write_text(json.dumps(content))
    config = VitsConfig.from_pretrained(tmp_path)
    assert config.architectures == ["VitsModel"]
    assert config.transformers_version == "4.33.0"
    assert config.house_style == {"voices": ["a", "b"]}
    assert config.limit == float("inf")
    assert config.dtype is torch.float16
    assert config.torch_dtype is torch.float16
    config.save_pretrained(tmp_path / "copy")
    assert json.loads((tmp_path / "copy" / "config.json").read_text()).items() >= content.items()


def test_general_keys_have_values_when_absent_and_can_be_set():
    config = VitsConfig()
    assert (config.architectures, config.dtype, config.is_encoder_decoder) == (None, None, False)
    config.architectures = ["VitsModel"]
    config.dtype = torch.bfloat16
    assert config.dtype is torch.bfloat16
    assert config.to_dict().items() >= {"architectures": ["VitsModel"], "dtype": "bfloat16"}.items()
    older = VitsConfig.from_dict({"torch_dtype": "float32"})
    older.dtype = torch.float64
    assert "torch_dtype" not in older.to_dict()
    assert older.torch_dtype is torch.float64
    assert VitsConfig.from_dict({"dtype": torch.float16}).to_dict()["dtype"] == "float16"
    assert VitsConfig.from_dict({"dtype": "no such"}).dtype is None


def test_from_dict_neither_changes_nor_shares_its_argument():
    content = {"notes": {"list": [1]}, "upsample_rates": [8, 8, 2, 2]}
    before = copy.deepcopy(content)
    config = VitsConfig.from_dict(content, hidden_size=64)
    config.notes["list"].append(2)
    config.upsample_rates.append(2)
    assert content == before
    config.to_dict()["notes"]["list"].append(3)
    assert config.notes == {"list": [1, 2]}


def test_foreign_values_that_json_cannot_hold_are_refused_on_saving(tmp_path):
    with pytest.raises(TypeError):
        VitsConfig.from_dict({"thing": object()}).save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_equality():
    assert VitsConfig() == VitsConfig()
    assert VitsConfig() != VitsConfig(noise_scale=0.5)
    assert VitsConfig() != VitsConfig(max_frames=5)
    assert VitsConfig() != "vits"
    assert VitsConfig.from_dict({"a": 1}) != VitsConfig()
    assert VitsConfig.from_dict({"transformers_version": "4.33.0", "_name_or_path": "x"}) == VitsConfig()
    with pytest.raises(TypeError):
        hash(VitsConfig())


def test_repr_is_json():
    text = repr(VitsConfig(hidden_size=64))
    assert text.startswith("VitsConfig {")
    assert json.loads(text.removeprefix("VitsConfig "))["hidden_size"] == 64
    assert "tanh" in repr(VitsConfig(hidden_act=torch.tanh))


def test_a_copy_is_independent():
    config = VitsConfig.from_dict({"note": 1})
    shallow, deep = copy.copy(config), copy.deepcopy(config)
    shallow.note = 2
    shallow.speaking_rate = 2.0
    deep.upsample_rates.append(1)
    assert (config.note, config.speaking_rate, config.upsample_rates) == (1, 1.0, [8, 8, 2, 2])


def test_changes_are_checked():
    config = VitsConfig()
    config.speaking_rate = 0.5
    assert config.to_dict()["speaking_rate"] == 0.5
    with pytest.raises(ValueError, match="speaking_rate"):
        config.speaking_rate = 0.0
    with pytest.raises(TypeError, match="hidden_size"):
        config.hidden_size = 64.0
    assert config.speaking_rate == 0.5
    with pytest.raises(AttributeError, match="speaking_rate"):
        config.speaking_rates = 2.0
    with pytest.raises(AttributeError, match="hidden_size"):
        _ = config.hiden_size
    with pytest.raises(AttributeError):
        config.model_type = "bert"


def test_fields_that_depend_on_each_other_change_one_after_the_other(tmp_path):
    config = VitsConfig()
    config.upsample_rates = [4, 2]
    with pytest.raises(ValueError, match="upsample_kernel_sizes"):
        config.validate()
    with pytest.raises(ValueError, match="upsample_kernel_sizes"):
        config.save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    config.upsample_kernel_sizes = [8, 4]
    config.validate()
    config.upsample_rates[0] = "4"
    with pytest.raises(TypeError, match=r"upsample_rates\[0\]"):
        config.validate()


def test_a_function_as_activation_works_until_it_is_saved(tmp_path):
    config = VitsConfig(hidden_act=torch.nn.functional.silu)
    assert config.hidden_act is torch.nn.functional.silu
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config
    for write in (config.to_json_string, lambda: config.save_pretrained(tmp_path / "out")):
        with pytest.raises(TypeError, match="hidden_act is the function silu"):
            write()
    with pytest.raises(TypeError, match="hidden_act"):
        config.to_json_file(tmp_path / "config.json")
    assert not list(tmp_path.iterdir())
