"""`pipeline` against transformers' own over the same checkpoints, and what it refuses."""

import random

import numpy
import pytest
import torch
import transformers

import fastvits
from fastvits.speech.pipeline import resolve_device
from tests.support.small_voices import save_small_voice
from tests.support.tolerances import PIPELINE_PARITY_FLOAT32

TEXTS = ["Hello, my dog is cute.", "Two words", "A somewhat longer sentence comes third, to be cut at its own length."]


def distance(actual, expected):
    """Relative root-mean-square distance of two waveforms of the same length."""
    assert actual.shape == expected.shape
    actual, expected = actual.astype(numpy.float64), expected.astype(numpy.float64)
    return numpy.sqrt(numpy.square(actual - expected).mean() / numpy.square(expected).mean())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_small_voice(tmp_path_factory.mktemp("voice"))


@pytest.fixture(scope="module")
def several_speakers(tmp_path_factory):
    return save_small_voice(tmp_path_factory.mktemp("speakers"), num_speakers=3, speaker_embedding_size=8)


@pytest.fixture(scope="module")
def say(folder):
    return fastvits.pipeline("text-to-speech", model=folder, device="cpu")


@pytest.fixture(scope="module")
def say_with_speakers(several_speakers):
    return fastvits.pipeline("text-to-speech", model=several_speakers, device="cpu")


@pytest.mark.parametrize("task", ["text-to-speech", "text-to-audio"])
def test_a_text_sounds_as_in_transformers(folder, task):
    ours = fastvits.pipeline(task, model=folder, device="cpu")
    theirs = transformers.pipeline(task, model=str(folder), device="cpu")
    fastvits.set_seed(7)
    actual = ours(TEXTS[0])
    transformers.set_seed(7)
    expected = theirs(TEXTS[0])
    assert actual.keys() == expected.keys() == {"audio", "sampling_rate"}
    assert actual["sampling_rate"] == expected["sampling_rate"]
    assert type(actual["sampling_rate"]) is int
    assert actual["audio"].dtype == numpy.float32
    assert actual["audio"].ndim == 1
    assert distance(actual["audio"], expected["audio"]) <= PIPELINE_PARITY_FLOAT32


def test_a_list_draws_its_noise_text_by_text_as_in_transformers(folder, say):
    theirs = transformers.pipeline("text-to-speech", model=str(folder), device="cpu")
    fastvits.set_seed(3)
    actual = say(TEXTS)
    transformers.set_seed(3)
    expected = theirs(TEXTS)
    assert len(actual) == len(expected) == len(TEXTS)
    for ours, its in zip(actual, expected, strict=True):
        assert distance(ours["audio"], its["audio"]) <= PIPELINE_PARITY_FLOAT32


def test_parameters_of_the_model_are_passed_as_in_transformers(several_speakers, say_with_speakers):
    theirs = transformers.pipeline("text-to-speech", model=str(several_speakers), device="cpu")
    transformers.set_seed(1)
    expected = theirs(TEXTS[0], forward_params={"speaker_id": 2})["audio"]
    fastvits.set_seed(1)
    from_dictionary = say_with_speakers(TEXTS[0], forward_params={"speaker_id": 2})["audio"]
    fastvits.set_seed(1)
    from_keyword = say_with_speakers(TEXTS[0], speaker_id=2)["audio"]
    assert distance(from_dictionary, expected) <= PIPELINE_PARITY_FLOAT32
    numpy.testing.assert_array_equal(from_keyword, from_dictionary)


def test_each_item_of_a_batch_sounds_as_it_does_alone(say, monkeypatch):
    monkeypatch.setattr(say.model, "noise_scale", 0.0)
    monkeypatch.setattr(say.model, "noise_scale_duration", 0.0)
    alone = [say(text)["audio"] for text in TEXTS]
    assert len({len(audio) for audio in alone}) == len(TEXTS)
    for batched in (say(TEXTS, batch_size=2), say(tuple(TEXTS), batch_size=8)):
        for actual, expected in zip(batched, alone, strict=True):
            assert distance(actual["audio"], expected) <= PIPELINE_PARITY_FLOAT32


def test_speakers_and_rates_may_differ_from_text_to_text(say_with_speakers, monkeypatch):
    monkeypatch.setattr(say_with_speakers.model, "noise_scale", 0.0)
    monkeypatch.setattr(say_with_speakers.model, "noise_scale_duration", 0.0)
    together = say_with_speakers(TEXTS, speaker_id=torch.tensor([2, 0, 1]), speaking_rate=[1.0, 0.5, 1.5], batch_size=2)
    for text, speaker, rate, actual in zip(TEXTS, [2, 0, 1], [1.0, 0.5, 1.5], together, strict=True):
        expected = say_with_speakers(text, speaker_id=speaker, speaking_rate=rate)["audio"]
        assert distance(actual["audio"], expected) <= PIPELINE_PARITY_FLOAT32


