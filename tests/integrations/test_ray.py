"""A corpus and the server on a Ray cluster of two nodes' worth of processes, one of which is killed."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import fastvits
from fastvits.integrations import ray as on_ray
from tests.support.small_voices import save_small_voice

TEXTS = ["hello", "my dog is cute", "so is mine", "one two three"]


def items(count):
    return [{"id": f"item{number}", "text": TEXTS[number % 4]} for number in range(count)]


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        node = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args={**node, "num_cpus": 2})
        cluster.second = cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
        ray.cluster = cluster
        ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
        yield ray
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    return save_small_voice(tmp_path_factory.mktemp("voice"))


def manifest(folder):
    return sorted((folder / "manifest.jsonl").read_text().splitlines())


def workers():
    """The processes of actors, by what they call themselves."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if "ray::_Worker" in line]


def test_a_cluster_speaks_what_one_process_speaks_though_a_worker_is_killed(ray, voice, tmp_path):
    given = [*items(40), {"id": "bad", "text": "\u6f22"}]
    texts = tmp_path / "items.jsonl"
    texts.write_text("".join(json.dumps(one) + "\n" for one in given))
    finished, killed = [], []

    def on_shard(shard, report):
        finished.append(str(shard))
        if not killed:
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    options = {"cpus_a_worker": 1, "workers": 2, "shards": 6, "batch_size": 1}
    report = on_ray.synthesize(texts, voice, tmp_path / "out", on_shard=on_shard, **options)
    assert killed
    assert sorted(finished) == [f"{number}/6" for number in range(1, 7)]
    assert (report.items, [failure.id for failure in report.failures]) == (40, ["bad"])
    alone = fastvits.synthesize(given, tmp_path / "alone", model=str(voice), device="cpu", batch_size=1)
    assert alone.done == 40
    assert manifest(tmp_path / "out") == manifest(tmp_path / "alone")
    # Asked again, nothing is spoken again.
    reports = []
    report = on_ray.synthesize(
        texts,
        voice,
        tmp_path / "out",
        on_shard=lambda shard, one: reports.append(one),
        cpus_a_worker=1,
        workers=1,
        shards=2,
    )
    assert (sum(one.done for one in reports), sum(one.skipped for one in reports)) == (0, 40)


DRIVER = """
import os, signal, sys, ray
from fastvits.integrations.ray import synthesize
ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
def die(shard, report):
    os.kill(os.getpid(), signal.SIGKILL)
synthesize(sys.argv[2], sys.argv[3], sys.argv[4], on_shard=die, cpus_a_worker=1, workers=1, shards=4)
"""


def test_a_killed_driver_and_a_lost_node_lose_no_row(ray, voice, tmp_path):
    texts = tmp_path / "items.jsonl"
    texts.write_text("".join(json.dumps(one) + "\n" for one in items(30)))
    command = [sys.executable, "-c", DRIVER, ray.cluster.address, str(texts), str(voice), str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run(command, env=environment, timeout=120).returncode == -signal.SIGKILL
    reports = []

    def on_shard(shard, report):
        reports.append(report)
        if len(reports) == 1:
            ray.cluster.remove_node(ray.cluster.second, allow_graceful=False)

    # As many shards as the folder has been begun with, without being told.
    report = on_ray.synthesize(texts, voice, tmp_path / "out", on_shard=on_shard, cpus_a_worker=1, workers=3)
    assert len(reports) == 4
    assert (report.items, report.failures) == (30, [])
    assert sum(one.skipped for one in reports) > 0
    assert sum(one.done for one in reports) < 30


def test_a_dataset_is_spoken(ray, voice, tmp_path):
    data = pytest.importorskip("ray.data")
    dataset = data.from_items([{**one, "seed": number} for number, one in enumerate(items(9))])
    report = on_ray.synthesize(dataset, voice, tmp_path, cpus_a_worker=1, workers=1, shards=2)
    assert (report.items, report.failures) == (9, [])
    assert {json.loads(line)["seed"] for line in manifest(tmp_path)} == set(range(9))
    with pytest.raises(ValueError, match="row 2 has no id"):
        on_ray.synthesize([{"id": "a", "text": "b"}, {"text": "c"}], voice, tmp_path / "none")


def test_arguments_that_do_not_fit(ray, voice, tmp_path):
    for arguments, error, message in (
        ({"workers": 0}, ValueError, "workers must be a whole number from 1"),
        ({"shards": True}, ValueError, "shards must be a whole number from 1"),
        ({"shard": "1/2"}, TypeError, "shard cannot be given here"),
        ({"cpus_a_worker": 99}, ValueError, "no room for a worker with 99 processors"),
        ({"cpus_a_worker": 1, "shards": 1, "format": "mp3"}, ValueError, "format must be 'wav' or 'flac'"),
    ):
        with pytest.raises(error, match=message):
            on_ray.synthesize([{"id": "a", "text": "hello"}], voice, tmp_path / "out", **arguments)
    with pytest.raises(OSError, match="nowhere"):
        on_ray.synthesize([{"id": "a", "text": "b"}], "nowhere/at/all", tmp_path / "out", cpus_a_worker=1, shards=1)
    with pytest.raises(ValueError, match="does not exist"):
        on_ray.synthesize(tmp_path / "nothing.csv", voice, tmp_path / "out")


def test_replicas_stream_the_librarys_samples(ray, voice):
    import httpx2 as httpx

    serve = pytest.importorskip("ray.serve")
    from fastvits.audio.files import pcm16
    from fastvits.serving.ray import application

    with pytest.raises(ValueError, match="the least before the most"):
        application({"one": str(voice)}, replicas=(3, 2))
    serve.start(http_options={"host": "127.0.0.1", "port": 8654})
    try:
        serve.run(application({"one": str(voice)}, replicas=(1, 2), aliases={"nova": "one"}), name="fastvits")
        url = "http://127.0.0.1:8654"
        body = {
            "model": "x",
            "voice": "nova",
            "input": " ".join(["hello my dog"] * 40),
            "response_format": "wav",
            "seed": 3,
        }
        with httpx.stream("POST", f"{url}/v1/audio/speech", json=body, timeout=60) as answer:
            assert answer.status_code == 200
            parts = list(answer.iter_raw())
        assert len(parts) > 3
        audio = np.concatenate(list(fastvits.Speaker(str(voice)).stream(body["input"], seed=3)))
        samples = np.frombuffer(b"".join(parts)[44:], "<i2").astype(int)
        assert samples.shape == audio.shape
        assert np.abs(samples - pcm16(audio)).max() <= 1
        assert httpx.get(f"{url}/ready", timeout=30).json()["status"] == "ready"
        assert httpx.post(f"{url}/synthesize", json={"text": "hello", "voice": "nobody"}, timeout=30).status_code == 404
    finally:
        serve.shutdown()


def test_without_ray_the_extra_is_named(monkeypatch, tmp_path):
    from fastvits.serving.ray import application

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"install `fastvits\[ray\]`"):
        on_ray.synthesize([], "voice", tmp_path)
    with pytest.raises(ImportError, match=r"install `fastvits\[ray\]`"):
        application({"one": "voice"})
