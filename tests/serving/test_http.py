"""What stands around every route: limits, keys, rates, faults, figures, and Piper's routes."""

import contextlib
import json
import logging
import re
import socket
import threading
import time

import httpx2 as httpx
import numpy as np
import pytest
import torch

from fastvits import Speaker
from fastvits.audio.files import pcm16
from fastvits.serving import connections, http
from fastvits.serving.steps import spoken_samples
from tests.serving.servers import running
from tests.support.small_voices import save_small_voice


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("voices")
    return {
        "one": str(save_small_voice(root / "one")),
        "two": str(save_small_voice(root / "two", seed=1, num_speakers=3, speaker_embedding_size=8)),
    }


@pytest.fixture(scope="module")
def server(folders):
    with running(folders) as made:
        yield made


def speech(url, **change):
    asked = {"model": "tts-1", "voice": "one", "input": "hello", "response_format": "wav", "seed": 1, **change}
    return httpx.post(f"{url}/v1/audio/speech", json=asked, timeout=60)


def figure(server, name, **labels):
    """A figure of /metrics; 0 where there is none yet."""
    value = server.engine.metrics.registry.get_sample_value(name, labels)
    return 0.0 if value is None else value


def eventually(condition):
    """Whether a condition comes to hold within half a minute."""
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def idle(server):
    """Wait until nothing is being spoken, nor held for what was."""
    voices = server.engine.voices._loaded
    return eventually(
        lambda: (
            not (
                len(server.engine.scheduler)
                or server.engine._entering
                or any(voice.users for voice in list(voices.values()))
            )
        )
    )


@pytest.mark.parametrize("path", ["/", "/synthesize"])
def test_pipers_route_gives_the_librarys_samples(server, folders, path):
    asked = {"text": "hello my dog", "length_scale": 2.0, "noise_scale": 0.2, "noise_w_scale": 0.4, "seed": 4}
    answer = httpx.post(server.url + path, json=asked, timeout=60)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "audio/wav"
    torch.set_num_threads(1)
    options = {"seed": 4, "speaking_rate": 0.5, "noise_scale": 0.2, "noise_scale_duration": 0.4}
    samples = spoken_samples(Speaker(folders["one"]), "hello my dog", **options)
    np.testing.assert_array_equal(np.frombuffer(answer.content[44:], "<i2"), pcm16(samples))


def test_pipers_route_takes_speakers(server, folders):
    asked = {"text": "hello", "voice": "two", "speaker_id": 2, "speaker": "nobody", "seed": 4}
    answer = httpx.post(f"{server.url}/synthesize", json=asked, timeout=60)
    torch.set_num_threads(1)
    samples = spoken_samples(Speaker(folders["two"]), "hello", seed=4, speaker=2)
    np.testing.assert_array_equal(np.frombuffer(answer.content[44:], "<i2"), pcm16(samples))


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ({"text": " "}, 400, "text is empty"),
        ({"text": "hello", "voice": "nobody"}, 404, "there is no voice 'nobody'"),
        ({"text": "hello", "length_scale": 0}, 400, "length_scale is 0; allowed is 0.1 or more"),
        ({"text": "hello", "speed": 1}, 400, 'unknown key "speed"'),
    ],
)
def test_pipers_route_says_what_does_not_fit(server, asked, status, message):
    answer = httpx.post(f"{server.url}/synthesize", json=asked, timeout=60)
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


