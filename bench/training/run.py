"""A real run: a voice without a posterior encoder gets one, learnt from its own speech on a CPU.

The bundled voice speaks sentences of a small grammar; a new posterior encoder is trained on that with the rest frozen
(`fastvits train --only-posterior`). Judged by the losses on clips held back, and by what a recogniser hears when other
sentences, which were not learnt from, go through posterior encoder and decoder, before and after.

    python -m bench.training.run OUTPUT [--steps N] [--clips N] [--batch-size N]

Run again with the same OUTPUT, it goes on. It leaves `result.json`, `mel.svg` (the curve), and one of the sentences as
the voice spoke it (`spoken.mp3`) and as it was rebuilt (`before.mp3`, `after.mp3`). Those of the run that the
documentation shows lie in `docs/training-run`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.training.sentences import sentences
from fastvits import VitsModel, VitsTokenizer, synthesize
from fastvits.audio.files import write_audio
from fastvits.audio.spectrogram import linear_spectrogram
from fastvits.storage import write_json, write_text
from fastvits.training.batches import item_seed
from fastvits.training.pictures import curves_svg
from fastvits.training.run import train
from fastvits.training.settings import TrainingSettings
from fastvits.training.voices import starting_voice
from fastvits.voices.folders import voice_folder
from tests.support.recogniser import SENTENCES, heard, word_error_rate


def make_data(folder: Path, clips: int) -> None:
    """Speech of the bundled voice, a file a sentence; what is there already is not made again."""
    items = [{"id": f"{number:05d}", "text": text + "."} for number, text in enumerate(sentences(clips))]
    synthesize(items, folder, sentence_silence=0)


@torch.no_grad()
def rebuilt(model: VitsModel, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Waveforms through the posterior encoder (its means) and the decoder."""
    config = model.config
    made = []
    for waveform in waveforms:
        spectrogram = linear_spectrogram(torch.from_numpy(waveform), config.n_fft, config.hop_length)
        _, mean, _ = model.posterior_encoder.encode(spectrogram.t()[None])
        made.append(model.decoder.decode(mean)[0].numpy())
    return made


def recognised(texts: Sequence[str], waveforms: Sequence[np.ndarray], rate: int) -> dict[str, Any]:
    """What a recogniser hears in the waveforms of the texts; a word counts once a sentence."""
    told = heard(waveforms, rate)
    words = sum(len(set(said.split()) & set(one.split())) for said, one in zip(texts, told, strict=True))
    return {"word_error_rate": word_error_rate(list(texts), told), "words_heard": words, "texts": told}


def run(output: Path, settings: TrainingSettings, clips: int, texts: Sequence[str] = SENTENCES) -> dict[str, Any]:
    """The whole run, or what is left of it: train on `clips` clips, listen to `texts`, write the files."""
    voice = voice_folder()
    tokenizer, speaker = VitsTokenizer.from_pretrained(voice), VitsModel.from_pretrained(voice)
    rate = speaker.config.sampling_rate
    make_data(output / "data", clips)
    with torch.no_grad():
        said = [speaker(**tokenizer(text + ".", return_tensors="pt"), seed=1).waveform[0].numpy() for text in texts]
    torch.manual_seed(item_seed(settings.seed, "start", ""))  # as `train` begins
    begun, _, _ = starting_voice(voice, [], None, False, False, only_posterior=True)
    before = rebuilt(begun.eval(), said)
    report = train(output / "data", voice, output / "voice", settings, only_posterior=True, progress=True)
    after = rebuilt(VitsModel.from_pretrained(output / "voice"), said)
    for name, waveforms in (("spoken", said), ("before", before), ("after", after)):
        write_audio(output / f"{name}.mp3", waveforms[0], rate, "mp3")
    curve = [(row["step"], row["mel"]) for row in report.validation]
    write_text(output / "mel.svg", curves_svg("mel loss of clips held back", {"validation": curve}))
    result = {
        "steps": report.step,
        "settings": settings.to_dict(),
        "clips": len(report.data.examples),
        "minutes": round(report.data.seconds / 60, 2),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "words": sum(len(set(text.split())) for text in texts),
        "texts": list(texts),
        "spoken": recognised(texts, said, rate),
        "before": recognised(texts, before, rate),
        "after": recognised(texts, after, rate),
        "validation": report.validation,
    }
    write_json(output / "result.json", result)
    return result


def main() -> None:
    """Run, and write the files into the output folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--interval", type=int, default=50)
    parser.add_argument("--max-seconds", type=float, default=2.5)
    options = parser.parse_args()
    settings = TrainingSettings(
        steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        validation_interval=options.interval,
        checkpoint_interval=options.interval,
        samples=1,
        max_seconds=options.max_seconds,
    )
    result = run(options.output, settings, options.clips)
    told = {
        name: {"word_error_rate": result[name]["word_error_rate"], "words_heard": result[name]["words_heard"]}
        for name in ("spoken", "before", "after")
    }
    print(json.dumps({"steps": result["steps"], "words": result["words"], **told}, indent=1))


if __name__ == "__main__":
    main()
