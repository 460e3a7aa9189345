"""Wyoming's own client speaks with the server."""

import asyncio
import contextlib
import socket
import time

import numpy as np
import pytest
import torch
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
    SynthesizeVoice,
)

from fastvits.serving.steps import spoken_samples
from tests.serving.servers import running
from tests.support.small_voices import save_small_voice

TEXT = "hello my dog is cute. so is mine. good bye"


@pytest.fixture(scope="module")
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("voices")
    return {
        "one": str(save_small_voice(root / "one")),
        "two": str(save_small_voice(root / "two", seed=1, num_speakers=3, speaker_embedding_size=8)),
    }


@pytest.fixture(scope="module")
def server(folders, port):
    with running(folders, wyoming=port) as made:
        for name in folders:
            made.engine.voices.preload(name)
        yield made


@pytest.fixture
def quiet(server, monkeypatch):
    """No noise, so that a voice says the same each time: the protocol has no seed."""
    for speaker in server.engine.voices.loaded().values():
        monkeypatch.setattr(speaker.model, "noise_scale", 0.0)
        monkeypatch.setattr(speaker.model, "noise_scale_duration", 0.0)


def expected(voice, text, **options):
    torch.set_num_threads(1)
    audio = spoken_samples(voice, text, **options)
    return np.rint(np.clip(audio, -1, 1) * 32767).astype("<i2")


def talk(port, *events, last=(AudioStop, Error)):
    """Send events and return what comes back, up to the first event of one of the kinds `last`."""

    async def run():
        heard = []
        async with AsyncTcpClient("127.0.0.1", port) as client:
            for event in events:
                await client.write_event(event if isinstance(event, Event) else event.event())
            while True:
                event = await asyncio.wait_for(client.read_event(), 60)
                heard.append(event)
                if event is None or any(kind.is_type(event.type) for kind in last):
                    return heard

    return asyncio.run(run())


def sound(events):
    """The samples of a talk, and their rate."""
    (start,) = {AudioStart.from_event(e).rate for e in events if AudioStart.is_type(e.type)}
    chunks = [AudioChunk.from_event(e) for e in events if AudioChunk.is_type(e.type)]
    return np.frombuffer(b"".join(chunk.audio for chunk in chunks), "<i2"), start


def test_what_there_is_is_described(server, port):
    (event,) = talk(port, Describe(), last=(Info,))
    (program,) = Info.from_event(event).tts
    assert program.supports_synthesize_streaming
    assert [voice.name for voice in program.voices] == ["one", "two"]
    assert [speaker.name for speaker in program.voices[1].speakers] == ["0", "1", "2"]


def test_a_text_is_spoken(server, port, quiet):
    events = talk(port, Synthesize(TEXT))
    samples, rate = sound(events)
    assert rate == 16000
    np.testing.assert_array_equal(samples, expected(server.engine.voices.loaded()["one"], TEXT))
    assert AudioStart.is_type(events[0].type)


def test_a_voice_and_a_speaker_are_chosen(server, port, quiet):
    events = talk(port, Synthesize("hello", voice=SynthesizeVoice(name="two", speaker="2")))
    two = server.engine.voices.loaded()["two"]
    np.testing.assert_array_equal(sound(events)[0], expected(two, "hello", speaker=2))


def test_a_voice_is_chosen_by_its_language(server, port, quiet, monkeypatch):
    one, two = server.engine.voices.loaded().values()
    monkeypatch.setattr(type(one), "language", property(lambda self: "en-gb" if self is one else "en-us"))
    for language, rate in (("en_US", two), ("en", one), ("en-AU", one)):
        events = talk(port, Synthesize("hello", voice=SynthesizeVoice(language=language)))
        if rate is two:  # it has speakers, and none was chosen
            assert "speaker" in Error.from_event(events[-1]).text
        else:
            np.testing.assert_array_equal(sound(events)[0], expected(one, "hello"))


def test_a_streamed_text_is_spoken_sentence_by_sentence(server, port, quiet):
    parts = [SynthesizeChunk(text=TEXT[i : i + 5]) for i in range(0, len(TEXT), 5)]
    # Clients send the whole text once more for servers that know no streams.
    events = talk(port, SynthesizeStart(), *parts, Synthesize(TEXT), SynthesizeStop(), last=(SynthesizeStopped, Error))
    one = server.engine.voices.loaded()["one"]
    sentences = ["hello my dog is cute. ", "so is mine. ", "good bye"]
    wanted = np.concatenate([expected(one, sentence) for sentence in sentences])
    np.testing.assert_array_equal(sound(events)[0], wanted)
    kinds = [event.type for event in events]
    assert kinds.count("audio-start") == kinds.count("audio-stop") == 1


