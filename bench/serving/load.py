"""Many clients at once, each asking again as soon as it has its answer, of one server after the other."""

import asyncio
import collections
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench import harness
from bench.serving.processes import Server
from bench.serving.systems import SYSTEMS, System, expected_samples, is_right, silent_voice
from bench.training.sentences import sentences

PATIENCE = 300.0
"""Seconds that a client waits for an answer."""


@dataclass
class Tally:
    """What clients of one system saw.

    Attributes:
        audio_seconds: of whole answers.
        seconds: from the first question to the last answer.
        first, whole: how long each answer took, to its first sound and to its end.
        wrong: answers that are not what the library says.
        refused: answers that asked to come again.
        errors: faults, by what they were.
        computed: seconds that the server's processors worked.
        memory: resident bytes of the server, at the beginning, at the most, and at the end.
    """

    audio_seconds: float = 0.0
    seconds: float = 0.0
    computed: float = 0.0
    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    wrong: int = 0
    refused: int = 0
    errors: collections.Counter[str] = field(default_factory=collections.Counter)
    memory: list[int] = field(default_factory=list)


def texts(count: int) -> list[str]:
    """Sentences of four to fourteen words."""
    return [f"{text[0].upper()}{text[1:]}." for text in sentences(count)]


async def press(
    system: System,
    server: Server,
    expected: dict[str, np.ndarray],
    rate: int,
    clients: int,
    seconds: float,
    into: Tally,
) -> None:
    """Have so many clients ask for so many seconds; what has been asked is waited for."""
    asked = list(expected)
    begin, computed = time.perf_counter(), server.processor_seconds()

    async def work(number: int) -> None:
        turn = number
        while time.perf_counter() < begin + seconds:
            text = asked[turn % len(asked)]
            turn += clients
            try:
                answer = await asyncio.wait_for(system.ask(server, text), PATIENCE)
            except (OSError, ValueError, EOFError, asyncio.TimeoutError) as error:
                into.errors[f"{type(error).__name__}: {error}"[:200]] += 1
                await asyncio.sleep(0.1)
                continue
            if answer.samples is None:
                into.refused += 1
                await asyncio.sleep(min(answer.refused or 1.0, 5.0))
                continue
            into.first.append(answer.first)
            into.whole.append(answer.seconds)
            into.audio_seconds += len(answer.samples) / rate
            into.wrong += not is_right(system, answer.samples, expected[text])

    async def watch() -> None:
        while True:
            into.memory.append(server.state()["resident"])
            await asyncio.sleep(0.5)

    watching = asyncio.ensure_future(watch())
    try:
        await asyncio.gather(*(work(number) for number in range(clients)))
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
    into.memory.append(server.state()["resident"])
    into.seconds += time.perf_counter() - begin
    into.computed += server.processor_seconds() - computed


def summary(tally: Tally) -> dict[str, Any]:
    """The figures of a row; times in seconds, memory in bytes."""

    def at(times: Sequence[float], share: float) -> float | None:
        return round(float(np.quantile(times, share)), 4) if times else None

    return {
        "answers": len(tally.whole),
        "throughput": tally.audio_seconds / tally.seconds,
        "processor_seconds": tally.computed / tally.audio_seconds if tally.audio_seconds else None,
        "first_p50": at(tally.first, 0.5),
        "first_p95": at(tally.first, 0.95),
        "whole_p50": at(tally.whole, 0.5),
        "whole_p95": at(tally.whole, 0.95),
        "wrong": tally.wrong,
        "refused": tally.refused,
        "errors": dict(tally.errors),
        "memory_first": tally.memory[0],
        "memory_peak": max(tally.memory),
        "memory_last": tally.memory[-1],
    }


def measure(
    names: Sequence[str],
    clients: Sequence[int],
    *,
    seconds: float,
    rounds: int,
    threads: int,
    count: int,
    python: str,
    say: Callable[[str], None],
) -> Iterator[dict[str, Any]]:
    """A row for each number of clients and each system; systems take turns, and those that are missing are named."""
    with contextlib.ExitStack() as stack:
        voice = stack.enter_context(silent_voice(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        said = {
            dtype: expected_samples(voice, texts(count), dtype) for dtype in {SYSTEMS[name].dtype for name in names}
        }
        expected = {name: said[SYSTEMS[name].dtype] for name in names}
        rate = sampling_rate(voice)
        servers: dict[str, Server] = {}
        for name in names:
            try:
                servers[name] = stack.enter_context(SYSTEMS[name].start(voice, python, threads))
            except (ImportError, RuntimeError) as error:
                say(f"{name}: left out: {error}")
        for name, server in servers.items():  # the first answers of a server are slower than all others
            asyncio.run(press(SYSTEMS[name], server, expected[name], rate, 1, 3.0, Tally()))
        for number in clients:
            tallies = {name: Tally() for name in servers}
            for _ in range(rounds):
                for name, server in servers.items():
                    asyncio.run(press(SYSTEMS[name], server, expected[name], rate, number, seconds, tallies[name]))
            for name, tally in tallies.items():
                yield {
                    "kind": "serving",
                    "model": "bundled",
                    "system": name,
                    "clients": number,
                    "threads": threads,
                    "texts": count,
                    **summary(tally),
                }


WARMING = 60.0
"""Seconds under load until a server has all the buffers that it needs."""
FLAT = 0.05
"""The share by which its memory may grow from then on."""


def soak(clients: int, *, seconds: float, threads: int, count: int, name: str = "fastvits") -> Tally:
    """Have so many clients ask one server for so long; memory is told from the moment when it is warm."""
    with contextlib.ExitStack() as stack:
        voice = stack.enter_context(silent_voice(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        system, tally = SYSTEMS[name], Tally()
        expected = expected_samples(voice, texts(count), system.dtype)
        server = stack.enter_context(system.start(voice, sys.executable, threads))
        warming = min(WARMING, seconds)
        asyncio.run(press(system, server, expected, sampling_rate(voice), clients, warming, tally))
        tally.memory.clear()
        asyncio.run(press(system, server, expected, sampling_rate(voice), clients, seconds, tally))
    return tally


def soak_faults(tally: Tally) -> list[str]:
    """What came that should not."""
    faults = [f"{count} times {error}" for error, count in tally.errors.items()]
    if tally.wrong:
        faults.append(f"{tally.wrong} answers are not what the library says")
    if not tally.whole:
        faults.append("there was no answer")
    grown = max(tally.memory) / tally.memory[0] - 1
    if grown > FLAT:
        faults.append(f"memory grew by {grown:.1%}, from {tally.memory[0]:,} to {max(tally.memory):,} bytes")
    return faults


def sampling_rate(voice: Path) -> int:
    """Samples a second of a Piper voice."""
    rate: int = json.loads(Path(f"{voice}.json").read_text(encoding="utf-8"))["audio"]["sample_rate"]
    return rate


def as_line(row: dict[str, Any]) -> str:
    """A row for people."""
    times = (
        f"first sound p50 {row['first_p50']:.3f} s, p95 {row['first_p95']:.3f} s" if row["answers"] else "no answers"
    )
    faults = f"{row['wrong']} wrong, {row['refused']} refused, {sum(row['errors'].values())} errors"
    return (
        f"{row['clients']:>3} clients, {row['system']:<17} {row['throughput']:7.2f} s of audio a second, {times}, "
        f"{row['processor_seconds'] or 0:.3f} processor seconds a second, {row['memory_peak'] / 1e6:.0f} MB "
        f"({row['answers']} answers, {faults})"
    )


RESULTS = harness.RESULTS / "serving.jsonl"
