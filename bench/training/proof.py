"""Losses and gradients beside other people's, in float64, number by number.

    python -m bench.training.proof --original FOLDER   # a checkout of https://github.com/jaywalnut310/vits
    python -m bench.training.proof --coqui             # coqui-tts 0.28

Both need librosa, monotonic-alignment-search and scipy, coqui much more (see `bench.training.parties`): an environment
of its own. Weights, spectrograms, noise and segments are the same on both sides, dropout is 0. Our side is an update of
the trainer itself with a rate of nearly 0, which leaves the gradients behind. A table is printed: for each network the
relative difference of each loss, and the largest of any parameter's gradient. Where a gradient is 0 but for rounding (a
key's bias moves all scores of a query alike), it is compared with the largest one. More than 1e-8 is an error.
"""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.training.parties import Coqui, Material, Party, Published, discriminator_name, total, wide_filters
from fastvits import VitsConfig, VitsModel
from fastvits.audio.spectrogram import frame_count, linear_spectrogram
from fastvits.models.learning import IGNORED
from fastvits.training.batches import Batch
from fastvits.training.discriminator import VitsDiscriminator
from fastvits.training.initialization import initialize_for_training
from fastvits.training.processes import Processes
from fastvits.training.settings import TrainingSettings
from fastvits.training.updates import Networks
from fastvits.training.weight_norm import apply_weight_norm

LIMIT = 1e-8
_SMALL = 1e-9  # of the largest gradient: below it is rounding
_STILL = {
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "duration_predictor_dropout": 0.0,
    "layerdrop": 0.0,
}
_SECOND = {"resblock_type": 2, "resblock_kernel_sizes": [3, 5, 7], "resblock_dilation_sizes": [[1, 2], [2, 6], [3, 12]]}
CASES: list[dict[str, Any]] = [
    {},
    {"num_speakers": 3, "speaker_embedding_size": 64},
    {"use_stochastic_duration_prediction": False},
    {"use_stochastic_duration_prediction": False, "num_speakers": 3, "speaker_embedding_size": 64},
    _SECOND,
]
_SEEDS = [11, 12, 13]
_LOSSES = "mel", "duration", "kl", "discriminator", "generator", "features"


def make_networks(config: VitsConfig) -> tuple[VitsModel, VitsDiscriminator]:
    """Ours, off their start, as training has them, in float64."""
    torch.manual_seed(0)
    model, discriminator = VitsModel(config), VitsDiscriminator()
    initialize_for_training(model)
    with torch.no_grad():
        for parameter in [*model.parameters(), *discriminator.parameters()]:
            parameter.add_(0.02 * torch.randn_like(parameter))
    apply_weight_norm(model.decoder)
    return model.double().train(), discriminator.double()


