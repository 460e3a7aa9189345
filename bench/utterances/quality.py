"""What bfloat16, int8, streams and long texts do to the bundled voice: `python -m bench.quality [--no-save]`.

Twenty sentences are spoken by the plain call in float32, each with a seed of its own, and again in bfloat16, in int8
(calibrated on other sentences; left out, and named, where the processor lacks the instructions), as streams and as one
long text. Told are whether the lengths are equal, the relative RMS distance of the waveforms, the mean
distance of log-mel spectra in decibels, and the word error rate of a recogniser, which may differ from the plain call's
by as much as `tests/support/tolerances.py` says. Rows are appended to `bench/results/quality.jsonl`. Exit status 1
where a length differs or too many words do.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench import harness
from bench.utterances.int8 import calibrated
from fastvits import pipeline
from fastvits.voices import folders as voices
from tests.support.recogniser import SENTENCES, heard, word_error_rate
from tests.support.tolerances import RECOGNISER_WORD_ERROR_POINTS

PLAIN = "plain call"
_FFT, _HOP, _BANDS = 1024, 256, 80


def mel_filters(sampling_rate: int) -> Tensor:
    """Triangular filters `[bands, bins]`, equally spaced on the mel scale of O'Shaughnessy (`2595 log10(1 + f /
    700)`)."""
    top = 2595 * math.log10(1 + sampling_rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, _BANDS + 2) / 2595) - 1)
    frequencies = torch.linspace(0, sampling_rate / 2, _FFT // 2 + 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    return torch.minimum(rising, falling).clamp_min(0)


def log_mel_distance(actual: Tensor, expected: Tensor, sampling_rate: int) -> float:
    """The mean over frames of the RMS difference of the bands' levels, in dB; levels end 80 dB below the loudest."""

    def levels(waveform: Tensor) -> Tensor:
        spectrum = torch.stft(waveform, _FFT, _HOP, window=torch.hann_window(_FFT), return_complex=True).abs().square()
        return 10 * torch.log10((mel_filters(sampling_rate) @ spectrum).clamp_min(1e-20))

    a, b = levels(actual), levels(expected)
    floor = b.max() - 80
    return (a.clamp_min(floor) - b.clamp_min(floor)).square().mean(0).sqrt().mean().item()


def spoken(texts: Sequence[str]) -> tuple[dict[str, list[Tensor]], int]:
    """The waveforms of the texts in each way of saying them, and their sampling rate; text `i` has the seed `i`."""
    folder = voices.voice_folder()
    exact = pipeline(model=folder, device="cpu")
    half = pipeline(model=folder, device="cpu", dtype=torch.bfloat16)
    model = calibrated(folder)
    eight = None if model is None else pipeline(model=model, tokenizer=exact.tokenizer, device="cpu")
    long_text = list(exact.sentences(" ".join(texts), seed=0))
    whole = np.concatenate([one.audio_with_pause for one in long_text])
    found: dict[str, list[np.ndarray]] = {
        PLAIN: [exact(text, seed=seed)["audio"] for seed, text in enumerate(texts)],
        "bfloat16": [half(text, seed=seed)["audio"] for seed, text in enumerate(texts)],
        **({} if eight is None else {"int8": [eight(text, seed=seed)["audio"] for seed, text in enumerate(texts)]}),
        "streamed": [np.concatenate(list(exact.stream(text, seed=seed))) for seed, text in enumerate(texts)],
        "long text": [whole[one.start : one.start + len(one.audio)] for one in long_text],
    }
    return {
        name: [torch.from_numpy(one) for one in waveforms] for name, waveforms in found.items()
    }, exact.sampling_rate


def compare(
    name: str, texts: Sequence[str], actual: Sequence[Tensor], expected: Sequence[Tensor], rate: int
) -> dict[str, Any]:
    """The row of one way of saying the texts: the largest distance of the waveforms, the mean one of the spectra."""
    row: dict[str, Any] = {
        "kind": "quality",
        "model": "bundled",
        "way": name,
        "sentences": len(texts),
        "equal_lengths": [len(one) for one in actual] == [len(one) for one in expected],
        "word_error_rate": word_error_rate(list(texts), heard([one.numpy() for one in actual], rate)),
    }
    if row["equal_lengths"]:
        pairs = list(zip(actual, expected, strict=True))
        row["relative_rms"] = max(((a - e).norm() / e.norm()).item() for a, e in pairs)
        row["log_mel_db"] = statistics.mean(log_mel_distance(a, e, rate) for a, e in pairs)
    return row


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print and append the rows; 1 if a length differs or too many words do."""
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--no-save", action="store_true", help="only print")
    options = parser.parse_args(arguments)
    run = harness.Run(keep=not options.no_save)
    waveforms, rate = spoken([f"{text.capitalize()}." for text in SENTENCES])
    rows = [compare(name, SENTENCES, said, waveforms[PLAIN], rate) for name, said in waveforms.items()]
    plain = next(row for row in rows if row["way"] == PLAIN)
    failed = False
    for row in rows:
        points = 100 * (row["word_error_rate"] - plain["word_error_rate"])
        failed |= not row["equal_lengths"] or abs(points) > RECOGNISER_WORD_ERROR_POINTS
        lengths = "equal" if row["equal_lengths"] else "DIFFERENT"
        distances = (
            f"relative RMS {row['relative_rms']:.1e}, {row['log_mel_db']:.2f} dB" if row["equal_lengths"] else ""
        )
        print(f"{row['way']:<10} lengths {lengths}, {row['word_error_rate']:.1%} wrong ({points:+.1f}) {distances}")
    run.keep(harness.RESULTS / "quality.jsonl", rows)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