def test_a_text_depends_on_its_own_seed_and_controls_alone(say_with_speakers):
    controls = {
        "seed": [5, 6, 5],
        "speaker_id": [2, 0, 1],
        "speaking_rate": [1.0, 0.5, 1.5],
        "noise_scale": [0.3, 0.6, 0.9],
        "noise_scale_duration": [0.8, 0.0, 0.4],
    }
    together = say_with_speakers(TEXTS, batch_size=3, **controls)
    for number, (text, actual) in enumerate(zip(TEXTS, together, strict=True)):
        alone = say_with_speakers(text, **{name: values[number] for name, values in controls.items()})
        assert distance(actual["audio"], alone["audio"]) <= PIPELINE_PARITY_FLOAT32
    again = say_with_speakers(TEXTS[0], forward_params={name: values[0] for name, values in controls.items()})
    assert distance(again["audio"], together[0]["audio"]) <= PIPELINE_PARITY_FLOAT32


def test_speakers_may_be_mixed(say_with_speakers):
    table = say_with_speakers.model.embed_speaker.weight.detach()
    by_number = say_with_speakers(TEXTS, speaker_id=[2, 0, 1], seed=1, batch_size=2)
    by_embedding = say_with_speakers(TEXTS, speaker_embedding=table[[2, 0, 1]], seed=1, batch_size=2)
    for first, second in zip(by_number, by_embedding, strict=True):
        numpy.testing.assert_array_equal(first["audio"], second["audio"])
    mixed = say_with_speakers(TEXTS[0], speaker_embedding=table[:2].mean(0, keepdim=True), seed=1)["audio"]
    assert mixed.shape != by_number[0]["audio"].shape or not numpy.array_equal(mixed, by_number[0]["audio"])
    with pytest.raises(ValueError, match="not both"):
        say_with_speakers(TEXTS[0], speaker_id=0, speaker_embedding=table[:1])
    with pytest.raises(ValueError, match=r"speaker_embedding must be one for all texts or one a text \(3\), got 2"):
        say_with_speakers(TEXTS, speaker_embedding=table[:2])


def test_timestamps_come_on_request(say):
    first, second = say(["One two", "Three"], seed=1, return_timestamps=True, batch_size=2)
    assert first.keys() == {"audio", "sampling_rate", "timestamps"}
    words = [span.text for span in [*first["timestamps"], *second["timestamps"]] if span.kind == "word"]
    assert words == ["One", "two", "Three"]
    for one in (first, second):
        tokens = [span for span in one["timestamps"] if span.kind == "token"]
        assert tokens[-1].end == pytest.approx(len(one["audio"]) / one["sampling_rate"])


def test_an_empty_list_gives_an_empty_list(say):
    assert say([]) == []


def test_a_given_model_and_tokenizer_are_used(folder):
    model = fastvits.VitsModel.from_pretrained(folder)
    tokenizer = fastvits.VitsTokenizer.from_pretrained(folder)
    say = fastvits.pipeline("text-to-speech", model=model.train(), tokenizer=tokenizer, dtype="float64", device=-1)
    assert say.model is model
    assert say.tokenizer is tokenizer
    assert not model.training
    assert say.dtype == torch.float64
    assert say.device == torch.device("cpu")
    assert say(TEXTS[1])["audio"].dtype == numpy.float32


@pytest.mark.parametrize("dtype", [torch.float64, "float64", "torch.float64"])
def test_a_loaded_model_has_the_dtype_asked_for(folder, dtype):
    assert fastvits.pipeline("text-to-speech", model=folder, dtype=dtype, device="cpu").dtype == torch.float64


@pytest.mark.parametrize("dtype", [None, "auto"])
def test_a_loaded_model_keeps_its_dtype_otherwise(folder, dtype):
    assert fastvits.pipeline("text-to-speech", model=folder, dtype=dtype, device="cpu").dtype == torch.float32


