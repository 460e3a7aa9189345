"""VitsConfig: defaults, round trips with transformers, foreign keys, refusals; and where snapshot() finds files."""

import copy
import dataclasses
import inspect
import json
import os
import pickle
import string
import subprocess
import sys
import tempfile
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from fastvits.configuration import ACTIVATIONS, VitsConfig
from fastvits.hub import snapshot

# A model small enough to build in milliseconds, so that transformers can be asked what really runs.
TINY = {
    "vocab_size": 12,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "ffn_dim": 8,
    "flow_size": 4,
    "spectrogram_bins": 5,
    "upsample_initial_channel": 16,
    "upsample_rates": [4, 2],
    "upsample_kernel_sizes": [8, 4],
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3]],
    "duration_predictor_flow_bins": 4,
    "duration_predictor_filter_channels": 6,
    "prior_encoder_num_flows": 2,
    "prior_encoder_num_wavenet_layers": 2,
    "posterior_encoder_num_wavenet_layers": 1,
}
PROVENANCE = ("transformers_version", "_name_or_path")


def public_parameters():
    return {field.name for field in dataclasses.fields(transformers.VitsConfig)}


def shared_values(config_dict):
    return {key: value for key, value in config_dict.items() if key not in PROVENANCE}


# --- Strategies -------------------------------------------------------------------------------------------------------

probabilities = st.floats(0, 1)
non_negative = st.floats(0, 1e6)
positive = st.floats(1e-6, 1e6)
counts = st.integers(0, 20)
sizes = st.integers(1, 2000)
odd_sizes = st.integers(0, 10).map(lambda half: 2 * half + 1)


@st.composite
def parameters(draw):
    """Keywords of a configuration that can be built; about half of them are left at their defaults."""
    rates = draw(st.lists(st.integers(1, 10), min_size=1, max_size=5))
    kernel_sizes = [rate + 2 * draw(st.integers(0, 5)) for rate in rates]
    resblock_kernel_sizes = draw(st.lists(odd_sizes, min_size=1, max_size=4))
    dilations = st.lists(st.integers(1, 9), min_size=1, max_size=4)
    heads = draw(st.integers(1, 8))
    vocab_size = draw(sizes)
    num_speakers = draw(st.integers(0, 5))
    values = {
        "num_attention_heads": heads,
        "hidden_size": heads * draw(st.integers(1, 64)),
        "vocab_size": vocab_size,
        "pad_token_id": draw(st.none() | st.integers(-vocab_size, vocab_size - 1)),
        "num_speakers": num_speakers,
        "speaker_embedding_size": draw(st.integers(1, 256) if num_speakers > 1 else st.integers(0, 256)),
        "prior_encoder_num_wavenet_layers": draw(st.integers(1, 6)),
        "posterior_encoder_num_wavenet_layers": draw(st.integers(1, 16)),
        "upsample_rates": rates,
        "upsample_kernel_sizes": kernel_sizes,
        "upsample_initial_channel": draw(st.integers(32, 1024)),
        "resblock_kernel_sizes": resblock_kernel_sizes,
        "resblock_dilation_sizes": [draw(dilations) for _ in resblock_kernel_sizes],
    }
    optional = {
        "num_hidden_layers": counts,
        "window_size": counts,
        "use_bias": st.booleans(),
        "ffn_dim": sizes,
        "layerdrop": probabilities,
        "ffn_kernel_size": sizes,
        "flow_size": sizes.map(lambda half: 2 * half),
        "spectrogram_bins": sizes,
        "hidden_act": st.sampled_from(ACTIVATIONS),
        "hidden_dropout": probabilities,
        "attention_dropout": probabilities,
        "activation_dropout": probabilities,
        "initializer_range": non_negative,
        "layer_norm_eps": non_negative,
        "use_stochastic_duration_prediction": st.booleans(),
        "leaky_relu_slope": st.floats(-10, 10),
        "depth_separable_num_layers": st.integers(0, 5),
        "duration_predictor_flow_bins": st.integers(1, 1000),
        "duration_predictor_tail_bound": positive,
        "duration_predictor_kernel_size": odd_sizes,
        "duration_predictor_dropout": probabilities,
        "duration_predictor_num_flows": counts,
        "duration_predictor_filter_channels": sizes,
        "prior_encoder_num_flows": counts,
        "wavenet_kernel_size": odd_sizes,
        "wavenet_dilation_rate": st.integers(1, 4),
        "wavenet_dropout": probabilities,
        "speaking_rate": positive,
        "noise_scale": non_negative,
        "noise_scale_duration": non_negative,
        "sampling_rate": sizes,
        "output_attentions": st.booleans(),
        "output_hidden_states": st.booleans(),
        "return_dict": st.booleans(),
        "resblock_type": st.integers(1, 2),
        "max_frames": sizes,
    }
    for name, strategy in optional.items():
        if draw(st.booleans()):
            values[name] = draw(strategy)
    return values


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
foreign_keys = st.text(string.ascii_lowercase + "_", min_size=1).filter(
    lambda key: key != "model_type" and key not in inspect.signature(VitsConfig).parameters
)
# Some that collide with names of the class itself.
foreign = st.dictionaries(
    foreign_keys | st.sampled_from(["validate", "to_dict", "_extra", "__deepcopy__", "architectures", "torch_dtype"]),
    json_values,
    max_size=5,
)
few = settings(max_examples=40, deadline=None)


