"""VitsConfig: what is refused, and that transformers cannot run it either."""

import pytest
import torch
import transformers

from fastvits.configuration import VitsConfig
from tests.configuration.values import TINY


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
