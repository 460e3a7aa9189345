"""What users of transformers' models expect of ours beside speaking: settings, checkpointing, strictness, loading."""

import copy
import logging
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import fastvits
from fastvits import VitsConfig, VitsModel, strictness
from fastvits.weights.loading import WeightsDoNotFit
from tests.support.models import SMALL, own_model, random_ids, relative_rms

MULTI = SMALL | {"num_speakers": 3, "speaker_embedding_size": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    own_model(SMALL).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    strictness._chosen = None


# --- Settings -----------------------------------------------------------------------------------------------------


def test_the_rate_that_was_set_last_counts() -> None:
    model = own_model(SMALL)
    ids = random_ids(1, 20)

    def samples(model: VitsModel) -> int:
        with torch.no_grad():
            return model(ids, seed=1).waveform.shape[1]

    normal = samples(model)
    model.config.speaking_rate = 0.05
    assert model.speaking_rate == 0.05
    slow = samples(model)
    assert slow > 1.3 * normal
    model.speaking_rate = 1.0
    assert (samples(model), model.config.speaking_rate) == (normal, 0.05)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert samples(copied) == normal
        copied.config.speaking_rate = 2.0
        assert (copied.speaking_rate, model.speaking_rate) == (2.0, 1.0)
    model.config.noise_scale = 0.0
    assert model.noise_scale == 0.0
    with pytest.raises(ValueError, match="speaking_rate"):
        model.config.speaking_rate = 0.0


# --- Checkpointing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offload", [False, True])
def test_activations_computed_anew_give_the_same_gradients(offload: bool) -> None:
    model = own_model(MULTI).train()
    ids, saved = random_ids(2, 15), []

    def gradients() -> tuple[dict[str, torch.Tensor], int]:
        """Gradients, and how many tensors the graph keeps."""
        kept = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += 1
            return tensor

        model.zero_grad()
        torch.manual_seed(3)  # dropout is drawn twice, and has to be the same
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            waveform = model(ids, speaker_id=[0, 2]).waveform
        waveform.square().mean().backward()
        return {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}, kept

    expected, many = gradients()
    model.activation_checkpointing_enable(offload=offload)
    found, few = gradients()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert model.is_gradient_checkpointing
    assert few < many / 2
    model.gradient_checkpointing_disable()
    assert gradients()[1] == many
    assert not saved


def test_checkpointing_refuses_what_it_cannot_do() -> None:
    model = own_model(SMALL)
    with pytest.raises(ValueError, match="use_reentrant"):
        model.gradient_checkpointing_enable({"use_reentrant": True})
    with pytest.raises(ValueError, match="every_n_layers"):
        model.activation_checkpointing_enable(every_n_layers=2)
    assert not model.is_gradient_checkpointing


def test_embeddings_require_gradients_where_asked(folder: Path) -> None:
    model = VitsModel.from_pretrained(folder)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.enable_input_require_grads()
    model.enable_input_require_grads()
    assert model(random_ids(1, 9), seed=0).waveform.requires_grad
    model.disable_input_require_grads()
    assert not model(random_ids(1, 9), seed=0).waveform.requires_grad


# --- Strictness ---------------------------------------------------------------------------------------------------


def test_what_is_a_trap_is_refused_or_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = own_model(MULTI), random_ids(1, 9)
    for switch in (lambda: fastvits.strict(False), lambda: monkeypatch.setenv("FASTVITS_STRICT", "0")):
        strictness._chosen = None
        monkeypatch.delenv("FASTVITS_STRICT", raising=False)
        with pytest.raises(ValueError, match="set speaker_id, 0 to 2"):
            model(ids)
        with pytest.raises(TypeError, match=r"length_scale.*write speaking_rate"):
            model(ids, speaker_id=1, length_scale=2.0)
        with pytest.raises(TypeError, match="foo"):
            next(model.stream(ids, speaker_id=1, foo=1))
        switch()
        strictness._said.clear()
        with warnings.catch_warnings(record=True) as told, torch.no_grad():
            warnings.simplefilter("always")
            for _ in range(2):
                model(ids)
                model(ids, speaker_id=1, length_scale=2.0)
        assert ["3 speakers" in str(one.message) for one in told] == [True, False]
    monkeypatch.setenv("FASTVITS_STRICT", "yes")
    strictness._chosen = None
    with pytest.raises(ValueError, match="FASTVITS_STRICT is 'yes'"):
        model(ids)
    with pytest.raises(TypeError, match="strict takes True or False"):
        fastvits.strict("no")  # type: ignore[arg-type]


# --- Loading ------------------------------------------------------------------------------------------------------


def test_a_damaged_file_is_refused_and_loads_with_a_warning_where_asked(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = VitsModel.from_pretrained(folder)
    state = model.state_dict()
    lost = state.pop("decoder.conv_pre.bias")
    state["vocoder.weight"] = torch.zeros(3)
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(WeightsDoNotFit, match=r"(?s)decoder\.conv_pre\.bias.*vocoder\.weight.*strict\(False\)"):
        VitsModel.from_pretrained(tmp_path)
    fastvits.strict(False)
    with caplog.at_level(logging.WARNING, "fastvits"), pytest.warns(UserWarning, match="start at random"):
        found, info = VitsModel.from_pretrained(tmp_path, output_loading_info=True)
    assert (info["missing_keys"], info["unexpected_keys"]) == ({"decoder.conv_pre.bias"}, {"vocoder.weight"})
    assert "decoder.conv_pre.bias" in caplog.text
    assert "vocoder.weight" in caplog.text
    assert torch.equal(found.decoder.conv_pre.weight, model.decoder.conv_pre.weight)
    assert found.decoder.conv_pre.bias.isfinite().all()
    assert not torch.equal(found.decoder.conv_pre.bias, lost)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parts_of_another_configuration_start_as_in_a_new_model(folder: Path, dtype: torch.dtype) -> None:
    changes: dict[str, Any] = {"num_speakers": 4, "speaker_embedding_size": 6}
    model, info = VitsModel.from_pretrained(folder, dtype=dtype, output_loading_info=True, **changes)
    assert model.embed_speaker.weight.dtype == torch.float32
    assert model.decoder.cond.weight.dtype == dtype
    assert {"embed_speaker.weight", "decoder.cond.bias"} <= info["missing_keys"]
    assert all(not parameter.is_meta for parameter in model.parameters())
    started = model.embed_speaker.weight.std()
    assert 0.5 * model.config.initializer_range < started < 2 * model.config.initializer_range
    with torch.no_grad():
        assert model(random_ids(1, 9), speaker_id=3).waveform.isfinite().all()
    first = VitsModel.from_pretrained(folder, dtype=dtype)
    assert torch.equal(first.decoder.conv_pre.weight, model.decoder.conv_pre.weight)


def test_names_can_be_mapped_and_files_read_at_once(folder: Path, tmp_path: Path) -> None:
    model = VitsModel.from_pretrained(folder, disable_mmap=True)
    state = {f"wrapped.{name}": tensor for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path, state_dict=state)
    found = VitsModel.from_pretrained(tmp_path, key_mapping={"^wrapped[.]": ""})
    ids = random_ids(1, 9)
    with torch.no_grad():
        assert relative_rms(found(ids, seed=1).waveform, model(ids, seed=1).waveform) == 0


def test_one_kind_of_file_can_be_asked_for(folder: Path, tmp_path: Path) -> None:
    VitsConfig.from_pretrained(folder).save_pretrained(tmp_path)
    torch.save(VitsModel.from_pretrained(folder).state_dict(), tmp_path / "pytorch_model.bin")
    VitsModel.from_pretrained(tmp_path, use_safetensors=False)
    with pytest.raises(OSError, match=r"model\.safetensors"):
        VitsModel.from_pretrained(tmp_path, use_safetensors=True)
    with pytest.raises(OSError, match=r"model\.fp16\.safetensors"):
        VitsModel.from_pretrained(tmp_path, variant="fp16")
    for variant in ("a/b", ""):
        with pytest.raises(ValueError, match="variant"):
            VitsModel.from_pretrained(folder).save_pretrained(tmp_path, variant=variant)


def test_weights_at_hand_are_copied(folder: Path) -> None:
    model = VitsModel.from_pretrained(folder)
    made = VitsModel.from_pretrained(None, config=model.config, state_dict=model.state_dict())
    with torch.no_grad():
        model.decoder.conv_pre.weight.zero_()
    assert made.decoder.conv_pre.weight.abs().sum() > 0
    made.config.noise_scale = 0.1
    assert model.config.noise_scale != 0.1
    for arguments in ({}, {"state_dict": model.state_dict()}):
        with pytest.raises(ValueError, match="state_dict"):
            VitsModel.from_pretrained(None, **arguments)
    with pytest.raises(ValueError, match="one of the two"):
        VitsModel.from_pretrained(folder, state_dict=model.state_dict())
    with pytest.raises(TypeError, match="config must be a VitsConfig"):
        VitsModel.from_pretrained(folder, config={"hidden_size": 3})
