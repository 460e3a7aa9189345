"""Weights in the hub's cache, and models that are pushed to a hub and fetched from it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from fastvits import VitsModel
from tests.weights.folders import assert_same, sharded


def in_cache(folder: Path, cache: Path, repo_id: str, subfolder: str = "") -> None:
    """Lay a folder out as huggingface_hub's cache does: blobs, a snapshot of links, a reference."""
    repo = cache / f"models--{repo_id.replace('/', '--')}"
    commit = hashlib.sha1(repo_id.encode()).hexdigest()
    target = repo / "snapshots" / commit / subfolder
    target.mkdir(parents=True)
    (repo / "refs").mkdir(exist_ok=True)
    (repo / "blobs").mkdir(exist_ok=True)
    (repo / "refs" / "main").write_text(commit)
    for path in folder.iterdir():
        blob = repo / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copy(path, blob)
        (target / path.name).symlink_to(os.path.relpath(blob, target))


@pytest.mark.parametrize("form", ["single", "shards", "bin"])
@pytest.mark.parametrize("subfolder", ["", "voices/one"])
def test_a_model_in_the_hubs_cache(folder, state, tmp_path, form, subfolder):
    if form == "shards":
        sharded(folder, state, "safetensors")
    elif form == "bin":
        (folder / "model.safetensors").unlink()
        torch.save(state, folder / "pytorch_model.bin")
    in_cache(folder, tmp_path / "cache", "someone/voice", subfolder)
    model = VitsModel.from_pretrained(
        "someone/voice", subfolder=subfolder, cache_dir=tmp_path / "cache", local_files_only=True
    )
    assert_same(model, state)


def test_a_model_that_the_cache_lacks(tmp_path):
    with pytest.raises(OSError, match="someone/voice"):
        VitsModel.from_pretrained("someone/voice", cache_dir=tmp_path, local_files_only=True)