def make_batch(config: VitsConfig) -> tuple[Batch, Material]:
    """Texts and recordings of unequal length, as we take them and as others do."""
    torch.manual_seed(1)
    tokens, frames = [9, 21, 15], [37, 61, 48]
    hop, batch = config.hop_length, len(tokens)
    ids = torch.zeros(batch, max(tokens), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    labels = torch.full((batch, config.spectrogram_bins, max(frames)), float(IGNORED), dtype=torch.float64)
    waveform = torch.zeros(batch, max(frames) * hop, dtype=torch.float64)
    posterior = torch.zeros(batch, max(frames), config.flow_size, dtype=torch.float64)
    durations = torch.zeros(batch, max(tokens), 2, dtype=torch.float64)
    starts = torch.zeros(batch)
    for item, (spoken, length, seed) in enumerate(zip(tokens, frames, _SEEDS, strict=True)):
        ids[item, :spoken] = torch.randint(1, config.vocab_size, (spoken,))
        mask[item, :spoken] = 1
        sound = 0.3 * torch.randn(length * hop, dtype=torch.float64).clamp(-3, 3)
        assert frame_count(len(sound), config.n_fft, hop) == length
        waveform[item, : length * hop] = sound
        labels[item, :, :length] = linear_spectrogram(sound, config.n_fft, hop, config.window_length)
        # What a generator of this seed gives the model.
        generator = torch.Generator().manual_seed(seed)
        posterior[item, :length] = torch.randn(length, config.flow_size, generator=generator)
        durations[item, :spoken] = torch.randn(2, spoken, generator=generator).t()
        starts[item] = torch.rand((), generator=generator)
    speakers = torch.arange(batch) if config.num_speakers > 1 else None
    ours = Batch(["0", "1", "2"], ids, mask, speakers, labels, waveform, _SEEDS)
    theirs = Material(
        ids,
        torch.tensor(tokens),
        speakers,
        labels.masked_fill(labels == IGNORED, 0),
        torch.tensor(frames),
        waveform,
        posterior,
        durations,
        starts,
    )
    return ours, theirs


def our_update(model: VitsModel, discriminator: VitsDiscriminator, batch: Batch) -> dict[str, float]:
    """The losses of an update that moves nothing; gradients stay with the parameters."""
    settings = TrainingSettings(steps=1, batch_size=len(batch.names), learning_rate=1e-300, weight_decay=0.0)
    outcome = Networks(model, discriminator, settings, Processes("cpu")).update([batch], 0)
    assert outcome.skipped is None
    return outcome.losses


def give_weights(ours: nn.Module, theirs: nn.Module, name_of: Callable[[str], str]) -> dict[str, Tensor]:
    """Copy our parameters into theirs; theirs by our names."""
    mine = dict(ours.named_parameters())
    given: dict[str, Tensor] = {}
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            given[name_of(name)] = parameter
            parameter.copy_(mine[name_of(name)].reshape(parameter.shape))
    assert mine.keys() == given.keys(), sorted(mine.keys() ^ given.keys())
    return given


def gradient_difference(mine: Iterable[tuple[str, Tensor]], theirs: dict[str, Tensor]) -> tuple[float, str]:
    """The largest relative difference, and whose."""
    largest = max(float(gradient.norm()) for gradient in theirs.values())
    worst = (0.0, "")
    for name, parameter in mine:
        assert parameter.grad is not None, name
        norm = float(theirs[name].norm())
        scale = norm if norm > _SMALL * largest else largest
        worst = max(worst, (float((parameter.grad - theirs[name].reshape(parameter.shape)).norm()) / scale, name))
    return worst


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def compare(party: Party, config: VitsConfig) -> list[str]:
    """A line of the table.

    Raises:
        AssertionError: a difference is larger than `LIMIT`.
    """
    model, discriminator = make_networks(config)
    batch, material = make_batch(config)
    mine = our_update(model, discriminator, batch)
    party.generator.double().train()
    party.discriminator.double()
    generator = give_weights(model, party.generator, party.our_name)
    critics = give_weights(discriminator, party.discriminator, discriminator_name)
    judged = party.judge(material)
    judged.backward()
    # The generator's pass adds to them.
    theirs_discriminator = {name: _gradient(parameter).clone() for name, parameter in critics.items()}
    losses = party.losses(material)
    total(losses).backward()
    theirs = {name: float(loss) for name, loss in {**losses, "discriminator": judged}.items()}
    differences = {name: abs(mine[name] - theirs[name]) / abs(theirs[name]) for name in _LOSSES}
    gradients = [
        gradient_difference(model.named_parameters(), {name: _gradient(p) for name, p in generator.items()}),
        gradient_difference(discriminator.named_parameters(), theirs_discriminator),
    ]
    found = {**differences, **{f"gradient of {name}": value for value, name in gradients}}
    assert max(found.values()) <= LIMIT, found
    return [
        "stochastic" if config.use_stochastic_duration_prediction else "plain",
        str(config.num_speakers),
        str(config.resblock_type),
        *(f"{differences[name]:.0e}" if differences[name] else "0" for name in _LOSSES),
        f"{gradients[0][0]:.0e} of {len(generator)}",
        f"{gradients[1][0]:.0e} of {len(critics)}",
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--original", type=Path, metavar="FOLDER", help="a checkout of the original code")
    parser.add_argument("--coqui", action="store_true", help="coqui-tts")
    options = parser.parse_args()
    if options.original is None and not options.coqui:
        parser.error("name a party: --original FOLDER, --coqui")
    columns = ["party", "durations", "speakers", "resblocks", "mel", "duration", "KL", "discriminator", "generator"]
    columns += ["features", "generator's gradients", "discriminator's gradients"]
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for case in CASES:
        config = VitsConfig(**_STILL, upsample_initial_channel=128, **case)
        with wide_filters():
            parties: list[Party] = []
            if options.original is not None:
                parties.append(Published(config, options.original, dropout=0.0))
            if options.coqui:
                parties.append(Coqui(config, dropout=0.0))
            for party in parties:
                print("| " + " | ".join([party.name, *compare(party, config)]) + " |", flush=True)


if __name__ == "__main__":
    main()