def test_describing_does_not_wait_for_what_is_spoken(server, port):
    async def run():
        async with AsyncTcpClient("127.0.0.1", port) as busy, AsyncTcpClient("127.0.0.1", port) as other:
            await busy.write_event(Synthesize(" ".join([TEXT + "."] * 200)).event())
            while not AudioChunk.is_type((await asyncio.wait_for(busy.read_event(), 60)).type):
                pass
            await other.write_event(Describe().event())
            event = await asyncio.wait_for(other.read_event(), 60)
            assert Info.is_type(event.type)
            assert len(server.engine.scheduler) == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (Synthesize("hello", voice=SynthesizeVoice(name="nobody")), "there is no voice 'nobody'"),
        (Synthesize("..."), "nothing to say"),
        (SynthesizeChunk(text="hello"), "synthesize-chunk without synthesize-start"),
        (Event("synthesize", {}), "synthesize lacks 'text'"),
    ],
)
def test_what_does_not_fit_is_an_error_and_the_client_may_go_on(server, port, event, message):
    (first,) = talk(port, event, last=(Error,))
    assert message in Error.from_event(first).text
    assert any(AudioChunk.is_type(e.type) for e in talk(port, Synthesize("hello")))


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"hello\n", "an event must be JSON"),
        (b"[1]\n", "an event must be a JSON object, got list"),
        (b"\xff\xfe\n", "an event must be JSON"),
        (b"[" * 100_000 + b"\n", "an event must be JSON"),
        (b'{"type": 3}\n', "an event has a type"),
        (b'{"type": "synthesize", "data": [1]}\n', "its data are an object"),
        (b'{"type": "synthesize", "data_length": 2}\n[]', "an event's data must be a JSON object"),
        (
            b'{"type": "synthesize", "data_length": 1e9}\n',
            "what follows an event has 0 to 1048576 bytes, not 1000000000.0",
        ),
        (b'{"type": "synthesize", "payload_length": 99999999999}\n', "has 0 to 1048576 bytes, not 99999999999"),
        (b'{"a": "' + b"a" * (1 << 20), "an event's line has 1048576 bytes at the most"),
    ],
)
def test_what_is_no_event_is_said_and_ends_the_connection(server, port, sent, message):
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(30)
        client.sendall(sent)
        answer = b""
        with contextlib.suppress(ConnectionError):  # what the server did not read resets the connection
            while data := client.recv(1 << 16):
                answer += data
        assert message in answer.decode()
    assert any(AudioChunk.is_type(e.type) for e in talk(port, Synthesize("hello")))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"text": 3}, "text must be a string, got int"),
        ({"text": "hello", "voice": {"name": 3}}, "name must be a string, got int"),
        ({"text": "hello", "voice": "one"}, "the voice of synthesize must be an object"),
        ({"text": "hello", "voice": {"language": "xx"}}, "there is no loaded voice of 'xx': name one of one, two"),
    ],
)
def test_data_that_do_not_fit_are_an_error(port, data, message):
    (first,) = talk(port, Event("synthesize", data), last=(Error,))
    assert message in Error.from_event(first).text


def test_a_streamed_sentence_has_an_end(server, port, monkeypatch):
    monkeypatch.setattr(server.engine, "max_characters", 100)
    events = talk(port, SynthesizeStart(), *[SynthesizeChunk(text="hello ")] * 20, last=(Error,))
    assert "more than 100 characters" in Error.from_event(events[-1]).text


def test_a_client_that_goes_ends_its_text(server, port):
    async def run(read):
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(Synthesize(" ".join([TEXT + "."] * 500)).event())
            while read and not AudioChunk.is_type((await asyncio.wait_for(client.read_event(), 60)).type):
                pass

    for read in (True, False):
        asyncio.run(run(read))
        deadline = time.monotonic() + 30
        while len(server.engine.scheduler) or server.engine._entering:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_server_that_ends_finishes_what_it_speaks(folders):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        other = free.getsockname()[1]

    async def run(server):
        async with AsyncTcpClient("127.0.0.1", other) as client, AsyncTcpClient("127.0.0.1", other) as idle:
            await idle.write_event(Describe().event())
            assert Info.is_type((await idle.read_event()).type)
            await client.write_event(Synthesize(" ".join([TEXT + "."] * 20)).event())
            assert AudioStart.is_type((await asyncio.wait_for(client.read_event(), 60)).type)
            server.server.should_exit = True
            kinds = []
            while (event := await asyncio.wait_for(client.read_event(), 60)) is not None:
                kinds.append(event.type)
            assert kinds[-1] == "audio-stop"
            assert await asyncio.wait_for(idle.read_event(), 60) is None

    with running({"one": folders["one"]}, wyoming=other) as server:
        asyncio.run(run(server))


def test_events_that_nobody_knows_are_passed_over(server, port):
    events = talk(port, Event("new-thing", {}), Describe(), last=(Info,))
    assert len(events) == 1
