"""How callers fare on a quiet and on a busy machine: `python -m bench.crowded`.

    python -m bench.crowded [--systems NAME ...] [--neighbours N ...] [--callers N ...] [--duration S] [--rounds N]
                            [--threads N] [--quick] [--no-save]

The bundled voice speaks one sentence again and again, by fastvits (in float32) and by onnxruntime in turn, beside no,
one and four busy processes. 1, 2, 4 and 8 callers wait for their own waveform at the same time, as threads of one
process that share the voice, and as processes that each have their own. Every process takes as many threads as
`--threads` says, by default as torch does: nobody tells a program of its neighbours.

A row has the seconds of audio made in a second, and p50 and p95 of how long a caller waited. A busy neighbour is a
process that does nothing but compute. Rows are appended to `bench/results/crowded.jsonl`; not with `--quick` (two
callers, one short round) and `--no-save`.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from bench import harness

RESULTS = harness.RESULTS / "crowded.jsonl"
SYSTEMS = ("fastvits", "onnxruntime")
NEIGHBOURS, CALLERS = (0, 1, 4), (1, 2, 4, 8)
ARRANGEMENTS = ("one process", "several processes")
TEXT = "The quick brown fox jumps over the lazy dog."
BUSY = "x = 1\nwhile True: x = (x * 16807) % 2147483647"


def speaker(system: str, threads: int) -> tuple[Callable[[], Tensor], int]:
    """A call that speaks `TEXT` without noise, and the samples that a second has."""
    from bench.utterances.end_to_end import without_noise
    from bench.utterances.peers import OnnxRuntime
    from fastvits import VitsModel, VitsTokenizer
    from fastvits.voices.folders import voice_folder

    torch.set_num_threads(threads)
    folder = voice_folder()
    ids = VitsTokenizer.from_pretrained(folder)(TEXT, return_tensors="pt")["input_ids"]
    assert isinstance(ids, Tensor)
    model = VitsModel.from_pretrained(folder, inference_only=True)
    rate = model.config.sampling_rate
    if system == "onnxruntime":
        peer = OnnxRuntime(threads)
        return lambda: peer(ids), rate

    @torch.inference_mode()
    def speak() -> Tensor:
        waveform = model(input_ids=ids).waveform
        assert isinstance(waveform, Tensor)
        return waveform

    # For as long as the process lives.
    without_noise(model).__enter__()
    return speak, rate


def waits(speak: Callable[[], Any], callers: int, seconds: float) -> tuple[list[float], float]:
    """How long each call took where so many callers call for so many seconds, and how long it was until all were done;
    a call that has begun is finished."""
    found: list[list[float]] = [[] for _ in range(callers)]
    begin = time.perf_counter()

    def call(times: list[float]) -> None:
        now = time.perf_counter()
        while now < begin + seconds:
            speak()
            now, before = time.perf_counter(), now
            times.append(now - before)

    threads = [threading.Thread(target=call, args=(times,)) for times in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [one for times in found for one in times], time.perf_counter() - begin


def work(system: str, threads: int) -> None:
    """What a process does: it loads the voice, and then answers each line `{"callers": n, "seconds": s}`."""
    speak, rate = speaker(system, threads)
    samples = [speak().shape[-1] for _ in range(2)][-1]
    print(json.dumps({"audio_seconds": samples / rate}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        times, seconds = waits(speak, order["callers"], order["seconds"])
        print(json.dumps({"times": times, "seconds": seconds}), flush=True)


class Worker:
    """A process with a voice of its own, which waits for its turn without computing."""

    def __init__(self, system: str, threads: int) -> None:
        command = [sys.executable, "-m", "bench.crowded", "--work", system, "--threads", str(threads)]
        # The code that this process runs, installed or not.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            command, cwd=harness.ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.audio_seconds = 0.0

    def wait_until_ready(self) -> None:
        """Until it has loaded the voice and spoken."""
        self.audio_seconds = self.answer()["audio_seconds"]

    def ask(self, callers: int, seconds: float) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"callers": callers, "seconds": seconds}) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a caller's process ended with {self.process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def busy(neighbours: int) -> Iterator[None]:
    """So many processes that compute all the time, one thread each."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(neighbours)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def one_round(workers: Sequence[Worker], arrangement: str, callers: int, seconds: float) -> dict[str, Any]:
    """All calls of one system: how long each took, and the seconds of audio a second."""
    together = arrangement == "one process"
    asked = [(workers[0], callers)] if together else [(worker, 1) for worker in workers[:callers]]
    for worker, share in asked:
        worker.ask(share, seconds)
    answers = [worker.answer() for worker, _ in asked]
    times = [one for answer in answers for one in answer["times"]]
    lasted = max(answer["seconds"] for answer in answers)
    return {"times": times, "throughput": len(times) * workers[0].audio_seconds / lasted}


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each system, arrangement and number of callers and of neighbours, the systems in turn."""
    with ExitStack() as stack:
        workers = {
            system: [stack.enter_context(Worker(system, options.threads)) for _ in range(max(options.callers))]
            for system in options.systems
        }
        for worker in (one for found in workers.values() for one in found):
            worker.wait_until_ready()
        for neighbours in options.neighbours:
            with busy(neighbours):
                for callers in options.callers:
                    # With one caller the two arrangements are the same.
                    for arrangement in ARRANGEMENTS if callers > 1 else ARRANGEMENTS[:1]:
                        rounds: dict[str, list[dict[str, Any]]] = {system: [] for system in workers}
                        for _ in range(options.rounds):
                            for system, found in rounds.items():
                                found.append(one_round(workers[system], arrangement, callers, options.duration))
                        for system, found in rounds.items():
                            yield {
                                "kind": "crowded",
                                "model": "bundled",
                                "system": system,
                                "neighbours": neighbours,
                                "callers": callers,
                                "arrangement": arrangement,
                                "threads": options.threads,
                                "wait_policy": os.environ.get("OMP_WAIT_POLICY"),
                                "audio_seconds": workers[system][0].audio_seconds,
                                **summary(found),
                            }


def summary(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median throughput of the rounds, and p50 and p95 of all that callers waited, in seconds."""
    times = torch.tensor([one for found in rounds for one in found["times"]], dtype=torch.float64)
    throughput = torch.tensor([found["throughput"] for found in rounds], dtype=torch.float64)
    return {
        "calls": len(times),
        "throughput": throughput.quantile(0.5).item(),
        "p50": times.quantile(0.5).item(),
        "p95": times.quantile(0.95).item(),
    }


