"""OpenAI's own client speaks with the server, and what it gets is what the library says."""

import base64
import io
import itertools
import json
import threading
import time
import wave

import av
import httpx2 as httpx
import numpy as np
import openai
import pytest
import soxr
import torch

from fastvits import Speaker
from fastvits.audio.files import pcm16
from fastvits.serving.encoding import MEDIA_TYPES
from fastvits.serving.steps import spoken_samples
from tests.serving.servers import running
from tests.support.small_voices import save_small_voice

TEXT = "hello my dog is cute. so is mine, and the one of the lady next door. good bye"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("voices")
    return {
        "one": str(save_small_voice(root / "one")),
        "two": str(save_small_voice(root / "two", seed=1, num_speakers=3, speaker_embedding_size=8)),
    }


@pytest.fixture(scope="module")
def server(folders):
    with running(folders, aliases={"alloy": "one"}) as made:
        yield made


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def expected(folders):
    """Samples of the library, by voice, text and options."""
    speakers = {name: Speaker(folder) for name, folder in folders.items()}

    def say(voice, text=TEXT, **options):
        torch.set_num_threads(1)  # as a step of the server has
        return spoken_samples(speakers[voice], text, **options)

    return say


def of_wav(data):
    """The samples of a WAV stream, whose header does not know its length."""
    assert data[:4] == b"RIFF"
    assert data[40:44] == b"\xff\xff\xff\xff"
    return np.frombuffer(data[44:], "<i2")


def test_create_gives_the_librarys_samples(client, expected):
    answer = client.audio.speech.create(
        model="tts-1", voice="one", input=TEXT, response_format="wav", extra_body={"seed": 3}
    )
    samples = of_wav(answer.content)
    np.testing.assert_array_equal(samples, pcm16(expected("one", seed=3)))
    with wave.open(io.BytesIO(answer.content)) as file:
        assert file.getframerate() == 16000


def test_pcm_has_24_kilohertz(client, expected):
    answer = client.audio.speech.create(
        model="tts-1", voice="one", input=TEXT, response_format="pcm", extra_body={"seed": 3}
    )
    wanted = pcm16(soxr.resample(expected("one", seed=3), 16000, 24000))
    samples = np.frombuffer(answer.content, "<i2")
    assert len(samples) == len(wanted)
    # Resampled in pieces, the last bit may differ.
    assert np.abs(samples.astype(int) - wanted.astype(int)).max() <= 1


@pytest.mark.parametrize("form", [form for form in MEDIA_TYPES if form not in ("pcm", "wav")])
def test_every_format_is_what_it_says(client, expected, form):
    answer = client.audio.speech.create(
        model="tts-1", voice="one", input=TEXT, response_format=form, extra_body={"seed": 3}
    )
    assert answer.response.headers["content-type"] == MEDIA_TYPES[form]
    with av.open(io.BytesIO(answer.content)) as container:
        (stream,) = container.streams
        assert stream.codec_context.name.removesuffix("float") == {"opus": "opus"}.get(form, form)
        length = sum(frame.samples for frame in container.decode(stream)) / stream.rate
    # An encoder adds a frame or two of its own.
    assert length == pytest.approx(len(expected("one", seed=3)) / 16000, abs=0.12)


def test_mp3_is_the_default_and_a_voice_may_have_an_id(client):
    answer = client.audio.speech.create(model="tts-1", voice={"id": "one"}, input="hello")
    assert answer.response.headers["content-type"] == "audio/mpeg"
    assert answer.response.headers["x-fastvits-voice"] == "one"


def test_speed_speaker_and_noise_are_the_librarys(client, expected):
    answer = client.audio.speech.create(
        model="tts-1",
        voice="two",
        input=TEXT,
        speed=1.5,
        response_format="wav",
        extra_body={"seed": 5, "speaker": 2, "noise_scale": 0.3},
    )
    wanted = expected("two", seed=5, speaker=2, noise_scale=0.3, speaking_rate=1.5)
    np.testing.assert_array_equal(of_wav(answer.content), pcm16(wanted))


def test_an_integer_may_be_written_as_javascript_would(server, expected):
    body = b'{"model": "x", "voice": "one", "input": "hello", "response_format": "wav", "seed": 3.0, "speed": 1}'
    answer = httpx.post(f"{server.url}/v1/audio/speech", content=body)
    np.testing.assert_array_equal(of_wav(answer.content), pcm16(expected("one", "hello", seed=3, speaking_rate=1.0)))


def test_an_alias_stands_for_its_voice(client, expected):
    answer = client.audio.speech.create(
        model="tts-1", voice="alloy", input=TEXT, response_format="wav", extra_body={"seed": 1}
    )
    np.testing.assert_array_equal(of_wav(answer.content), pcm16(expected("one", seed=1)))
    assert answer.response.headers["x-fastvits-voice"] == "one"


def test_instructions_are_ignored_and_a_header_says_so(client):
    answer = client.audio.speech.create(model="tts-1", voice="one", input="hello", instructions="Whisper.")
    assert answer.response.headers["x-fastvits-ignored"] == "instructions"


