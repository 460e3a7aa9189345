"""VitsConfig in files, and where snapshot() finds them."""

import json
import os
import subprocess
import sys

import huggingface_hub
import pytest

from fastvits.configuration import VitsConfig
from fastvits.hub import snapshot


def test_overrides_come_before_the_file(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 9, "house_style": 1}))
    with pytest.raises(ValueError, match=r"config\.json: hidden_size"):
        VitsConfig.from_pretrained(tmp_path)
    config = VitsConfig.from_pretrained(str(tmp_path), hidden_size=8, house_style=2)
    assert (config.hidden_size, config.house_style) == (8, 2)


def test_a_file_and_a_subfolder(tmp_path):
    VitsConfig(hidden_size=64).save_pretrained(tmp_path / "voices" / "small")
    assert VitsConfig.from_pretrained(tmp_path / "voices" / "small" / "config.json").hidden_size == 64
    assert VitsConfig.from_pretrained(tmp_path, subfolder="voices/small").hidden_size == 64
    with pytest.raises(OSError, match="no folder 'voices/large'"):
        VitsConfig.from_pretrained(tmp_path, subfolder="voices/large")
    for outside in ("../elsewhere", "/etc"):
        with pytest.raises(ValueError, match="subfolder"):
            VitsConfig.from_pretrained(tmp_path, subfolder=outside)


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\xfe{}", b"null"])
def test_files_that_are_no_json_object(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(OSError, match=r"config\.json"):
        VitsConfig.from_pretrained(tmp_path)


def test_folders_that_are_no_model(tmp_path):
    with pytest.raises(OSError, match=r"no config\.json"):
        VitsConfig.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_size": 768}')
    with pytest.raises(ValueError, match="'bert'"):
        VitsConfig.from_pretrained(tmp_path)
    with pytest.raises(OSError, match="is a file"):
        VitsConfig().save_pretrained(tmp_path / "config.json")
    with pytest.raises(TypeError, match="config_dict"):
        VitsConfig.from_dict([("hidden_size", 64)])


COMMITS = {"main": "a" * 40, "v2": "b" * 40}


@pytest.fixture
def hub_cache(tmp_path):
    """A cache as huggingface_hub lays it out: refs name commits, snapshots link to blobs."""
    root = tmp_path / "hub" / "models--acme--voice"
    (root / "refs").mkdir(parents=True)
    (root / "blobs").mkdir()
    for number, (revision, commit) in enumerate(COMMITS.items(), start=1):
        (root / "refs" / revision).write_text(commit)
        for inner, speakers in (("", number), ("many/", 10 * number)):
            blob = root / "blobs" / f"{commit[:8]}{speakers}"
            content = VitsConfig(num_speakers=speakers, speaker_embedding_size=8, noise_scale=0.1 * number)
            blob.write_text(content.to_json_string())
            link = root / "snapshots" / commit / inner / "config.json"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))
    return tmp_path / "hub"


def test_a_hub_id_is_found_in_the_cache(hub_cache):
    cached = {"cache_dir": hub_cache, "local_files_only": True}
    folder = snapshot("acme/voice", allow_patterns=["config.json"], **cached)
    assert folder == hub_cache / "models--acme--voice" / "snapshots" / COMMITS["main"]
    assert VitsConfig.from_pretrained("acme/voice", **cached).num_speakers == 1
    assert VitsConfig.from_pretrained("acme/voice", revision="v2", **cached).num_speakers == 2
    assert VitsConfig.from_pretrained("acme/voice", revision=COMMITS["v2"], **cached).num_speakers == 2
    assert VitsConfig.from_pretrained("acme/voice", subfolder="many", **cached).num_speakers == 10
    assert VitsConfig.from_pretrained("acme/voice", noise_scale=0.0, **cached).noise_scale == 0.0


def test_what_the_cache_lacks_is_named(hub_cache, tmp_path):
    cached = {"allow_patterns": "config.json", "cache_dir": hub_cache, "local_files_only": True}
    with pytest.raises(OSError, match="acme/other"):
        snapshot("acme/other", **cached)
    with pytest.raises(OSError, match=r"acme/voice \(revision v3\)"):
        snapshot("acme/voice", revision="v3", **cached)
    with pytest.raises(OSError, match=r"no file matching few/config\.json"):
        snapshot("acme/voice", subfolder="few", **cached)
    for nonsense in ("", "no/such/folder", "./nowhere", str(tmp_path / "nowhere"), "white space"):
        with pytest.raises(OSError, match="neither a folder nor the id of a hub repository"):
            snapshot(nonsense, **cached)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="is a file"):
        snapshot(tmp_path / "file", **cached)


def test_offline_mode_of_the_environment(hub_cache):
    script = (
        "from fastvits.configuration import VitsConfig\n"
        "print(VitsConfig.from_pretrained('acme/voice', revision='v2').num_speakers)\n"
        "try:\n"
        "    VitsConfig.from_pretrained('acme/other')\n"
        "except OSError as error:\n"
        "    print(str(error).splitlines()[0])\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(hub_cache)}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    speakers, error = result.stdout.splitlines()
    assert speakers == "2"
    assert "acme/other cannot be had from the hub" in error


def test_what_is_asked_of_the_hub(monkeypatch, tmp_path):
    asked = {}

    def fake(repo_id, **arguments):
        asked.update(arguments, repo_id=repo_id)
        (tmp_path / "v[1]").mkdir(exist_ok=True)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake)
    options = {"revision": "v2", "token": "secret", "force_download": True, "local_files_only": False}
    assert snapshot("acme/voice", allow_patterns=["a.json", "*.bin"], subfolder="v[1]", **options) == tmp_path / "v[1]"
    assert asked["repo_id"] == "acme/voice"
    assert {name: asked[name] for name in options} == options
    names = ["v[1]/a.json", "v[1]/x.bin", "v[1]/deep/x.bin", "a.json", "v1/a.json"]
    patterns = {name: asked[name] for name in ("allow_patterns", "ignore_patterns")}
    matched = list(huggingface_hub.utils.filter_repo_objects(names, **patterns))
    assert matched == ["v[1]/a.json", "v[1]/x.bin"]


def test_whatever_the_hub_client_raises_is_one_clear_error(monkeypatch):
    def broken(repo_id, **arguments):
        raise RuntimeError("the connection broke\nsecond line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", broken)
    with pytest.raises(OSError, match=r"acme/voice cannot be had from the hub: the connection broke$"):
        snapshot("acme/voice", allow_patterns="config.json")
