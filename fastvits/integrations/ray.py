"""Corpora on a Ray cluster: shards of a manifest as units of work, spoken by actors that each hold the voice.

Source: Ray 2.60. The extra `ray` installs it.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..corpus import CorpusReport, MergeReport, Shard, merge, read_manifest
from ..corpus.manifest import Failure
from ..storage import replacing

__all__ = ["synthesize"]

ITEMS_NAME = "items.jsonl"
"""What the rows of a dataset are written to, in the folder of the output, for all actors to read."""
PATIENCE = 60.0
"""Seconds that an actor waits for a shard that somebody else is still writing."""
MAX_DEATHS = 5
"""Workers that may die with one shard: what ends all of them is no accident."""
SHARDS_A_WORKER = 4
"""So many, so that the last ones end at about the same time, and little is lost where one is killed."""


def synthesize(
    items: Any,
    voice: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    workers: int | None = None,
    cpus_a_worker: float | None = None,
    gpus_a_worker: float | None = None,
    shards: int | None = None,
    manifest_format: str | None = None,
    on_shard: Callable[[Shard, CorpusReport], None] | None = None,
    **options: Any,
) -> MergeReport:
    """Speak a corpus on the cluster that this process is connected to (or on this machine), and merge its shards.

    An actor that dies, by itself or with its machine, has another one take its place, and its shard goes to whoever is
    free. Called again after this process was killed, it goes on where it was: what a shard's manifest names is not
    spoken again.

    Args:
        items: a manifest that all machines see, as `fastvits synthesize` takes it; a Ray dataset, or an iterable of
            mappings, whose rows each have an `id` (the order of a dataset is not kept, so that a row's number names
            nothing).
        voice: what `Speaker` takes; a folder has to be one that all machines see.
        output_dir: a folder that all machines see, on a file system with working locks.
        workers: actors; None: as many as the cluster has room for now.
        cpus_a_worker, gpus_a_worker: of each; None: a GPU and a processor where the cluster has GPUs, else two
            processors (one, where there is only one).
        shards: how many units of work; None: those that the folder has begun with, else four a worker.
        manifest_format: as for `read_manifest`, where `items` is a manifest.
        on_shard: told of each shard that is finished, with what its run did.
        options: those of `fastvits.synthesize`, but for `model`, `shard`, `progress` and `on_failure`.

    Returns:
        What `fastvits.corpus.merge` found: rows that could not be spoken are among its failures.

    Raises:
        ValueError, TypeError: an argument or a row that cannot be.
        ImportError: Ray is not installed.
        OSError: another run is writing to the folder.
        RuntimeError: workers die again and again with one shard.
        IncompleteCorpus: shards that make no whole; of an earlier run with other rows, say.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError("speaking on a cluster needs the extra: install `fastvits[ray]` (ray is missing)") from error
    for name in ("model", "shard", "progress", "on_failure"):
        if name in options:
            raise TypeError(f"{name} cannot be given here: every actor has its own")
    for name, value in (("workers", workers), ("shards", shards)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{name} must be a whole number from 1, got {value!r}")
    folder = Path(output_dir).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    manifest = _manifest(items, folder)
    if not ray.is_initialized():
        ray.init()
    cpus, gpus = _a_worker(ray.cluster_resources(), cpus_a_worker, gpus_a_worker)
    room = _room(ray.cluster_resources(), cpus, gpus)
    if room < 1:
        raise ValueError(f"the cluster has no room for a worker with {cpus:g} processors and {gpus:g} GPUs")
    workers = room if workers is None else workers
    count = _begun(folder) or workers * SHARDS_A_WORKER if shards is None else shards
    remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0)(_Worker)
    arguments = (str(voice), max(int(cpus), 1))
    orders = (manifest, manifest_format, str(folder), options)
    waiting = [Shard(number, count) for number in range(1, count + 1)]
    left = set(waiting)
    deaths: Counter[Shard | None] = Counter()
    # What is being done: an actor that gets ready, or speaks a shard.
    doing: dict[Any, tuple[Any, Shard | None]] = {}

    def start() -> None:
        actor = remote.remote(*arguments)
        doing[actor.ready.remote()] = actor, None

    try:
        for _ in range(min(workers, count)):
            start()
        while left:
            (done, *_), _ = ray.wait(list(doing), num_returns=1)
            actor, shard = doing.pop(done)
            try:
                report = ray.get(done)
            except ray.exceptions.RayActorError as error:
                # Another one takes its place as soon as there is room; until then the others go on without it.
                deaths[shard] += 1
                if deaths[shard] >= MAX_DEATHS * (1 if shard else workers):
                    what = f"with shard {shard}" if shard else "before they had a voice"
                    raise RuntimeError(f"{deaths[shard]} workers died {what}: {error}") from error
                waiting += [shard] if shard is not None else []
                start()
                continue
            if shard is not None:
                left.remove(shard)
                if on_shard is not None:
                    on_shard(shard, report)
            if waiting:
                following = waiting.pop(0)
                doing[actor.speak.remote(str(following), *orders)] = actor, following
            else:
                ray.kill(actor)
    finally:
        for actor, _ in doing.values():
            ray.kill(actor)
    return merge(folder)