def test_the_first_piece_comes_before_the_last_is_computed(server):
    # Computed as fast as it is read: of a long text the server is never far ahead.
    text = " ".join(["hello my dog is cute"] * 2000)
    asked = {"model": "tts-1", "voice": "one", "input": text[:4000], "response_format": "wav", "seed": 1}
    with httpx.Client() as client, client.stream("POST", f"{server.url}/v1/audio/speech", json=asked) as answer:
        first = next(answer.iter_raw())
        assert len(first) > 0
        assert len(server.engine.scheduler) == 1
    deadline = time.monotonic() + 20
    while len(server.engine.scheduler) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(server.engine.scheduler) == 0, "what nobody hears any more goes on"


def test_events_carry_the_sound_and_the_words(client, expected):
    with client.audio.speech.with_streaming_response.create(
        model="tts-1",
        voice="one",
        input=TEXT,
        response_format="wav",
        stream_format="sse",
        extra_body={"seed": 3, "timestamps": True},
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    sound = b"".join(base64.b64decode(e["audio"]) for e in events if e["type"] == "speech.audio.delta")
    np.testing.assert_array_equal(of_wav(sound), pcm16(expected("one", seed=3)))
    words = [word for e in events if e["type"] == "speech.audio.timestamps" for word in e["words"]]
    assert [word["word"] for word in words] == TEXT.split()
    assert all(TEXT[word["text_start"] : word["text_end"]] == word["word"] for word in words)
    assert all(a["end"] <= b["start"] + 1e-3 for a, b in itertools.pairwise(words))
    assert events[-1]["type"] == "speech.audio.done"
    usage = events[-1]["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    kinds = [event["type"] for event in events]
    assert kinds.index("speech.audio.timestamps") < kinds.index("speech.audio.delta")


def test_a_crowd_hears_what_each_would_hear_alone(server, expected):
    texts = [f"hello my dog number {'abcdefgh'[i]} is cute" for i in range(5)]
    heard = {}

    def ask(number):
        asked = {"model": "x", "voice": "one", "input": texts[number], "response_format": "wav", "seed": number}
        heard[number] = httpx.post(f"{server.url}/v1/audio/speech", json=asked, timeout=60).content

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, text in enumerate(texts):
        np.testing.assert_array_equal(of_wav(heard[number]), pcm16(expected("one", text, seed=number)))


def test_models_and_voices_are_listed(client, server):
    assert "tts-1" in [model.id for model in client.models.list()]
    voices = httpx.get(f"{server.url}/v1/audio/voices").json()["voices"]
    assert [voice["id"] for voice in voices] == ["one", "two"]


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"voice": "nobody"}, 404, "there is no voice 'nobody' here; there are one, two"),
        ({"voice": {"id": 3}}, 400, 'voice must be {"id": a string} where it is an object, got {"id": 3}'),
        ({"voice": {}}, 400, 'voice must be {"id": a string} where it is an object, got {}'),
        ({"voice": None}, 400, "voice is missing"),
        ({"input": ""}, 400, "input has 0 characters; allowed are 1 or more"),
        ({"input": "   "}, 400, "input is empty, so that there is nothing to say"),
        ({"input": "a" * 4097}, 400, "input has 4097 characters; allowed are 4096 or less"),
        ({"input": "..."}, 400, "nothing to say"),
        ({"input": "\u00ae"}, 400, "no character that this voice can say"),
        ({"speaker": ""}, 400, "speaker has 0 characters; allowed are 1 or more"),
        ({"speaker": -1}, 400, "speaker is -1; allowed is 0 or more"),
        ({"voice": "two", "speaker": 300}, 400, "speaker_id 300 is out of range"),
        ({"input": 3}, 400, "input must be a string, got 3"),
        ({"input": "a\ud800"}, 400, "surrogate"),
        ({"response_format": "ogg"}, 400, "response_format must be one of mp3, opus, aac, flac, wav, pcm"),
        ({"speed": 4.1}, 400, "speed is 4.1; allowed is 4 or less"),
        ({"speed": "fast"}, 400, 'speed must be a number, got "fast"'),
        ({"speed": True}, 400, "speed must be a number, got true"),
        ({"timestamps": True}, 400, "timestamps needs stream_format sse"),
        ({"seed": -1}, 400, "seed is -1; allowed is 0 or more"),
        ({"seed": 1.5}, 400, "seed must be an integer, got 1.5"),
        ({"pitch": 2}, 400, 'unknown key "pitch"'),
        ({"voice": "two", "speaker": 7}, 400, "7"),
        ({"voice": "two", "speaker": "anna"}, 400, "anna"),
    ],
)
def test_what_does_not_fit_is_said(server, change, status, message):
    asked = {"model": "tts-1", "voice": "one", "input": "hello", **change}
    answer = httpx.post(f"{server.url}/v1/audio/speech", content=json.dumps(asked).encode())
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert message in error["message"]


def test_the_clients_own_errors(client):
    with pytest.raises(openai.NotFoundError, match="no voice 'nobody'"):
        client.audio.speech.create(model="tts-1", voice="nobody", input="hello")
    with pytest.raises(openai.BadRequestError, match="speed"):
        client.audio.speech.create(model="tts-1", voice="one", input="hello", speed=9)