# --- Parameters and defaults ------------------------------------------------------------------------------------------


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


# --- Round trips ------------------------------------------------------------------------------------------------------


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


# --- Foreign keys -----------------------------------------------------------------------------------------------------


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


# --- Equality, repr, mutation -----------------------------------------------------------------------------------------


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


# --- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keyword", ["hiden_size", "noise_scales", "vocabulary"])
def test_unknown_keywords_are_refused(keyword, tmp_path):
    with pytest.raises(TypeError, match=keyword):
        VitsConfig(**{keyword: 1})
    with pytest.raises(TypeError, match=keyword):
        VitsConfig.from_dict({}, **{keyword: 1})
    VitsConfig().save_pretrained(tmp_path)
    with pytest.raises(TypeError, match=keyword):
        VitsConfig.from_pretrained(tmp_path, **{keyword: 1})
    assert getattr(VitsConfig.from_dict({keyword: 1}), keyword) == 1


def test_unknown_keywords_come_with_near_matches():
    with pytest.raises(TypeError, match=r"'hiden_size' \(did you mean hidden_size"):
        VitsConfig(hiden_size=1)
    with pytest.raises(TypeError):
        VitsConfig(38)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_size", 192.0),
        ("hidden_size", True),
        ("hidden_size", "192"),
        ("hidden_size", None),
        ("window_size", 4.5),
        ("pad_token_id", False),
        ("noise_scale", "0.5"),
        ("noise_scale", True),
        ("noise_scale", None),
        ("use_bias", 1),
        ("use_bias", None),
        ("return_dict", "true"),
        ("upsample_rates", 8),
        ("upsample_rates", "8822"),
        ("upsample_rates", [8.0, 8, 2, 2]),
        ("upsample_rates", None),
        ("resblock_dilation_sizes", [1, 3, 5]),
        ("resblock_dilation_sizes", [[1, 3, True]] * 3),
        ("hidden_act", 3),
        ("hidden_act", None),
        ("max_frames", 1e5),
    ],
)
def test_wrong_types_are_refused(field, value):
    with pytest.raises(TypeError, match=field):
        VitsConfig(**{field: value})
    with pytest.raises(TypeError, match=field):
        VitsConfig.from_dict({field: value})


