"""transformers' own model says the same with our kernels inside, and is what it was before when they are taken out."""

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils import prune

transformers = pytest.importorskip("transformers")

from transformers.models.vits import modeling_vits as published  # noqa: E402

import fastvits  # noqa: E402
from fastvits.integrations.transformers import apply, undo  # noqa: E402
from fastvits.integrations.transformers.parts import ATTRIBUTE, PARTS  # noqa: E402
from tests.support.models import (  # noqa: E402
    CONFIGURATIONS,
    SMALL,
    published_model,
    random_ids,
    relative_rms,
    speaker_of,
)
from tests.support.tolerances import (  # noqa: E402
    HALF_PRECISION_MODEL,
    LEARNING_FLOAT64,
    MODEL_FLOAT32,
    MODEL_FLOAT64,
)

IDS = random_ids(3, 17)
MASK = (torch.arange(17) < torch.tensor([[17], [12], [5]])).long()


def speak(model: Any, ids: Tensor = IDS, mask: Tensor | None = MASK, **inputs: Any) -> Any:
    torch.manual_seed(4)
    np.random.seed(4)  # LayerDrop there draws from NumPy's generator
    with torch.no_grad():
        return model(ids, attention_mask=mask, **inputs)


def computed_by_us(model: Any) -> dict[str, bool]:
    """Which of a model's parts made a module of ours."""
    twins = {name: part.__dict__[ATTRIBUTE] for name, part in model.named_modules() if ATTRIBUTE in part.__dict__}
    return {name: twin._module is not None for name, twin in twins.items()}


@pytest.fixture(scope="module")
def plain() -> Any:
    return published_model(SMALL)


@pytest.fixture
def pair(plain: Any) -> tuple[Any, Any]:
    """The model as it is, and a copy with our kernels."""
    return plain, apply(copy.deepcopy(plain))


@pytest.mark.parametrize(
    "name",
    ["multi-speaker-plain-durations", "window-20-heads-1-gelu-new", "ffn-kernel-4", "uneven-resblocks"],
)
def test_a_batch_sounds_as_before(name: str) -> None:
    settings = CONFIGURATIONS[name]
    model = published_model(settings)
    before = speak(model, **speaker_of(settings))
    assert apply(model) is model
    after = speak(model, **speaker_of(settings))
    assert type(after) is type(before)
    assert torch.equal(after.sequence_lengths, before.sequence_lengths)
    assert relative_rms(after.waveform, before.waveform) <= MODEL_FLOAT32
    assert relative_rms(after.spectrogram, before.spectrogram) <= MODEL_FLOAT32
    used = computed_by_us(model)
    assert used.pop("posterior_encoder") is False
    assert all(used.values())
    assert len(used) == 4


def test_class_parameters_names_and_saved_files_stay(pair: tuple[Any, Any], tmp_path: Path) -> None:
    plain, model = pair
    assert type(model) is transformers.VitsModel
    assert isinstance(model.decoder, published.VitsHifiGan)
    assert [name for name, _ in model.named_modules()] == [name for name, _ in plain.named_modules()]
    assert list(model.state_dict()) == list(plain.state_dict())
    model.save_pretrained(tmp_path)
    again = transformers.VitsModel.from_pretrained(tmp_path)
    assert type(again.decoder) is published.VitsHifiGan
    assert torch.equal(speak(again).waveform, speak(plain).waveform)


def test_undone_it_is_what_it_was(plain: Any) -> None:
    model = copy.deepcopy(plain)
    before = {name: (type(part), set(vars(part))) for name, part in model.named_modules()}
    speak(apply(apply(model)))
    assert undo(model) is model
    assert undo(model) is model
    assert {name: (type(part), set(vars(part))) for name, part in model.named_modules()} == before
    assert torch.equal(speak(model).waveform, speak(plain).waveform)


def test_hidden_states_attentions_and_tuples(pair: tuple[Any, Any]) -> None:
    plain, model = pair
    for mask in (MASK, None):
        asked = {"mask": mask, "output_hidden_states": True, "output_attentions": True}
        expected, found = speak(plain, **asked), speak(model, **asked)
        for name in ("hidden_states", "attentions"):
            for one, other in zip(found[name], expected[name], strict=True):
                assert relative_rms(one, other) <= MODEL_FLOAT32
        in_order = speak(model, return_dict=False, **asked)
        assert relative_rms(in_order[0], expected.waveform) <= MODEL_FLOAT32
        assert len(in_order) == len(speak(plain, return_dict=False, **asked))


def test_changed_parameters_are_heard(pair: tuple[Any, Any]) -> None:
    plain, model = pair
    plain = copy.deepcopy(plain)
    speak(model)
    for one in (plain, model):
        one.decoder.conv_pre.weight.data.mul_(0.7)
        one.flow.flows[0].wavenet.in_layers[0].parametrizations.weight.original0.data += 0.2
        one.text_encoder.encoder.layers[0].attention.emb_rel_k = torch.nn.Parameter(torch.ones(1, 9, 16))
        one.load_state_dict({"decoder.conv_post.weight": one.decoder.conv_post.weight / 2}, strict=False)
    assert relative_rms(speak(model).waveform, speak(plain).waveform) <= MODEL_FLOAT32
    assert computed_by_us(model)["text_encoder"]


