"""How soon a stream's first piece comes, and what a long text takes in memory: `python -m bench.streaming`.

    python -m bench.streaming [--rounds N] [--minutes M] [--threads N] [--no-save]

The first piece of `VitsModel.stream` is timed in turn with the plain call on the same text and seed, once the pieces
have been found to be that call's waveform, for the bundled voice and for the standard configuration with random
weights; not with `--rounds 0`. With `--minutes` a text that long is spoken sentence
by sentence in a process of its own, whose peak of memory is read on the way: what it adds after the first ten minutes
(or a sixth, of a shorter text) has a limit in `tests/support/tolerances.py`; the bundled voice speaks. Rows are
appended to `bench/results/streaming.jsonl`. Exit status 1 where memory grew beyond the limit.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench import harness
from bench.configurations import STANDARD
from bench.processes import memory
from fastvits import VitsConfig, VitsModel, VitsTokenizer, pipeline
from fastvits.voices.folders import DEFAULT_VOICE, voice_folder
from tests.support.models import relative_rms
from tests.support.tolerances import LONG_TEXT_MEMORY_GROWTH, MODEL_FLOAT32

LONGEST = (
    "The quick brown fox jumps over the lazy dog, and the dog, who had been asleep since the early morning, looks up, "
    "yawns, and decides that a fox is not worth the trouble of running after it on such a warm day"
)
MARKS = (1, 2, 5, 10, 20, 30, 45)
"""Minutes of speech after which the peak of memory is read."""

RESULTS = harness.RESULTS / "streaming.jsonl"


def bundled() -> tuple[VitsModel, Tensor]:
    """The bundled voice, and the ids of some ten seconds of speech."""
    folder = voice_folder(DEFAULT_VOICE)
    ids = VitsTokenizer.from_pretrained(folder)(LONGEST, return_tensors="pt")["input_ids"]
    assert isinstance(ids, Tensor)
    return VitsModel.from_pretrained(folder, inference_only=True), ids


def standard() -> tuple[VitsModel, Tensor]:
    """The standard configuration, whose last convolution is scaled down so that nothing saturates, and random ids of
    some ten seconds, as long as an untrained duration predictor makes them."""
    torch.manual_seed(0)
    model = VitsModel(VitsConfig(**STANDARD), inference_only=True).eval()
    with torch.no_grad():
        model.decoder.conv_post.weight.mul_(0.1)
    return model, torch.randint(1, model.config.vocab_size, (1, 400))


MODELS = {"bundled": bundled, "standard": standard}


def first_piece(name: str, rounds: int) -> dict[str, Any]:
    """Seconds to the first piece and of the plain call of a model, in turn, for about ten seconds of speech."""
    model, ids = MODELS[name]()

    @torch.inference_mode()
    def whole() -> torch.Tensor:
        return model(ids, seed=1).waveform

    def first() -> torch.Tensor:
        return next(model.stream(ids, seed=1))

    waveform = whole()
    error = relative_rms(torch.cat(list(model.stream(ids, seed=1)), 1), waveform)
    if not error <= MODEL_FLOAT32:
        raise SystemExit(f"no time is given: the stream differs from the plain call by {error:.2g}")
    times = harness.time_in_turn({"whole": whole, "first piece": first}, rounds=rounds, flush=False)
    return {
        "kind": "streaming",
        "model": name,
        "audio_seconds": waveform.shape[1] / model.config.sampling_rate,
        "first_piece_seconds": first().shape[1] / model.config.sampling_rate,
        "relative_rms": error,
        "times": times,
        "ratios": [a / b for a, b in zip(times["first piece"], times["whole"], strict=True)],
    }


def long_text(sentences: int) -> str:
    """So many sentences, no two alike; the longest comes again and again."""
    return " ".join(f"{LONGEST}." if i % 4 == 0 else f"This is sentence number {i} of many." for i in range(sentences))


def speak_for(minutes: float) -> dict[str, object]:
    """Speak a text of about so many minutes; to be run in a process of its own, whose peak memory is read.

    Returns the length in seconds, and the peak in MiB after each of `MARKS` minutes and at the end.
    """
    say = pipeline("text-to-speech", model=voice_folder(DEFAULT_VOICE), device="cpu")
    marks = [mark for mark in MARKS if mark < minutes]
    samples, peaks = 0, []
    # A text longer than is spoken of it: sentences are made when they are asked for.
    for one in say.sentences(long_text(math.ceil(30 * minutes) + 4), seed=0):
        samples += len(one.audio_with_pause)
        spoken = samples / say.sampling_rate / 60
        if spoken >= minutes:
            break
        if marks and spoken >= marks[0]:
            peaks.append({"minutes": marks.pop(0), "peak_mib": peak_mib()})
    seconds = samples / say.sampling_rate
    return {"audio_seconds": seconds, "memory": [*peaks, {"minutes": seconds / 60, "peak_mib": peak_mib()}]}


def peak_mib() -> float:
    """The most memory that this process has had so far."""
    return memory.peak_resident_bytes() / 2**20


def growth(memory: Sequence[Mapping[str, float]]) -> float:
    """By what share the peak at the end exceeds that after ten minutes, or after a sixth of a shorter text."""
    early = min(10.0, memory[-1]["minutes"] / 6)
    reference = next(row["peak_mib"] for row in memory if row["minutes"] >= early)
    return memory[-1]["peak_mib"] / reference - 1


def in_a_process(minutes: float, threads: int) -> dict[str, Any]:
    """`speak_for` in a fresh interpreter."""
    command = [sys.executable, "-m", "bench.streaming", "--speak-for", str(minutes), "--threads", str(threads)]
    # The code that this process runs, installed or not.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, cwd=harness.ROOT, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"the long text failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and append the rows; 1 if memory grew beyond its limit."""
    parser = argparse.ArgumentParser(prog="python -m bench.streaming", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds of first piece and whole, in turn (default: 9)")
    parser.add_argument("--minutes", type=float, help="also speak a text of about so many minutes, for its memory")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads (default: all cores)")
    parser.add_argument("--no-save", action="store_true", help="only print")
    parser.add_argument("--speak-for", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.speak_for is not None:
        print(json.dumps(speak_for(options.speak_for)))
        return 0
    run = harness.Run(keep=not options.no_save)
    rows, grown = [], 0.0
    if options.rounds > 0:
        for name in MODELS:
            row = first_piece(name, options.rounds)
            share = harness.percentiles(row["ratios"])["p50"]
            print(f"{name}, {row['audio_seconds']:.1f} s: the first piece comes after {share:.3f} of the whole's time")
            rows.append(row)
    if options.minutes is not None:
        found = in_a_process(options.minutes, options.threads)
        rows.append({"kind": "long_text", "model": "bundled", **found})
        for peak in found["memory"]:
            print(f"{peak['minutes']:5.1f} minutes of speech: {peak['peak_mib']:.0f} MiB at most")
        grown = growth(found["memory"])
        print(f"after the first minutes the peak grew by {grown:.1%}, allowed is {LONG_TEXT_MEMORY_GROWTH:.0%}")
    run.keep(RESULTS, rows)
    return 0 if grown <= LONG_TEXT_MEMORY_GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
