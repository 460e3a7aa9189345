"""Lengths and finite numbers in every precision, on the bundled voice."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fastvits import VitsModel, VitsTokenizer
from fastvits.voices.folders import DEFAULT_VOICE, voice_folder
from tests.support.tolerances import DURATION_TIE

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
TEXTS, BATCH = 200, 25


@pytest.fixture(scope="module")
def load() -> Callable[[torch.dtype], VitsModel]:
    folder = Path(voice_folder(DEFAULT_VOICE))
    return lambda dtype: VitsModel.from_pretrained(folder, inference_only=True, dtype=dtype)


def texts() -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids `[200, T_text]` that the voice knows, in no order, and lengths of 1 to 80, the shortest first."""
    tokenizer = VitsTokenizer.from_pretrained(Path(voice_folder(DEFAULT_VOICE)))
    sentence = (
        "The quick brown fox jumps over the lazy dog; she sells sea shells, how vexingly quick, a big joyful zebra!"
    )
    known = tokenizer(sentence, return_tensors="pt")["input_ids"].unique()
    generator = torch.Generator().manual_seed(0)
    ids = known[torch.randint(0, len(known), (TEXTS, 80), generator=generator)]
    return ids, torch.randint(1, 81, (TEXTS,), generator=generator).sort().values


@torch.no_grad()
def frames_of(model: VitsModel) -> torch.Tensor:
    """Frames before they are rounded up, `[200, T_text]`, zero beyond the lengths."""
    ids, lengths = texts()
    noise = torch.randn(TEXTS, 80, 2, generator=torch.Generator().manual_seed(1))
    found = []
    for first in range(0, TEXTS, BATCH):
        chosen = slice(first, first + BATCH)
        steps = int(lengths[chosen].max())
        hidden = model.text_encoder.encode(ids[chosen, :steps], lengths[chosen]).hidden
        scaled = noise[chosen, :steps].to(hidden.dtype) * model.noise_scale_duration
        frames = model.duration_predictor.predict(hidden, lengths[chosen], None, scaled).exp()
        frames = frames.masked_fill(torch.arange(steps) >= lengths[chosen, None], 0)
        found.append(torch.nn.functional.pad(frames, (0, 80 - steps)))
    return torch.cat(found)


@pytest.mark.slow
def test_lengths_of_200_texts_are_the_same_in_every_dtype(
    load: Callable[[torch.dtype], VitsModel], record_property: Callable[[str, object], None]
) -> None:
    exact = frames_of(load(torch.float64))
    ties = (exact - exact.round()).abs() < DURATION_TIE
    ties &= exact > 0
    frames = {dtype: frames_of(load(dtype)) for dtype in DTYPES}
    assert exact.dtype == torch.float64
    assert frames[torch.float16].dtype == torch.float32
    assert exact.ceil().sum() > TEXTS * 40
    for dtype, found in frames.items():
        different = (found.ceil() != exact.ceil()) & ~ties
        assert not different.any(), f"{int(different.sum())} durations in {dtype} differ from float64"
    for dtype in (torch.float16, torch.bfloat16):
        assert torch.equal(frames[dtype], frames[torch.float32]), "these two modules do not know the model's dtype"
    record_property("ties", int(ties.sum()))
    print(f"{int(ties.sum())} of {int((exact > 0).sum())} durations lie within {DURATION_TIE} of an integer")


@pytest.mark.parametrize("noise_scale", [0.667, 4.0])
def test_half_precision_stays_finite_where_float32_does(
    load: Callable[[torch.dtype], VitsModel], noise_scale: float
) -> None:
    ids, _ = texts()
    for dtype in DTYPES:
        with torch.no_grad():
            waveform = load(dtype)(ids[:1, :12], noise_scale=noise_scale, seed=1).waveform
        assert waveform.isfinite().all(), dtype
        assert waveform.abs().max() > 1e-3
