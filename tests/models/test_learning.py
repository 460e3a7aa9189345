"""A call with labels: its losses and gradients are those of transformers' modules, and what else it promises."""

import math

import pytest
import torch
import transformers

import fastvits_kernels as kernels
from fastvits import VitsConfig, VitsModel
from fastvits.audio.spectrogram import linear_spectrogram, log_mel, mel_spectrogram
from fastvits.models.duration_predictor import VitsStochasticDurationPredictor, _through
from fastvits.models.learning import segment_starts, segments
from tests.support.models import CONFIGURATIONS, SMALL, own_model, published_model, random_ids, relative_rms, speaker_of
from tests.support.tolerances import LEARNING_FLOAT64, MODEL_FLOAT64

STILL = {
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "duration_predictor_dropout": 0.0,
    "layerdrop": 0.0,
}
"""No randomness but the noise that is given."""


def spectrograms(batch, frames, config, seed=0):
    """Linear spectrograms `[B, bins, T_frames]` in float64 of noise."""
    generator = torch.Generator().manual_seed(seed)
    waveform = torch.rand(batch, frames * config.hop_length, generator=generator, dtype=torch.float64) - 0.5
    return linear_spectrogram(waveform, config.n_fft, config.hop_length)


def prepared(settings=SMALL, **changes):
    """A small model in float64 without dropout, texts with padding and spectrograms with padding."""
    model = own_model({**settings, **STILL, **changes}).double().train()
    ids, mask = random_ids(3, 12), torch.ones(3, 12, dtype=torch.int64)
    mask[1, 9:] = 0
    labels = spectrograms(3, 60, model.config)
    labels[2, :, 40:] = -100
    return model, {"input_ids": ids, "attention_mask": mask, "labels": labels}


@pytest.mark.parametrize("name", ["plain-durations", "multi-speaker-plain-durations"])
def test_losses_and_all_gradients_are_those_of_transformers_modules(name):
    settings = CONFIGURATIONS[name] | STILL
    theirs = published_model(settings).double().train()
    config = VitsConfig(**settings)
    model = VitsModel(config).double().train()
    model.load_state_dict(theirs.state_dict())
    ids, frames = random_ids(2, 10), [50, 41]
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    labels = spectrograms(2, 50, config)
    labels[1, :, 41:] = -100
    speaker = torch.tensor([1, 0]) if "speaker" in name else None
    output = model(ids, mask, speaker, labels=labels, seed=[3, 4])
    output.loss.backward()

    noise = torch.zeros(2, 24, 50, dtype=torch.float64)
    for item, length in enumerate(frames):
        generator = torch.Generator().manual_seed(3 + item)
        noise[item, :, :length] = torch.randn(length, 24, generator=generator).t()
    labels = labels.clamp_min(0)
    text_mask = mask.unsqueeze(-1).double()
    frame_mask = (torch.arange(50) < torch.tensor(frames)[:, None]).unsqueeze(1).double()
    g = None if speaker is None else theirs.embed_speaker(speaker).unsqueeze(-1)
    text = theirs.text_encoder(ids, text_mask, attention_mask=mask)
    means, log_scales = text.prior_means.transpose(1, 2), text.prior_log_variances.transpose(1, 2)
    real, torch.randn_like = torch.randn_like, lambda x, **_: noise
    try:
        latents, _, posterior_log_scale = theirs.posterior_encoder(labels, frame_mask, g)
    finally:
        torch.randn_like = real
    prior = theirs.flow(latents, frame_mask, g)
    path = torch.zeros(2, 10, 50, dtype=torch.float64)
    for item, durations in enumerate(output.durations.tolist()):
        tokens = torch.repeat_interleave(torch.arange(10), torch.tensor(durations))
        path[item, tokens, torch.arange(len(tokens))] = 1
    m, s = means @ path, log_scales @ path
    kl = ((s - posterior_log_scale - 0.5 + 0.5 * (prior - m) ** 2 * torch.exp(-2 * s)) * frame_mask).sum() / sum(frames)
    hidden = text.last_hidden_state.transpose(1, 2).detach()
    predicted = theirs.duration_predictor(hidden, text_mask.transpose(1, 2), None if g is None else g.detach())
    target = (output.durations.double() + 1e-6).log() * mask
    duration = ((predicted.squeeze(1) - target) ** 2 * mask).sum() / mask.sum()
    start = output.segment_start
    sliced = torch.stack([latents[item, :, start[item] : start[item] + 32] for item in range(2)])
    waveform = theirs.decoder(sliced, g)[:, 0]
    mel = torch.stack([labels[item, :, start[item] : start[item] + 32] for item in range(2)])
    made = mel_spectrogram(waveform, config.sampling_rate, config.n_fft, config.hop_length)
    loss_mel = (log_mel(mel, config.sampling_rate, 80) - made).abs().mean()
    (45 * loss_mel + duration + kl).backward()

    for mine, expected in ((output.loss_mel, loss_mel), (output.loss_duration, duration), (output.loss_kl, kl)):
        assert mine.item() == pytest.approx(expected.item(), rel=LEARNING_FLOAT64)
    assert relative_rms(output.segment, waveform) <= LEARNING_FLOAT64
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    scale = max(gradient.norm().item() for gradient in gradients.values())
    for name, parameter in model.named_parameters():
        # A key's bias moves all scores of a query alike: its gradient is 0 but for rounding.
        allowed = LEARNING_FLOAT64 * max(gradients[name].norm().item(), LEARNING_FLOAT64 * scale)
        assert (parameter.grad - gradients[name]).norm().item() <= allowed, name


