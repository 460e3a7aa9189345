"""`fastvits serve` as a process: it says where it listens, finishes what it speaks when told to end, and refuses."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest

from fastvits import Speaker
from fastvits.cli import main
from fastvits.cli.serve import _aliases
from fastvits.serving.voices import OPENAI_VOICES
from tests.support.small_voices import save_small_voice

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_small_voice(tmp_path_factory.mktemp("voice"))


def environment():
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}"}


def start(*arguments):
    """A server in a process of its own, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fastvits", "serve", "--port", "0", *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    lines = []
    for line in process.stderr:
        lines.append(line)
        found = re.search(r"listening on (http://\S+)", line)
        if found:
            # What nobody reads would fill the pipe and hold the server.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process, found[1]
    raise AssertionError("".join(lines))


def test_a_server_drains_when_it_is_told_to_end(folder):
    options = ["--openai-voices", "mine", "--threads", "1", "--dtype", "float64", "--device", "cpu"]
    process, url = start("--voice", f"mine={folder}", *options)
    try:
        text = " ".join(["hello my dog is cute."] * 12)
        body = {"model": "x", "voice": "nova", "input": text, "response_format": "wav", "seed": 1}
        whole = httpx.post(f"{url}/v1/audio/speech", json=body, timeout=60).content
        with httpx.Client(timeout=60) as client, client.stream("POST", f"{url}/v1/audio/speech", json=body) as answer:
            parts = answer.iter_raw()
            data = next(parts)
            process.send_signal(signal.SIGTERM)
            data += b"".join(parts)
        assert data == whole
        # In float64 the pieces of a server and of a stream round alike.
        expected = np.concatenate(list(Speaker(str(folder), dtype="float64", device="cpu").stream(text, seed=1)))
        samples = np.frombuffer(whole[44:], "<i2")
        assert len(samples) == len(expected)
        assert np.abs(samples - np.clip(expected, -1, 1) * 32767).max() <= 1
        assert process.wait(60) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--voice", "a b=x.onnx"], "a voice's name has letters"),
        (["--voice", "nowhere/at/all"], "folder nowhere/at/all does not exist"),
        (["--port", "70000"], "must be a whole number from 0 to 65535"),
        (["--workers", "0"], "must be a whole number from 1"),
        (["--timeout", "-1"], "must be above 0"),
        (["--openai-voices", "nobody"], "--openai-voices: there is no voice 'nobody'"),
        (["--openai-voices", "alloy=nobody"], "--openai-voices: there is no voice 'nobody'"),
        (["--openai-voices", "anna=mine"], "--openai-voices: 'anna' is no name of OpenAI's: alloy"),
        (["--openai-voices", "nova=mine", "--openai-voices", "nova=mine"], "nova cannot stand for two voices"),
        (["--openai-voices", "mine", "--openai-voices", "mine"], "all names cannot stand for two voices"),
        (["--dtype", "int4"], "argument --dtype: invalid choice: 'int4'"),
        (["--device", "abacus"], "argument --device"),
        (["--cors", "example.org"], "must be an origin such as https://example.org, or *, got 'example.org'"),
        (["--api-key-file", "/nowhere/keys"], "cannot read /nowhere/keys"),
    ],
)
def test_options_that_do_not_fit(folder, arguments, message, capsys):
    given = ["serve", *([] if "--voice" in arguments else ["--voice", f"mine={folder}"]), *arguments]
    try:
        status = main(given)
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert message in capsys.readouterr().err


def test_openais_names_stand_for_voices():
    sources = {"one": "", "two": "", "echo": ""}
    found = _aliases(["one", "nova=two", "fable=echo"], sources)
    assert set(found) == set(OPENAI_VOICES) - {"echo"}
    assert {name: voice for name, voice in found.items() if voice != "one"} == {"nova": "two", "fable": "echo"}
    assert _aliases(["nova=two"], sources) == {"nova": "two"}
    assert _aliases([], sources) == {}


def test_a_port_that_is_taken_is_said(folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for option in ("--port", "--wyoming-port"):
            command = [
                sys.executable,
                "-m",
                "fastvits",
                "serve",
                "--voice",
                f"mine={folder}",
                "--port",
                "0",
                option,
                port,
            ]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment())
            assert done.returncode == 1
            (line,) = done.stderr.splitlines()
            assert line == f"fastvits: error: cannot listen on 127.0.0.1, port {port}: the address is in use already"


def test_two_voices_of_one_name(folder, capsys):
    assert main(["serve", "--voice", f"mine={folder}", "--voice", f"mine={folder}"]) == 2
    assert "two voices are called mine" in capsys.readouterr().err
