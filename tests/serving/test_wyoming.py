"""Wyoming's own client speaks with the server."""

import asyncio
import socket

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
    audio = np.concatenate(list(voice.stream(text, **options)))
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


def test_events_that_nobody_knows_are_passed_over(server, port):
    events = talk(port, Event("new-thing", {}), Describe(), last=(Info,))
    assert len(events) == 1
