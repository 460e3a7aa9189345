"""How time and peak memory grow with the length of a text and with the batch.

    python -m bench.scaling [--device DEVICE] [--seconds S ...] [--batches B ...] [--candidates NAME ...]
                            [--patience SECONDS] [--quick]
    python -m bench.scaling --predict [--device DEVICE] [--rows N]

The published configuration with random weights, its lengths of text from 1 s to 10 minutes at batch 1, and batches of
3 s, by fastvits (backend auto), fastvits eager and transformers. Durations are given, as the length of a text is chance
without a trained duration predictor: that is the one part that is not run. Every point runs in a process of its own,
whose peak memory is its own: resident memory on a CPU, weights and torch included, allocated memory on a GPU. Rows are
appended to `bench/results/scaling.jsonl`; `python -m bench.report` fits the exponents. A point is left out, and said to
be, where it does not fit into memory, and where a call would take longer than `--patience` if it took as long for each
second of audio as the candidate's point before. `--quick` takes one short point of each and saves nothing.

`--predict` prints what 1, 8, 64 and 1,000 workers would do with ten million sentences of the bundled voice, from what
one does here, with its arithmetic: see `bench/processes/prediction.py`. Nothing is saved.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bench import harness
from bench.processes import memory

SCALING = harness.RESULTS / "scaling.jsonl"
SECONDS = (1, 3, 10, 30, 60, 120, 300, 600)
BATCHES = (1, 2, 4, 8, 16)
CANDIDATES = ("fastvits", "fastvits eager", "transformers")
BATCH_SECONDS = 3
SAMPLING_RATE, FRAME = 16000, 256
FRAMES_A_TOKEN = 2


def speaker(candidate: str, device: str, ids: Tensor) -> Callable[[], Any]:
    """A call of one candidate with ids `[B, T_text]`, each of which lasts for `FRAMES_A_TOKEN` frames."""
    from bench.configurations import STANDARD

    torch.manual_seed(0)
    if candidate == "transformers":
        import transformers

        peer = transformers.VitsModel(transformers.VitsConfig(**STANDARD)).eval().to(device)
        # Rounded up to the frames wanted: it takes no durations.
        peer.duration_predictor.forward = lambda hidden, mask, *_, **__: mask * math.log(FRAMES_A_TOKEN - 0.5)
        return lambda: peer(input_ids=ids)
    from fastvits import VitsConfig, VitsModel, use_backend

    model = VitsModel(VitsConfig(**STANDARD), inference_only=True).eval().to(device)
    durations = torch.full(ids.shape, FRAMES_A_TOKEN, device=device)

    def speak() -> Any:
        with use_backend("eager" if candidate == "fastvits eager" else "auto"):
            return model(input_ids=ids, durations=durations)

    return speak


@torch.inference_mode()
def measure_here(candidate: str, device: str, seconds: float, batch: int) -> dict[str, float]:
    """The median time of three calls (of one, beyond a minute of audio) and the peak memory of this process."""
    tokens = max(1, round(seconds * SAMPLING_RATE / FRAME) // FRAMES_A_TOKEN)
    samples = tokens * FRAMES_A_TOKEN * FRAME
    speak = speaker(candidate, device, torch.randint(1, 38, (batch, tokens), device=device))
    shapes = set()
    times = harness.time_in_turn(
        {candidate: lambda: shapes.add(speak().waveform.shape)},
        device=device,
        rounds=3 if seconds * batch <= 60 else 1,
        warmup=1,
        flush=False,
    )
    if shapes != {(batch, samples)}:
        raise RuntimeError(f"{candidate} gave waveforms of {shapes}, not {(batch, samples)}")
    peak = torch.cuda.max_memory_allocated() if torch.device(device).type == "cuda" else memory.peak_resident_bytes()
    median = harness.percentiles(times[candidate])["p50"]
    return {"time": median, "peak_bytes": peak, "audio_seconds": samples / SAMPLING_RATE}


def measure(candidate: str, device: str, seconds: float, batch: int) -> dict[str, Any] | None:
    """One point, in another process; None where that one failed."""
    point = json.dumps({"candidate": candidate, "device": device, "seconds": seconds, "batch": batch})
    command = [sys.executable, "-m", "bench.scaling", "--point", point]
    # The code that this process runs, installed or not.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, cwd=harness.ROOT, capture_output=True, text=True, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        print(f"{seconds:7g} s, batch {batch:>3}, {candidate}: left out: {last}", flush=True)
        return None
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{found['audio_seconds']:7.1f} s, batch {batch:>3}, {candidate:<15} {found['time']:8.3f} s, "
        f"{found['peak_bytes'] / 2**20:8.0f} MiB at most",
        flush=True,
    )
    return found


def is_too_slow(before: dict[str, Any] | None, seconds: float, batch: int, patience: float) -> bool:
    """Whether a call would take longer than `patience` seconds, from the smaller point measured before."""
    if before is None:
        return False
    return bool(before["time"] / (before["audio_seconds"] * before["batch"]) * seconds * batch > patience)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and append the points."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, nargs="+", default=list(SECONDS), help="lengths at batch 1")
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES), help=f"of {BATCH_SECONDS} s each")
    parser.add_argument("--candidates", nargs="+", choices=CANDIDATES, default=list(CANDIDATES), help="default: all")
    parser.add_argument(
        "--patience", type=float, default=120, metavar="SECONDS", help="for a call, longer ones are left out (120)"
    )
    parser.add_argument("--quick", action="store_true", help="one short point of each; nothing is saved")
    parser.add_argument("--no-save", action="store_true", help="only print")
    parser.add_argument("--predict", action="store_true", help="what many workers would do, from what one does here")
    parser.add_argument("--rows", type=int, default=10_000_000, metavar="N", help="for --predict (default: 10,000,000)")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.point is not None:
        print(json.dumps(measure_here(**json.loads(options.point))))
        return 0
    if options.predict:
        if options.rows < 1:
            parser.error(f"--rows must be at least 1, got {options.rows}")
        from bench.processes import prediction

        costs = prediction.measure(options.device, count=16 if options.quick else 64, batch=8)
        for line in prediction.lines(costs, options.rows):
            print(line)
        return 0
    if options.quick:
        options.seconds, options.batches = [0.5], [1]
    run = harness.Run(options.device, keep=not (options.quick or options.no_save))
    points = [("length", seconds, 1) for seconds in sorted(options.seconds)]
    points += [("batch", BATCH_SECONDS, batch) for batch in sorted(options.batches)] if not options.quick else []
    before: dict[tuple[str, str], dict[str, Any]] = {}
    for against, seconds, batch in points:
        for candidate in options.candidates:
            if is_too_slow(before.get((against, candidate)), seconds, batch, options.patience):
                print(f"{seconds:7g} s, batch {batch:>3}, {candidate}: left out: too slow", flush=True)
                continue
            found = measure(candidate, options.device, seconds, batch)
            if found is None:
                continue
            row = {"kind": "scaling", "candidate": candidate, "against": against, "seconds": seconds, "batch": batch}
            before[against, candidate] = row = {**row, **found}
            run.keep(SCALING, [row])
    return 0


if __name__ == "__main__":
    sys.exit(main())
