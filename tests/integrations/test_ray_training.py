"""Training on Ray's workers, one of which is killed, beside training in one process."""

import os
import signal
import subprocess
import sys
import threading
import time
from unittest.mock import patch

import pytest

from fastvits import synthesize
from fastvits.integrations.ray_training import train as train_on_ray
from fastvits.training import checkpoints
from fastvits.training.run import train
from fastvits.training.settings import TrainingSettings
from tests.support.small_voices import save_small_voice
from tests.support.tolerances import AVERAGED_PROCESSES

STILL = ("hidden_dropout", "attention_dropout", "activation_dropout", "duration_predictor_dropout", "layerdrop")


@pytest.fixture
def ray(monkeypatch):
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(
        num_cpus=2,
        object_store_memory=80_000_000,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
    )
    yield ray
    ray.shutdown()


def workers():
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if "ray::RayTrainWorker" in line]


def test_two_workers_learn_as_one_process_though_one_is_killed(ray, tmp_path):
    voice = save_small_voice(tmp_path / "voice", **dict.fromkeys(STILL, 0.0))
    words = ["new", "old", "big", "sad", "bad", "red", "two", "tall"]
    synthesize([f"hello my {word} dog is a good dog" for word in words], tmp_path / "data", model=voice)
    settings = TrainingSettings(
        steps=4, batch_size=4, adversarial=False, validation_interval=4, checkpoint_interval=1, samples=0
    )
    given = (tmp_path / "data", voice)
    train(*given, tmp_path / "one", settings, device="cpu", events=False)
    killed = []

    def kill():
        while not list((tmp_path / "two").glob("checkpoints/*")):
            time.sleep(0.05)
        killed.append(workers()[-1])
        os.kill(killed[0], signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    report = train_on_ray(*given, tmp_path / "two", settings, workers=2, max_failures=1, events=False)
    assert killed
    assert report.step == 4
    one, two = (checkpoints.load_newest(tmp_path / name)["training"] for name in ("one", "two"))
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for line, other in zip(one, two, strict=True):
        assert other == pytest.approx(line, rel=AVERAGED_PROCESSES)


def test_arguments_that_cannot_be_are_refused(ray, tmp_path):
    for arguments, error, message in (
        ({"workers": 0}, ValueError, "workers must be a whole number from 1, got 0"),
        ({"workers": 3}, ValueError, "no room for 3 workers with 1 processors and 0 GPUs each"),
        ({"max_failures": -1}, ValueError, "max_failures must be a whole number from 0, got -1"),
        ({"device": "cpu"}, TypeError, "options must be among .*, got device"),
        ({"presicion": 1}, TypeError, "options must be among .*, got presicion"),
    ):
        with pytest.raises(error, match=message):
            train_on_ray(tmp_path, tmp_path, tmp_path / "out", **arguments)


def test_without_ray_the_extra_is_named(tmp_path):
    with patch.dict(sys.modules, {"ray": None}), pytest.raises(ImportError, match=r"install `fastvits\[ray\]`"):
        train_on_ray(tmp_path, tmp_path, tmp_path / "out")