def as_line(row: dict[str, Any]) -> str:
    """A row for people."""
    return (
        f"{row['neighbours']} busy neighbours, {row['callers']} callers in {row['arrangement']:<18} {row['system']:<12}"
        f" {row['throughput']:7.1f} s of audio a second, p50 {row['p50']:6.3f} s, p95 {row['p95']:6.3f} s"
        f" ({row['calls']} calls)"
    )


def main(arguments: Sequence[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Measure, print and append the rows."""
    parser = argparse.ArgumentParser(prog="python -m bench.crowded", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="default: both")
    parser.add_argument("--neighbours", type=int, nargs="+", default=list(NEIGHBOURS), metavar="N", help="busy ones")
    parser.add_argument("--callers", type=int, nargs="+", default=list(CALLERS), metavar="N", help="at the same time")
    parser.add_argument("--duration", type=float, default=5.0, metavar="S", help="seconds of a round (default: 5)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of each system, in turn (default: 3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), metavar="N", help="of each process")
    parser.add_argument("--quick", action="store_true", help="two callers, one short round; nothing is saved")
    parser.add_argument("--no-save", action="store_true", help="only print")
    parser.add_argument("--work", choices=SYSTEMS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work is not None:
        work(options.work, options.threads)
        return 0
    for name, least in (("neighbours", 0), ("callers", 1)):
        if min(getattr(options, name)) < least:
            parser.error(f"--{name} must be at least {least}, got {min(getattr(options, name))}")
    for name in ("duration", "rounds", "threads"):
        if not 0 < getattr(options, name) < float("inf"):
            parser.error(f"--{name} must be positive, got {getattr(options, name):g}")
    if options.quick:
        options.neighbours, options.callers, options.duration, options.rounds = [0, 1], [2], 0.2, 1
    run = harness.Run(keep=not (options.quick or options.no_save))
    say(f"{run.environment['device']}, {options.threads} threads a process, load {run.environment['load']}")
    for row in measure(options):
        say(as_line(row))
        run.keep(RESULTS, [row])
    return 0


if __name__ == "__main__":
    sys.exit(main())
