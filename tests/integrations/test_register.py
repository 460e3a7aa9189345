"""transformers' Auto classes and pipeline with our classes."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers")

from transformers.models.auto import configuration_auto, modeling_auto, tokenization_auto  # noqa: E402

import fastvits  # noqa: E402
from fastvits.integrations.transformers import register  # noqa: E402
from tests.support.models import SMALL, own_model, relative_rms  # noqa: E402
from tests.support.small_voices import save_small_voice  # noqa: E402
from tests.support.tolerances import MODEL_FLOAT32  # noqa: E402

TEXT = "hello my dog"


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_small_voice(tmp_path_factory.mktemp("register") / "voice"))


@pytest.fixture(scope="module")
def piper(voice: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder as converted Piper voices are: with residual blocks of the second type."""
    folder = tmp_path_factory.mktemp("register") / "piper"
    own_model(SMALL | {"resblock_type": 2}).save_pretrained(folder)
    fastvits.VitsTokenizer.from_pretrained(voice).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def registered() -> Iterator[None]:
    """`register()`, and what it did taken back: transformers has no way for that."""
    mappings = (
        configuration_auto.CONFIG_MAPPING._extra_content,
        modeling_auto.MODEL_MAPPING._extra_content,
        modeling_auto.MODEL_FOR_TEXT_TO_WAVEFORM_MAPPING._extra_content,
        tokenization_auto.TOKENIZER_MAPPING._extra_content,
        tokenization_auto.REGISTERED_TOKENIZER_CLASSES,
    )
    before = [dict(mapping) for mapping in mappings]
    register()
    register()
    yield
    for mapping, content in zip(mappings, before, strict=True):
        mapping.clear()
        mapping.update(content)


def said(speaker: Any) -> Any:
    torch.manual_seed(9)
    return torch.from_numpy(speaker(TEXT)["audio"])


@pytest.mark.usefixtures("registered")
def test_auto_classes_give_ours(voice: str) -> None:
    config = transformers.AutoConfig.from_pretrained(voice, noise_scale=0.3)
    assert type(config) is fastvits.VitsConfig
    assert config.noise_scale == 0.3
    for kind in (transformers.AutoModel, transformers.AutoModelForTextToWaveform):
        model = kind.from_pretrained(voice, dtype=torch.float64)
        assert type(model) is fastvits.VitsModel
        assert model.dtype == torch.float64
        assert not model.training
        assert kind.from_pretrained(voice, noise_scale=0.3).config.noise_scale == 0.3
        assert type(kind.from_config(config)) is fastvits.VitsModel
        assert type(kind.from_config(transformers.VitsConfig.from_pretrained(voice))) is fastvits.VitsModel
    assert type(transformers.AutoTokenizer.from_pretrained(voice)) is fastvits.VitsTokenizer


@pytest.mark.usefixtures("registered")
def test_classes_asked_for_by_name_stay(voice: str) -> None:
    assert type(transformers.VitsModel.from_pretrained(voice)).__module__.startswith("transformers.")
    assert type(transformers.VitsTokenizer.from_pretrained(voice)).__module__.startswith("transformers.")
    assert type(transformers.VitsConfig.from_pretrained(voice)).__module__.startswith("transformers.")


def test_pipeline_of_transformers_with_our_model(voice: str) -> None:
    model, tokenizer = fastvits.VitsModel.from_pretrained(voice), fastvits.VitsTokenizer.from_pretrained(voice)
    for task in ("text-to-speech", "text-to-audio"):
        ours = transformers.pipeline(task, model=model, tokenizer=tokenizer)
        theirs = transformers.pipeline(task, model=transformers.VitsModel.from_pretrained(voice), tokenizer=tokenizer)
        assert relative_rms(said(ours), said(theirs)) <= MODEL_FLOAT32
        assert ours(TEXT)["sampling_rate"] == 16_000
    assert [one["audio"].ndim for one in ours([TEXT, "you"])] == [1, 1]


@pytest.mark.usefixtures("registered")
def test_pipeline_of_transformers_loads_ours(voice: str) -> None:
    loaded = transformers.pipeline("text-to-speech", model=voice)
    assert type(loaded.model) is fastvits.VitsModel
    assert type(loaded.tokenizer) is fastvits.VitsTokenizer
    given = transformers.pipeline(
        "text-to-speech",
        model=fastvits.VitsModel.from_pretrained(voice),
        tokenizer=fastvits.VitsTokenizer.from_pretrained(voice),
    )
    assert torch.equal(said(loaded), said(given))


def test_transformers_refuses_a_converted_piper_voice(piper: str) -> None:
    for kind in (transformers.AutoConfig, transformers.AutoModel, transformers.AutoModelForTextToWaveform):
        with pytest.raises(ValueError, match="model type `fastvits`"):
            kind.from_pretrained(piper)
    with pytest.raises(Exception, match="resblock_dilation_sizes"):
        transformers.VitsModel.from_pretrained(piper)
    with pytest.raises(ValueError, match="model type `fastvits`"):
        transformers.pipeline("text-to-speech", model=piper)


@pytest.mark.usefixtures("registered")
def test_registered_it_is_ours(piper: str) -> None:
    assert transformers.AutoConfig.from_pretrained(piper).resblock_type == 2
    assert type(transformers.AutoModel.from_pretrained(piper)) is fastvits.VitsModel
    pipe = transformers.pipeline("text-to-speech", model=piper)
    own = fastvits.pipeline("text-to-speech", model=piper)
    assert type(pipe.tokenizer) is fastvits.VitsTokenizer
    torch.manual_seed(9)
    expected = torch.from_numpy(own(TEXT)["audio"]).squeeze()
    assert relative_rms(said(pipe), expected) <= MODEL_FLOAT32