@pytest.mark.parametrize("text", ["", "  \n", "\u6f22\u5b57", "@@@"])
def test_text_that_says_nothing_is_refused(say, text):
    with pytest.raises(ValueError, match=r"text is empty|no character that this voice can say"):
        say(text)
    with pytest.raises(ValueError, match=r"text is empty|no character that this voice can say"):
        say([TEXTS[0], text])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text_inputs": 3}, "text_inputs must be a str or a list of str, got int"),
        ({"text_inputs": ["a", None]}, "holds NoneType"),
        ({"text_inputs": "a", "speed": 2}, "speed"),
        ({"text_inputs": "a", "forward_params": {"noise": 0.1}}, "unknown parameter 'noise'"),
        ({"text_inputs": "a", "forward_params": {"speaker_id": 0}, "speaker_id": 0}, "given twice"),
        ({"text_inputs": "a", "preprocess_params": {"return_tensors": "np"}}, "the pipeline's own"),
        ({"text_inputs": "a", "preprocess_params": {"nonsense": 1}}, "nonsense"),
        ({"text_inputs": "a", "batch_size": 1.5}, "batch_size must be a whole number"),
    ],
)
def test_a_call_with_a_wrong_argument_is_refused(say, arguments, message):
    with pytest.raises(TypeError, match=message):
        say(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"speaking_rate": 0.0}, "speaking_rate"),
        ({"noise_scale": -1.0}, "noise_scale"),
        ({"seed": -1}, r"seed must lie in \[0, 2\*\*63\)"),
        ({"seed": [1, 2, 3]}, r"seed must be one for all texts or one a text \(2\), got 3"),
        ({"speaker_embedding": torch.zeros(1, 8)}, "takes no speaker embedding"),
        ({"speaker_id": [0, 1, 2]}, r"one a text \(2\), got 3"),
    ],
)
def test_a_call_with_a_wrong_value_is_refused(say, arguments, message):
    with pytest.raises(ValueError, match=message):
        say(TEXTS[:2], **arguments)


def test_a_speaker_that_is_missing_or_out_of_range_is_refused(say_with_speakers):
    for speaker in (None, 3, -1):
        with pytest.raises(ValueError, match="speaker"):
            say_with_speakers(TEXTS[0], speaker_id=speaker)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"task": "translation", "model": "x"}, ValueError, "unknown task 'translation'"),
        ({"task": "text-to-speech"}, ValueError, "model is missing"),
        ({"task": "text-to-speech", "model": 3}, TypeError, "model must be"),
        ({"task": "text-to-speech", "model": "x", "tokenizer": 3}, TypeError, "tokenizer must be"),
        ({"task": "text-to-speech", "model": "x", "speed": 3}, TypeError, "speed"),
        ({"task": "text-to-speech", "model": "x", "dtype": "int4"}, ValueError, "dtype"),
        ({"task": "text-to-speech", "model": "x", "device": "nowhere"}, ValueError, "nowhere"),
        ({"task": "text-to-speech", "model": "x", "batch_size": 0}, ValueError, "batch_size"),
        ({"task": "text-to-speech", "model": "/no/such/folder"}, OSError, "/no/such/folder"),
    ],
)
def test_a_pipeline_that_cannot_be_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        fastvits.pipeline(**arguments)


def test_a_model_without_a_tokenizer_is_refused(folder):
    with pytest.raises(ValueError, match="tokenizer is missing"):
        fastvits.pipeline("text-to-speech", model=fastvits.VitsModel.from_pretrained(folder))


def test_devices_by_index_name_and_object():
    assert resolve_device(-1) == resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")
    first = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    assert resolve_device(None) == first
    for absent in (torch.cuda.device_count(), f"cuda:{torch.cuda.device_count()}", "meta", -2):
        with pytest.raises(ValueError, match="device"):
            resolve_device(absent)
    for nonsense in (True, 1.0, ["cpu"]):
        with pytest.raises(TypeError, match="device"):
            resolve_device(nonsense)


def test_a_seed_repeats_and_another_one_differs(say):
    fastvits.set_seed(5)
    first = say(TEXTS[1])["audio"]
    fastvits.set_seed(5)
    numpy.testing.assert_array_equal(say(TEXTS[1])["audio"], first)
    fastvits.set_seed(6)
    other = say(TEXTS[1])["audio"]
    assert other.shape != first.shape or not numpy.array_equal(other, first)


def test_a_seed_sets_every_generator_as_transformers_does():
    fastvits.set_seed(11)
    ours = (random.random(), numpy.random.rand(), torch.rand(()).item())
    transformers.set_seed(11)
    assert ours == (random.random(), numpy.random.rand(), torch.rand(()).item())


@pytest.mark.parametrize(
    ("seed", "error"), [(-1, ValueError), (2**32, ValueError), (1.0, TypeError), (True, TypeError)]
)
def test_a_seed_that_cannot_be_is_refused(seed, error):
    with pytest.raises(error, match="seed must be"):
        fastvits.set_seed(seed)