def test_the_flows_of_durations_are_inverted_and_their_determinants_are_true():
    model, _ = prepared()
    predictor = model.duration_predictor
    assert isinstance(predictor, VitsStochasticDurationPredictor)
    generator = torch.Generator().manual_seed(0)
    condition = torch.randn(1, 4, 32, generator=generator, dtype=torch.float64)
    z = torch.randn(1, 4, 2, generator=generator, dtype=torch.float64)
    mask = torch.ones(1, 4, 1, dtype=torch.float64)
    for flows in (predictor.flows, predictor.post_flows):
        _, log_determinant = _through(flows, z, None, condition, mask)
        jacobian = torch.autograd.functional.jacobian(
            lambda x, flows=flows: _through(flows, x, None, condition, mask)[0].flatten(), z
        )
        expected = torch.linalg.slogdet(jacobian.reshape(8, 8)).logabsdet
        assert log_determinant.item() == pytest.approx(expected.item(), rel=LEARNING_FLOAT64)


def test_the_likelihood_of_durations_is_a_bound_that_holds_on_average():
    """Averaged over the posterior's noise, the weights `p(u, d) / q(u)` of one token's durations sum to a probability:
    over all durations it is at most 1, and below each estimate lies the bound."""
    torch.manual_seed(0)
    model, _ = prepared()
    predictor = model.duration_predictor
    hidden = torch.randn(1, 1, 32, dtype=torch.float64).expand(64, 1, 32)
    generator = torch.Generator().manual_seed(1)
    total = 0.0
    with torch.no_grad():
        for duration in range(1, 60):
            noise = torch.randn(64, 1, 2, generator=generator, dtype=torch.float64)
            bound = predictor.negative_log_likelihood(hidden, None, None, noise, torch.full((64, 1), duration))
            estimate = torch.logsumexp(-bound, 0).item() - math.log(64)
            assert -bound.mean().item() <= estimate + 1e-9
            total += math.exp(estimate)
    assert 0 < total < 1.5  # 1 but for the noise of 64 draws and for longer durations


def test_the_alignment_is_the_likeliest_path():
    model, inputs = prepared()
    output = model(**inputs, seed=1)
    assert output.durations.shape == (3, 12)
    assert output.durations.sum(1).tolist() == [60, 60, 40]
    assert bool((output.durations[0] > 0).all())
    assert output.durations[1, 9:].tolist() == [0, 0, 0]
    assert not output.durations.is_floating_point()


