"""Training on a Ray cluster: the trainer's processes are Ray Train's workers, on one machine or on many.

Source: Ray 2.60. The extra `ray` installs it.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from ..training.run import TrainingReport
from ..training.run import train as learn
from ..training.settings import TrainingSettings

__all__ = ["train"]

_RAYS_FOLDER = "ray"
"""Where Ray keeps what it knows of a run, in the folder of the output."""


def train(
    data: str | os.PathLike[str],
    voice: str | os.PathLike[str],
    output: str | os.PathLike[str],
    settings: TrainingSettings | None = None,
    *,
    workers: int = 1,
    cpus_a_worker: float | None = None,
    gpus_a_worker: float | None = None,
    max_failures: int = 3,
    **options: Any,
) -> TrainingReport:
    """Train on the cluster that this process is connected to (or on this machine), and wait for the end.

    Ray's `TorchTrainer` starts the workers and joins them to a process group, NCCL on GPUs and gloo on processors; each
    learns from its share of a batch, as processes of `torchrun` do. Where one dies, Ray ends the others and starts all
    of them again, and the run goes on from its newest checkpoint. So it does where this function is called again.

    Args:
        data, output: see `fastvits.training.run.train`; folders that all machines see.
        voice: a folder that all machines see, or the id of a repository.
        settings: see `TrainingSettings`; `batch_size` is that of all workers together.
        workers: how many.
        cpus_a_worker, gpus_a_worker: of each; None: a GPU and a processor where the cluster has GPUs, else one
            processor.
        max_failures: how often workers are started again, `FailureConfig` of Ray; an error of the run counts too.
        options: those of `fastvits.training.run.train`, but for `device` and `on_report`.

    Returns:
        What `fastvits.training.run.train` returns. The voice is in `output`.

    Raises:
        TypeError, ValueError: an argument that cannot be, or more workers than the cluster has room for.
        ImportError: Ray is not installed.
        ray.train.TrainingFailedError: the run failed more often than `max_failures`; `worker_failures` has each
            worker's error.
    """
    try:
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
    except ImportError as error:
        raise ImportError(f"training on a cluster needs the extra: install `fastvits[ray]` ({error})") from error
    allowed = inspect.signature(learn).parameters.keys() - inspect.signature(train).parameters - {"device", "on_report"}
    for name in options:
        if name not in allowed:
            raise TypeError(f"options must be among {', '.join(sorted(allowed))}, got {name}")
    for name, value, least in (("workers", workers, 1), ("max_failures", max_failures, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be a whole number from {least}, got {value!r}")
    if not ray.is_initialized():
        ray.init()
    resources = ray.cluster_resources()
    gpus = float(resources.get("GPU", 0) >= 1) if gpus_a_worker is None else gpus_a_worker
    cpus = 1.0 if cpus_a_worker is None else cpus_a_worker
    if cpus < 0 or gpus < 0 or not cpus + gpus:
        raise ValueError(f"a worker needs processors or GPUs, got {cpus:g} and {gpus:g}")
    for name, each in (("CPU", cpus), ("GPU", gpus)):
        if each * workers > resources.get(name, 0):
            raise ValueError(
                f"the cluster has no room for {workers} workers with {cpus:g} processors and {gpus:g} GPUs each"
            )
    folder = Path(output).resolve()
    letters = ray.remote(num_cpus=0)(_Letters).remote()
    trainer = TorchTrainer(
        _learn,
        train_loop_config={
            "arguments": (_path(data), _path(voice), str(folder), settings),
            "options": options,
            "threads": max(int(cpus), 1),
            "letters": letters,
        },
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=gpus > 0, resources_per_worker={"CPU": cpus, **({"GPU": gpus} if gpus else {})}
        ),
        run_config=RunConfig(
            storage_path=str(folder / _RAYS_FOLDER), failure_config=FailureConfig(max_failures=max_failures)
        ),
    )
    trainer.fit()
    return cast(TrainingReport, ray.get(letters.read.remote()))


class _Letters:
    """An actor that keeps the first worker's report: of what workers return Ray gives nothing back."""

    def __init__(self) -> None:
        self._report: TrainingReport | None = None

    def write(self, report: TrainingReport) -> None:
        self._report = report

    def read(self) -> TrainingReport | None:
        return self._report


def _path(given: str | os.PathLike[str]) -> str:
    """Workers have another working directory; what is no path here is an id."""
    return str(Path(given).resolve() if Path(given).exists() else given)


def _learn(config: Mapping[str, Any]) -> None:
    """What a worker does. Ray has joined the group and set what torchrun would have set."""
    import ray
    import torch
    from ray.train import get_context
    from ray.train.torch import get_device

    torch.set_num_threads(config["threads"])
    report = learn(*config["arguments"], device=get_device(), **config["options"])
    if get_context().get_world_rank() == 0:
        ray.get(config["letters"].write.remote(report))
