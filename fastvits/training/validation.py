"""How well a voice does on clips that it has not learnt from: the losses without dropout, and samples to look at and
to hear."""

from collections.abc import Sequence

import torch

from ..audio.spectrogram import log_mel, mel_spectrogram
from ..models.learning import IGNORED
from ..models.output import VitsModelOutput
from ..models.vits import VitsModel
from .batches import Batch, item_seed, make_batch
from .inspection import Example
from .report import Sample
from .settings import TrainingSettings

__all__ = ["make_sample", "split_examples", "validate"]


@torch.no_grad()
def validate(
    model: VitsModel, examples: Sequence[Example], settings: TrainingSettings, device: torch.device
) -> dict[str, float]:
    """The three losses over some clips, without dropout and with the same noise each time; means over all valid frames
    and tokens, whatever the batches."""
    was_training = model.training
    model.eval()
    sums, totals = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    try:
        ordered = sorted(examples, key=lambda example: example.frames)
        for first in range(0, len(ordered), settings.batch_size):
            batch = make_batch(ordered[first : first + settings.batch_size], model.config, settings.seed, "validation")
            output = _learn(model, batch.to(device))
            losses = [output.loss_kl, output.loss_duration, output.loss_mel]
            for place, (loss, count) in enumerate(zip(losses, batch.counts(model.config.segment_frames), strict=True)):
                assert loss is not None
                sums[place] += loss.item() * count
                totals[place] += count
    finally:
        model.train(was_training)
    return {name: one / of for name, one, of in zip(("kl", "duration", "mel"), sums, totals, strict=True)}


def _learn(model: VitsModel, batch: Batch) -> VitsModelOutput:
    output = model(batch.input_ids, batch.attention_mask, batch.speaker_id, labels=batch.labels, seed=batch.seeds)
    assert isinstance(output, VitsModelOutput)
    return output


@torch.no_grad()
def make_sample(model: VitsModel, example: Example, settings: TrainingSettings, device: torch.device) -> Sample:
    """A clip held back: how it is aligned, what the decoder makes of its latents' means, and how its text is spoken."""
    was_training, config = model.training, model.config
    model.eval()
    try:
        batch = make_batch([example], config, settings.seed, "sample").to(device)
        output = _learn(model, batch)
        assert output.durations is not None
        spectrogram = batch.labels[:, :, : example.frames].masked_fill(
            batch.labels[:, :, : example.frames] == IGNORED, 0
        )
        speaker = None
        if batch.speaker_id is not None and config.num_speakers > 1:
            speaker = model.embed_speaker(batch.speaker_id).to(model.dtype)
        _, mean, _ = model.posterior_encoder.encode(spectrogram.transpose(1, 2).to(model.dtype), None, speaker)
        rebuilt = model.decoder.decode(mean, None, speaker).float()
        seed = item_seed(settings.seed, "sample", example.id)
        spoken = model(batch.input_ids, batch.attention_mask, batch.speaker_id, seed=seed).waveform.float()
    finally:
        model.train(was_training)
    band = config.mel_bins, config.mel_fmin, config.mel_fmax
    sizes = config.n_fft, config.hop_length, config.window_length
    return Sample(
        example.id,
        example.text,
        output.durations[0].tolist(),
        log_mel(spectrogram, config.sampling_rate, *band)[0].cpu().numpy(),
        mel_spectrogram(rebuilt, config.sampling_rate, *sizes, *band)[0].cpu().numpy(),
        {"rebuilt": rebuilt[0].cpu().numpy(), "spoken": spoken[0].cpu().numpy()},
    )


def split_examples(examples: Sequence[Example], settings: TrainingSettings) -> tuple[list[Example], list[Example]]:
    """Clips to learn from, and those held back: the same for the same seed, whatever else the data holds."""
    count = min(settings.validation_clips, len(examples) // 10)
    ordered = sorted(examples, key=lambda example: item_seed(settings.seed, "split", example.id))
    held_back = {example.id for example in ordered[:count]}
    kept = [example for example in examples if example.id not in held_back]
    return kept, [example for example in ordered[:count]]
