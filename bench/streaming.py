"""How soon a stream's first piece comes, and what a long text takes in memory: `python -m bench.streaming`.

The first piece of `VitsModel.stream` is timed in turn with the plain call on the same text and seed, once the pieces
have been found to be that call's waveform. With `--minutes` a text that long is spoken sentence by sentence in a
process of its own, and the memory that it adds is recorded beside a text of a tenth of that. The bundled voice speaks.
Rows go to `bench/results/streaming.jsonl`.
"""

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from bench import harness
from fastvits import VitsModel, VitsTokenizer, pipeline
from fastvits.voices import DEFAULT_VOICE, voice_folder
from tests.models import relative_rms
from tests.tolerances import MODEL_FLOAT32

TEXT = (
    "The quick brown fox jumps over the lazy dog, and the dog, who had been asleep since the early morning, looks up, "
    "yawns, and decides that a fox is not worth the trouble of running after it on such a warm day"
)
SECONDS_OF_A_SENTENCE = 5.0  # about; only the number of sentences is chosen by it
RESULTS = harness.RESULTS / "streaming.jsonl"


def first_piece(rounds: int) -> dict[str, object]:
    """Seconds to the first piece and of the plain call, in turn, for about ten seconds of speech."""
    folder = voice_folder(DEFAULT_VOICE)
    model = VitsModel.from_pretrained(folder, inference_only=True)
    ids = VitsTokenizer.from_pretrained(folder)(TEXT, return_tensors="pt")["input_ids"]

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
        "model": "bundled",
        "audio_seconds": waveform.shape[1] / model.config.sampling_rate,
        "first_piece_seconds": first().shape[1] / model.config.sampling_rate,
        "relative_rms": error,
        "times": times,
        "share": harness.percentiles(
            [a / b for a, b in zip(times["first piece"], times["whole"], strict=True)],
        ),
    }


def speak_for(minutes: float) -> dict[str, float]:
    """Speak a text of about so many minutes; to be run in a process of its own, whose peak memory is read."""
    say = pipeline("text-to-speech", model=voice_folder(DEFAULT_VOICE))
    sentences = max(2, round(minutes * 60 / SECONDS_OF_A_SENTENCE))
    text = " ".join(
        f"This is sentence number {i} of a long text, and it is much like the others." for i in range(sentences)
    )
    next(iter(say.sentences(text, seed=0)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    samples = sum(len(one.audio_with_pause) for one in say.sentences(text, seed=0))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "audio_seconds": samples / say.sampling_rate,
        "peak_mib": after / 1024,
        "added_mib": (after - before) / 1024,
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.streaming", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds of first piece and whole, in turn (default: 9)")
    parser.add_argument(
        "--minutes", type=float, help="also speak a text of about so many minutes, and of a tenth of that"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads (default: 2)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where rows are appended")
    parser.add_argument("--speak-for", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    if options.speak_for is not None:
        print(json.dumps(speak_for(options.speak_for)))
        return 0
    common = {"run": harness.new_run(), "environment": harness.environment()}
    row = first_piece(options.rounds)
    harness.append(options.output, [{**common, **row}])
    share = row["share"]
    assert isinstance(share, dict)
    print(f"{row['audio_seconds']:.1f} s of speech: the first piece comes after {share['p50']:.3f} of the whole's time")
    for minutes in [] if options.minutes is None else [options.minutes / 10, options.minutes]:
        command = [
            sys.executable,
            "-m",
            "bench.streaming",
            "--speak-for",
            str(minutes),
            "--threads",
            str(options.threads),
        ]
        done = subprocess.run(command, cwd=harness.ROOT, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        harness.append(options.output, [{**common, "kind": "long_text", "model": "bundled", **found}])
        memory = f"peak {found['peak_mib']:.0f} MiB, {found['added_mib']:.0f} MiB of it added on the way"
        print(f"{found['audio_seconds']:.0f} s of speech: {memory}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