def runs_in_transformers(values):
    torch.manual_seed(0)
    model = transformers.VitsModel(transformers.VitsConfig(**{**TINY, **values})).eval()
    speaker = {"speaker_id": 0} if model.config.num_speakers > 1 else {}
    with torch.no_grad():
        output = model(torch.arange(1, 6)[None], **speaker)
    # Fresh weights may saturate, but they must give numbers, and as many as announced.
    return bool(output.waveform.isfinite().all()) and output.waveform.shape[1] == int(output.sequence_lengths[0])


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("vocab_size", {"vocab_size": 0}),
        ("hidden_size", {"hidden_size": 0}),
        ("hidden_size", {"hidden_size": 9}),
        ("num_attention_heads", {"num_attention_heads": 0}),
        ("ffn_dim", {"ffn_dim": 0}),
        ("ffn_kernel_size", {"ffn_kernel_size": 0}),
        ("flow_size", {"flow_size": 0}),
        ("flow_size", {"flow_size": 5}),
        ("spectrogram_bins", {"spectrogram_bins": 0}),
        ("hidden_act", {"hidden_act": "no such"}),
        ("layer_norm_eps", {"layer_norm_eps": -1.0}),
        ("layer_norm_eps", {"layer_norm_eps": float("nan")}),
        ("hidden_dropout", {"hidden_dropout": 1.5}),
        ("attention_dropout", {"attention_dropout": -0.1}),
        ("wavenet_dropout", {"wavenet_dropout": 2.0}),
        ("pad_token_id", {"pad_token_id": 12}),
        ("pad_token_id", {"pad_token_id": -13}),
        ("speaker_embedding_size", {"num_speakers": 2}),
        ("speaker_embedding_size", {"num_speakers": 2, "speaker_embedding_size": -1}),
        (
            "prior_encoder_num_wavenet_layers",
            {"num_speakers": 2, "speaker_embedding_size": 4, "prior_encoder_num_wavenet_layers": 0},
        ),
        (
            "posterior_encoder_num_wavenet_layers",
            {"num_speakers": 2, "speaker_embedding_size": 4, "posterior_encoder_num_wavenet_layers": 0},
        ),
        ("upsample_rates", {"upsample_rates": [], "upsample_kernel_sizes": []}),
        ("upsample_rates", {"upsample_rates": [0, 2]}),
        ("upsample_kernel_sizes", {"upsample_kernel_sizes": [8]}),
        ("upsample_kernel_sizes", {"upsample_kernel_sizes": [2, 4]}),
        ("upsample_kernel_sizes", {"upsample_kernel_sizes": [7, 4]}),
        ("upsample_initial_channel", {"upsample_initial_channel": 3}),
        ("resblock_kernel_sizes", {"resblock_kernel_sizes": [], "resblock_dilation_sizes": []}),
        ("resblock_kernel_sizes", {"resblock_kernel_sizes": [4]}),
        ("resblock_kernel_sizes", {"resblock_kernel_sizes": [4], "resblock_dilation_sizes": [[2, 4]]}),
        ("resblock_dilation_sizes", {"resblock_kernel_sizes": [3, 5]}),
        ("resblock_dilation_sizes", {"resblock_dilation_sizes": [[0]]}),
        ("depth_separable_channels", {"depth_separable_channels": 3}),
        ("depth_separable_channels", {"depth_separable_channels": 4}),
        ("duration_predictor_flow_bins", {"duration_predictor_flow_bins": 0}),
        ("duration_predictor_flow_bins", {"duration_predictor_flow_bins": 1001}),
        ("duration_predictor_tail_bound", {"duration_predictor_tail_bound": 0.0}),
        ("duration_predictor_kernel_size", {"duration_predictor_kernel_size": 4}),
        (
            "duration_predictor_kernel_size",
            {"duration_predictor_kernel_size": 4, "use_stochastic_duration_prediction": False},
        ),
        ("wavenet_kernel_size", {"wavenet_kernel_size": 4}),
        ("wavenet_kernel_size", {"wavenet_kernel_size": 4, "wavenet_dilation_rate": 2}),
        ("wavenet_dilation_rate", {"wavenet_dilation_rate": 0}),
        ("wavenet_dilation_rate", {"wavenet_dilation_rate": 2**62}),
        ("speaking_rate", {"speaking_rate": 0.0}),
        ("noise_scale", {"noise_scale": float("inf")}),
        ("noise_scale_duration", {"noise_scale_duration": float("nan")}),
    ],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_impossible_architectures_are_refused_and_do_not_run_in_transformers(field, values):
    with pytest.raises(ValueError, match=field):
        VitsConfig(**{**TINY, **values})
    with pytest.raises(ValueError, match=field):
        VitsConfig.from_dict({**TINY, **values})
    try:
        runs = runs_in_transformers(values)
    except Exception:  # whatever transformers or torch happens to raise in its depths
        runs = False
    assert not runs


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"num_hidden_layers": 0},
        {"prior_encoder_num_flows": 0, "flow_size": 5},
        {"prior_encoder_num_wavenet_layers": 0},
        {"posterior_encoder_num_wavenet_layers": 0},
        {"posterior_encoder_num_wavenet_layers": 0, "prior_encoder_num_flows": 0, "wavenet_kernel_size": 4},
        {"depth_separable_num_layers": 0, "duration_predictor_kernel_size": 4},
        {"duration_predictor_num_flows": 0},
        {"num_speakers": 0},
        {"speaker_embedding_size": 4},
        {"num_speakers": 2, "speaker_embedding_size": 4},
        {"duration_predictor_flow_bins": 1},
        {"duration_predictor_flow_bins": 1000},
        {"use_stochastic_duration_prediction": False, "depth_separable_channels": 3},
        {"use_stochastic_duration_prediction": False, "duration_predictor_flow_bins": 1001},
        {"pad_token_id": -1},
        {"pad_token_id": 11},
        {"upsample_initial_channel": 15},
        {"upsample_initial_channel": 4},
        {"upsample_rates": [4, 1], "upsample_kernel_sizes": [8, 1]},
        {"resblock_kernel_sizes": [1]},
        {"ffn_kernel_size": 4},
        {"wavenet_dilation_rate": 3},
        {"leaky_relu_slope": 0.0, "layer_norm_eps": 0.0, "noise_scale": 0.0},
        {"hidden_dropout": 1.0},
        {"hidden_act": "gelu_new"},
    ],
)
def test_what_transformers_runs_is_not_refused(values):
    assert VitsConfig(**{**TINY, **values}).to_dict().items() >= values.items()
    assert runs_in_transformers(values)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("num_hidden_layers", {"num_hidden_layers": -1}),
        ("num_speakers", {"num_speakers": -1}),
        ("sampling_rate", {"sampling_rate": 0}),
        ("noise_scale", {"noise_scale": -0.1}),
        ("layerdrop", {"layerdrop": 1.1}),
        ("initializer_range", {"initializer_range": -0.02}),
        ("max_frames", {"max_frames": 0}),
        ("resblock_type", {"resblock_type": 0}),
        ("resblock_type", {"resblock_type": 3}),
        ("window_size", {"window_size": -1}),
        ("resblock_dilation_sizes", {"resblock_dilation_sizes": [[1], [1]]}),
        (r"resblock_dilation_sizes\[0\]", {"resblock_dilation_sizes": [[]]}),
        (r"resblock_kernel_sizes\[0\]", {"resblock_type": 2, "resblock_kernel_sizes": [4]}),
        ("vocab_size", {"vocab_size": 2**64}),
        ("speaking_rate", {"speaking_rate": 10**400}),
        ("model_type", {"model_type": "bert"}),
    ],
)
def test_meaningless_values_are_refused(field, values):
    with pytest.raises(ValueError, match=field):
        VitsConfig(**{**TINY, **values})


