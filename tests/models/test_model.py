"""What a call accepts, refuses and promises, beyond equality with the published model."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from fastvits import VitsConfig, VitsModel, VitsModelOutput, set_seed
from tests.support.models import SMALL, own_model, random_ids, relative_rms
from tests.support.tolerances import HALF_PRECISION_MODEL, MODEL_FLOAT32

MULTI = SMALL | {"num_speakers": 3, "speaker_embedding_size": 8}


@pytest.fixture(scope="module")
def model() -> VitsModel:
    return own_model(SMALL)


@pytest.fixture(scope="module")
def voices() -> VitsModel:
    return own_model(MULTI)


def speak(model: VitsModel, *args: Any, seed: int = 0, **kwargs: Any) -> VitsModelOutput:
    set_seed(seed)
    with torch.no_grad():
        output = model(*args, **kwargs)
    assert isinstance(output, VitsModelOutput)
    return output


BAD_CALLS: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "no ids": (TypeError, "input_ids must be an integer tensor", {"input_ids": None}),
    "list of ids": (TypeError, "input_ids must be an integer tensor", {"input_ids": [[1, 2]]}),
    "float ids": (TypeError, "input_ids must be integers", {"input_ids": torch.ones(1, 3)}),
    "bool ids": (TypeError, "input_ids must be integers", {"input_ids": torch.ones(1, 3, dtype=torch.bool)}),
    "one axis": (ValueError, r"shape \[B, T_text\], got \(3,\)", {"input_ids": torch.ones(3, dtype=torch.long)}),
    "empty text": (ValueError, "there is no text to speak", {"input_ids": torch.ones(1, 0, dtype=torch.long)}),
    "empty batch": (ValueError, "there is no text to speak", {"input_ids": torch.ones(0, 3, dtype=torch.long)}),
    "a blank alone": (ValueError, "no text to speak", {"input_ids": torch.tensor([[0]])}),
    "a blank alone beside a text": (
        ValueError,
        "no text to speak",
        {"input_ids": torch.tensor([[0, 0, 0], [1, 2, 3]]), "attention_mask": torch.tensor([[0, 0, 1], [1, 1, 1]])},
    ),
    "id too large": (ValueError, "allowed is 0 to 37", {"input_ids": torch.tensor([[1, 38]])}),
    "negative id": (ValueError, "allowed is 0 to 37", {"input_ids": torch.tensor([[1, -1]])}),
    "other device": (
        ValueError,
        "input_ids are on meta",
        {"input_ids": torch.ones(1, 3, dtype=torch.long, device="meta")},
    ),
    "mask is a list": (TypeError, "attention_mask must be a tensor", {"attention_mask": [[1, 1, 1]]}),
    "mask of another shape": (ValueError, r"shape of input_ids, \(1, 3\)", {"attention_mask": torch.ones(1, 4)}),
    "mask with a hole": (ValueError, "no holes", {"attention_mask": torch.tensor([[1, 0, 1]])}),
    "mask of zeros": (ValueError, "no item without a token", {"attention_mask": torch.zeros(1, 3)}),
    "mask of twos": (ValueError, "must hold 0 and 1", {"attention_mask": torch.full((1, 3), 2)}),
    "labels": (ValueError, "T_frames", {"labels": torch.zeros(1, 7, 5)}),
    "unknown keyword": (TypeError, "volume", {"volume": 3}),
    "rate of zero": (ValueError, "speaking_rate must be finite and > 0", {"speaking_rate": 0}),
    "rate that is NaN": (ValueError, "speaking_rate must be finite", {"speaking_rate": float("nan")}),
    "rate as text": (TypeError, "speaking_rate must be a number", {"speaking_rate": "fast"}),
    "two rates for one item": (ValueError, "one number or one an item", {"speaking_rate": [1.0, 2.0]}),
    "too many frames": (ValueError, "config.max_frames", {"speaking_rate": 1e-9}),
    "overflow": (ValueError, "overflows", {"speaking_rate": 1e-300}),
    "speaker of a single voice": (ValueError, "one speaker", {"speaker_id": 1}),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_calls_name_what_is_wrong(model: VitsModel, name: str) -> None:
    error, message, arguments = BAD_CALLS[name]
    with pytest.raises(error, match=message), torch.no_grad():
        model(**{"input_ids": torch.tensor([[1, 2, 3]]), **arguments})


@pytest.mark.parametrize(
    ("speaker", "error", "message"),
    [
        (None, ValueError, "3 speakers: set speaker_id, 0 to 2"),
        (3, ValueError, "0 to 2"),
        (-1, ValueError, "0 to 2"),
        (torch.tensor([3]), ValueError, "0 to 2"),
        ([0, 1], ValueError, r"one an item \(1\)"),
        (1.0, TypeError, "integer"),
        (True, TypeError, "integer"),
        (torch.tensor([1.0]), TypeError, "integers"),
        (torch.zeros(1, 1, dtype=torch.long), ValueError, "one an item"),
    ],
)
def test_bad_speakers(voices: VitsModel, speaker: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message), torch.no_grad():
        voices(random_ids(1, 5), speaker_id=speaker)


def test_speakers_as_number_list_and_tensor(voices: VitsModel) -> None:
    ids = random_ids(1, 12).expand(2, -1)
    rate = {"speaking_rate": 0.1}
    by_list = speak(voices, ids, speaker_id=[0, 2], **rate)
    by_tensor = speak(voices, ids, speaker_id=torch.tensor([0, 2], dtype=torch.int32), **rate)
    assert torch.equal(by_list.waveform, by_tensor.waveform)
    for item, speaker in enumerate([0, 2]):
        alike = speak(voices, ids, speaker_id=speaker, **rate)
        assert int(alike.sequence_lengths[item]) == int(by_list.sequence_lengths[item])
    first, third = speak(voices, ids[:1], speaker_id=0, **rate), speak(voices, ids[:1], speaker_id=2, **rate)
    assert first.waveform.shape != third.waveform.shape or relative_rms(first.waveform, third.waveform) > 0.1
    assert torch.equal(first.waveform, speak(voices, ids[:1], speaker_id=torch.tensor(0), **rate).waveform)


def test_speaking_rate_an_item(model: VitsModel) -> None:
    model.noise_scale_duration = 0.0
    try:
        ids = random_ids(1, 30).expand(2, -1)
        slow = speak(model, ids[:1], speaking_rate=0.05).sequence_lengths
        fast = speak(model, ids[:1], speaking_rate=0.2).sequence_lengths
        both = speak(model, ids, speaking_rate=[0.05, 0.2]).sequence_lengths
        assert both.tolist() == [int(slow), int(fast)]
        assert slow > fast
        model.speaking_rate = 0.05
        assert torch.equal(speak(model, ids[:1]).sequence_lengths, slow)
    finally:
        model.speaking_rate, model.noise_scale_duration = 1.0, 0.8


def test_noise_scales_are_read_at_each_call(model: VitsModel) -> None:
    ids = random_ids(1, 20)
    try:
        model.noise_scale = model.noise_scale_duration = 0.0
        assert torch.equal(speak(model, ids, seed=1).waveform, speak(model, ids, seed=2).waveform)
        model.noise_scale = 0.667
        assert not torch.equal(speak(model, ids, seed=1).waveform, speak(model, ids, seed=2).waveform)
        model.noise_scale = -1.0
        with pytest.raises(ValueError, match="noise_scale must be finite and >= 0"):
            model(ids)
    finally:
        model.noise_scale, model.noise_scale_duration = 0.667, 0.8


def test_mask_may_be_boolean_or_floating(model: VitsModel) -> None:
    ids, mask = random_ids(2, 9), torch.tensor([[1] * 9, [1] * 4 + [0] * 5])
    outputs = [
        speak(model, ids, attention_mask=mask.to(dtype)).waveform for dtype in (torch.long, torch.bool, torch.float32)
    ]
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
    full = speak(model, ids[:1], attention_mask=torch.ones(1, 9))
    assert torch.equal(full.waveform, speak(model, ids[:1]).waveform)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_ids_of_other_integer_types(model: VitsModel, dtype: torch.dtype) -> None:
    ids = random_ids(1, 9)
    assert torch.equal(speak(model, ids.to(dtype)).waveform, speak(model, ids).waveform)


@pytest.mark.parametrize(
    "change", [lambda m: m.half(), lambda m: m.to(torch.bfloat16), lambda m: m.bfloat16().float().half()]
)
def test_half_precision_keeps_the_modules_that_decide_lengths(change: Any) -> None:
    reference, model = own_model(MULTI), own_model(MULTI)
    ids = random_ids(2, 25)
    change(model)
    assert model.dtype in (torch.float16, torch.bfloat16)
    assert {p.dtype for p in model.decoder.parameters()} == {model.dtype}
    for part in (model.text_encoder, model.duration_predictor, model.embed_speaker):
        assert {p.dtype for p in part.parameters()} == {torch.float32}
    # The published order draws the prior's noise in the model's dtype, so only noiseless latents compare.
    reference.noise_scale = model.noise_scale = 0.0
    expected, got = speak(reference, ids, speaker_id=1), speak(model, ids, speaker_id=1)
    assert got.waveform.dtype == model.dtype
    assert torch.equal(expected.sequence_lengths, got.sequence_lengths)
    assert relative_rms(got.waveform.float(), expected.waveform) <= HALF_PRECISION_MODEL[model.dtype]


def test_gradients_reach_every_parameter_that_synthesis_uses() -> None:
    model = own_model(MULTI)
    set_seed(0)
    output = model(random_ids(1, 10), speaker_id=1, output_hidden_states=True)
    output.waveform.square().sum().backward()
    without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    # Durations are whole numbers: no gradient passes. The rest that synthesis leaves out is for training.
    training_only = ("posterior_encoder.", "duration_predictor.")
    assert {
        name for name in without if not name.startswith(training_only) and not name.endswith("k_proj.bias")
    } == set()


def test_training_mode_drops_out(model: VitsModel) -> None:
    ids = random_ids(1, 20)
    quiet = speak(model, ids).hidden_states
    assert quiet is None
    trained = copy.deepcopy(model).train()
    first = speak(trained, ids, seed=1, output_hidden_states=True)
    second = speak(trained, ids, seed=2, output_hidden_states=True)
    assert not torch.equal(first.hidden_states[-1], second.hidden_states[-1])
    assert torch.equal(first.hidden_states[0], second.hidden_states[0])


def test_a_change_of_a_parameter_is_seen_by_the_next_call() -> None:
    """Derived weights are never stale: in place, by assignment, by `load_state_dict`, by an optimiser."""
    model = own_model(SMALL)
    ids = random_ids(1, 10)
    fresh = copy.deepcopy(model)
    weight = model.flow.flows[0].wavenet.in_layers[0].parametrizations["weight"].original0
    query = model.text_encoder.encoder.layers[0].attention.q_proj.weight
    before = speak(model, ids).waveform
    with torch.no_grad():
        weight.mul_(1.5)
        query.mul_(2)
    changed = speak(model, ids).waveform
    assert not torch.equal(changed, before)
    model.load_state_dict(fresh.state_dict())
    assert torch.equal(speak(model, ids).waveform, before)
    module = model.flow.flows[0].wavenet.in_layers[0].parametrizations["weight"]
    module.original0 = torch.nn.Parameter(module.original0.detach() * 1.5)
    with torch.no_grad():
        model.text_encoder.encoder.layers[0].attention.q_proj.weight.mul_(2)
    assert torch.equal(speak(model, ids).waveform, changed)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    set_seed(0)
    model(ids).waveform.square().sum().backward()
    optimiser.step()
    assert not torch.equal(speak(model, ids).waveform, changed)


PROJECTING = ["encoder", "encoder.layers.0", "encoder.layers.1", "encoder.layers.1.attention", "project"]
"""Modules of the text encoder that are not called where the end of a layer and what reads it are one op."""


@pytest.mark.parametrize("name", PROJECTING)
def test_hooks_of_the_text_encoder_are_called_and_may_change_its_way(name: str) -> None:
    encoder = own_model(SMALL).text_encoder
    ids, lengths = random_ids(2, 9), torch.tensor([9, 4])
    module, seen = encoder.get_submodule(name), []
    expected = encoder.encode(ids, lengths)
    hook = module.register_forward_hook(lambda _, inputs, output: seen.append((inputs, output)))
    hooked = encoder.encode(ids, lengths)
    hook.remove()
    assert len(seen) == 1
    for one, other in zip(hooked[:3], expected[:3], strict=True):
        assert relative_rms(one, other) <= MODEL_FLOAT32

    def doubled(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (2 * inputs[0], *inputs[1:])

    hook = module.register_forward_pre_hook(doubled)
    changed = encoder.encode(ids, lengths)
    hook.remove()
    assert relative_rms(changed.means, expected.means) > 0.01
    backward: list[Any] = []
    hook = module.register_full_backward_hook(lambda *call: backward.append(call))
    encoder.encode(ids, lengths).means.sum().backward()
    hook.remove()
    assert len(backward) == (name != "encoder")  # whose results are lists, in which torch looks for no tensor
    assert torch.equal(encoder.encode(ids, lengths).means, expected.means)


@pytest.mark.parametrize("trained", ["", "encoder.layers.1", "encoder.layers.0.attention"])
def test_a_text_encoder_without_dropout_is_the_same_in_training(trained: str) -> None:
    """With a module in training mode all are called one by one; results, gradients and attentions are the same."""
    still = dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "layerdrop"), 0.0)
    model = own_model(SMALL | still)
    expected, found = model.text_encoder, copy.deepcopy(model.text_encoder)
    found.get_submodule(trained).train()
    ids, lengths = random_ids(2, 9), torch.tensor([9, 4])
    one, other = expected.encode(ids, lengths, True), found.encode(ids, lengths, True)
    for encoding in (one, other):
        (encoding.hidden.sum() + encoding.means.square().sum() + encoding.attentions[1][0].square().sum()).backward()
    for a, b in zip(
        [*one[:3], *one.hidden_states, *one.attentions],
        [*other[:3], *other.hidden_states, *other.attentions],
        strict=True,
    ):
        assert relative_rms(a, b) <= MODEL_FLOAT32
    for (name, a), (_, b) in zip(expected.named_parameters(), found.named_parameters(), strict=True):
        # A shift of all keys changes no attention, so that their bias's gradient is round-off.
        if not name.endswith("k_proj.bias"):
            assert relative_rms(a.grad, b.grad) <= MODEL_FLOAT32, name


@pytest.mark.parametrize(
    "name",
    [f"encoder.layers.1.attention.{part}_proj.{kind}" for part in "qkv" for kind in ("weight", "bias")]
    + ["project.weight", "project.bias", "encoder.layers.0.final_layer_norm.bias"],
)
def test_a_change_in_the_text_encoder_is_seen_by_the_next_call(name: str) -> None:
    encoder = own_model(SMALL).text_encoder.requires_grad_(False)
    ids, lengths = random_ids(1, 9), torch.tensor([9])
    before = encoder.encode(ids, lengths)
    # Not all of them alike: a shift of all keys changes no attention, of all sums before a norm nothing.
    parameter = encoder.get_parameter(name)
    parameter.add_(torch.linspace(-1, 1, parameter.numel()).view(parameter.shape))
    after, fresh = encoder.encode(ids, lengths), copy.deepcopy(encoder).encode(ids, lengths)
    assert torch.equal(after.means, fresh.means)
    if name.endswith("k_proj.bias"):
        # Nor does the bias of the keys, one for all: it is seen where it is used.
        layer = encoder.encoder.layers[int(name.split(".")[2])]
        assert torch.equal(layer.attention.projection()[1][parameter.numel() : 2 * parameter.numel()], parameter)
    else:
        assert relative_rms(after.means, before.means) > 1e-3


def test_inference_mode_gives_the_same(model: VitsModel) -> None:
    ids = random_ids(1, 10)
    expected = speak(model, ids).waveform
    set_seed(0)
    with torch.inference_mode():
        assert torch.equal(model(ids).waveform, expected)
        made_inside = VitsModel(model.config).eval()
        made_inside.load_state_dict(model.state_dict())
        set_seed(0)
        assert relative_rms(made_inside(ids).waveform, expected) <= MODEL_FLOAT32


def test_parameters_are_ordinary_tensors_wherever_they_are_made(model: VitsModel, tmp_path: Path) -> None:
    """Those of inference mode would have their weights derived and packed anew in every call."""
    model.save_pretrained(tmp_path)
    with torch.inference_mode():
        for made in (VitsModel(model.config), VitsModel.from_pretrained(tmp_path)):
            for moved in (made, made.double(), made.to(torch.bfloat16)):
                assert not any(parameter.is_inference() for parameter in moved.parameters())


def test_a_model_copies_and_pickles(model: VitsModel) -> None:
    ids = random_ids(1, 10)
    expected = speak(model, ids).waveform
    for clone in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(speak(clone, ids).waveform, expected)


def test_output_reads_like_a_tuple_and_like_a_dict(model: VitsModel) -> None:
    output = speak(model, random_ids(1, 5), output_attentions=True)
    assert output[0] is output.waveform is output["waveform"]
    assert output[:2] == (output.waveform, output.sequence_lengths)
    assert list(output) == ["waveform", "sequence_lengths", "spectrogram", "attentions", "durations"]
    assert len(output) == 5
    assert "hidden_states" not in output
    assert output.get("hidden_states", 5) == 5
    assert dict(output.items())["attentions"] is output.attentions
    with pytest.raises(KeyError):
        output["hidden_states"]
    with pytest.raises(IndexError):
        output[5]
    with pytest.raises(KeyError):
        output["loudness"] = 3


def test_resizing_the_vocabulary(model: VitsModel) -> None:
    model = copy.deepcopy(model)
    old = model.get_input_embeddings().weight.detach().clone()
    ids = random_ids(1, 10)
    before = speak(model, ids).waveform
    assert model.resize_token_embeddings() is model.get_input_embeddings()
    embeddings = model.resize_token_embeddings(41, pad_to_multiple_of=8)
    assert embeddings is model.get_input_embeddings()
    assert embeddings.num_embeddings == model.config.vocab_size == 48
    assert torch.equal(embeddings.weight[:38], old)
    torch.testing.assert_close(embeddings.weight[40], old.mean(0))
    assert torch.equal(speak(model, ids).waveform, before)
    speak(model, torch.tensor([[47, 1]]))
    model.resize_token_embeddings(20, mean_resizing=False)
    with pytest.raises(ValueError, match="0 to 19"):
        model(torch.tensor([[20]]))
    with pytest.raises(ValueError, match="positive integer"):
        model.resize_token_embeddings(0)


def test_unknown_config_type_is_refused() -> None:
    with pytest.raises(TypeError, match="VitsConfig"):
        VitsModel({"hidden_size": 32})  # type: ignore[arg-type]
    config = VitsConfig(**SMALL)
    config.hidden_size = 33
    with pytest.raises(ValueError, match="hidden_size"):
        VitsModel(config)