def test_an_item_learns_the_same_alone_and_in_a_batch():
    model, inputs = prepared()
    together = model(**inputs, seed=[1, 2, 3])
    alone = model(inputs["input_ids"][1:2, :9], labels=inputs["labels"][1:2], seed=[2])
    short = model(inputs["input_ids"][2:3], labels=inputs["labels"][2:3, :, :40], seed=[3])
    assert relative_rms(together.segment[1:2], alone.segment) <= MODEL_FLOAT64
    assert relative_rms(together.segment[2:3], short.segment) <= MODEL_FLOAT64
    assert torch.equal(together.durations[1:2, :9], alone.durations)
    assert torch.equal(together.durations[2:3], short.durations)


def test_padding_on_the_left_and_a_mask_of_labels_change_nothing():
    model, inputs = prepared()
    expected = model(**inputs, seed=[1, 2, 3])
    ids, mask = inputs["input_ids"].clone(), inputs["attention_mask"].clone()
    ids[1], mask[1] = ids[1].roll(3), mask[1].roll(3)
    labels = inputs["labels"].clone()
    labels[2, :, 40:] = 7.0
    frames = torch.ones(3, 60)
    frames[2, 40:] = 0
    moved = model(ids, mask, labels=labels, labels_attention_mask=frames, seed=[1, 2, 3])
    assert moved.loss.item() == pytest.approx(expected.loss.item(), rel=MODEL_FLOAT64)
    assert torch.equal(moved.durations[1].roll(-3), expected.durations[1])


def test_weights_of_the_losses_are_arguments_and_the_tuple_begins_with_the_loss():
    model, inputs = prepared()
    output = model(**inputs, seed=1, mel_weight=2.0, duration_weight=3.0, kl_weight=0.5)
    parts = 2 * output.loss_mel + 3 * output.loss_duration + 0.5 * output.loss_kl
    assert output.loss.item() == pytest.approx(parts.item(), rel=MODEL_FLOAT64)
    assert output[0] is output["loss"]
    as_tuple = model(**inputs, seed=1, return_dict=False)
    assert as_tuple[0].item() == pytest.approx(model(**inputs, seed=1).loss.item(), rel=MODEL_FLOAT64)


def test_without_labels_the_first_output_is_still_the_waveform():
    model, inputs = prepared()
    output = model(inputs["input_ids"], seed=1)
    assert output[0] is output.waveform
    assert output.loss is None


def test_eval_mode_measures_without_dropout():
    model = own_model(SMALL | {"layerdrop": 0.0}).eval()
    labels = spectrograms(2, 40, model.config).float()
    losses = {model(random_ids(2, 9), labels=labels, seed=5).loss.item() for _ in range(2)}
    assert len(losses) == 1
    model.train()
    assert model(random_ids(2, 9), labels=labels, seed=5).loss.item() not in losses


def test_segments_include_the_last_start_and_short_clips_are_padded():
    lengths, share = torch.tensor([40, 40, 33, 32, 5]), torch.tensor([0.0, 1 - 1e-7, 0.5, 0.99, 0.99])
    assert segment_starts(lengths, 32, share).tolist() == [0, 8, 1, 0, 0]
    x = torch.arange(12.0).reshape(1, 6, 2)
    assert torch.equal(segments(x, torch.tensor([2]), 3), x[:, 2:5])
    padded = segments(x, torch.tensor([0]), 8)
    assert torch.equal(padded[:, :6], x)
    assert not padded[:, 6:].any()


def test_a_clip_shorter_than_a_segment_is_learnt_from():
    model, _ = prepared()
    output = model(random_ids(2, 4), labels=spectrograms(2, 20, model.config), seed=1)
    assert output.segment.shape == (2, 32 * 8)
    assert not output.segment[:, 20 * 8 :].any()
    output.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


