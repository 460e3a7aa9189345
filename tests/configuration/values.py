"""A model that builds in milliseconds, and strategies that draw configurations."""

import dataclasses
import inspect
import string

import transformers
from hypothesis import settings
from hypothesis import strategies as st

from fastvits.configuration import ACTIVATIONS, VitsConfig

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


few = settings(max_examples=40)