class Hub(ThreadingHTTPServer):
    """A hub on this machine: a repository is its files, in memory; as much of the HTTP API as the tests need."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.commits: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()
        self.downloaded: list[str] = []
        self.owner: str | None = None
        self.url = f"http://127.0.0.1:{self.server_port}"


class HubHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *args: Any) -> None:
        pass

    def reply(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def reply_json(self, content: Any) -> None:
        self.reply(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.tokens.add(self.headers.get("Authorization"))
        path = self.path.split("?")[0]
        if path == "/api/repos/create":
            name = "/".join(
                filter(None, (json.loads(body).get("organization") or self.server.owner, json.loads(body)["name"]))
            )
            self.server.repos.setdefault(name, {})
            self.reply_json({"url": f"{self.server.url}/{name}", "name": name, "id": name})
        elif path == "/api/validate-yaml":
            self.reply_json({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self.reply_json({"files": files})
        elif "/commit/" in path:
            repo, branch = path.removeprefix("/api/models/").split("/commit/")
            lines = [json.loads(line) for line in body.splitlines()]
            files = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            summary = next(line["value"]["summary"] for line in lines if line["key"] == "header")
            self.server.repos[repo].update(files)
            self.server.commits.append({"repo": repo, "branch": branch, "summary": summary, "files": sorted(files)})
            url = f"{self.server.url}/{repo}/commit/{'c' * 40}"
            self.reply_json({"success": True, "commitUrl": url, "commitOid": "c" * 40})
        else:
            self.reply(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/api/models/"):
            repo = "/".join(path.split("/")[3:5])
            files = self.server.repos.get(repo)
            if files is None:
                self.reply(404, headers={"X-Error-Code": "RepoNotFound"})
            elif "/tree/" in path:
                self.reply_json(
                    [
                        {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                        for name, content in files.items()
                    ]
                )
            else:
                siblings = [{"rfilename": name} for name in files]
                self.reply_json({"id": repo, "modelId": repo, "sha": "c" * 40, "siblings": siblings, "private": False})
            return
        repo, _, rest = path[1:].partition("/resolve/")
        name = rest.partition("/")[2]
        content = self.server.repos.get(repo, {}).get(name)
        if content is None:
            self.reply(404, headers={"X-Error-Code": "EntryNotFound" if repo in self.server.repos else "RepoNotFound"})
            return
        if self.command == "GET":
            self.server.downloaded.append(name)
        self.reply(200, content, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": "c" * 40})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_push_to_hub_and_back(folder, state, tmp_path, hub):
    model = VitsModel.from_pretrained(folder)
    address = model.push_to_hub("someone/voice", token="hf_test", commit_message="A voice", max_shard_size="60KB")
    assert address == f"{hub.url}/someone/voice/commit/{'c' * 40}"
    [commit] = hub.commits
    assert (commit["repo"], commit["branch"], commit["summary"]) == ("someone/voice", "main", "A voice")
    shards = [name for name in commit["files"] if name.startswith("model-")]
    assert len(shards) > 1
    assert commit["files"] == sorted(["README.md", "config.json", "model.safetensors.index.json", *shards])
    assert hub.tokens == {"Bearer hf_test"}
    card = hub.repos["someone/voice"]["README.md"].decode()
    assert "library_name: fastvits" in card
    assert "pipeline_tag: text-to-speech" in card

    again = VitsModel.from_pretrained("someone/voice", cache_dir=tmp_path / "cache", token="hf_test")
    assert_same(again, state)
    assert "README.md" not in hub.downloaded
    offline = VitsModel.from_pretrained("someone/voice", cache_dir=tmp_path / "cache", local_files_only=True)
    assert_same(offline, state)


def test_push_to_hub_keeps_a_readme_that_is_there(folder, tmp_path, hub):
    hub.repos["someone/voice"] = {"README.md": b"written with love"}
    model = VitsModel.from_pretrained(folder)
    model.save_pretrained(tmp_path / "out", push_to_hub=True, repo_id="someone/voice", token="hf_test")
    assert hub.commits[0]["files"] == ["config.json", "model.safetensors"]
    assert hub.repos["someone/voice"]["README.md"] == b"written with love"
    assert (tmp_path / "out" / "model.safetensors").exists()
    with pytest.raises(TypeError, match="visibility"):
        model.push_to_hub("someone/voice", visibility="public")


def test_a_bare_name_goes_to_the_owner_of_the_token(folder, hub):
    hub.repos["someone/voice"] = {"README.md": b"mine"}
    hub.owner = "someone"
    VitsModel.from_pretrained(folder).push_to_hub("voice", token="hf_test")
    assert hub.commits[0]["repo"] == "someone/voice"
    assert hub.repos["someone/voice"]["README.md"] == b"mine"


def test_an_upload_that_cannot_be(folder, hub, monkeypatch):
    model = VitsModel.from_pretrained(folder)
    with pytest.raises(ValueError, match="a/b/c"):
        model.push_to_hub("a/b/c", token="hf_test")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody answers
    with pytest.raises(OSError, match=r"someone/voice|onnection"):
        model.push_to_hub("someone/voice", token="hf_test")
    assert hub.commits == []


def test_a_bin_on_the_hub_is_downloaded_only_without_safetensors(folder, state, tmp_path, hub):
    config = (folder / "config.json").read_bytes()
    torch.save(state, tmp_path / "pytorch_model.bin")
    binary, safe = (tmp_path / "pytorch_model.bin").read_bytes(), (folder / "model.safetensors").read_bytes()
    hub.repos["someone/both"] = {"config.json": config, "pytorch_model.bin": binary, "model.safetensors": safe}
    hub.repos["someone/old"] = {"config.json": config, "pytorch_model.bin": binary}
    assert_same(VitsModel.from_pretrained("someone/both", cache_dir=tmp_path / "cache", token=False), state)
    assert sorted(hub.downloaded) == ["config.json", "model.safetensors"]
    assert_same(VitsModel.from_pretrained("someone/old", cache_dir=tmp_path / "cache", token=False), state)
    with pytest.raises(OSError, match="someone/none"):
        VitsModel.from_pretrained("someone/none", cache_dir=tmp_path / "cache", token=False)
