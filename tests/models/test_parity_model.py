"""The model against transformers' own, on weights that its `save_pretrained` wrote, with the same seeds."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from fastvits import VitsModel, set_seed
from tests.support.models import CONFIGURATIONS, SMALL, published_model, random_ids, relative_rms, speaker_of
from tests.support.tolerances import MODEL_FLOAT32, MODEL_FLOAT64


def assert_equal_outputs(ours: Any, theirs: Any, tolerance: float) -> None:
    assert torch.equal(ours.sequence_lengths, theirs.sequence_lengths)
    assert relative_rms(ours.waveform, theirs.waveform) <= tolerance
    assert relative_rms(ours.spectrogram, theirs.spectrogram) <= tolerance
    for name in ("hidden_states", "attentions"):
        assert len(ours[name]) == len(theirs[name])
        for mine, other in zip(ours[name], theirs[name], strict=True):
            assert relative_rms(mine, other) <= tolerance


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_equals_transformers_and_back(name: str, tmp_path: Path) -> None:
    settings = CONFIGURATIONS[name]
    published = published_model(settings)
    published.save_pretrained(tmp_path / "theirs")
    model = VitsModel.from_pretrained(tmp_path / "theirs")
    extra = speaker_of(settings) | {"output_hidden_states": True, "output_attentions": True}
    # A slow rate makes many frames of a token, so that small differences of log durations would show.
    for steps, seed, rate in ((1, 1, 1.0), (2, 2, 0.1), (37, 3, 1.3 if name.startswith("default") else 0.3)):
        ids = random_ids(1, steps, seed=seed)
        with torch.no_grad():
            set_seed(seed)
            theirs = published(ids, speaking_rate=rate, **extra)
            set_seed(seed)
            ours = model(ids, speaking_rate=rate, **extra)
        assert 0.02 < theirs.waveform.square().mean().sqrt() < 0.7
        assert_equal_outputs(ours, theirs, MODEL_FLOAT32)

    model.save_pretrained(tmp_path / "ours")
    back = transformers.VitsModel.from_pretrained(tmp_path / "ours").eval()
    kept, written = published.state_dict(), back.state_dict()
    assert kept.keys() == written.keys()
    assert all(torch.equal(kept[name], written[name]) for name in kept)
    with torch.no_grad():
        set_seed(seed)
        again = back(ids, speaking_rate=rate, **extra)
    # Not bit by bit: the last digits of a product of matrices depend on where its operands lie in memory.
    assert_equal_outputs(again, theirs, MODEL_FLOAT32)


def test_equals_transformers_in_float64() -> None:
    settings = SMALL | {"num_speakers": 2, "speaker_embedding_size": 6}
    published = published_model(settings).double()
    model = VitsModel(_config(settings)).double().eval()
    model.load_state_dict(published.state_dict())
    ids = random_ids(2, 23)
    extra = {"speaker_id": 1, "output_hidden_states": True, "output_attentions": True}
    with torch.no_grad():
        set_seed(5)
        theirs = published(ids[:1], **extra)
        set_seed(5)
        ours = model(ids[:1], **extra)
    assert ours.waveform.dtype == torch.float64
    assert_equal_outputs(ours, theirs, MODEL_FLOAT64)


@pytest.mark.parametrize("return_dict", [True, False])
def test_output_has_the_published_order(return_dict: bool) -> None:
    published = published_model(SMALL)
    model = VitsModel(_config(SMALL)).eval()
    model.load_state_dict(published.state_dict())
    ids = random_ids(1, 9)
    for extra in ({}, {"output_attentions": True}, {"output_hidden_states": True}):
        with torch.no_grad():
            set_seed(0)
            theirs = published(ids, return_dict=return_dict, **extra)
            set_seed(0)
            ours = model(ids, return_dict=return_dict, **extra)
        assert isinstance(ours, tuple) is isinstance(theirs, tuple)
        if return_dict:
            assert list(ours) == [*theirs, "durations"]
            assert list(ours.keys()) == [*theirs.keys(), "durations"]
            ours, theirs = ours.to_tuple()[:-1], theirs.to_tuple()
        for mine, other in zip(ours, theirs, strict=True):
            assert isinstance(mine, tuple) is isinstance(other, tuple)
            assert [t.shape for t in _tensors(mine)] == [t.shape for t in _tensors(other)]


@pytest.mark.parametrize(
    "name", ["small", "multi-speaker", "plain-durations", "wavenet-dilation-3", "uneven-resblocks"]
)
def test_an_item_sounds_the_same_alone_and_in_a_batch(name: str) -> None:
    """Where the published model lets padding leak into the tail of shorter items, ours does not; durations agree with
    both."""
    settings = CONFIGURATIONS[name]
    published = published_model(settings)
    published.noise_scale = published.noise_scale_duration = 0.0
    model = VitsModel(_config(settings)).eval()
    model.load_state_dict(published.state_dict())
    model.noise_scale = model.noise_scale_duration = 0.0
    lengths = [40, 3, 17]
    ids = random_ids(3, 40)
    mask = (torch.arange(40) < torch.tensor(lengths)[:, None]).long()
    extra = speaker_of(settings)
    with torch.no_grad():
        theirs = published(ids, attention_mask=mask, **extra)
        garbled = torch.where(mask.bool(), ids, -77)  # ids under the mask are never looked at
        batch = model(garbled, attention_mask=mask, output_hidden_states=True, output_attentions=True, **extra)
        shift = [
            (torch.roll(row, 40 - n), torch.roll(m, 40 - n)) for row, m, n in zip(garbled, mask, lengths, strict=True)
        ]
        left = model(
            torch.stack([row for row, _ in shift]),
            attention_mask=torch.stack([m for _, m in shift]),
            output_hidden_states=True,
            output_attentions=True,
            **extra,
        )
        assert torch.equal(batch.sequence_lengths, theirs.sequence_lengths)
        assert torch.equal(left.sequence_lengths, theirs.sequence_lengths)
        for item, length in enumerate(lengths):
            alone = model(ids[item : item + 1, :length], output_hidden_states=True, output_attentions=True, **extra)
            samples = int(alone.sequence_lengths)
            frames = alone.spectrogram.shape[2]
            for padded, columns in ((batch, slice(0, length)), (left, slice(40 - length, 40))):
                assert relative_rms(padded.waveform[item, :samples], alone.waveform[0]) <= MODEL_FLOAT32
                assert not padded.waveform[item, samples:].any()
                assert relative_rms(padded.spectrogram[item, :, :frames], alone.spectrogram[0]) <= MODEL_FLOAT32
                assert not padded.spectrogram[item, :, frames:].any()
                assert (
                    relative_rms(padded.hidden_states[-1][item, columns], alone.hidden_states[-1][0]) <= MODEL_FLOAT32
                )
                attention = padded.attentions[-1][item][:, columns, columns]
                assert relative_rms(attention, alone.attentions[-1][0]) <= MODEL_FLOAT32
    # The comparison can fail: the published model's short item differs from its own single run.
    with torch.no_grad():
        single = published(ids[1:2, :3], **extra)
    samples = int(single.sequence_lengths)
    assert relative_rms(theirs.waveform[1, :samples], single.waveform[0]) > 100 * MODEL_FLOAT32


def test_the_comparison_sees_every_parameter() -> None:
    """Moving any parameter that synthesis uses moves the waveform by more than the tolerance: the parity tests are not
    blind."""
    settings = SMALL | {"num_speakers": 2, "speaker_embedding_size": 6}
    model = VitsModel(_config(settings), inference_only=True).eval()
    model.load_state_dict(published_model(settings).state_dict(), strict=False)
    ids = random_ids(1, 8)

    log_durations: list[torch.Tensor] = []
    model.duration_predictor.register_forward_hook(lambda module, inputs, output: log_durations.append(output))

    @torch.no_grad()
    def speak() -> tuple[torch.Tensor, torch.Tensor]:
        set_seed(0)
        return model(ids, speaker_id=1).waveform, log_durations[-1]

    reference, reference_log_durations = speak()
    blind = []
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            kept = parameter.clone()
            # Turned, not scaled: a rescaled direction of a weight norm changes nothing, and rightly so.
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
            moved, moved_log_durations = speak()
            parameter.copy_(kept)
        heard = moved.shape != reference.shape or relative_rms(moved, reference) > 3 * MODEL_FLOAT32
        # Rounding durations up hides small changes of the predictor in the waveform, so look before that.
        if not heard and relative_rms(moved_log_durations, reference_log_durations) < 3 * MODEL_FLOAT32:
            blind.append(name)
    # A key's bias adds the same to every score of a query, which the softmax takes away.
    assert [name for name in blind if not name.endswith("k_proj.bias")] == []


def _config(settings: dict[str, Any]) -> Any:
    from fastvits import VitsConfig

    return VitsConfig(**settings)


def _tensors(value: Any) -> tuple[torch.Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)