def test_pipers_lists(server):
    speech(server.url)
    voices = httpx.get(f"{server.url}/voices").json()
    assert list(voices) == ["one", "two"]
    assert voices["one"]["audio"]["sample_rate"] == 16000
    info = httpx.get(f"{server.url}/info", timeout=60).json()
    assert info["voice"]["name"] == "one"
    assert info["voice"]["num_speakers"] == 1


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "the body is not JSON"),
        (b"{", 400, "the body is not JSON"),
        (b"\xff\xfe", 400, "the body is not UTF-8: byte 0"),
        (b"[]", 400, "the body must be a JSON object"),
        (b'"text"', 400, "the body must be a JSON object"),
        (b'{"speed": NaN}', 400, "NaN"),
        (b'{"input": "' + b"a" * (1 << 20) + b'"}', 413, "larger than 1048576 bytes"),
        (b'{"a": ' + b"[" * 17 + b"]" * 17 + b"}", 400, "nested more than 16 levels deep"),
        (b'{"seed": ' + b"9" * 5000 + b"}", 400, "a number that is too long"),
        (b'{"model": "a", "input": "[[[[[[[[[[[[[[[[[[[[[", "voice": "nobody"}', 404, "nobody"),
    ],
)
def test_bodies_that_are_none(server, body, status, message):
    answer = httpx.post(f"{server.url}/v1/audio/speech", content=body, timeout=60)
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize(("declared", "sent"), [(1_300_000, 1_300_000), (10**9, 0)])
def test_who_sends_too_much_hears_of_it_at_the_end_and_where_there_is_none_at_once(server, declared, sent):
    head = f"POST /synthesize HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {declared}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head.encode() + b" " * (sent // 2))
        time.sleep(0.5)  # an answer that closed the connection would be here
        connection.sendall(b" " * (sent - sent // 2))
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_without_a_length_is_cut_off_too(server):
    def parts():
        for _ in range(40):
            yield b" " * (1 << 16)

    answer = httpx.post(f"{server.url}/v1/audio/speech", content=parts(), timeout=60)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v1/audio/speech", 405),
        ("DELETE", "/voices", 405),
        ("GET", "/app.py", 404),
    ],
)
def test_paths_and_methods_that_are_none(server, method, path, status):
    answer = httpx.request(method, server.url + path)
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_key_is_needed_where_there_are_keys(folders):
    with running(folders, app={"api_keys": ["secret", "other"]}) as server:
        assert httpx.get(f"{server.url}/health").json() == {"status": "ok"}
        assert httpx.get(f"{server.url}/").status_code == 200
        for given in ("", "Bearer wrong", "secret", "Bearer", "Bearer secret other"):
            headers = {"Authorization": given}
            for ask in (
                lambda path, h=headers: httpx.get(server.url + path, headers=h),
                lambda path, h=headers: httpx.post(server.url + path, headers=h, json={}),
            ):
                answer = ask("/v1/audio/speech")
                assert answer.status_code == 401
                assert answer.json()["error"]["code"] == "invalid_api_key"
            assert httpx.post(f"{server.url}/", headers=headers, json={"text": "hello"}).status_code == 401
            assert httpx.get(f"{server.url}/metrics", headers=headers).status_code == 401
        good = {"Authorization": "Bearer other"}
        assert httpx.post(f"{server.url}/", headers=good, json={"text": "hello"}, timeout=60).status_code == 200
        document = httpx.get(f"{server.url}/openapi.json", headers=good).json()
        assert document["paths"]["/v1/audio/speech"]["post"]["security"]


def test_a_rate_is_kept(folders):
    with running(folders, app={"rate": 2}) as server:
        codes = [speech(server.url).status_code for _ in range(3)]
        assert codes == [200, 200, 429]
        refused = speech(server.url)
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert httpx.get(f"{server.url}/voices").status_code == 200


def test_other_pages_may_not_ask_unless_told(server, folders):
    asked = {"Origin": "https://example.org"}
    assert "access-control-allow-origin" not in httpx.get(f"{server.url}/voices", headers=asked).headers
    with running(folders, app={"cors": ["https://example.org"]}) as other:
        answer = httpx.get(f"{other.url}/voices", headers=asked)
        assert answer.headers["access-control-allow-origin"] == "https://example.org"


def test_a_full_queue_is_429_and_a_draining_server_503(folders):
    with running({"one": folders["one"]}, workers=1, max_queue=1) as server:
        speech(server.url)
        gate, begun = threading.Event(), threading.Event()

        def steps():
            begun.set()
            assert gate.wait(30)
            yield np.zeros(1, np.float32)

        server.engine.scheduler.submit(steps(), lambda step, error: None, 100)
        assert begun.wait(30)
        refused = speech(server.url)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "queue_full"
        assert int(refused.headers["retry-after"]) >= 1
        assert not server.engine.scheduler.drain(0.01)
        refused = speech(server.url)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        ready = httpx.get(f"{server.url}/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        gate.set()


def test_a_text_that_takes_too_long_is_503(folders):
    with running({"one": folders["one"]}, workers=1, timeout=2.0) as server:
        server.engine.voices.preload("one")
        gate = threading.Event()
        server.engine.scheduler.submit((gate.wait(60) for _ in range(1)), lambda step, error: None, 100)
        try:
            answer = speech(server.url)  # though the only thread is held up for longer
            assert not gate.is_set()
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "too_late")
        finally:
            gate.set()
        assert idle(server)
        assert figure(server, "fastvits_utterances_total", voice="one", outcome="cancelled") == 1


