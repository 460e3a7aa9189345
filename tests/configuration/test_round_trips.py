"""VitsConfig: defaults, and round trips with transformers."""

import copy
import dataclasses
import inspect
import json
import pickle
import tempfile
from pathlib import Path

import numpy as np
import transformers
from hypothesis import given

from fastvits.configuration import VitsConfig
from tests.configuration.values import PROVENANCE, few, foreign, parameters, public_parameters, shared_values


def test_every_published_parameter_has_its_default():
    ours, published = VitsConfig().to_dict(), transformers.VitsConfig().to_dict()
    general = {field.name for field in dataclasses.fields(transformers.PreTrainedConfig)}
    vits = public_parameters() - general
    assert len(vits) >= 45
    for name in {*vits, "output_attentions", "output_hidden_states", "return_dict", "model_type"}:
        assert ours[name] == published[name], name
    assert set(ours) <= set(published)


def test_new_parameters_are_written_only_when_changed():
    assert (VitsConfig().resblock_type, VitsConfig().max_frames) == (1, 200_000)
    assert not {"resblock_type", "max_frames"} & VitsConfig().to_dict().keys()
    changed = VitsConfig(resblock_type=2, max_frames=500)
    assert (changed.to_dict()["resblock_type"], changed.to_dict()["max_frames"]) == (2, 500)
    assert VitsConfig.from_dict(changed.to_dict()) == changed


def test_defaults_are_not_shared_between_configurations():
    first = VitsConfig()
    first.upsample_rates.append(3)
    first.resblock_dilation_sizes[0][0] = 99
    assert VitsConfig().upsample_rates == [8, 8, 2, 2]
    assert VitsConfig().resblock_dilation_sizes == [[1, 3, 5]] * 3
    given_list = [4, 2]
    config = VitsConfig(upsample_rates=given_list, upsample_kernel_sizes=(8, 4))
    given_list.append(2)
    assert config.upsample_rates == [4, 2]
    assert config.upsample_kernel_sizes == [8, 4]


def test_numbers_become_plain_python_numbers():
    config = VitsConfig(
        hidden_size=np.int64(64), noise_scale=0, speaking_rate=np.float32(0.5), use_bias=np.bool_(False)
    )
    assert type(config.hidden_size) is int
    assert type(config.noise_scale) is float
    assert type(config.speaking_rate) is float
    assert config.use_bias is False
    json.loads(config.to_json_string())


def test_signature_lists_every_parameter():
    listed = inspect.signature(VitsConfig).parameters
    assert listed["hidden_size"].default == 192
    assert set(VitsConfig().to_dict()) - {"model_type"} <= set(listed)


@few
@given(parameters(), foreign)
def test_round_trips(values, extra):
    config = VitsConfig.from_dict({**values, **extra})
    for name, value in values.items():
        assert getattr(config, name) == value
    assert config.to_dict().items() >= extra.items()
    assert VitsConfig.from_dict(config.to_dict()) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert copy.copy(config) == config
    assert copy.deepcopy(config) == config
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        loaded = VitsConfig.from_pretrained(folder)
        assert loaded == config
        assert loaded.to_dict() == config.to_dict()
        assert VitsConfig.from_json_file(Path(folder) / "config.json") == config


@few
@given(parameters())
def test_transformers_loads_what_we_save(values):
    config = VitsConfig(**values)
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        theirs = transformers.VitsConfig.from_pretrained(folder).to_dict()
    ours = config.to_dict()
    assert {key: theirs[key] for key in ours} == ours


@few
@given(parameters())
def test_we_load_what_transformers_saves(values):
    published = {name: value for name, value in values.items() if name not in ("resblock_type", "max_frames")}
    theirs = transformers.VitsConfig(**published)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours = VitsConfig.from_pretrained(folder)
        written = json.loads((Path(folder) / "config.json").read_text())
    assert ours == VitsConfig(**published)
    their_values = theirs.to_dict()
    assert {key: their_values[key] for key in ours.to_dict() if key not in PROVENANCE} == shared_values(ours.to_dict())
    assert ours.to_diff_dict() == written


def test_the_default_file_is_transformers_own(tmp_path):
    transformers.VitsConfig().save_pretrained(tmp_path / "theirs")
    VitsConfig().save_pretrained(tmp_path / "ours" / "deep")
    theirs = json.loads((tmp_path / "theirs" / "config.json").read_text())
    del theirs["transformers_version"]
    assert (tmp_path / "ours" / "deep" / "config.json").read_text() == json.dumps(
        theirs, indent=2, sort_keys=True
    ) + "\n"


def test_keywords_made_of_a_transformers_configuration():
    assert VitsConfig(**shared_values(transformers.VitsConfig(hidden_size=64).to_dict())).hidden_size == 64
    assert VitsConfig(**VitsConfig(hidden_size=64).to_dict()) == VitsConfig(hidden_size=64)
