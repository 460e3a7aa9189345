"""A real run: a voice without a posterior encoder gets one, learnt from its own speech on a CPU.

The bundled voice speaks sentences of a small grammar; a new posterior encoder is trained on that with the rest frozen
(`fastvits train --only-posterior`). Judged by the mel loss on clips held back, and by what a recogniser hears when
other sentences, which were not learnt from, go through posterior encoder and decoder, before and after.

    python -m bench.training.run OUTPUT [--steps N] [--clips N] [--batch-size N]

Run again with the same OUTPUT, it goes on.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.training.sentences import sentences
from fastvits import VitsModel, VitsTokenizer, synthesize
from fastvits.audio.spectrogram import linear_spectrogram
from fastvits.storage import write_json
from fastvits.training.adaptation import add_training_parts
from fastvits.training.run import train
from fastvits.training.settings import TrainingSettings
from fastvits.voices.folders import voice_folder
from tests.support.recogniser import SENTENCES, heard, word_error_rate


def make_data(folder: Path, clips: int) -> None:
    """Speech of the bundled voice, a file a sentence; what is there already is not made again."""
    items = [{"id": f"{number:05d}", "text": text + "."} for number, text in enumerate(sentences(clips))]
    synthesize(items, folder, sentence_silence=0)


@torch.no_grad()
def rebuilt(model: VitsModel, waveforms: list[np.ndarray]) -> list[np.ndarray]:
    """Waveforms through the posterior encoder (its means) and the decoder."""
    config = model.config
    made = []
    for waveform in waveforms:
        spectrogram = linear_spectrogram(torch.from_numpy(waveform), config.n_fft, config.hop_length)
        _, mean, _ = model.posterior_encoder.encode(spectrogram.t()[None])
        made.append(model.decoder.decode(mean)[0].numpy())
    return made


def recognised(model: VitsModel, waveforms: list[np.ndarray]) -> dict[str, Any]:
    """What a recogniser hears in the rebuilt waveforms of the sentences."""
    texts = heard(rebuilt(model, waveforms), model.config.sampling_rate)
    words = sum(len(set(said.split()) & set(told.split())) for said, told in zip(SENTENCES, texts, strict=True))
    return {"word_error_rate": word_error_rate(SENTENCES, texts), "words_heard": words, "texts": texts}


def main() -> None:
    """Run, and write `result.json` into the output folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--interval", type=int, default=50)
    parser.add_argument("--max-seconds", type=float, default=20.0)
    options = parser.parse_args()
    voice = voice_folder()
    tokenizer, speaker = VitsTokenizer.from_pretrained(voice), VitsModel.from_pretrained(voice)
    make_data(options.output / "data", options.clips)
    with torch.no_grad():
        said = [speaker(**tokenizer(text + ".", return_tensors="pt"), seed=1).waveform[0].numpy() for text in SENTENCES]
    original = heard(said, speaker.config.sampling_rate)
    torch.manual_seed(0)
    before = recognised(add_training_parts(speaker).eval(), said)
    begun = time.monotonic()
    settings = TrainingSettings(
        steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        validation_interval=options.interval,
        checkpoint_interval=options.interval,
        samples=1,
        max_seconds=options.max_seconds,
    )
    report = train(
        options.output / "data", voice, options.output / "voice", settings, only_posterior=True, progress=True
    )
    after = recognised(VitsModel.from_pretrained(options.output / "voice"), said)
    result = {
        "steps": report.step,
        "seconds": round(time.monotonic() - begun),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "words": sum(len(text.split()) for text in SENTENCES),
        "speech_itself": {"word_error_rate": word_error_rate(SENTENCES, original)},
        "before": before,
        "after": after,
        "validation": report.validation,
    }
    assert all(math.isfinite(row["mel"]) for row in report.validation)
    write_json(options.output / "result.json", result)
    print(
        json.dumps({name: result[name] for name in ("steps", "seconds", "speech_itself", "before", "after")}, indent=1)
    )


if __name__ == "__main__":
    main()