def test_layers_put_in_are_used(pair: tuple[Any, Any]) -> None:
    plain, model = pair
    plain = copy.deepcopy(plain)
    speak(model)
    for one in (plain, model):
        torch.manual_seed(0)
        one.decoder.conv_post = torch.nn.Sequential(one.decoder.conv_post, torch.nn.Tanh())
        one.flow.flows[1].conv_pre = torch.nn.Conv1d(12, 32, 3, padding=1)
        one.text_encoder.encoder.layers = one.text_encoder.encoder.layers[:1]
        prune.l1_unstructured(one.duration_predictor.conv_pre, "weight", 0.5)
    assert relative_rms(speak(model).waveform, speak(plain).waveform) <= MODEL_FLOAT32
    used = computed_by_us(model)
    assert not any(used[name] for name in ("decoder", "flow", "text_encoder"))


def test_a_larger_vocabulary_needs_no_other_code(pair: tuple[Any, Any]) -> None:
    plain, model = pair
    plain = copy.deepcopy(plain)
    for one in (plain, model):
        torch.manual_seed(0)
        one.text_encoder.embed_tokens = torch.nn.Embedding(60, 32)
    ids = IDS + 20
    assert relative_rms(speak(model, ids).waveform, speak(plain, ids).waveform) <= MODEL_FLOAT32
    assert computed_by_us(model)["text_encoder"]


def test_hooks_are_called_as_before(pair: tuple[Any, Any]) -> None:
    seen: list[dict[str, tuple[int, ...]]] = []
    names = ("decoder", "flow", "decoder.resblocks.1.convs1.0", "text_encoder.encoder.layers.1.attention", "flow.flows")
    for model in pair:
        shapes: dict[str, tuple[int, ...]] = {}
        seen.append(shapes)

        def keep(name: str, shapes: dict[str, tuple[int, ...]] = shapes) -> Any:
            return lambda module, inputs, out: shapes.__setitem__(
                name, tuple((out if torch.is_tensor(out) else out[0]).shape)
            )

        handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
        speak(model)
        for handle in handles:
            handle.remove()
    assert seen[0] == seen[1]
    assert set(seen[0]) == set(names) - {"flow.flows"}
    assert relative_rms(speak(pair[1]).waveform, speak(pair[0]).waveform) <= MODEL_FLOAT32


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_precisions_say_it_in_the_same_time(pair: tuple[Any, Any], dtype: torch.dtype) -> None:
    plain, model = copy.deepcopy(pair[0]).to(dtype), pair[1].to(dtype)
    expected, found = speak(plain), speak(model)
    assert found.waveform.dtype == dtype
    assert torch.equal(found.sequence_lengths, expected.sequence_lengths)
    tolerance = MODEL_FLOAT64 if dtype == torch.float64 else HALF_PRECISION_MODEL[dtype]
    assert relative_rms(found.waveform, expected.waveform) <= tolerance
    assert computed_by_us(model)["decoder"]
    assert computed_by_us(model)["text_encoder"] is (dtype == torch.float64)


def test_under_autocast_and_while_tracing_it_is_the_published_code(pair: tuple[Any, Any]) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = (speak(model).waveform for model in pair)
    assert torch.equal(found, expected)
    assert found.dtype == expected.dtype
    traced = torch.jit.trace(pair[1].decoder, torch.randn(1, 24, 9))
    latents = torch.randn(1, 24, 9)
    assert relative_rms(traced(latents), pair[0].decoder(latents)) <= MODEL_FLOAT32


def test_training_mode_draws_what_it_drew(pair: tuple[Any, Any]) -> None:
    plain, model = copy.deepcopy(pair[0]).train(), pair[1].train()
    expected, found = speak(plain), speak(model)
    assert torch.equal(found.sequence_lengths, expected.sequence_lengths)
    assert relative_rms(found.waveform, expected.waveform) <= MODEL_FLOAT32
    assert computed_by_us(model)["decoder"]


def test_gradients(plain: Any) -> None:
    models = copy.deepcopy(plain).double(), apply(copy.deepcopy(plain).double())
    for model in models:
        torch.manual_seed(4)
        model(IDS, attention_mask=MASK).waveform.square().mean().backward()
    for (name, one), other in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None and one.grad.norm() > 1e-15:
            assert relative_rms(other.grad, one.grad) <= LEARNING_FLOAT64, name


