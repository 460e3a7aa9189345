"""An update: its gradients are those of the whole loss, though they are taken part by part; memory has large pages."""

import copy
import json
import resource
import subprocess
import sys

import pytest
import torch
from torch import nn

from fastvits import VitsModel
from fastvits.audio.spectrogram import linear_spectrogram
from fastvits.training.batches import Batch
from fastvits.training.discriminator import PeriodDiscriminator, ScaleDiscriminator, VitsDiscriminator
from fastvits.training.losses import adversarial_losses, discriminator_loss
from fastvits.training.processes import Processes
from fastvits.training.settings import TrainingSettings
from fastvits.training.updates import Networks
from fastvits.training.voices import choose_parameters
from tests.support.numerics import relative_error
from tests.support.small_voices import save_small_voice
from tests.support.tolerances import AVERAGED_PROCESSES


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    return save_small_voice(tmp_path_factory.mktemp("voice"), hidden_dropout=0.0, layerdrop=0.0)


def networks(voice, trained=None):
    """Learning nothing: an update leaves its gradients and the parameters that they are of."""
    torch.manual_seed(0)
    model = VitsModel.from_pretrained(voice).train()
    choose_parameters(model, trained)
    discriminator = VitsDiscriminator(())
    narrow = [PeriodDiscriminator(period, (4, 8, 8, 16, 16)) for period in (2, 3)]
    discriminator.discriminators = nn.ModuleList([ScaleDiscriminator(), *narrow])
    settings = TrainingSettings(learning_rate=1e-300, weight_decay=0.0)
    return Networks(model, discriminator, settings, Processes("cpu"))


def batch(model):
    config, items, tokens, frames = model.config, 2, 9, 40
    torch.manual_seed(1)
    waveform = 0.1 * torch.randn(items, frames * config.hop_length)
    labels = torch.stack([linear_spectrogram(one, config.n_fft, config.hop_length) for one in waveform])
    ids = torch.randint(1, config.vocab_size, (items, tokens))
    names = [str(item) for item in range(items)]
    return Batch(names, ids, torch.ones_like(ids), None, labels, waveform, list(range(items)))


def test_gradients_taken_part_by_part_are_those_of_the_whole_loss(voice):
    both = networks(voice)
    given, settings = batch(both.generator), both.settings
    # Dropout draws the same in both.
    both.generator.eval()
    found = both.update([given], 0)
    model, discriminator = copy.deepcopy(both.generator), copy.deepcopy(both.discriminator)
    again = Networks(model, discriminator, settings, Processes("cpu"))
    output = again.forward(given)
    real = again._recorded(given, output)
    judged = discriminator_loss(discriminator(real), discriminator(output.segment.detach()))
    generator, features = adversarial_losses(discriminator.discriminators, real, output.segment)
    loss = settings.mel_weight * output.loss_mel + settings.duration_weight * output.loss_duration
    loss = loss + settings.kl_weight * output.loss_kl + generator + features
    told = {"discriminator": judged, "generator": generator, "features": features, "total": loss}
    for name, value in told.items():
        assert found.losses[name] == pytest.approx(value.item(), rel=AVERAGED_PROCESSES), name
    for network, end, updated in ((discriminator, judged, both.discriminator), (model, loss, both.generator)):
        taken = {name: parameter.grad for name, parameter in updated.named_parameters()}
        learning = dict(network.named_parameters())
        expected = torch.autograd.grad(end, list(learning.values()))
        largest = max(gradient.norm() for gradient in expected)
        for name, gradient in zip(learning, expected, strict=True):
            assert (taken[name] - gradient).norm() <= AVERAGED_PROCESSES * largest, name
        flat = [torch.cat([g.flatten() for g in gradients]) for gradients in (taken.values(), expected)]
        assert relative_error(*flat) <= AVERAGED_PROCESSES


def test_parts_that_no_sound_depends_on_can_learn_alone(voice):
    alone = networks(voice, trained=("text_encoder.",))
    outcome = alone.update([batch(alone.generator)], 0)
    assert outcome.skipped is None
    assert {"generator", "features", "kl", "total"} <= outcome.losses.keys()
    moved = [name for name, parameter in alone.generator.named_parameters() if parameter.grad is not None]
    assert moved
    assert all(name.startswith("text_encoder.") for name in moved)


PAGES = """
import json, resource
import torch
from fastvits.training.huge_pages import use_huge_pages
if {asked}:
    use_huge_pages()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.zeros(16 << 20)
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before))
"""


def huge_pages_are_off():
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled") as file:
            return "[never]" in file.read()
    except OSError:
        return True


@pytest.mark.skipif(huge_pages_are_off(), reason="this system gives no huge pages")
def test_memory_comes_in_large_pages_where_it_is_asked_for(monkeypatch):
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)

    def faults(asked):
        made = subprocess.run([sys.executable, "-c", PAGES.format(asked=asked)], capture_output=True, check=True)
        return json.loads(made.stdout)

    small = 10 * (64 << 20) // resource.getpagesize()
    if (without := faults(False)) < small // 2:
        pytest.skip("this system gives huge pages unasked")
    assert faults(True) < without // 10