class _Worker:
    """An actor: the voice, loaded once, and a shard at a time."""

    def __init__(self, voice: str, threads: int) -> None:
        self._voice, self._threads = voice, threads
        self._speaker: Any = None

    def ready(self) -> None:
        """Load the voice: not when the actor is made, where a fault would look like its death."""
        import torch

        from ..speech.speaker import Speaker

        torch.set_num_threads(self._threads)
        self._speaker = Speaker(self._voice)

    def speak(
        self, shard: str, manifest: str, manifest_format: str | None, folder: str, options: dict[str, Any]
    ) -> CorpusReport:
        from ..corpus import synthesize as speak
        from ..corpus.folder import FolderInUse

        patience = time.monotonic() + PATIENCE
        while True:
            rows = read_manifest(manifest, manifest_format)
            try:
                # Rows that fail are in the shard's report: here nobody reads a log.
                return speak(rows, folder, model=self._speaker, shard=shard, on_failure=_pass_over, **options)
            except FolderInUse:
                # Who had the shard before may be about to die.
                if time.monotonic() > patience:
                    raise
                time.sleep(0.5)


def _pass_over(failure: Failure) -> None:
    pass


def _manifest(items: Any, folder: Path) -> str:
    """A file that all actors read: the manifest itself, or the rows of a dataset."""
    if isinstance(items, str | os.PathLike):
        path = Path(items).resolve()
        if not path.is_file():
            raise ValueError(f"manifest {path} does not exist")
        return str(path)
    rows: Iterable[Any] = items.iter_rows() if hasattr(items, "iter_rows") else items
    path = folder / ITEMS_NAME
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for number, row in enumerate(rows, 1):
            if not isinstance(row, Mapping):
                raise TypeError(f"row {number} must be a mapping with id and text, got {type(row).__name__}")
            if row.get("id") in (None, ""):
                raise ValueError(f"row {number} has no id, and the order of a dataset is not kept: give each row one")
            plain = {name: value.item() if hasattr(value, "item") else value for name, value in row.items()}
            file.write(json.dumps(plain, ensure_ascii=False) + "\n")
    return str(path)


def _begun(folder: Path) -> int | None:
    """How many shards the folder has been begun with."""
    from ..corpus.folder import shard_files

    found = shard_files(folder)
    return found[0].count if found else None


def _a_worker(resources: Mapping[str, float], cpus: float | None, gpus: float | None) -> tuple[float, float]:
    """The processors and GPUs of a worker."""
    if gpus is None:
        gpus = 1.0 if resources.get("GPU", 0) >= 1 and cpus is None else 0.0
    if cpus is None:
        cpus = 1.0 if gpus or resources.get("CPU", 0) < 2 else 2.0
    if cpus < 0 or gpus < 0 or not cpus + gpus:
        raise ValueError(f"a worker needs processors or GPUs, got {cpus:g} and {gpus:g}")
    return cpus, gpus


def _room(resources: Mapping[str, float], cpus: float, gpus: float) -> int:
    """How many workers fit into a cluster."""
    rooms = [resources.get(name, 0) // each for name, each in (("CPU", cpus), ("GPU", gpus)) if each]
    return int(min(rooms))
