"""How time and peak memory grow with the length of a text and with the batch.

    python -m bench.scaling [--device DEVICE] [--seconds S ...] [--batches B ...] [--quick]

The published configuration with random weights, its lengths of text from 1 s to 10 minutes at batch 1, and batches of
3 s. Every point runs in a process of its own, whose peak memory is its own: resident memory on a CPU, weights and torch
included, allocated memory on a GPU. Rows are appended to `bench/results/scaling.jsonl`; `python -m bench.report` fits
the exponents. A point that does not fit into memory is said and left out. `--quick` takes one short point and saves
nothing.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import torch

from bench import harness, memory

SCALING = harness.RESULTS / "scaling.jsonl"
SECONDS = (1, 3, 10, 30, 60, 120, 300, 600)
BATCHES = (1, 2, 4, 8, 16)
BATCH_SECONDS = 3
FRAMES_A_TOKEN = 2


@torch.inference_mode()
def measure_here(device: str, seconds: float, batch: int) -> dict[str, float]:
    """The median time of three calls (of one, beyond a minute of audio) and the peak memory of this process."""
    from bench.configurations import STANDARD
    from fastvits import VitsConfig, VitsModel

    torch.manual_seed(0)
    config = VitsConfig(**STANDARD)
    model = VitsModel(config, inference_only=True).eval().to(device)
    frames = round(seconds * config.sampling_rate / 256)
    tokens = max(1, frames // FRAMES_A_TOKEN)
    ids = torch.randint(1, config.vocab_size, (batch, tokens), device=device)
    # Without a trained duration predictor a text's length is chance; given durations make it exact.
    durations = torch.full((batch, tokens), FRAMES_A_TOKEN, device=device)

    def speak() -> None:
        model(input_ids=ids, durations=durations)

    samples = harness.time_in_turn(
        {"fastvits": speak}, device=device, rounds=3 if seconds * batch <= 60 else 1, warmup=1, flush=False
    )
    peak = torch.cuda.max_memory_allocated() if torch.device(device).type == "cuda" else memory.peak_resident_bytes()
    audio = tokens * FRAMES_A_TOKEN * 256 / config.sampling_rate
    return {"time": harness.percentiles(samples["fastvits"])["p50"], "peak_bytes": peak, "audio_seconds": audio}


def measure(device: str, seconds: float, batch: int) -> dict[str, Any] | None:
    """One point, in another process; None where that one failed."""
    point = json.dumps({"device": device, "seconds": seconds, "batch": batch})
    command = [sys.executable, "-m", "bench.scaling", "--point", point]
    # The code that this process runs, installed or not.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, cwd=harness.ROOT, capture_output=True, text=True, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        print(f"{seconds:g} s, batch {batch}: left out: {last}", flush=True)
        return None
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{found['audio_seconds']:7.1f} s, batch {batch:>3}: {found['time']:8.3f} s, "
        f"{found['peak_bytes'] / 2**20:8.0f} MiB at most",
        flush=True,
    )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and append the points."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, nargs="+", default=list(SECONDS), help="lengths at batch 1")
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES), help=f"of {BATCH_SECONDS} s each")
    parser.add_argument("--quick", action="store_true", help="one short point; nothing is saved")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.point is not None:
        print(json.dumps(measure_here(**json.loads(options.point))))
        return 0
    if options.quick:
        options.seconds, options.batches = [0.5], [1]
    environment, run = harness.environment(options.device), harness.new_run()
    points = [("length", seconds, 1) for seconds in options.seconds]
    points += [("batch", BATCH_SECONDS, batch) for batch in options.batches] if not options.quick else []
    for against, seconds, batch in points:
        found = measure(options.device, seconds, batch)
        if found is not None and not options.quick:
            row = {"kind": "scaling", "candidate": "fastvits", "against": against, "seconds": seconds, "batch": batch}
            harness.append(SCALING, [{**row, **found, "run": run, "environment": environment}])
    return 0


if __name__ == "__main__":
    sys.exit(main())
