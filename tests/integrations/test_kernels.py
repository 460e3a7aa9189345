"""Layers for the `kernels` library, put in by its own `kernelize`."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")
kernels = pytest.importorskip("kernels")

from fastvits.integrations.kernels import _MAKERS, DEVICES, _twins, mapping, mark, write_repository  # noqa: E402
from tests.support.models import SMALL, published_model, random_ids, relative_rms  # noqa: E402
from tests.support.tolerances import MODEL_FLOAT32  # noqa: E402

IDS = random_ids(2, 13)
MASK = (torch.arange(13) < torch.tensor([[13], [8]])).long()


@pytest.fixture(scope="module")
def plain() -> Any:
    return published_model(SMALL | {"num_speakers": 3, "speaker_embedding_size": 8})


@pytest.fixture(autouse=True)
def marked() -> Iterator[None]:
    mark()
    yield
    for part in _MAKERS:
        del part.kernel_layer_name, part.kernel_condition  # type: ignore[attr-defined]


def speak(model: Any, ids: torch.Tensor = IDS[:1], mask: torch.Tensor | None = None) -> torch.Tensor:
    torch.manual_seed(4)
    waveform: torch.Tensor = model(ids, attention_mask=mask, speaker_id=1).waveform
    return waveform


def kernelized(model: Any, layers: Any, mode: Any) -> Any:
    with kernels.use_kernel_mapping(layers, inherit_mapping=False):
        return kernels.kernelize(copy.deepcopy(model), mode=mode, use_fallback=False)


def used(model: Any) -> dict[str, int]:
    """How many parts of each kind computed with a module of ours."""
    kinds = [type(part).__name__ for part in model.modules() if part in _twins and _twins[part]._module is not None]
    return {kind: kinds.count(kind) for kind in set(kinds)}


def test_a_model_sounds_as_before(plain: Any) -> None:
    model = kernelized(plain, mapping(), kernels.Mode.INFERENCE)
    with torch.no_grad():
        assert relative_rms(speak(model), speak(plain)) <= MODEL_FLOAT32
        assert used(model) == {"VitsHifiGan": 1, "VitsWaveNet": 2, "VitsAttention": 2}
        # A batch: attention has padding, and is the published one.
        assert relative_rms(speak(model, IDS, MASK), speak(plain, IDS, MASK)) <= MODEL_FLOAT32


def test_the_layout_that_the_library_loads(plain: Any, tmp_path: Path) -> None:
    folder = write_repository(tmp_path / "repository")
    assert write_repository(folder) == folder
    assert sorted(variant.name for variant in (folder / "build").iterdir()) == [
        f"torch-{one}" for one in sorted(DEVICES)
    ]
    layers = {name: {"cpu": kernels.LocalLayerRepository(folder, layer_name=name)} for name in mapping()}
    model = kernelized(plain, layers, kernels.Mode.INFERENCE | kernels.Mode.TORCH_COMPILE)
    with torch.no_grad():
        assert relative_rms(speak(model), speak(plain)) <= MODEL_FLOAT32
    assert used(model) == {"VitsHifiGan": 1, "VitsWaveNet": 2, "VitsAttention": 2}


def test_training_and_changed_layers(plain: Any) -> None:
    model = kernelized(plain, mapping(), kernels.Mode.TRAINING)
    other = copy.deepcopy(plain)
    gradients = []
    for one in (other, model):
        torch.manual_seed(0)
        one.decoder.conv_post = torch.nn.Conv1d(8, 1, 3, padding=1)
        one.zero_grad()
        speak(one).square().mean().backward()
        gradients.append(one.flow.flows[0].wavenet.in_layers[0].parametrizations.weight.original1.grad)
    assert relative_rms(gradients[1], gradients[0]) <= MODEL_FLOAT32
    assert "VitsHifiGan" not in used(model)
    assert used(model)["VitsWaveNet"] == 2