def test_ours_alone_is_accepted():
    assert VitsConfig(window_size=None).window_size is None
    assert VitsConfig(window_size=0).window_size == 0
    assert VitsConfig(hidden_act="selu").hidden_act == "selu"
    even = {"resblock_kernel_sizes": [4], "resblock_dilation_sizes": [[2, 6]]}
    assert VitsConfig(resblock_type=2, **even).resblock_kernel_sizes == [4]
    with pytest.raises(ValueError, match="resblock_kernel_sizes"):
        VitsConfig(resblock_type=1, **even)


# --- Files ------------------------------------------------------------------------------------------------------------


def test_overrides_come_before_the_file(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 9, "house_style": 1}))
    with pytest.raises(ValueError, match=r"config\.json: hidden_size"):
        VitsConfig.from_pretrained(tmp_path)
    config = VitsConfig.from_pretrained(str(tmp_path), hidden_size=8, house_style=2)
    assert (config.hidden_size, config.house_style) == (8, 2)


def test_a_file_and_a_subfolder(tmp_path):
    VitsConfig(hidden_size=64).save_pretrained(tmp_path / "voices" / "small")
    assert VitsConfig.from_pretrained(tmp_path / "voices" / "small" / "config.json").hidden_size == 64
    assert VitsConfig.from_pretrained(tmp_path, subfolder="voices/small").hidden_size == 64
    with pytest.raises(OSError, match="no folder 'voices/large'"):
        VitsConfig.from_pretrained(tmp_path, subfolder="voices/large")
    for outside in ("../elsewhere", "/etc"):
        with pytest.raises(ValueError, match="subfolder"):
            VitsConfig.from_pretrained(tmp_path, subfolder=outside)


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\xfe{}", b"null"])
def test_files_that_are_no_json_object(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(OSError, match=r"config\.json"):
        VitsConfig.from_pretrained(tmp_path)


def test_folders_that_are_no_model(tmp_path):
    with pytest.raises(OSError, match=r"no config\.json"):
        VitsConfig.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_size": 768}')
    with pytest.raises(ValueError, match="'bert'"):
        VitsConfig.from_pretrained(tmp_path)
    with pytest.raises(OSError, match="is a file"):
        VitsConfig().save_pretrained(tmp_path / "config.json")
    with pytest.raises(TypeError, match="config_dict"):
        VitsConfig.from_dict([("hidden_size", 64)])


# --- Hub --------------------------------------------------------------------------------------------------------------

COMMITS = {"main": "a" * 40, "v2": "b" * 40}


@pytest.fixture
def hub_cache(tmp_path):
    """A cache as huggingface_hub lays it out: refs name commits, snapshots link to blobs."""
    root = tmp_path / "hub" / "models--acme--voice"
    (root / "refs").mkdir(parents=True)
    (root / "blobs").mkdir()
    for number, (revision, commit) in enumerate(COMMITS.items(), start=1):
        (root / "refs" / revision).write_text(commit)
        for inner, speakers in (("", number), ("many/", 10 * number)):
            blob = root / "blobs" / f"{commit[:8]}{speakers}"
            content = VitsConfig(num_speakers=speakers, speaker_embedding_size=8, noise_scale=0.1 * number)
            blob.write_text(content.to_json_string())
            link = root / "snapshots" / commit / inner / "config.json"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))
    return tmp_path / "hub"