def test_clients_that_vanish_leave_nothing_behind(server):
    before = figure(server, "fastvits_utterances_total", voice="one", outcome="cancelled")
    body = json.dumps({"text": " ".join(["hello my dog is cute."] * 3000), "seed": 1}).encode()
    head = f"POST /synthesize HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    speech(server.url)
    assert idle(server)
    threads = working_threads()
    for number in range(20):
        with socket.create_connection(("127.0.0.1", server.port)) as one:
            one.sendall(head + body)
            if number % 2:
                one.recv(1000)
    assert idle(server)
    assert speech(server.url).status_code == 200
    assert idle(server)
    # Those that heard something were cancelled; the others may have gone before anything was computed for them.
    assert 10 <= figure(server, "fastvits_utterances_total", voice="one", outcome="cancelled") - before <= 20
    assert working_threads() == threads


def working_threads():
    """The threads that run, without those of asyncio's pool, which grows by itself up to its size."""
    return sorted(thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_"))


def ends(connection):
    """Whether the other side ends the connection within some seconds."""
    connection.settimeout(20)
    with contextlib.suppress(ConnectionError):
        while connection.recv(1 << 16):
            pass
    return True


def test_requests_that_do_not_arrive_are_ended(server, monkeypatch):
    monkeypatch.setattr(http, "BODY_SECONDS", 0.2)
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    for begun in (b"", b"POST /synth", b"GET /health HTTP/1.1\r\nHost: x\r\n"):
        with socket.create_connection(("127.0.0.1", server.port)) as half:
            half.sendall(begun)
            assert ends(half)
    with socket.create_connection(("127.0.0.1", server.port)) as half:
        half.sendall(b"POST /synthesize HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        half.settimeout(20)
        assert half.recv(1000).startswith(b"HTTP/1.1 408 ")
    with socket.create_connection(("127.0.0.1", server.port)) as kept:
        for _ in range(2):  # a connection that is kept open waits for its next request anew
            kept.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            data = b""
            while not data.endswith(b"}"):
                data += kept.recv(1000)
            assert data.startswith(b"HTTP/1.1 200 ")
            time.sleep(0.1)


def test_a_client_that_takes_nothing_is_dropped(folders, caplog):
    with running({"one": folders["one"]}, workers=1, timeout=1.0) as server:
        body = json.dumps({"text": " ".join(["hello my dog is cute."] * 4000)}).encode()
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", server.port))
            head = f"POST /synthesize HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            slow.sendall(head.encode() + body)
            assert eventually(lambda: "an answer ended early" in caplog.text)
            assert idle(server)
            assert speech(server.url).status_code == 200
    assert "Traceback" not in caplog.text


def test_slow_and_half_open_connections_hold_nobody(server):
    with socket.create_connection(("127.0.0.1", server.port)) as half:
        half.sendall(b"POST /synthesize HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        with socket.create_connection(("127.0.0.1", server.port)) as slow:
            body = json.dumps({"text": " ".join(["hello my dog is cute."] * 3000)}).encode()
            slow.sendall(b"POST /synthesize HTTP/1.1\r\nHost: x\r\n")
            slow.sendall(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert speech(server.url).status_code == 200
    assert idle(server)


def test_a_voice_whose_files_vanish_is_said_and_the_others_speak(folders, tmp_path):
    gone = save_small_voice(tmp_path / "gone")
    with running({"one": folders["one"], "gone": str(gone)}) as server:
        (gone / "model.safetensors").unlink()
        answer = speech(server.url, voice="gone")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "voice_unavailable")
        assert "cannot be loaded" in answer.json()["error"]["message"]
        assert "retry-after" in answer.headers
        assert speech(server.url).status_code == 200
        assert httpx.get(f"{server.url}/voices").status_code == 200


def test_a_voice_that_loads_holds_up_nobody_and_is_loaded_once(folders):
    gate, loads = threading.Event(), []

    def load(source):
        loads.append(source)
        if source == folders["two"]:
            assert gate.wait(30)
        return Speaker(source)

    with running(folders, load=load) as server:
        answers = []
        waiting = [
            threading.Thread(target=lambda: answers.append(speech(server.url, voice="two", speaker=1)))
            for _ in range(12)
        ]
        for thread in waiting:
            thread.start()
        assert speech(server.url).status_code == 200
        with contextlib.suppress(httpx.ReadTimeout):  # one more, which goes before the voice is there
            httpx.post(f"{server.url}/", json={"text": "hello", "voice": "two", "speaker_id": 1}, timeout=0.3)
        gate.set()
        for thread in waiting:
            thread.join()
        assert [answer.status_code for answer in answers] == [200] * 12
        assert loads.count(folders["two"]) == 1
        assert idle(server)
        assert set(server.engine.voices.loaded()) == {"one", "two"}


def test_who_waits_for_a_voice_counts_in_the_queue(folders):
    gate = threading.Event()

    def load(source):
        assert gate.wait(30)
        return Speaker(source)

    with running({"one": folders["one"]}, load=load, max_queue=2) as server:
        answers = []
        waiting = [threading.Thread(target=lambda: answers.append(speech(server.url))) for _ in range(2)]
        for thread in waiting:
            thread.start()
        assert eventually(lambda: server.engine._entering == 2)
        refused = speech(server.url)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
        gate.set()
        for thread in waiting:
            thread.join()
        assert [answer.status_code for answer in answers] == [200, 200]


def test_memory_puts_the_least_recently_used_voice_away(folders):
    size = 2 * sum(p.numel() * p.element_size() for p in Speaker(folders["two"]).model.parameters())
    with running(folders, memory=round(1.5 * size)) as server:
        assert speech(server.url).status_code == 200
        assert list(server.engine.voices.loaded()) == ["one"]
        assert speech(server.url, voice="two", speaker=1).status_code == 200
        idle(server)
        assert list(server.engine.voices.loaded()) == ["two"]
        assert speech(server.url).status_code == 200
        assert server.engine.voices.bytes() <= 1.5 * size


def test_figures_are_counted(server):
    spoken = figure(server, "fastvits_utterances_total", voice="one", outcome="spoken")
    seconds = figure(server, "fastvits_audio_seconds_total", voice="one")
    answer = speech(server.url)
    assert eventually(lambda: figure(server, "fastvits_utterances_total", voice="one", outcome="spoken") == spoken + 1)
    length = (len(answer.content) - 44) / 2 / 16000
    assert figure(server, "fastvits_audio_seconds_total", voice="one") - seconds == pytest.approx(length, abs=1e-6)
    assert figure(server, "fastvits_queue_length") == 0
    page = httpx.get(f"{server.url}/metrics").text
    for name in ("first_sound_seconds", "real_time_factor", "audio_seconds_total", "requests_total", "queue_length"):
        assert re.search(rf"^fastvits_{name}", page, re.MULTILINE), name
    assert figure(server, "fastvits_queue_seconds_count", voice="one") >= spoken + 1
    steps = [figure(server, "fastvits_step_seconds_count", voice="one", step=step) for step in ("text", "piece")]
    assert min(steps) >= spoken + 1
    assert figure(server, "fastvits_texts_together_count") >= sum(steps)
    assert figure(server, "fastvits_batch_size_sum", step="piece") >= steps[1]


def test_a_line_a_request_in_json(folders, caplog):
    caplog.set_level(logging.INFO, "fastvits.access")
    with running({"one": folders["one"]}, app={"log": "json"}) as server:
        answer = speech(server.url)
        httpx.get(f"{server.url}/nothing")
    rows = [json.loads(record.message) for record in caplog.records if record.name == "fastvits.access"]
    assert [(row["method"], row["path"], row["status"]) for row in rows] == [
        ("POST", "/v1/audio/speech", 200),
        ("GET", "/nothing", 404),
    ]
    assert rows[0]["bytes"] == len(answer.content)
    assert "hello" not in json.dumps(rows)


def test_the_page_asks_no_other_host(server):
    page = httpx.get(f"{server.url}/")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    everything = page.text + httpx.get(f"{server.url}/page.js").text + httpx.get(f"{server.url}/page.css").text
    assert "://" not in everything
    for name in re.findall(r'(?:src|href)="([^":]+)"', page.text):
        assert httpx.get(f"{server.url}/{name}").status_code == 200


def test_the_description_names_what_the_routes_take(server):
    document = httpx.get(f"{server.url}/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        for method in methods:
            content = b"" if method == "post" else None
            answer = httpx.request(method.upper(), server.url + path, content=content, timeout=60)
            assert answer.status_code in (200, 400)
            assert str(answer.status_code) in methods[method]["responses"]
