"""Every argument of transformers' pipeline and of its call: the same outcome, or one sentence that says why not."""

import copy
import inspect
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from transformers.pipelines.pt_utils import KeyDataset

import fastvits
from fastvits.speech.pipeline import TextToAudioPipeline
from tests.support.small_voices import save_small_voice
from tests.support.tolerances import PIPELINE_PARITY_FLOAT32

TEXTS = ["hello my dog", "two words", "a somewhat longer text"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(save_small_voice(tmp_path_factory.mktemp("voice")))


@pytest.fixture(scope="module")
def speakers(tmp_path_factory):
    return str(save_small_voice(tmp_path_factory.mktemp("speakers"), num_speakers=3, speaker_embedding_size=8))


@pytest.fixture(scope="module")
def say(folder):
    return fastvits.pipeline("text-to-speech", model=folder, device="cpu")


@pytest.fixture(scope="module")
def theirs(folder):
    return transformers.pipeline("text-to-speech", model=folder, device="cpu")


def same(actual, expected):
    assert actual["sampling_rate"] == expected["sampling_rate"]
    assert actual["audio"].shape == expected["audio"].shape
    difference = np.linalg.norm(actual["audio"] - expected["audio"])
    assert difference <= PIPELINE_PARITY_FLOAT32 * np.linalg.norm(expected["audio"])


def both(ours, its, call, seed=7):
    """What a call gives with both libraries, from the same seed."""
    torch.manual_seed(seed)
    actual = call(ours)
    torch.manual_seed(seed)
    return actual, call(its)


def test_every_argument_of_transformers_is_one_of_ours():
    ours = inspect.signature(fastvits.pipeline).parameters
    its = [name for name in inspect.signature(transformers.pipeline).parameters if name != "kwargs"]
    assert list(ours)[: len(its)] == its


@pytest.mark.parametrize(
    "arguments",
    [
        {"torch_dtype": torch.float32},
        {"dtype": torch.float32},
        {"torch_dtype": "auto"},
        {"model_kwargs": {"torch_dtype": torch.float32}},
        {"model_kwargs": {"dtype": "float32"}},
        {"trust_remote_code": True},
        {"trust_remote_code": False, "code_revision": None},
        {"use_fast": False},
        {"feature_extractor": None, "image_processor": None, "video_processor": None, "processor": None},
        {"num_workers": 2},
        {"batch_size": 2, "num_workers": 0},
        {"revision": "main", "token": None},
        {"framework": "pt"},
        {"preprocess_params": {"normalize": True}},
        {"generate_kwargs": {}},
    ],
)
def test_arguments_that_transformers_takes_give_the_same_sound(folder, arguments):
    ours = fastvits.pipeline("text-to-speech", model=folder, device="cpu", **arguments)
    own = {name: value for name, value in arguments.items() if name not in ("framework", "code_revision")}
    its = transformers.pipeline("text-to-speech", model=folder, device="cpu", **own)
    same(*both(ours, its, lambda say: say("hello my dog")))


def test_devices_by_map(folder):
    for device_map in ("auto", "cpu", {"": "cpu"}, torch.device("cpu")):
        say = fastvits.pipeline("text-to-speech", model=folder, device_map=device_map)
        assert say.device == torch.device("cpu" if not torch.cuda.is_available() else say.device)
    assert fastvits.pipeline(model=folder, model_kwargs={"device_map": "cpu"}).device == torch.device("cpu")
    with pytest.raises(ValueError, match="give device or device_map, not both"):
        fastvits.pipeline(model=folder, device=-1, device_map="auto")


def test_tokenizers_of_transformers_are_taken(folder, theirs):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ours = fastvits.pipeline("text-to-speech", model=folder, tokenizer=tokenizer, device="cpu")
    assert ours.tokenizer is tokenizer
    same(*both(ours, theirs, lambda say: say("hello my dog")))
    batched, alone = ours(TEXTS, batch_size=3, seed=[1, 2, 3]), [ours(text, seed=1 + n) for n, text in enumerate(TEXTS)]
    for first, second in zip(batched, alone, strict=True):
        same(first, second)
    with pytest.raises(TypeError, match="tokenizer must be a VitsTokenizer"):
        ours("hello", return_timestamps=True)
    with pytest.raises(ValueError, match="no character that this voice can say"):
        ours("漢字")
    model = fastvits.VitsModel.from_pretrained(folder)
    by_processor = fastvits.pipeline("text-to-speech", model=model, processor=tokenizer, device="cpu")
    same(*both(by_processor, theirs, lambda say: say("hello my dog")))


def test_generators_and_datasets_are_gone_through_as_outputs_are_asked_for(say, theirs):
    def collected(pipe):
        return list(pipe(text for text in TEXTS))

    expected = both(say, theirs, collected)[1]
    read = []

    def texts():
        for text in TEXTS:
            read.append(text)
            yield text

    torch.manual_seed(7)
    outputs = say(texts())
    assert read == []
    first = next(outputs)
    assert read == TEXTS[:1]
    for actual, its in zip([first, *outputs], expected, strict=True):
        same(actual, its)

    class Texts(torch.utils.data.Dataset):
        def __len__(self):
            return len(TEXTS)

        def __getitem__(self, index):
            if index >= len(TEXTS):
                raise IndexError
            return {"text": TEXTS[index]}

    torch.manual_seed(7)
    for actual, its in zip(say(KeyDataset(Texts(), "text")), expected, strict=True):
        same(actual, its)
    torch.manual_seed(7)
    assert len(list(say(iter(TEXTS), batch_size=2))) == 3
    torch.manual_seed(7)
    for actual, its in zip(say(np.array(TEXTS)), expected, strict=True):
        same(actual, its)
    assert list(say(text for text in [])) == []
    with pytest.raises(ValueError, match=r"seed must be one for all texts or one a text \(1\), got 3"):
        next(say(iter(TEXTS), seed=[1, 2, 3]))
    for wrong in ({"text": "hello"}, [{"role": "user", "content": "hello"}], 3, b"hello"):
        with pytest.raises(TypeError, match="text_inputs must"):
            say(wrong)


def test_the_steps_one_by_one(say, theirs, speakers):
    def steps(pipe):
        inputs = pipe.preprocess("hello my dog")
        waveform = pipe.forward(inputs, forward_params={"speaking_rate": 0.9}, generate_kwargs={})
        assert waveform.shape[0] == 1
        return pipe.postprocess(waveform)

    actual, expected = both(say, theirs, steps)
    same(actual, expected)
    assert set(say.preprocess("hello my dog")) == set(theirs.preprocess("hello my dog"))
    named = fastvits.pipeline("text-to-speech", model=speakers, device="cpu")
    waveform = named.forward(named.preprocess(TEXTS, padding=True), speaker_id=1, seed=[1, 2, 3])
    assert waveform.shape[0] == 3
    with pytest.raises(TypeError, match="unknown parameter 'speed'"):
        say.forward(say.preprocess("hello"), speed=2)


def test_steps_of_a_subclass_are_taken(folder):
    class Louder(TextToAudioPipeline):
        def preprocess(self, text, **options):
            return super().preprocess(text.upper().lower() + " again", **options)

        def postprocess(self, audio):
            return {**super().postprocess(audio * 2), "doubled": True}

    say = fastvits.pipeline("text-to-speech", model=folder, device="cpu", pipeline_class=Louder)
    plain = fastvits.pipeline("text-to-speech", model=folder, device="cpu")
    actual, expected = say(["hello", "you"], seed=3), plain(["hello again", "you again"], seed=3)
    for one, other in zip(actual, expected, strict=True):
        assert one["doubled"]
        np.testing.assert_allclose(one["audio"], other["audio"] * 2, rtol=1e-6)
    with pytest.raises(TypeError, match="pipeline_class must be a subclass"):
        fastvits.pipeline(model=folder, pipeline_class=dict)


def test_parameters_given_when_it_is_made_count_where_a_call_does_not_say(speakers):
    say = fastvits.pipeline(
        "text-to-speech", model=speakers, device="cpu", forward_params={"speaker_id": 2, "noise_scale": 0.1}
    )
    plain = fastvits.pipeline("text-to-speech", model=speakers, device="cpu")
    np.testing.assert_array_equal(
        say("hello", seed=1)["audio"], plain("hello", seed=1, speaker_id=2, noise_scale=0.1)["audio"]
    )
    np.testing.assert_array_equal(
        say("hello", seed=1, speaker=1)["audio"], plain("hello", seed=1, speaker_id=1, noise_scale=0.1)["audio"]
    )
    assert fastvits.pipeline(model=speakers, sampling_rate=8000)("hello", speaker_id=0)["sampling_rate"] == 8000


def test_it_is_saved_and_loaded_by_both(say, tmp_path):
    say.save_pretrained(tmp_path / "saved")
    again = fastvits.pipeline("text-to-speech", model=tmp_path / "saved", device="cpu")
    np.testing.assert_array_equal(again("hello", seed=1)["audio"], say("hello", seed=1)["audio"])
    its = transformers.pipeline("text-to-speech", model=str(tmp_path / "saved"), device="cpu")
    same(*both(say, its, lambda pipe: pipe("hello my dog")))
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="save_directory must be a folder"):
        say.save_pretrained(tmp_path / "file")


