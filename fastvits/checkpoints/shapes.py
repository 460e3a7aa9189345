"""The architecture of a checkpoint of training, from the shapes of its tensors and what its configuration adds.

Shapes say nearly everything, and they do not lie: the configuration that lies beside a checkpoint is asked only for
what no shape shows (dilations, upsampling rates), and wherever both say something they have to agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

_SUFFIXES = ("weight", "weight_v", "parametrizations.weight.original1")


def count(names: Iterable[str], pattern: str, what: str) -> int:
    """How many different numbers the group of `pattern` takes among `names`: they must be 0, 1, 2 ..."""
    compiled = re.compile(pattern)
    found = sorted({int(match[1]) for match in map(compiled.match, names) if match})
    if not found or found != list(range(len(found))):
        raise ValueError(f"the voice has {what} numbered {found}; expected 0, 1, 2, ...")
    return len(found)


def one(values: Iterable[Any], what: str) -> Any:
    """The one value that all `values` have."""
    different = list(dict.fromkeys(values))
    if len(different) != 1:
        raise ValueError(f"{what} must be the same everywhere, the voice has {different}")
    return different[0]


class Shapes:
    """The shapes of a checkpoint's tensors by the names of the original VITS, weight norm in any spelling."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self.names = list(parameters)
        self._shapes = {name: tuple(tensor.shape) for name, tensor in parameters.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def of(self, name: str, dimensions: int) -> tuple[int, ...]:
        """The shape of a parameter; of a weight it is the one before weight norm."""
        stem = name.removesuffix("weight")
        for suffix in _SUFFIXES if stem != name else ("",):
            shape = self._shapes.get(stem + suffix)
            if shape is not None:
                if len(shape) != dimensions:
                    raise ValueError(f"{stem + suffix} has the shape {list(shape)}; expected {dimensions} dimensions")
                return shape
        raise ValueError(f"the checkpoint has no tensor {name}")

    def count(self, pattern: str, what: str) -> int:
        """As the function `count`, of these names."""
        return count(self.names, pattern, what)


def training_fields(
    shapes: Shapes,
    *,
    upsample_rates: Sequence[int],
    resblock_dilation_sizes: Sequence[Sequence[int]],
) -> dict[str, Any]:
    """The fields of config.json that follow from the tensors of a checkpoint of training.

    Args:
        shapes: of the tensors, by the names of the original VITS.
        upsample_rates: samples that each stage of the decoder makes of one.
        resblock_dilation_sizes: dilations of each parallel residual block.

    Raises:
        ValueError: the tensors do not make a VITS.
    """
    vocab_size, hidden_size = shapes.of("enc_p.emb.weight", 2)
    layers = shapes.count(r"enc_p\.encoder\.attn_layers\.(\d+)\.", "encoder layers")
    _, offsets, head_size = shapes.of("enc_p.encoder.attn_layers.0.emb_rel_k", 3)
    if head_size == 0 or hidden_size % head_size or offsets % 2 == 0:
        raise ValueError(f"relative embeddings of shape {[1, offsets, head_size]} do not fit {hidden_size} channels")
    ffn_dim, _, ffn_kernel_size = shapes.of("enc_p.encoder.ffn_layers.0.conv_1.weight", 3)
    fields: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden_size // head_size,
        "window_size": offsets // 2,
        "ffn_dim": ffn_dim,
        "ffn_kernel_size": ffn_kernel_size,
        "flow_size": shapes.of("enc_p.proj.weight", 3)[0] // 2,
        "hidden_act": "relu",
    }
    if "emb_g.weight" in shapes:
        fields["num_speakers"], fields["speaker_embedding_size"] = shapes.of("emb_g.weight", 2)
    else:
        fields |= {"num_speakers": 1, "speaker_embedding_size": 0}
    fields |= _duration_fields(shapes)
    fields |= _wavenet_fields(shapes)
    fields |= _decoder_fields(shapes, upsample_rates, resblock_dilation_sizes)
    return fields


