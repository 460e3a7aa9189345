"""The server on a Ray cluster: replicas that each hold our own scheduler, as many as the load asks for.

Source: Ray Serve 2.60. The extras `ray` and `serve` install what it needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["application"]


def application(
    sources: Mapping[str, str],
    *,
    replicas: int | tuple[int, int] = 1,
    cpus: float = 1.0,
    gpus: float = 0.0,
    max_queue: int = 64,
    timeout: float | None = 300.0,
    memory: int | None = None,
    aliases: Mapping[str, str] | None = None,
    api_keys: Sequence[str] = (),
    cors: Sequence[str] = (),
) -> Any:
    """An application for `ray.serve.run`: the routes of `fastvits serve`, streaming, on each replica.

    Limits are those of a replica. Wyoming, which is no HTTP, is not served.

    Args:
        sources, aliases, memory: as of `VoiceStore`; folders have to be ones that all machines see.
        replicas: how many; two numbers: the least and the most, between which Ray Serve chooses by the texts that are
            being spoken (a quarter of `max_queue` on each is what it aims at).
        cpus, gpus: of a replica. It takes as many texts at a time as it has processors.
        max_queue, timeout: as of `Engine`.
        api_keys, cors: as of `make_app`.

    Raises:
        ValueError: numbers that cannot be, or no voice.
        ImportError: Ray Serve is not installed.
    """
    try:
        from ray import serve
    except ImportError as error:
        raise ImportError(f"serving on a cluster needs the extra: install `fastvits[ray]` ({error})") from error
    if not sources:
        raise ValueError("a server needs at least one voice")
    least, most = (replicas, replicas) if isinstance(replicas, int) else replicas
    if not 1 <= least <= most:
        raise ValueError(f"replicas are from 1 on, the least before the most, not {replicas!r}")
    if cpus <= 0 or gpus < 0:
        raise ValueError(f"a replica needs a processor, got {cpus:g} processors and {gpus:g} GPUs")
    threads = max(int(cpus), 1)

    def build() -> Any:
        """The application of a replica, made where it runs."""
        import torch

        from .app import make_app
        from .engine import Engine, sharing_on
        from .voices import VoiceStore

        torch.set_num_threads(threads)
        voices = VoiceStore(dict(sources), aliases=aliases, memory=memory)
        sharing = sharing_on(voices.preload(voices.default).device)
        engine = Engine(
            voices,
            workers=threads,
            threads=threads,
            batch=sharing.batch,
            calls=sharing.calls,
            max_queue=max_queue,
            timeout=timeout,
        )
        return make_app(engine, api_keys=list(api_keys), cors=list(cors))

    amount: dict[str, Any] = {"num_replicas": least}
    if least < most:
        aim = max(max_queue // 4, 1)
        amount = {"autoscaling_config": {"min_replicas": least, "max_replicas": most, "target_ongoing_requests": aim}}
    deployment = serve.deployment(
        name="fastvits",
        # One more than the scheduler takes, so that it is the scheduler who refuses, with Retry-After.
        max_ongoing_requests=max_queue + 1,
        ray_actor_options={"num_cpus": cpus, "num_gpus": gpus},
        graceful_shutdown_timeout_s=300.0 if timeout is None else timeout,
        **amount,
    )

    class Speech:
        """A replica."""

    return deployment(serve.ingress(build)(Speech)).bind()