def test_it_is_pushed_with_its_tokenizer(say, monkeypatch):
    uploaded = {}

    class Api:
        def __init__(self, token=None):
            self.token = token

        def create_repo(self, name, exist_ok):
            return SimpleNamespace(repo_id=f"me/{name}")

        def upload_folder(self, folder_path, **options):
            uploaded.update(options, files=sorted(path.name for path in Path(folder_path).iterdir()), token=self.token)

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr(type(say.model), "push_to_hub", lambda self, name, **options: f"{name} {sorted(options)}")
    assert say.push_to_hub("voice", private=True, token="t", branch="new") == "voice ['branch', 'private', 'token']"
    assert {"tokenizer_config.json", "vocab.json"} <= set(uploaded.pop("files"))
    assert uploaded == {
        "repo_id": "me/voice",
        "commit_message": "Upload tokenizer",
        "revision": "new",
        "create_pr": None,
        "token": "t",
    }


def test_it_is_copied_pickled_and_called_from_threads(say):
    expected = say("hello", seed=1)["audio"]
    for again in (pickle.loads(pickle.dumps(say)), copy.deepcopy(say)):
        np.testing.assert_array_equal(again("hello", seed=1)["audio"], expected)
    with ThreadPoolExecutor(4) as pool:
        for output in pool.map(lambda _: say("hello", seed=1), range(8)):
            np.testing.assert_allclose(output["audio"], expected, atol=1e-6)


