"""What bfloat16 does to the bundled voice: `python -m bench.quality`.

Over a few sentences, without noise: whether the lengths are equal, the relative RMS distance of the waveform, and the
mean distance of log-mel spectra in decibels. Rows go to `bench/results/quality.jsonl`.
"""

import argparse
import math
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from bench import end_to_end, harness
from fastvits import VitsModel, VitsTokenizer, voices

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


@torch.inference_mode()
def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print and append the rows; 1 if a length differs."""
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=(__doc__ or "").splitlines()[0])
    parser.parse_args(arguments)
    folder = voices.voice_folder()
    tokenizer = VitsTokenizer.from_pretrained(folder)
    exact = VitsModel.from_pretrained(folder, inference_only=True)
    half = VitsModel.from_pretrained(folder, inference_only=True, dtype=torch.bfloat16)
    rate, rows = exact.config.sampling_rate, []
    with end_to_end.without_noise(exact), end_to_end.without_noise(half):
        for text in end_to_end.SENTENCES:
            ids = tokenizer(text, return_tensors="pt")["input_ids"]
            expected, actual = (model(input_ids=ids).waveform[0].float() for model in (exact, half))
            row = {"kind": "quality", "text": text, "equal_lengths": len(actual) == len(expected)}
            if row["equal_lengths"]:
                row["relative_rms"] = ((actual - expected).norm() / expected.norm()).item()
                row["log_mel_db"] = log_mel_distance(actual, expected, rate)
            rows.append(row)
            print(row)
    environment, run = harness.environment("cpu"), harness.new_run()
    harness.append(harness.RESULTS / "quality.jsonl", [row | {"run": run, "environment": environment} for row in rows])
    return 0 if all(row["equal_lengths"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
