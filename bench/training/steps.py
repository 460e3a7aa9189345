"""A step of training beside other people's: `python -m bench.training`.

    python -m bench.training [--candidates NAME ...] [--coqui-python FILE] [--configuration standard] [--batch 8]
                             [--rounds 5] [--threads N] [--quick] [--no-save]

A step is an update of generator and discriminator: forward, both backward passes, both optimisers. Each candidate has a
process of its own, and they step in turn on the same texts and recordings (noise, 32 frames a segment). A row has the
seconds and the processor's seconds of each step and the largest memory of the process, the program and all included.

`piper-tts` is the training code of Piper, which keeps the modules of the original. coqui-tts is measured where
`--coqui-python` names an interpreter that has it (see `bench.training.parties`); a candidate that is missing is named.
bfloat16 is autocast, around what each party's own trainer puts it around; losses and spectrograms are float32.
`--quick` takes one step of a small batch and keeps no rows.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench import harness
from bench.configurations import CONFIGURATIONS
from fastvits import VitsConfig

RESULTS = harness.RESULTS / "training.jsonl"
CANDIDATES = ("fastvits float32", "fastvits bfloat16", "piper-tts float32", "coqui-tts float32", "coqui-tts bfloat16")
_TOKENS, _FRAMES = 160, 400


def make_step(candidate: str, configuration: str, batch: int) -> Callable[[], None]:
    """What is timed. One call is one update."""
    config = VitsConfig(**CONFIGURATIONS[configuration])
    name, precision = candidate.split()
    if name == "fastvits":
        from fastvits.training.huge_pages import use_huge_pages

        use_huge_pages()  # as `fastvits train` does
    ours, theirs = _material(config, batch)
    torch.manual_seed(0)
    if name == "fastvits":
        from fastvits import VitsModel
        from fastvits.training.discriminator import VitsDiscriminator
        from fastvits.training.initialization import initialize_for_training
        from fastvits.training.processes import Processes
        from fastvits.training.settings import TrainingSettings
        from fastvits.training.updates import Networks
        from fastvits.training.weight_norm import apply_weight_norm

        model = VitsModel(config)
        initialize_for_training(model)
        apply_weight_norm(model.decoder)
        settings = TrainingSettings(batch_size=batch, precision=precision)
        networks = Networks(model.train(), VitsDiscriminator(), settings, Processes("cpu"))

        def step() -> None:
            assert networks.update([ours], 0).skipped is None

        return step
    from bench.training.parties import Coqui, Published

    party = Coqui(config) if name == "coqui-tts" else Published(config)
    party.generator.train()
    optimisers = tuple(
        torch.optim.AdamW(network.parameters(), 2e-4, (0.8, 0.99), 1e-9)
        for network in (party.generator, party.discriminator)
    )
    dtype = torch.bfloat16 if precision == "bfloat16" else None
    return lambda: party.step(theirs, (optimisers[0], optimisers[1]), dtype)


def _material(config: VitsConfig, batch: int) -> tuple[Any, Any]:
    """A batch of noise, as we take it and as others do; lengths fall from the longest to three quarters of it."""
    from bench.training.parties import Material
    from fastvits.audio.spectrogram import linear_spectrogram
    from fastvits.models.learning import IGNORED
    from fastvits.training.batches import Batch

    torch.manual_seed(1)
    shares = [1 - item / (4 * batch) for item in range(batch)]
    tokens, frames = [int(_TOKENS * share) for share in shares], [int(_FRAMES * share) for share in shares]
    ids, mask = torch.randint(1, config.vocab_size, (batch, _TOKENS)), torch.zeros(batch, _TOKENS, dtype=torch.int64)
    labels = torch.full((batch, config.spectrogram_bins, _FRAMES), float(IGNORED))
    waveform = torch.zeros(batch, _FRAMES * config.hop_length)
    for item, (spoken, length) in enumerate(zip(tokens, frames, strict=True)):
        mask[item, :spoken] = 1
        waveform[item, : length * config.hop_length] = 0.1 * torch.randn(length * config.hop_length)
        sound = waveform[item, : length * config.hop_length]
        labels[item, :, :length] = linear_spectrogram(sound, config.n_fft, config.hop_length, config.window_length)
    seeds = list(range(batch))
    ours = Batch([str(seed) for seed in seeds], ids * mask, mask, None, labels, waveform, seeds)
    theirs = Material(
        ids * mask,
        torch.tensor(tokens),
        None,
        labels.masked_fill(labels == IGNORED, 0),
        torch.tensor(frames),
        waveform,
        torch.randn(batch, _FRAMES, config.flow_size),
        torch.randn(batch, _TOKENS, 2),
        torch.rand(batch),
    )
    return ours, theirs


def work(options: argparse.Namespace) -> None:
    """What a candidate's process does: for each line that it is given a step, and a line of what that took."""
    torch.set_num_threads(options.threads)
    step = make_step(options.work, options.configuration, options.batch)
    for _ in sys.stdin:
        begun, used = time.perf_counter(), time.process_time()
        step()
        found = {"seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - used}
        print(json.dumps({**found, "peak_bytes": _peak_bytes()}), flush=True)


def _peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not say how much memory a process has had")


class Candidate:
    """A process that steps when it is told to."""

    def __init__(self, name: str, python: str, options: argparse.Namespace) -> None:
        command = [python, "-m", "bench.training", "--work", name, "--threads", str(options.threads)]
        command += ["--batch", str(options.batch), "--configuration", options.configuration]
        # The code that this process runs, installed or not; another interpreter has packages of its own.
        paths = [str(harness.ROOT), str(harness.ROOT / "kernels")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"}
        environment["OMP_NUM_THREADS"] = str(options.threads)
        self.name = name
        self.process = subprocess.Popen(
            command, cwd=harness.ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def step(self) -> dict[str, Any]:
        """Have it take a step.

        Raises:
            RuntimeError: it ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        while line := self.process.stdout.readline():
            if line.startswith("{"):  # others tell of things as they go
                found: dict[str, Any] = json.loads(line)
                return found
        raise RuntimeError(f"{self.name} ended with {self.process.wait()}")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each candidate; one that cannot run is named on standard error and left out."""
    candidates = []
    try:
        for name in options.candidates:
            theirs = name.startswith("coqui-tts")
            if theirs and options.coqui_python is None:
                print(f"{name} is not measured: --coqui-python names no interpreter that has it", file=sys.stderr)
                continue
            python = options.coqui_python if theirs else sys.executable
            candidates.append(Candidate(name, python, options))
        taken: dict[str, list[dict[str, Any]]] = {}
        for number in range(options.rounds + 1):  # the first step is for warming up
            for candidate in list(candidates):
                try:
                    step = candidate.step()
                except RuntimeError as error:
                    print(f"{error}; it is left out", file=sys.stderr)
                    candidates.remove(candidate)
                    taken.pop(candidate.name, None)
                    continue
                if number:
                    taken.setdefault(candidate.name, []).append(step)
    finally:
        for candidate in candidates:
            candidate.end()
    return [
        {
            "kind": "training step",
            "configuration": options.configuration,
            "batch": options.batch,
            "candidate": name,
            "seconds": harness.percentiles(step["seconds"] for step in steps),
            "cpu_seconds": harness.percentiles(step["cpu_seconds"] for step in steps),
            "peak_bytes": max(step["peak_bytes"] for step in steps),
        }
        for name, steps in taken.items()
    ]


def main() -> int:
    """Measure, print a table, and keep the rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--candidates", nargs="+", choices=CANDIDATES, default=CANDIDATES)
    parser.add_argument("--coqui-python", metavar="FILE", help="an interpreter that has coqui-tts")
    parser.add_argument("--configuration", choices=tuple(CONFIGURATIONS), default="standard")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="one step of two clips; keep no rows")
    parser.add_argument("--no-save", action="store_true", help="keep no rows")
    parser.add_argument("--work", choices=CANDIDATES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        work(options)
        return 0
    if options.quick:
        options.rounds, options.batch = 1, 2
    torch.set_num_threads(options.threads)
    run = harness.Run(keep=not (options.quick or options.no_save))
    rows = measure(options)
    print("| | seconds a step | processor's seconds | largest memory |\n| --- | ---: | ---: | ---: |")
    for row in rows:
        print(
            f"| {row['candidate']} | {row['seconds']['p50']:.2f} | {row['cpu_seconds']['p50']:.2f} "
            f"| {row['peak_bytes'] / 2**20:.0f} MiB |"
        )
    run.keep(RESULTS, rows)
    return 0 if rows else 1