BAD = {
    "not a tensor": ({"labels": [1.0]}, TypeError, "labels must be a floating-point tensor"),
    "integers": ({"labels": torch.ones(3, 33, 60, dtype=torch.int64)}, TypeError, "floating-point"),
    "bins": ({"labels": torch.ones(3, 32, 60)}, ValueError, r"\[3, 33, T_frames\]"),
    "batch": ({"labels": torch.ones(2, 33, 60)}, ValueError, r"\[3, 33, T_frames\]"),
    "tokens": ({"labels": torch.ones(3, 33, 11)}, ValueError, "12 tokens but only 11 frames"),
    "hole": (
        {"labels": torch.ones(3, 33, 60), "labels_attention_mask": (torch.arange(60) != 7).expand(3, 60)},
        ValueError,
        "frames behind ignored ones",
    ),
    "empty": ({"labels": torch.full((3, 33, 60), -100.0)}, ValueError, "no frame"),
    "negative": ({"labels": torch.full((3, 33, 60), -1.0)}, ValueError, "no magnitudes"),
    "nan": ({"labels": torch.full((3, 33, 60), float("nan"))}, ValueError, "no magnitudes"),
    "mask": ({"labels": torch.ones(3, 33, 60), "labels_attention_mask": torch.ones(3, 59)}, ValueError, "shape"),
    "mask alone": ({"labels": None, "labels_attention_mask": torch.ones(3, 60)}, ValueError, "there are none"),
    "control": ({"labels": torch.ones(3, 33, 60), "speaking_rate": 2.0}, ValueError, "speaking_rate"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_labels_are_refused_by_name(case):
    model, inputs = prepared()
    changes, error, message = BAD[case]
    with pytest.raises(error, match=message):
        model(**{**inputs, **changes})


def test_a_model_for_inference_says_what_it_lacks():
    model = VitsModel(VitsConfig(**SMALL), inference_only=True)
    with pytest.raises(ValueError, match=r"no posterior_encoder, duration_predictor\.post_\*"):
        model(random_ids(1, 4), labels=torch.ones(1, 33, 40))


def test_the_model_works_under_trainer_and_keeps_its_configuration(tmp_path):
    from fastvits.training.with_transformers import VitsTrainer

    torch.manual_seed(0)
    model = VitsModel(VitsConfig(**SMALL))
    labels = spectrograms(4, 40, model.config).float()
    rows = [{"input_ids": random_ids(1, 9, seed=i)[0], "labels": labels[i]} for i in range(4)]
    arguments = transformers.TrainingArguments(
        str(tmp_path / "out"),
        max_steps=2,
        per_device_train_batch_size=2,
        report_to=[],
        save_steps=2,
        use_cpu=True,
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=2,
    )
    trainer = VitsTrainer(model=model, args=arguments, train_dataset=rows, eval_dataset=rows)
    before = model.decoder.conv_pre.weight.detach().clone()
    trainer.train()
    assert not torch.equal(model.decoder.conv_pre.weight, before)
    assert math.isfinite(trainer.evaluate()["eval_loss"])
    again = VitsModel.from_pretrained(tmp_path / "out" / "checkpoint-2")
    assert torch.equal(again.decoder.conv_pre.weight, model.decoder.conv_pre.weight)
    assert transformers.VitsModel.from_pretrained(tmp_path / "out" / "checkpoint-2").config.hidden_size == 32


def test_monotonic_alignment_is_an_op():
    assert "monotonic_alignment" in kernels.__all__


def test_gradients_stop_where_the_published_code_stops_them():
    model, inputs = prepared(CONFIGURATIONS["multi-speaker"])
    output = model(**inputs, **speaker_of(CONFIGURATIONS["multi-speaker"]), seed=1)
    text, speakers = model.text_encoder.embed_tokens.weight, model.embed_speaker.weight
    assert torch.autograd.grad(output.loss_duration, [text, speakers], allow_unused=True) == (None, None)
