"""The server under load: `python -m bench.serving`.

    python -m bench.serving [--systems NAME ...] [--clients N ...] [--duration S] [--rounds N] [--threads N]
                            [--peer-python PATH] [--quick] [--no-save]
    python -m bench.serving --fuzz N [--seed N] [--limit S]
    python -m bench.serving --vanish N
    python -m bench.serving --soak S [--clients N] [--threads N]

The bundled voice without noise, spoken by `fastvits serve` (over HTTP and over Wyoming), by piper-tts's HTTP server
and by wyoming-piper, which run side by side and are asked in turn, by 1, 4, 16 and 64 clients that each ask again as
soon as they have their answer. Every answer is compared with the library's samples. A row has the seconds of audio in a
second, p50 and p95 of the time to the first sound and to the end, answers that were wrong, refused or none, and the
server's memory. Every server is held to as many processors as `--threads` says. The peers may be installed for another
interpreter (`--peer-python`); one that is missing is named. Rows are appended to `bench/results/serving.jsonl`; not
with `--quick` (two clients, two seconds) and `--no-save`.

`--fuzz` sends requests that make no sense to a server with a small voice, and `--vanish` has clients go in the middle
of a text. `--soak` has 64 clients (the most of `--clients`) ask our server for so many seconds: nothing may come but
right samples and 429, and memory, once a minute has warmed it up, stays within 5 %. All three end with status 1 where
something came that should not.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from bench import harness
from bench.serving import fuzz
from bench.serving.load import RESULTS, as_line, measure, soak, soak_faults, summary
from bench.serving.processes import Server, fastvits_command, free_port, is_healthy, running
from bench.serving.systems import SYSTEMS

GROWTH = 200e6
"""Bytes that a server may grow by under requests that make no sense: their buffers, and what its first texts leave."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and append the rows; or fuzz."""
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="default: all")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64], metavar="N", help="at the same time")
    parser.add_argument("--duration", type=float, default=20.0, metavar="S", help="seconds of a round (default: 20)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of each system, in turn (default: 3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), metavar="N", help="of each server")
    parser.add_argument("--texts", type=int, default=24, metavar="N", help="sentences that are asked for (default: 24)")
    parser.add_argument("--peer-python", default=sys.executable, metavar="PATH", help="the peers' interpreter")
    parser.add_argument("--quick", action="store_true", help="two clients, one short round; nothing is saved")
    parser.add_argument("--no-save", action="store_true", help="only print")
    parser.add_argument("--fuzz", type=int, metavar="N", help="send N requests that make no sense")
    parser.add_argument("--seed", type=int, default=0, help="of --fuzz (default: 0)")
    parser.add_argument("--limit", type=float, default=600.0, metavar="S", help="seconds for --fuzz (default: 600)")
    parser.add_argument("--vanish", type=int, metavar="N", help="have N clients go in the middle of a text")
    parser.add_argument("--soak", type=float, metavar="S", help="have many clients ask for so many seconds")
    options = parser.parse_args(arguments)
    counts = {"clients": min(options.clients), "rounds": options.rounds, "threads": options.threads}
    counts |= {"texts": options.texts, "fuzz": options.fuzz, "vanish": options.vanish}
    for name, value in counts.items():
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    for name in ("duration", "limit", "soak"):
        if getattr(options, name) is not None and not 0 < getattr(options, name) < float("inf"):
            parser.error(f"--{name} must be positive, got {getattr(options, name):g}")
    if options.fuzz is not None or options.vanish is not None:
        return try_hard(options)
    if options.soak is not None:
        return try_long(options)
    if options.quick:
        options.clients, options.duration, options.rounds, options.texts = [2], 2.0, 1, 4
    run = harness.Run(keep=not (options.quick or options.no_save))
    print(f"{run.environment['device']}, {options.threads} threads a server, load {run.environment['load']}")
    for row in measure(
        options.systems,
        options.clients,
        seconds=options.duration,
        rounds=options.rounds,
        threads=options.threads,
        count=options.texts,
        python=options.peer_python,
        say=print,
    ):
        print(as_line(row), flush=True)
        run.keep(RESULTS, [row])
    return 0


def try_long(options: argparse.Namespace) -> int:
    """Have many clients ask for long; the status to end with."""
    print(f"{max(options.clients)} clients for {options.soak:g} s, {options.threads} threads", flush=True)
    tally = soak(max(options.clients), seconds=options.soak, threads=options.threads, count=options.texts)
    figures = summary(tally)
    for name, value in figures.items():
        print(f"{name:<18} {value}")
    faults = soak_faults(tally)
    for fault in faults:
        print(f"FAULT {fault}")
    print("no faults" if not faults else f"{len(faults)} faults")
    return 1 if faults else 0


def try_hard(options: argparse.Namespace) -> int:
    """Fuzz a server, or have clients vanish; the status to end with."""
    from tests.support.small_voices import save_small_voice

    port, other = free_port(), free_port()
    with tempfile.TemporaryDirectory() as temporary:
        folder, log = save_small_voice(Path(temporary) / "one"), Path(temporary) / "log"
        command = fastvits_command(port, "--voice", f"one={folder}", "--wyoming-port", str(other))
        with running(command, port, other_port=other, ready=is_healthy, log=log) as server:
            faults = try_vanishing(server, options.vanish) if options.vanish else []
            if options.fuzz:
                faults += try_fuzzing(server, options)
        said = log.read_text(errors="replace")
    faults += ["the server wrote a traceback: " + said[said.index("Traceback") :][:2000]] if "Traceback" in said else []
    for fault in faults:
        print(f"FAULT {fault}")
    print("no faults" if not faults else f"{len(faults)} faults")
    return 1 if faults else 0


def try_fuzzing(server: Server, options: argparse.Namespace) -> list[str]:
    """What is wrong with how a server takes requests that make no sense."""
    asyncio.run(fuzz.fuzz(server, 500, seed=options.seed - 1, voices=["one"], seconds=options.limit))
    before = asyncio.run(fuzz.settled(server))
    found = asyncio.run(fuzz.fuzz(server, options.fuzz, seed=options.seed, voices=["one"], seconds=options.limit))
    for (kind, status), count in sorted(found.answers.items(), key=str):
        print(f"{kind:<14} {'-' if status is None else status:>4} {count:>8}")
    print(f"{sum(found.answers.values())} requests in {found.seconds:.0f} s")
    if server.process.poll() is not None:
        return [*found.faults, f"the server ended with {server.process.returncode}"]
    return [*found.faults, *left_behind(before, asyncio.run(fuzz.settled(server)))]


def try_vanishing(server: Server, clients: int) -> list[str]:
    """What clients that vanished have left in a server."""
    asyncio.run(fuzz.vanish(server, 20))
    found = asyncio.run(fuzz.vanish(server, clients))
    print(f"{clients} clients vanished, {found['heard']} of them in the middle of an answer")
    return left_behind(found["before"], found["after"])


def left_behind(before: dict[str, int], after: dict[str, int]) -> list[str]:
    """What has grown between two states of a server at rest."""
    print(", ".join(f"{name}: {value:,}, then {after[name]:,}" for name, value in before.items()))
    allowed = {"resident": GROWTH, "threads": 6, "files": 2}  # asyncio's pool grows by itself up to its size
    return [
        f"{name} grew from {before[name]:,} to {after[name]:,}"
        for name, more in allowed.items()
        if after[name] > before[name] + more
    ]


if __name__ == "__main__":
    sys.exit(main())
