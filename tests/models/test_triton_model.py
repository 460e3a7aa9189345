"""The whole model with every op in Triton against the whole eager model."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from fastvits import VitsModel, VitsTokenizer, use_backend
from fastvits.voices.folders import DEFAULT_VOICE, voice_folder
from fastvits_kernels.dispatch import registry
from fastvits_kernels.launch import tiles
from tests.runtime.test_graphs import on_a_cpu
from tests.support.models import SMALL, own_model, random_ids, relative_rms
from tests.support.tolerances import MODEL_FLOAT32, REAL_VOICE_FLOAT32

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def ops_taken(backend: str) -> set[str]:
    return {decision.op for decision in registry.decisions() if decision.backend == backend}


@pytest.fixture
def large_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large tiles where the interpreter runs, which takes milliseconds a program and a loop's round of any size."""
    larger = {"BLOCK_T": 1024} | dict.fromkeys(
        ("BLOCK_C", "BLOCK_P", "BLOCK_Z", "BLOCK_CI", "BLOCK_CO", "BLOCK_C_IN", "BLOCK_C_OUT"), 256
    )
    choose = tiles._choose

    def longer(*args: Any) -> tiles.Tile:
        tile = choose(*args)
        sizes = {name: larger.get(name, size) for name, size in tile.sizes.items()}
        return dataclasses.replace(tile, sizes=sizes)

    if DEVICE == "cpu":
        monkeypatch.setattr(tiles, "_choose", longer)


@pytest.mark.usefixtures("large_tiles")
@pytest.mark.parametrize("resblock_type", [1, 2])
def test_a_small_model_in_triton_equals_eager(resblock_type: int) -> None:
    settings = SMALL | {"num_speakers": 2, "speaker_embedding_size": 6, "resblock_type": resblock_type}
    model = own_model(settings).to(DEVICE)
    ids = random_ids(2, 19).to(DEVICE)
    mask = torch.tensor([[1] * 19, [1] * 8 + [0] * 11], device=DEVICE)
    outputs = {}
    for backend in ("eager", "triton"):
        registry.forget_decisions()
        with torch.no_grad(), use_backend(backend):
            outputs[backend] = model(ids, mask, speaker_id=[0, 1], seed=[3, 4], output_hidden_states=True)
        assert ops_taken(backend)
        assert not ops_taken("triton" if backend == "eager" else "eager")
    expected, got = outputs["eager"], outputs["triton"]
    assert torch.equal(got.durations, expected.durations)
    assert relative_rms(got.waveform, expected.waveform) <= MODEL_FLOAT32
    assert relative_rms(got.hidden_states[-1], expected.hidden_states[-1]) <= MODEL_FLOAT32


FEW_LAYERS = SMALL | {
    "num_hidden_layers": 1,
    "prior_encoder_num_flows": 1,
    "prior_encoder_num_wavenet_layers": 1,
    "duration_predictor_num_flows": 2,
    "upsample_rates": [4],
    "upsample_kernel_sizes": [8],
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3]],
}


@pytest.mark.usefixtures("large_tiles")
def test_padding_changes_nothing_in_triton() -> None:
    model = own_model(FEW_LAYERS).to(DEVICE)
    ids = random_ids(2, 7).to(DEVICE)
    mask = torch.tensor([[1] * 7, [0] * 4 + [1] * 3], device=DEVICE)
    with torch.no_grad(), use_backend("triton"):
        model.graphs = "off"
        expected = model(ids, mask, seed=[3, 4])
        model.graphs = "auto"
        if DEVICE == "cpu":
            on_a_cpu(model)
        model.warmup(tokens=7, frames=expected.spectrogram.shape[2], batch_sizes=2, progress=False)
        before = model.graph_cache.statistics().replayed
        got = model(ids, mask, seed=[3, 4])
        assert model.graph_cache.statistics().replayed == before + 2
    assert torch.equal(got.durations, expected.durations)
    assert relative_rms(got.waveform, expected.waveform) <= MODEL_FLOAT32


@pytest.mark.slow
@pytest.mark.usefixtures("large_tiles")
def test_the_real_voice_in_triton_equals_eager() -> None:
    folder = Path(voice_folder(DEFAULT_VOICE))
    model = VitsModel.from_pretrained(folder, inference_only=True, device_map=DEVICE)
    # Said very fast, for the interpreter's sake: two thirds of a second become a fifth.
    inputs = VitsTokenizer.from_pretrained(folder)("Hi.", return_tensors="pt").to(DEVICE)
    with torch.no_grad():
        with use_backend("eager"):
            expected = model(**inputs, seed=1, speaking_rate=4)
        with use_backend("triton"):
            got = model(**inputs, seed=1, speaking_rate=4)
    assert torch.equal(got.durations, expected.durations)
    assert relative_rms(got.waveform, expected.waveform) <= REAL_VOICE_FLOAT32
