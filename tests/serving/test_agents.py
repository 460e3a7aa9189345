"""Voice agents ask the server: pipecat and LiveKit Agents, by their own services for OpenAI's route.

Each runs in the interpreter that the variable `PIPECAT_PYTHON` or `LIVEKIT_PYTHON` names, for they bring many packages
along, or else in this one; where it is not installed, its test is skipped by name.
"""

import os
import subprocess
import sys

import httpx2 as httpx
import numpy as np
import pytest

from tests.serving.servers import running
from tests.support.small_voices import save_small_voice

TEXT = "hello my dog is cute. so is mine"

PIPECAT = """
import asyncio, sys
from pipecat.frames.frames import ErrorFrame, TTSAudioRawFrame
from pipecat.services.openai.tts import OpenAITTSService

async def main(url, model, text):
    service = OpenAITTSService(
        api_key="none", base_url=url, settings=OpenAITTSService.Settings(voice="nova", model=model)
    )
    service._sample_rate = 24000  # which a pipeline tells it when it starts
    async for frame in service.run_tts(text, "one"):
        assert not isinstance(frame, ErrorFrame), frame
        if isinstance(frame, TTSAudioRawFrame):
            assert (frame.sample_rate, frame.num_channels) == (24000, 1)
            sys.stdout.buffer.write(frame.audio)

asyncio.run(main(*sys.argv[1:]))
"""

LIVEKIT = """
import asyncio, sys
from livekit.plugins import openai

async def main(url, model, text):
    service = openai.TTS(base_url=url, api_key="none", voice="nova", model=model, response_format="pcm")
    async with service.synthesize(text) as stream:
        async for event in stream:
            assert (event.frame.sample_rate, event.frame.num_channels) == (24000, 1)
            sys.stdout.buffer.write(bytes(event.frame.data))
    await service.aclose()

asyncio.run(main(*sys.argv[1:]))
"""

AGENTS = {
    "pipecat": (PIPECAT, "pipecat.services.openai.tts"),
    "livekit": (LIVEKIT, "livekit.plugins.openai"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    # Without noise, so that a text has one right answer though nobody sends a seed.
    folder = save_small_voice(tmp_path_factory.mktemp("voice"), noise_scale=0.0, noise_scale_duration=0.0)
    with running({"one": str(folder)}, aliases={"nova": "one"}) as made:
        yield made


def run(agent, code, *arguments):
    python = os.environ.get(f"{agent.upper()}_PYTHON", sys.executable)
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([python, "-c", code, *arguments], capture_output=True, env=outside, timeout=120)


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_hears_what_the_server_says(agent, server):
    code, module = AGENTS[agent]
    if run(agent, f"import {module}").returncode:
        pytest.skip(f"{agent} is not installed: {agent.upper()}_PYTHON may name an interpreter that has it")
    body = {"model": "x", "voice": "nova", "input": TEXT, "response_format": "pcm"}
    expected = np.frombuffer(httpx.post(f"{server.url}/v1/audio/speech", json=body, timeout=60).content, "<i2")
    # The second is the one of which LiveKit takes events.
    for model in ("tts-1", "gpt-4o-mini-tts"):
        done = run(agent, code, f"{server.url}/v1", model, TEXT)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        heard = np.frombuffer(done.stdout, "<i2")
        assert len(expected) > 10_000
        # A player's buffer may be filled up with silence at the end.
        assert np.array_equal(heard[: len(expected)], expected)
        assert not heard[len(expected) :].any()