def test_small_things_of_the_published_class(say):
    assert say.torch_dtype == say.dtype == torch.float32
    assert say.framework == "pt"
    assert say.feature_extractor is say.image_processor is say.processor is say.vocoder is None
    with say.device_placement(), say.get_inference_context()():
        assert say.ensure_tensor_on_device(ids=torch.zeros(1), name="x")["ids"].device == say.device
    assert say.predict(["hello"])[0].keys() == {"audio", "sampling_rate"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"image_processor": object()}, ValueError, "image_processor has no place in this pipeline"),
        ({"vocoder": object()}, ValueError, "VITS makes the waveform itself"),
        ({"framework": "tf"}, ValueError, "framework must be 'pt' or None"),
        ({"generate_kwargs": {"top_k": 3}}, ValueError, "generate_kwargs has no place here"),
        ({"binary_output": True}, ValueError, "binary_output would pickle the audio"),
        ({"num_workers": -1}, ValueError, "num_workers must be at least 0"),
        ({"num_workers": "two"}, TypeError, "num_workers must be a whole number"),
        ({"torch_dtype": torch.float16, "dtype": torch.float32}, ValueError, "dtype is given twice"),
        ({"config": 3}, TypeError, "config must be a folder, a hub id or a VitsConfig"),
        ({"forward_params": {"noise": 1}}, TypeError, "unknown parameter 'noise' in forward_params"),
        ({"sampling_frequency": 3}, TypeError, "unexpected keyword argument 'sampling_frequency'"),
    ],
)
def test_what_it_cannot_do_is_refused(folder, arguments, error, message):
    with pytest.raises(error, match=message):
        fastvits.pipeline("text-to-speech", model=folder, **arguments)
    with pytest.raises(ValueError, match="generate_kwargs has no place here"):
        fastvits.pipeline("text-to-speech", model=folder)("hello", generate_kwargs={"do_sample": True})
