"""Discriminators and their losses: the published shapes, names and formulas; weight norm to the last bit."""

import copy
from unittest.mock import patch

import pytest
import torch
from torch import nn

from fastvits import VitsConfig, VitsModel
from fastvits.training import windows
from fastvits.training.batches import epoch_batches
from fastvits.training.discriminator import VitsDiscriminator, judged_both
from fastvits.training.discriminator_files import load_discriminator, save_discriminator
from fastvits.training.inspection import Example
from fastvits.training.losses import adversarial_losses, discriminator_loss, feature_loss, generator_loss
from fastvits.training.weight_norm import WeightNorm, apply_weight_norm, fold_weight_norm
from tests.support.models import SMALL, relative_rms
from tests.support.numerics import relative_error
from tests.support.tolerances import LEARNING_FLOAT64, MODEL_FLOAT32, OP_ERROR_FLOOR


@pytest.fixture(scope="module")
def discriminator():
    torch.manual_seed(0)
    return VitsDiscriminator()


def waveforms(seed, samples=700):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, samples, generator=generator) - 0.5


def test_names_and_numbers_are_the_published_ones(discriminator):
    state = discriminator.state_dict()
    assert len(state) == 111
    assert sum(tensor.numel() for tensor in state.values()) == pytest.approx(46.7e6, rel=2e-3)
    assert state["discriminators.0.convs.4.parametrizations.weight.original1"].shape == (1024, 4, 41)
    assert state["discriminators.5.convs.0.parametrizations.weight.original1"].shape == (32, 1, 5, 1)


def test_a_period_hears_every_so_many_samples(discriminator):
    """A fold by hand: column `p` of a period discriminator is a plain convolution over every fifth sample."""
    third = discriminator.discriminators[3]
    assert third.period == 5
    x = waveforms(1)
    scores, features = third(x)
    conv = third.convs[0]
    for column in range(5):
        plain = nn.functional.conv1d(x[:, None, column::5], conv.weight.squeeze(-1), conv.bias, stride=3, padding=2)
        assert relative_rms(features[0][..., column], nn.functional.leaky_relu(plain, 0.1)) <= MODEL_FLOAT32
    assert len(features) == 6
    assert torch.equal(scores, features[-1].flatten(1))


def test_losses_are_the_published_formulas():
    generator = torch.Generator().manual_seed(0)

    def judgement():
        features = [torch.randn(2, 4, 9, generator=generator, dtype=torch.float64) for _ in range(3)]
        return torch.randn(2, 7, generator=generator, dtype=torch.float64), features

    real, made = [judgement(), judgement()], [judgement(), judgement()]
    expected = sum(((1 - r) ** 2).mean() + (m**2).mean() for (r, _), (m, _) in zip(real, made, strict=True))
    assert discriminator_loss(real, made).item() == pytest.approx(expected.item(), rel=LEARNING_FLOAT64)
    expected = sum(((1 - m) ** 2).mean() for m, _ in made)
    assert generator_loss(made).item() == pytest.approx(expected.item(), rel=LEARNING_FLOAT64)
    pairs = [(a, b) for (_, f), (_, g) in zip(real, made, strict=True) for a, b in zip(f, g, strict=True)]
    expected = 2 * sum((a - b).abs().mean() for a, b in pairs)
    assert feature_loss(real, made).item() == pytest.approx(expected.item(), rel=LEARNING_FLOAT64)