def _duration_fields(shapes: Shapes) -> dict[str, Any]:
    if any(name.startswith("dp.conv_1.") for name in shapes.names):
        filter_channels, _, kernel_size = shapes.of("dp.conv_1.weight", 3)
        return {
            "use_stochastic_duration_prediction": False,
            "duration_predictor_filter_channels": filter_channels,
            "duration_predictor_kernel_size": kernel_size,
        }
    flows = sorted(
        {int(match[1]) for match in (re.match(r"dp\.flows\.(\d+)\.proj\.", n) for n in shapes.names) if match}
    )
    if flows != list(range(1, 2 * len(flows), 2)) or not flows:
        raise ValueError(f"the duration predictor has the convolution flows {flows}; expected 1, 3, 5, ...")
    outputs, _, _ = shapes.of(f"dp.flows.{flows[0]}.proj.weight", 3)
    channels = shapes.of("dp.flows.0.m", 2)[0]
    half = channels // 2
    if half == 0 or channels % 2 or outputs % half or (outputs // half + 1) % 3:
        raise ValueError(f"duration flows of {channels} channels cannot have {outputs} outputs")
    return {
        "use_stochastic_duration_prediction": True,
        "depth_separable_channels": channels,
        "depth_separable_num_layers": shapes.count(r"dp\.convs\.convs_sep\.(\d+)\.", "depth-separable layers"),
        "duration_predictor_kernel_size": shapes.of("dp.convs.convs_sep.0.weight", 3)[2],
        "duration_predictor_num_flows": len(flows),
        "duration_predictor_flow_bins": (outputs // half + 1) // 3,
        "duration_predictor_tail_bound": 5.0,
    }


def _wavenet_fields(shapes: Shapes) -> dict[str, Any]:
    matches = [re.match(r"flow\.flows\.(\d+)\.enc\.in_layers\.(\d+)\.", name) for name in shapes.names]
    indices = sorted({(int(match[1]), int(match[2])) for match in matches if match})
    flows = sorted({flow for flow, _ in indices})
    if not flows or flows != list(range(0, 2 * len(flows), 2)):
        raise ValueError(f"the voice has the coupling layers {flows}; expected 0, 2, 4, ...")
    layers = len(indices) // len(flows)
    if indices != [(flow, layer) for flow in flows for layer in range(layers)]:
        raise ValueError("the coupling layers differ in the number of their WaveNet layers")
    half, flow_size = shapes.of("flow.flows.0.post.weight", 3)[0], shapes.of("enc_p.proj.weight", 3)[0] // 2
    if 2 * half != flow_size:
        raise ValueError(f"a coupling layer puts out {half} channels; expected the mean alone, {flow_size // 2}")
    fields = {
        "prior_encoder_num_flows": len(flows),
        "prior_encoder_num_wavenet_layers": layers,
        "wavenet_kernel_size": shapes.of("flow.flows.0.enc.in_layers.0.weight", 3)[2],
        "wavenet_dilation_rate": 1,
    }
    if any(name.startswith("enc_q.") for name in shapes.names):
        fields |= {
            "posterior_encoder_num_wavenet_layers": shapes.count(
                r"enc_q\.enc\.in_layers\.(\d+)\.", "posterior encoder layers"
            ),
            "spectrogram_bins": shapes.of("enc_q.pre.weight", 3)[1],
        }
    return fields


def _decoder_fields(
    shapes: Shapes, upsample_rates: Sequence[int], resblock_dilation_sizes: Sequence[Sequence[int]]
) -> dict[str, Any]:
    stages = shapes.count(r"dec\.ups\.(\d+)\.", "upsampling stages")
    blocks = shapes.count(r"dec\.resblocks\.(\d+)\.", "residual blocks")
    if len(upsample_rates) != stages:
        raise ValueError(
            f"the configuration has the upsampling rates {list(upsample_rates)}, the checkpoint {stages} stages"
        )
    if blocks != stages * len(resblock_dilation_sizes):
        raise ValueError(
            f"the configuration has {len(resblock_dilation_sizes)} residual blocks for each of {stages} stages, "
            f"the checkpoint {blocks} in all"
        )
    second = any(name.startswith("dec.resblocks.0.convs.") for name in shapes.names)
    convs = "convs" if second else "convs1"
    fields = {
        "upsample_initial_channel": shapes.of("dec.conv_pre.weight", 3)[0],
        "upsample_rates": list(upsample_rates),
        "upsample_kernel_sizes": [shapes.of(f"dec.ups.{stage}.weight", 3)[2] for stage in range(stages)],
        "resblock_kernel_sizes": [
            shapes.of(f"dec.resblocks.{block}.{convs}.0.weight", 3)[2] for block in range(len(resblock_dilation_sizes))
        ],
        "resblock_dilation_sizes": [list(dilations) for dilations in resblock_dilation_sizes],
        "leaky_relu_slope": 0.1,
    }
    return fields | ({"resblock_type": 2} if second else {})


def agree(said: Mapping[str, Any], fields: Mapping[str, Any], pairs: Mapping[str, str], where: str) -> None:
    """Raise ValueError unless what a configuration says is what the tensors show.

    Args:
        said: a section of the configuration.
        fields: what `training_fields` found.
        pairs: key of `said` -> key of `fields`. Keys that are not said are not compared.
        where: what messages call the configuration.
    """
    for key, field in pairs.items():
        value, found = said.get(key), fields[field]
        if value is not None and value != found:
            raise ValueError(f"{where} says {key} {value}, the checkpoint has {found}")


def sizes(said: Mapping[str, Any], key: str, where: str) -> list[int]:
    """A list of positive whole numbers of a configuration."""
    value = said.get(key)
    if not isinstance(value, (list, tuple)) or not value or not all(type(n) is int and 0 < n < 2**31 for n in value):
        raise ValueError(f"{where} must give {key} as a list of positive whole numbers, got {value!r}")
    return list(value)


def lists_of_sizes(said: Mapping[str, Any], key: str, where: str) -> list[list[int]]:
    """A list of such lists."""
    value = said.get(key)
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError(f"{where} must give {key} as a list of lists of positive whole numbers, got {value!r}")
    return [sizes({key: inner}, key, where) for inner in value]