def test_parts_called_alone(pair: tuple[Any, Any]) -> None:
    latents, spectrograms, mask = torch.randn(2, 24, 11), torch.rand(2, 33, 11), torch.ones(2, 1, 11)
    mask[1, :, 6:] = 0
    results = []
    with torch.no_grad():
        for model in pair:
            torch.manual_seed(5)
            results.append(
                [
                    model.decoder(latents),
                    model.flow(latents, mask),
                    model.flow(latents, mask, reverse=True),
                    *model.posterior_encoder(spectrograms, mask),
                    model.text_encoder(IDS[:1], torch.ones(1, 17, 1)).prior_means,
                    # A hole: what runs is the published code.
                    model.flow(latents, mask.flip(2), reverse=True),
                ]
            )
    for one, other in zip(*results, strict=True):
        assert relative_rms(other, one) <= MODEL_FLOAT32
    assert all(computed_by_us(pair[1])[name] for name in ("decoder", "flow", "posterior_encoder", "text_encoder"))


def test_a_copy_is_one_of_its_own(pair: tuple[Any, Any]) -> None:
    plain, model = pair
    speak(model)
    other = copy.deepcopy(model)
    other.decoder.conv_post.weight.data.zero_()
    assert not speak(other).waveform.any()
    assert relative_rms(speak(model).waveform, speak(plain).waveform) <= MODEL_FLOAT32


def test_batch_true_is_asked_for(pair: tuple[Any, Any]) -> None:
    plain, model = pair
    apply(model, batch_true=True)
    torch.manual_seed(0)
    latents = torch.randn(2, 24, 30)
    latents[1, :, 19:] = 0
    with torch.no_grad():
        alone, together = model.decoder(latents[1:, :, :19])[0, 0], model.decoder(latents)[1, 0]
        published_tail = plain.decoder(latents)[1, 0]
    assert relative_rms(together[: len(alone)], alone) <= MODEL_FLOAT32
    assert not together[len(alone) :].any()
    assert relative_rms(published_tail[: len(alone)], alone) > 1000 * MODEL_FLOAT32
    spoken, published_ = speak(model), speak(plain)
    assert torch.equal(spoken.sequence_lengths, published_.sequence_lengths)
    longest = spoken.sequence_lengths.argmax()
    assert relative_rms(spoken.waveform[longest], published_.waveform[longest]) <= MODEL_FLOAT32
    model.decoder.conv_pre.register_forward_hook(lambda *call: None)
    with pytest.raises(RuntimeError, match="batch_true needs the decoder as it was loaded"):
        speak(model)
    with pytest.raises(TypeError, match="batch_true must be True or False"):
        apply(model, batch_true=1)  # type: ignore[arg-type]


@pytest.fixture
def patched() -> Iterator[None]:
    apply()
    yield
    undo()


@pytest.mark.usefixtures("patched")
def test_every_model_that_is_loaded(plain: Any, tmp_path: Path) -> None:
    plain.save_pretrained(tmp_path)
    apply()  # once more
    model = transformers.AutoModel.from_pretrained(tmp_path)
    assert type(model) is transformers.VitsModel
    assert relative_rms(speak(model).waveform, speak(plain).waveform) <= MODEL_FLOAT32
    assert sum(computed_by_us(model).values()) == 4
    assert type(undo(model).decoder) is published.VitsHifiGan
    with pytest.raises(RuntimeError):
        transformers.VitsModel.from_pretrained(tmp_path, vocab_size=60)
    undo()
    undo()
    assert published.VitsHifiGan in PARTS
    assert type(transformers.VitsModel.from_pretrained(tmp_path).decoder) is published.VitsHifiGan


@pytest.mark.usefixtures("patched")
def test_a_load_that_failed_leaves_nothing(plain: Any, tmp_path: Path) -> None:
    plain.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"relu"', '"selu"'), encoding="utf-8")
    with pytest.raises(KeyError, match="selu"):
        transformers.VitsModel.from_pretrained(tmp_path)
    undo()
    assert published.VitsHifiGan in PARTS


def test_what_is_no_such_model_is_refused(pair: tuple[Any, Any]) -> None:
    own = fastvits.VitsModel(fastvits.VitsConfig(**SMALL))
    for wrong in (own, torch.nn.Linear(2, 2), "a name"):
        for function in (apply, undo):
            with pytest.raises(TypeError, match=r"takes a transformers.VitsModel or a module with one inside, got"):
                function(wrong)
    model = copy.deepcopy(pair[0])
    model.flow.flows[0].conv_pre = torch.nn.Conv1d(12, 32, 3, padding=1)
    with pytest.raises(ValueError, match=r"flow has other layers than model\.config says"):
        apply(model)
    assert type(model.decoder) is published.VitsHifiGan
    wrapped = torch.nn.Sequential(copy.deepcopy(pair[0]))
    assert apply(wrapped) is wrapped
    assert len(computed_by_us(wrapped)) == 5


def test_without_transformers_one_sentence_says_what_to_install() -> None:
    code = (
        "import sys\nsys.modules['transformers'] = None\nimport fastvits\n"
        "try:\n    import fastvits.integrations.transformers\nexcept ModuleNotFoundError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        done.stdout == "fastvits.integrations.transformers needs transformers: pip install 'fastvits[transformers]'\n"
    )