def test_a_hub_id_is_found_in_the_cache(hub_cache):
    cached = {"cache_dir": hub_cache, "local_files_only": True}
    folder = snapshot("acme/voice", allow_patterns=["config.json"], **cached)
    assert folder == hub_cache / "models--acme--voice" / "snapshots" / COMMITS["main"]
    assert VitsConfig.from_pretrained("acme/voice", **cached).num_speakers == 1
    assert VitsConfig.from_pretrained("acme/voice", revision="v2", **cached).num_speakers == 2
    assert VitsConfig.from_pretrained("acme/voice", revision=COMMITS["v2"], **cached).num_speakers == 2
    assert VitsConfig.from_pretrained("acme/voice", subfolder="many", **cached).num_speakers == 10
    assert VitsConfig.from_pretrained("acme/voice", noise_scale=0.0, **cached).noise_scale == 0.0


def test_what_the_cache_lacks_is_named(hub_cache, tmp_path):
    cached = {"allow_patterns": "config.json", "cache_dir": hub_cache, "local_files_only": True}
    with pytest.raises(OSError, match="acme/other"):
        snapshot("acme/other", **cached)
    with pytest.raises(OSError, match=r"acme/voice \(revision v3\)"):
        snapshot("acme/voice", revision="v3", **cached)
    with pytest.raises(OSError, match=r"no file matching few/config\.json"):
        snapshot("acme/voice", subfolder="few", **cached)
    for nonsense in ("", "no/such/folder", "./nowhere", str(tmp_path / "nowhere"), "white space"):
        with pytest.raises(OSError, match="neither a folder nor the id of a hub repository"):
            snapshot(nonsense, **cached)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="is a file"):
        snapshot(tmp_path / "file", **cached)


def test_offline_mode_of_the_environment(hub_cache):
    script = (
        "from fastvits.configuration import VitsConfig\n"
        "print(VitsConfig.from_pretrained('acme/voice', revision='v2').num_speakers)\n"
        "try:\n"
        "    VitsConfig.from_pretrained('acme/other')\n"
        "except OSError as error:\n"
        "    print(str(error).splitlines()[0])\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(hub_cache)}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    speakers, error = result.stdout.splitlines()
    assert speakers == "2"
    assert "acme/other cannot be had from the hub" in error


def test_what_is_asked_of_the_hub(monkeypatch, tmp_path):
    asked = {}

    def fake(repo_id, **arguments):
        asked.update(arguments, repo_id=repo_id)
        (tmp_path / "v[1]").mkdir(exist_ok=True)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake)
    options = {"revision": "v2", "token": "secret", "force_download": True, "local_files_only": False}
    assert snapshot("acme/voice", allow_patterns=["a.json", "*.bin"], subfolder="v[1]", **options) == tmp_path / "v[1]"
    assert asked["repo_id"] == "acme/voice"
    assert {name: asked[name] for name in options} == options
    names = ["v[1]/a.json", "v[1]/x.bin", "v[1]/deep/x.bin", "a.json", "v1/a.json"]
    patterns = {name: asked[name] for name in ("allow_patterns", "ignore_patterns")}
    matched = list(huggingface_hub.utils.filter_repo_objects(names, **patterns))
    assert matched == ["v[1]/a.json", "v[1]/x.bin"]


def test_whatever_the_hub_client_raises_is_one_clear_error(monkeypatch):
    def broken(repo_id, **arguments):
        raise RuntimeError("the connection broke\nsecond line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", broken)
    with pytest.raises(OSError, match=r"acme/voice cannot be had from the hub: the connection broke$"):
        snapshot("acme/voice", allow_patterns="config.json")