def test_the_generators_pass_leaves_the_discriminators_weights_alone(discriminator):
    real, made = waveforms(1), waveforms(2).requires_grad_()
    one, two = adversarial_losses(discriminator.discriminators, real, made)
    (one + two).backward()
    assert made.grad.abs().max() > 0
    assert all(parameter.grad is None and parameter.requires_grad for parameter in discriminator.parameters())
    pairs = [judged_both(judge, real, made.detach()) for judge in discriminator.discriminators]
    together, apart = zip(*pairs, strict=True), (discriminator(real), discriminator(made.detach()))
    for half, alone in zip(together, apart, strict=True):
        for (scores, features), (expected, others) in zip(half, alone, strict=True):
            assert relative_rms(scores, expected) <= MODEL_FLOAT32
            assert all(relative_rms(a, b) <= MODEL_FLOAT32 for a, b in zip(features, others, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_of_windows_are_as_good_as_torchs_convolutions(discriminator, dtype):
    """The rule of numbers, for all features, and the gradients of the waveform and of all parameters; bfloat16 is
    autocast. The truth is float64, which torch's convolutions compute."""
    made = waveforms(2)

    def results(network, waveform):
        waveform = waveform.clone().requires_grad_()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32 and waveform.dtype != torch.float64):
            judged = network(waveform)
        features = [feature for _, features in judged for feature in features]
        loss = sum((feature.to(waveform.dtype) * pattern(feature)).mean() for feature in features)
        named = dict(network.named_parameters())
        of_waveform, *gradients = torch.autograd.grad(loss, [waveform, *named.values()])
        # Gains and biases are single numbers in some layers: together they have a distance that says something.
        few = [[g for name, g in zip(named, gradients, strict=True) if name.endswith(kind)] for kind in ("0", "bias")]
        directions = [g for name, g in zip(named, gradients, strict=True) if name.endswith("original1")]
        return [*features, of_waveform, *directions, *(torch.cat([g.flatten() for g in kind]) for kind in few)]

    def pattern(feature):
        return torch.rand(feature.shape, generator=torch.Generator().manual_seed(5)) - 0.4

    expected = results(copy.deepcopy(discriminator).double(), made.double())
    with patch.object(windows, "native_dtypes", lambda: {dtype}):  # whatever this processor has instructions for
        products = results(discriminator, made)
    with patch.object(windows, "native_dtypes", frozenset):
        plain = results(discriminator, made)
    first = len(discriminator.discriminators[0].convs) + 1
    assert products[first].stride(1) == 1 < plain[first].stride(1)  # of a period: its channels side by side
    for product, convolved, truth in zip(products, plain, expected, strict=True):
        assert (product.shape, product.dtype) == (convolved.shape, convolved.dtype)
        assert relative_error(product, truth) <= 2 * relative_error(convolved, truth) + OP_ERROR_FLOOR[dtype]


def test_gradients_of_products_of_windows_are_right_and_can_be_taken_twice():
    def drawn(*shape):
        torch.manual_seed(sum(shape))
        return torch.rand(shape, dtype=torch.float64, requires_grad=True)

    for shape, taps, stride in (((2, 3, 17, 2), 5, 3), ((2, 3, 9), 5, 1), ((1, 2, 8, 3), 3, 1), ((2, 3, 13), 5, 3)):
        geometry = taps, stride, taps // 2
        given = drawn(*shape), drawn(4, taps * shape[1]), drawn(4)
        assert torch.autograd.gradgradcheck(lambda *a, geometry=geometry: windows._Windows.apply(*a, *geometry), given)
        assert torch.autograd.gradcheck(lambda *a, geometry=geometry: windows._Windows.apply(*a, *geometry), given)


@pytest.mark.parametrize(("steps", "taps", "stride"), [(17, 5, 2), (16, 11, 4), (13, 3, 4), (9, 5, 1)])
def test_gradients_of_grouped_convolutions_are_right_and_can_be_taken_twice(steps, taps, stride):
    torch.manual_seed(steps)
    shapes = (2, 4, steps), (6, 2, taps), (6,)
    given = [torch.rand(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    geometry = stride, taps // 2, 2
    product = windows._Grouped.apply
    assert torch.autograd.gradcheck(lambda *tensors: product(*tensors, *geometry), given)
    assert torch.autograd.gradgradcheck(lambda *tensors: product(*tensors, *geometry), given)


def test_layers_go_through_the_fourier_domain_with_gradients_of_gradients():
    """Filters `[C_out, C_in, taps]` of 128 channels: exact to the rule of numbers, and what is differentiated again is
    the same."""
    torch.manual_seed(3)
    given = [torch.randn(2, 128, 90, 3), torch.randn(128, 128, 5) / 25, torch.randn(128)]

    def results(product, tensors):
        tensors = [tensor.clone().requires_grad_() for tensor in tensors]
        made = product(*tensors)
        loss = (made * torch.linspace(-1, 1, made.numel()).view(made.shape)).sum()
        gradients = torch.autograd.grad(loss, tensors, retain_graph=True)
        again = torch.autograd.grad(loss.square(), tensors, create_graph=True)
        (twice,) = torch.autograd.grad(sum((one / 1e3).square().sum() for one in again), tensors[1])
        return [made.detach(), *gradients, *(one.detach() for one in again), twice]

    def direct(x, filters, bias):
        return windows._product(x, filters, bias, 1, 2)

    assert windows._fourier_pays(*given[:2])
    found, plain = results(windows._Fourier.apply, given), results(direct, given)
    truth = results(direct, [tensor.double() for tensor in given])
    for one, other, true in zip(found, plain, truth, strict=True):
        assert relative_error(one, true) <= 2 * relative_error(other, true) + OP_ERROR_FLOOR[torch.float32]


def test_discriminators_of_other_programs_are_read(discriminator, tmp_path):
    state = discriminator.state_dict()
    save_discriminator(discriminator, tmp_path)
    older = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in state.items()
    }
    torch.save({"model": older, "iteration": 3}, tmp_path / "D_100.pth")
    coqui = {name.replace("discriminators.", "disc.nets."): tensor for name, tensor in state.items()}
    torch.save({"model": {**coqui, "text_encoder.emb.weight": torch.zeros(2)}}, tmp_path / "coqui.pth")
    torch.save({"state_dict": {f"model_d.{name}": tensor for name, tensor in older.items()}}, tmp_path / "piper.ckpt")
    for source in (tmp_path, tmp_path / "D_100.pth", tmp_path / "coqui.pth", tmp_path / "piper.ckpt"):
        loaded = load_discriminator(source).state_dict()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    del older["discriminators.2.conv_post.bias"]
    torch.save({"model": older}, tmp_path / "D_101.pth")
    with pytest.raises(ValueError, match=r"another discriminator .* 1 tensors .* discriminators\.2\.conv_post\.bias"):
        load_discriminator(tmp_path / "D_101.pth")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_discriminator(tmp_path / "D_102.pth")


def test_gradients_of_weight_norm_are_right_in_any_order_of_memory_and_can_be_taken_twice():
    torch.manual_seed(4)
    given = [(torch.rand(3, 1, 1) + 0.5).double().requires_grad_(), torch.randn(3, 4, 2).double().requires_grad_()]
    assert torch.autograd.gradcheck(WeightNorm(), given)
    assert torch.autograd.gradgradcheck(WeightNorm(), given)
    grad = torch.randn(2, 4, 3).double()
    turned = torch.autograd.grad(WeightNorm()(*given), given, grad.permute(2, 1, 0))
    straight = torch.autograd.grad(WeightNorm()(*given), given, grad.permute(2, 1, 0).contiguous())
    assert all(map(torch.equal, turned, straight))


def test_weight_norm_gives_back_folded_weights_to_the_last_bit():
    torch.manual_seed(0)
    decoder = VitsModel(VitsConfig(**SMALL)).decoder
    with torch.no_grad():
        decoder.resblocks[0].convs1[0].weight[3] = 0  # a channel without a direction
    before = copy.deepcopy(decoder.state_dict())
    apply_weight_norm(decoder)
    assert torch.equal(decoder.upsampler[0].weight, before["upsampler.0.weight"])
    assert "upsampler.0.parametrizations.weight.original0" in decoder.state_dict()
    with pytest.raises(ValueError, match="weight-normalised already"):
        apply_weight_norm(decoder)
    fold_weight_norm(decoder)
    after = decoder.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_batches_hold_clips_of_like_length_and_change_with_the_epoch():
    examples = [Example(str(n), "x", (1,), None, None, 0, 10 + n * 7 % 90) for n in range(100)]
    first, again, second = (epoch_batches(examples, 8, 1, epoch) for epoch in (0, 0, 1))
    assert first == again
    assert first != second
    assert len(first) == 12
    assert all(len(batch) == 8 for batch in first)
    assert len({example.id for batch in first for example in batch}) == 96
    spread = [max(e.frames for e in batch) - min(e.frames for e in batch) for batch in first]
    assert sum(spread) / len(spread) < 15
    assert [len(batch) for batch in epoch_batches(examples[:3], 8, 1, 0)] == [3]
    with pytest.raises(ValueError, match="multiple of the number of processes"):
        epoch_batches(examples, 9, 1, 0, world=2)
    with pytest.raises(ValueError, match="too few"):
        epoch_batches(examples[:1], 2, 1, 0, world=2)
