"""What a call can be told: seeds, scales, speakers and durations an item; and the waveform piece by piece."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fastvits import VitsModel, set_seed
from fastvits.models.flow import flow_receptive_radius
from fastvits.models.hifigan import decoder_window
from fastvits.models.streaming import PieceSizes, next_pieces
from tests.support.models import CONFIGURATIONS, SMALL, own_model, random_ids, relative_rms, speaker_of
from tests.support.tolerances import MODEL_FLOAT32, MODEL_FLOAT64

MULTI = SMALL | {"num_speakers": 3, "speaker_embedding_size": 8}
LENGTHS = [21, 4, 13]


@pytest.fixture(scope="module")
def voices() -> VitsModel:
    return own_model(MULTI)


def padded(side: str = "right") -> tuple[Tensor, Tensor]:
    """Three texts of different lengths in one batch."""
    ids, mask = random_ids(3, 21), torch.arange(21) < torch.tensor(LENGTHS)[:, None]
    if side == "left":
        ids = torch.stack([torch.roll(row, 21 - n) for row, n in zip(ids, LENGTHS, strict=True)])
        mask = mask.flip(1)
    return ids, mask.long()


@torch.no_grad()
def speak(model: VitsModel, *args: Any, **kwargs: Any) -> Any:
    return model(*args, **kwargs)


@pytest.mark.parametrize("side", ["right", "left"])
def test_an_item_depends_on_its_seed_alone(voices: VitsModel, side: str) -> None:
    ids, mask = padded(side)
    controls = {
        "speaking_rate": [0.3, 0.2, 0.4],
        "noise_scale": [0.5, 0.9, 0.0],
        "noise_scale_duration": [0.8, 0.1, 0.5],
    }
    batch = speak(voices, ids, mask, speaker_id=[0, 2, 1], seed=[7, 8, 9], **controls)
    for item in range(3):
        alone = speak(
            voices,
            ids[item, mask[item].bool()][None],
            speaker_id=[0, 2, 1][item],
            seed=[7, 8, 9][item],
            **{name: values[item] for name, values in controls.items()},
        )
        samples = int(alone.sequence_lengths)
        assert samples == int(batch.sequence_lengths[item])
        assert relative_rms(batch.waveform[item, :samples], alone.waveform[0]) <= MODEL_FLOAT32
        assert torch.equal(batch.durations[item, mask[item].bool()], alone.durations[0])
        assert not batch.durations[item, ~mask[item].bool()].any()


def test_one_seed_for_all_items_and_none_of_the_global_state(voices: VitsModel) -> None:
    ids = random_ids(1, 12).expand(2, -1)
    set_seed(1)
    state = torch.get_rng_state()
    output = speak(voices, ids, speaker_id=1, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(output.waveform[0], output.waveform[1])
    assert torch.equal(output.waveform, speak(voices, ids, speaker_id=1, seed=[5, 5]).waveform)
    other = speak(voices, ids, speaker_id=1, seed=6)
    assert other.waveform.shape != output.waveform.shape or not torch.equal(other.waveform, output.waveform)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("seeded", [True, False])
def test_returned_durations_force_the_same_rhythm(voices: VitsModel, side: str, seeded: bool) -> None:
    ids, mask = padded(side)
    extra = {"speaker_id": 1} | ({"seed": 3} if seeded else {})
    set_seed(0)
    first = speak(voices, ids, mask, speaking_rate=0.3, **extra)
    assert first.durations.dtype == torch.int64
    assert first.durations.shape == ids.shape
    hop = 8
    assert torch.equal(first.durations.sum(1) * hop, first.sequence_lengths)
    set_seed(0)
    again = speak(voices, ids, mask, durations=first.durations, **extra)
    assert torch.equal(again.waveform, first.waveform)
    slower = speak(voices, ids, mask, durations=first.durations * 2, **extra)
    assert torch.equal(slower.sequence_lengths, 2 * first.sequence_lengths)


def test_durations_are_the_last_field_and_not_in_the_published_tuple(voices: VitsModel) -> None:
    ids = random_ids(1, 5)
    output = speak(voices, ids, speaker_id=0)
    assert list(output)[-1] == "durations"
    assert output[-1] is output.durations
    assert len(speak(voices, ids, speaker_id=0, return_dict=False)) == 3


def test_voices_mix(voices: VitsModel) -> None:
    ids = random_ids(1, 12)
    table = voices.embed_speaker.weight.detach()
    by_id = speak(voices, ids, speaker_id=2, seed=1)
    by_vector = speak(voices, ids, speaker_embedding=table[2:], seed=1)
    assert torch.equal(by_id.waveform, by_vector.waveform)
    pair = speak(
        voices, ids.expand(2, -1), speaker_embedding=torch.stack([table[2], (table[0] + table[2]) / 2]), seed=1
    )
    samples = int(by_id.sequence_lengths)
    assert relative_rms(pair.waveform[0, :samples], by_id.waveform[0]) <= MODEL_FLOAT32
    assert relative_rms(pair.waveform[1, :samples], pair.waveform[0, :samples]) > 0.01


BAD: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "seed is a float": (TypeError, "seed must be an integer", {"seed": 1.5}),
    "negative seed": (ValueError, r"\[0, 2\*\*63\)", {"seed": -1}),
    "two seeds": (ValueError, "one an item", {"seed": [1, 2]}),
    "both speakers": (ValueError, "not both", {"speaker_embedding": torch.zeros(1, 8)}),
    "embedding of another size": (
        ValueError,
        r"\[1, 8\]",
        {"speaker_id": None, "speaker_embedding": torch.zeros(1, 9)},
    ),
    "integer embedding": (
        TypeError,
        "floating-point",
        {"speaker_id": None, "speaker_embedding": torch.zeros(1, 8, dtype=torch.long)},
    ),
    "infinite embedding": (
        ValueError,
        "finite",
        {"speaker_id": None, "speaker_embedding": torch.full((1, 8), float("inf"))},
    ),
    "float durations": (TypeError, "integer tensor", {"durations": torch.ones(1, 3)}),
    "durations of another shape": (ValueError, "shape of input_ids", {"durations": torch.ones(1, 4, dtype=torch.long)}),
    "negative durations": (ValueError, "negative", {"durations": torch.tensor([[1, -1, 2]])}),
    "no frames": (ValueError, "a frame at least", {"durations": torch.zeros(1, 3, dtype=torch.long)}),
    "too many frames": (ValueError, "max_frames", {"durations": torch.full((1, 3), 10**7)}),
    "durations and a rate": (
        ValueError,
        "not both",
        {"durations": torch.ones(1, 3, dtype=torch.long), "speaking_rate": 2},
    ),
    "durations under the mask": (
        ValueError,
        "attention_mask is 0",
        {"durations": torch.ones(1, 3, dtype=torch.long), "attention_mask": torch.tensor([[1, 1, 0]])},
    ),
    "negative noise": (ValueError, "noise_scale must be finite and >= 0", {"noise_scale": -0.1}),
    "duration noise as text": (TypeError, "noise_scale_duration must be a number", {"noise_scale_duration": "much"}),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_controls_name_what_is_wrong(voices: VitsModel, name: str) -> None:
    error, message, controls = BAD[name]
    arguments = {"input_ids": torch.tensor([[1, 2, 3]]), "speaker_id": 0} | controls
    with pytest.raises(error, match=message):
        speak(voices, **arguments)
    with pytest.raises(error, match=message):
        voices.stream(**arguments)  # at the call, not at the first piece


def test_a_single_voice_takes_no_embedding() -> None:
    with pytest.raises(ValueError, match="no speaker embedding"):
        speak(own_model(SMALL), random_ids(1, 3), speaker_embedding=torch.zeros(1, 8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "name", ["multi-speaker", "upsampling-5-3-2", "uneven-resblocks", "wavenet-dilation-3", "plain-durations"]
)
def test_a_stream_is_the_plain_call_in_pieces(name: str, dtype: torch.dtype) -> None:
    settings = CONFIGURATIONS[name]
    model = own_model(settings).to(dtype)
    ids, mask = padded()
    controls = {"speaking_rate": 0.25, "seed": [1, 2, 3]} | speaker_of(settings)
    whole = speak(model, ids, mask, **controls)
    frames = int(whole.durations.sum(1).max())
    for chunk, first in ((1000000, None), (frames // 3, 5), (23, 1)):
        pieces = list(model.stream(ids, mask, chunk_frames=chunk, first_chunk_frames=first, **controls))
        hop = whole.waveform.shape[1] // frames
        assert pieces[0].shape[1] == min(first or chunk, frames) * hop
        assert all(piece.shape[1] == chunk * hop for piece in pieces[1:-1])
        tolerance = MODEL_FLOAT32 if dtype == torch.float32 else MODEL_FLOAT64
        assert relative_rms(torch.cat(pieces, 1), whole.waveform) <= tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_streams_share_calls_wherever_each_of_them_stands(dtype: torch.dtype) -> None:
    model = own_model(MULTI).to(dtype)
    ids, mask = padded()
    controls = {"speaking_rate": [0.25, 0.2, 0.3], "seed": [1, 2, 3], "speaker_id": [2, 0, 1]}
    whole = speak(model, ids, mask, **controls)
    with torch.no_grad(), model.entered():
        streams = model.pieces_of_each(model.prior(model.request(ids, mask, **controls)), PieceSizes(20, 5))
    heard: list[list[Tensor]] = [[] for _ in streams]
    turn = 0
    while any(stream.frames for stream in streams):
        # One begins after the other, so that first, middle and last pieces meet.
        ready = [item for item, stream in enumerate(streams) if stream.frames and item <= turn]
        for item, piece in zip(ready, next_pieces([streams[item] for item in ready]), strict=True):
            heard[item].append(piece)
        turn += 1
    with pytest.raises(ValueError, match="at its end"):
        next_pieces([streams[0]])
    tolerance = MODEL_FLOAT32 if dtype == torch.float32 else MODEL_FLOAT64
    for item, pieces in enumerate(heard):
        samples = int(whole.sequence_lengths[item])
        assert len(pieces) > 2
        assert relative_rms(torch.cat(pieces, 1)[0], whole.waveform[item, :samples]) <= tolerance


def test_a_stream_draws_the_published_noise(voices: VitsModel) -> None:
    ids = random_ids(1, 15)
    set_seed(3)
    whole = speak(voices, ids, speaker_id=0, speaking_rate=0.3)
    set_seed(3)
    pieces = list(voices.stream(ids, speaker_id=0, speaking_rate=0.3, chunk_frames=9))
    assert relative_rms(torch.cat(pieces, 1), whole.waveform) <= MODEL_FLOAT32


@pytest.mark.parametrize("bad", [0, -3, 1.5, True, "all"])
def test_bad_piece_sizes(voices: VitsModel, bad: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="chunk_frames"):
        voices.stream(random_ids(1, 3), speaker_id=0, chunk_frames=bad)
    with pytest.raises((TypeError, ValueError), match="first_chunk_frames"):
        voices.stream(random_ids(1, 3), speaker_id=0, first_chunk_frames=bad)


@pytest.mark.parametrize("name", ["small", "upsampling-5-3-2", "uneven-resblocks", "one-resblock", "second-type"])
def test_the_computed_receptive_field_is_the_real_one(name: str) -> None:
    """Gradients show what a piece hears: nothing outside the computed window, and something at both of its ends."""
    settings = CONFIGURATIONS[name] if name in CONFIGURATIONS else SMALL | {"resblock_type": 2}
    model = own_model(settings).double()
    frames, start, stop = 120, 57, 60
    latents = torch.randn(1, frames, model.config.flow_size, dtype=torch.float64, requires_grad=True)
    waveform = model.decoder.decode(latents)
    hop = waveform.shape[1] // frames
    (gradient,) = torch.autograd.grad(waveform[:, start * hop : stop * hop].sum(), latents)
    heard = gradient[0].abs().sum(1).nonzero().flatten()
    assert (int(heard[0]), int(heard[-1]) + 1) == decoder_window(model.config, start, stop)

    out = model.flow.transform(latents, reverse=True)
    (gradient,) = torch.autograd.grad(out[:, start].sum(), latents)
    heard = gradient[0].abs().sum(1).nonzero().flatten()
    radius = flow_receptive_radius(model.config)
    assert (int(heard[0]), int(heard[-1])) == (start - radius, start + radius)
