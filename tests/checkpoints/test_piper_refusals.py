"""Graphs, settings and files that are no Piper voice are refused."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fastvits.checkpoints.piper import convert
from tests.checkpoints.piper_exports import add_tensor, changed_copy


def set_attribute(node_name: str, attribute: str, value: list[int]) -> Callable[[onnx.GraphProto], None]:
    def change(graph: onnx.GraphProto) -> None:
        (node,) = [node for node in graph.node if node.name == node_name]
        (old,) = [old for old in node.attribute if old.name == attribute]
        old.CopyFrom(onnx.helper.make_attribute(attribute, value))

    return change


def replace_op(node_name: str, op_type: str) -> Callable[[onnx.GraphProto], None]:
    def change(graph: onnx.GraphProto) -> None:
        (node,) = [node for node in graph.node if node.name == node_name]
        node.op_type = op_type

    return change


def scale_slope(graph: onnx.GraphProto) -> None:
    node = next(node for node in graph.node if node.op_type == "LeakyRelu")
    node.attribute[0].f = 0.2


def poison(graph: onnx.GraphProto) -> None:
    (tensor,) = [tensor for tensor in graph.initializer if tensor.name == "dec.conv_pre.bias"]
    tensor.CopyFrom(numpy_helper.from_array(np.full(tensor.dims, np.nan, np.float32), tensor.name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (add_tensor("dec.extra.weight", 3, 3), r"parameter dec\.extra\.weight that has no place"),
        (add_tensor("enc_q.pre.weight", 2), r"no known place in the model: enc_q\.pre\.weight \[2\]"),
        (add_tensor("dp.flows.9.pre.bias", 16), r"duration_predictor\.flows\.5\.conv_pre\.bias"),
        (set_attribute("/dec/ups.0/ConvTranspose", "pads", [1, 1]), r"dec\.ups\.0 is padded by \[1, 1\]"),
        (set_attribute("/dec/resblocks.0/convs.1/Conv", "strides", [2]), r"convs\.1 has .* stride \[2\]"),
        (set_attribute("/dec/resblocks.2/convs.1/Conv", "dilations", [3]), r"convs\.1 has .*dilation 3, padding"),
        (set_attribute("/flow/flows.0/enc/in_layers.1/Conv", "dilations", [2]), r"in_layers\.1 has"),
        (set_attribute("/dp/convs/convs_sep.1/Conv", "dilations", [1]), r"convs_sep\.1 has"),
        (replace_op("/enc_p/encoder/ffn_layers.0/Relu", "Sigmoid"), r"ffn_layers\.0\.conv_1 is not followed by a ReLU"),
        (scale_slope, "slope of the leaky ReLU must be the same everywhere"),
        (poison, r"decoder\.conv_pre\.bias has values that are not finite"),
    ],
)
def test_an_unexpected_graph_is_refused(
    small_voice: Path, tmp_path: Path, change: Callable[[onnx.GraphProto], None], message: str
) -> None:
    path = changed_copy(small_voice, tmp_path, change)
    with pytest.raises(ValueError, match=message):
        convert(path, tmp_path / "converted")
    assert not (tmp_path / "converted").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_speakers": 4}, "says num_speakers 4, its graph 1"),
        ({"num_symbols": 41}, "says num_symbols 41, its graph 40"),
        ({"phoneme_type": "kana"}, "phonemes of the type 'kana'; only espeak, text, pinyin, hebrew, japanese, thai"),
        ({"audio": {}}, "audio.sample_rate"),
        ({"espeak": {}}, "does not name its espeak voice"),
        ({"inference": {"length_scale": 0}}, "length_scale"),
        ({"inference": {"noise_w": "loud"}}, "noise_w .* 'loud'"),
        ({"phoneme_id_map": {}}, "no phoneme_id_map"),
        ({"phoneme_id_map": {"_": [0], "^": [1], "$": [40]}}, r"gives '\$' the ids \[40\]"),
        ({"phoneme_id_map": {"_": [0], "^": [1]}}, r"lacks '\$'"),
        ({"vowel_clusters": ["ai"]}, "vowel_clusters"),
        ({"phoneme_id_map": {"_": [0], "^": [1, 3], "$": [2]}}, r"gives the mark '\^' the ids \[1, 3\]; expected one"),
        ({"phoneme_id_map": {"_": [0], "^": [1], "$": [2], "a": [3, 40]}}, r"gives 'a' the ids \[3, 40\]"),
        ({"speaker_id_map": ["a", "a"]}, "lists a name twice"),
        ({"speaker_id_map": {"a": 3}}, "gives 'a' the id 3; the voice has 1 speakers"),
        ({"default_speaker_id": 4}, "default_speaker_id of the voice is 4, of 1 speakers"),
        ({"hop_length": 256}, "says hop_length 256, its graph 16"),
        ({"espeak": ["en"]}, r"espeak of the voice must be a JSON object, got \['en'\]"),
    ],
)
def test_unexpected_settings_are_refused(
    small_voice: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    path = changed_copy(small_voice, tmp_path, lambda graph: None, **settings)
    with pytest.raises(ValueError, match=message):
        convert(path, tmp_path / "converted")


def test_files_that_are_no_voice_are_refused(small_voice: Path, tmp_path: Path) -> None:
    path = tmp_path / "voice.onnx"
    with pytest.raises(FileNotFoundError, match="there is no voice"):
        convert(path, tmp_path / "converted")
    path.write_bytes(b"no graph at all")
    with pytest.raises(FileNotFoundError, match=r"there is no .*voice\.onnx\.json"):
        convert(path, tmp_path / "converted")
    path.with_name("voice.onnx.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="not valid JSON"):
        convert(path, tmp_path / "converted")
    path.with_name("voice.onnx.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="is not an ONNX model"):
        convert(path, tmp_path / "converted")
    shutil.copy(small_voice, path)
    model = onnx.load(path)
    model.graph.input[0].name = "tokens"
    onnx.save(model, path)
    with pytest.raises(ValueError, match="is not a Piper voice"):
        convert(path, tmp_path / "converted")
