"""Modules behave as torch's: published calls alone, hooks, and layers that others put in their place."""

import copy
import pickle
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

import fastvits
from fastvits import VitsConfig, VitsModel, use_backend
from fastvits.models.observed import observed
from tests.support.models import CONFIGURATIONS, SMALL, own_model, random_ids, relative_rms, unsettle
from tests.support.numerics import relative_error
from tests.support.tolerances import HALF_PRECISION_MODEL, MODEL_FLOAT32, MODEL_FLOAT64

NAMES = ("small", "multi-speaker-plain-durations", "ffn-kernel-4")


def pair(name: str) -> tuple[VitsModel, Any]:
    torch.manual_seed(0)
    model = VitsModel(VitsConfig(**CONFIGURATIONS[name])).eval()
    unsettle(model)
    peer = transformers.VitsModel(transformers.VitsConfig(**CONFIGURATIONS[name])).eval()
    peer.load_state_dict(model.state_dict())
    return model, peer


def published_calls(config: VitsConfig) -> dict[str, Any]:
    """Each submodule alone, as people call it: a function of the model that gives tensors, zero beyond the mask."""
    torch.manual_seed(1)
    ids = torch.randint(1, config.vocab_size, (2, 17))
    mask = (torch.arange(17) < torch.tensor([[17], [11]])).float()
    across = mask.unsqueeze(1)
    size = config.speaker_embedding_size
    speaker = torch.randn(2, size, 1) if size else None
    latents, hidden = torch.randn(2, config.flow_size, 17), torch.randn(2, config.hidden_size, 17)
    spectrogram = torch.rand(2, config.spectrogram_bins, 17)

    def text(model: Any) -> list[Tensor]:
        options = {"output_hidden_states": True, "output_attentions": True}
        made = model.text_encoder(ids, padding_mask=mask.unsqueeze(2), attention_mask=mask, **options)
        assert [*made] == [*made.keys()]
        rows = [made.last_hidden_state, made.prior_means, made.prior_log_variances, *made.hidden_states]
        return [row * mask.unsqueeze(2) for row in rows] + [weights[:1] for weights in made.attentions]

    def durations(model: Any) -> list[Tensor]:
        torch.manual_seed(2)
        options = {"reverse": True, "noise_scale": 0.7} if config.use_stochastic_duration_prediction else {}
        return [model.duration_predictor(hidden, across, speaker, **options) * across]

    def posterior(model: Any) -> list[Tensor]:
        torch.manual_seed(2)
        return list(model.posterior_encoder(spectrogram, across, speaker))

    return {
        "text_encoder": text,
        "duration_predictor": durations,
        "flow": lambda model: [model.flow(latents, across, speaker)],
        "flow in reverse": lambda model: [model.flow(latents, across, global_conditioning=speaker, reverse=True)],
        "a coupling": lambda model: [model.flow.flows[0](latents, across, speaker, reverse=True)[0]],
        "a wavenet": lambda model: [model.flow.flows[0].wavenet(hidden * across, across, speaker)],
        "decoder": lambda model: [model.decoder(latents, speaker)],
        "posterior_encoder": posterior,
    }


def leaves(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if not list(module.children())]


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_submodules_alone_are_the_published_ones(name: str) -> None:
    """By ops, and layer by layer where every layer has a hook."""
    model, peer = pair(name)
    for part, call in published_calls(model.config).items():
        expected = call(peer)
        hooks: list[Any] = []
        for way in ("ops", "layers"):
            if way == "layers":
                hooks = [layer.register_forward_hook(lambda *_: None) for layer in leaves(model)]
            for one, other in zip(call(model), expected, strict=True):
                assert one.shape == other.shape
                assert relative_error(one, other) <= MODEL_FLOAT32, (part, way)
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_every_hook_is_called_as_in_the_published_model(name: str) -> None:
    """With the shapes of the inputs and outputs, as often, and in the same order within each part."""
    model, peer = pair(name)
    ids = torch.randint(1, 38, (1, 13), generator=torch.Generator().manual_seed(3))
    speaker = {"speaker_id": 1} if model.config.num_speakers > 1 else {}

    def shape(value: Any) -> Any:
        return tuple(value.shape) if isinstance(value, Tensor) else None

    def note(module_name: str, seen: dict[str, Any]) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            seen.setdefault(module_name, []).append((shape(inputs[0]) if inputs else None, shape(output)))

        return hook

    calls: list[dict[str, Any]] = []
    waveforms = []
    for one in (model, peer):
        seen: dict[str, Any] = {}

        names = {id(module): key for key, module in one.named_modules()}
        hooks = [
            module.register_forward_hook(note(names[id(module)], seen))
            for module in one.modules()
            if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d, nn.Linear, nn.LayerNorm, nn.Embedding))
            or names[id(module)].rpartition(".")[2] in ("flow", "decoder", "wavenet", "conv_dds")
            or names[id(module)].rpartition(".")[0] in ("decoder.resblocks", "duration_predictor.flows")
        ]
        torch.manual_seed(4)
        waveforms.append(one(ids, **speaker).waveform)
        for hook in hooks:
            hook.remove()
        calls.append(seen)
    own, published = calls
    assert own == published
    assert relative_error(*waveforms) <= MODEL_FLOAT32


@torch.no_grad()
def test_hooks_in_a_batch_do_not_let_items_hear_their_padding() -> None:
    model, _ = pair("small")
    ids = torch.randint(1, 38, (2, 13))
    mask = torch.tensor([[1] * 13, [1] * 7 + [0] * 6])
    expected = model(ids, mask, seed=[1, 2])
    hooks = [layer.register_forward_hook(lambda *_: None) for layer in leaves(model)]
    found = model(ids, mask, seed=[1, 2])
    assert torch.equal(found.durations, expected.durations)
    assert relative_error(found.waveform, expected.waveform) <= MODEL_FLOAT32
    alone = model(ids[1:, :7], seed=2).waveform
    assert relative_error(found.waveform[1:, : alone.shape[1]], alone) <= MODEL_FLOAT32
    for hook in hooks:
        hook.remove()


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def lora(layer: nn.Linear) -> nn.Module:
    """A low-rank addition of the kind that fine-tuning puts around a layer."""

    class Adapted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base_layer, self.up, self.down = (
                layer,
                nn.Linear(4, layer.out_features),
                nn.Linear(layer.in_features, 4),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.base_layer(x) + self.up(self.down(x))

    torch.manual_seed(5)
    return Adapted()


def replaced(model: Any, name: str, new: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, new)


def pruned(model: Any) -> None:
    for name in ("decoder.resblocks.0.convs1.0", "text_encoder.encoder.layers.0.feed_forward.conv_1"):
        prune.l1_unstructured(model.get_submodule(name), "weight", amount=0.5)


def parametrized(model: Any) -> None:
    parametrize.register_parametrization(model.flow.flows[0].conv_pre, "weight", Doubled())


def weight_normed_by_hand(model: Any) -> None:
    nn.utils.parametrizations.weight_norm(model.decoder.upsampler[0])
    with torch.no_grad():
        model.decoder.upsampler[0].parametrizations.weight.original0.mul_(1.5)


def without_weight_norm(model: Any) -> None:
    for layer in model.flow.flows[0].wavenet.in_layers:
        parametrize.remove_parametrizations(layer, "weight")


def quantised(model: Any) -> None:
    torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8, inplace=True)


def other_forward(model: Any) -> None:
    layer = model.decoder.conv_post
    layer.forward = lambda x: 0.5 * nn.Conv1d.forward(layer, x)


def one_half(model: Any) -> None:
    model.decoder.conv_pre.register_forward_hook(lambda module, inputs, output: output * 0.5)


CHANGES = {
    "a convolution": lambda model: replaced(
        model, "decoder.conv_post", copy.deepcopy(model.decoder.conv_post).requires_grad_(False)
    ),
    "a sequence": lambda model: replaced(
        model, "decoder.conv_pre", nn.Sequential(copy.deepcopy(model.decoder.conv_pre), nn.Tanh())
    ),
    "low-rank addition": lambda model: replaced(
        model,
        "text_encoder.encoder.layers.1.attention.q_proj",
        lora(model.text_encoder.encoder.layers[1].attention.q_proj),
    ),
    "pruning": pruned,
    "parametrization": parametrized,
    "weight norm by hand": weight_normed_by_hand,
    "no weight norm": without_weight_norm,
    "dynamic quantisation": quantised,
    "another forward": other_forward,
    "a hook that changes": one_half,
}
SAME = ("a convolution", "no weight norm")
"""Changes that leave the model as it sounds."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("change", CHANGES)
@torch.no_grad()
def test_a_changed_layer_computes_as_changed(change: str) -> None:
    model, peer = pair("small")
    ids = torch.randint(1, 38, (1, 11), generator=torch.Generator().manual_seed(3))
    before = model(ids, seed=1)
    for one in (model, peer):
        CHANGES[change](one)
    torch.manual_seed(6)
    expected = peer(ids).waveform
    torch.manual_seed(6)
    found = model(ids).waveform
    assert relative_error(found, expected) <= MODEL_FLOAT32
    after = model(ids, seed=1, durations=before.durations).waveform
    assert (relative_error(after, before.waveform) <= MODEL_FLOAT32) == (change in SAME)


@torch.no_grad()
def test_global_hooks_are_called() -> None:
    model, peer = pair("small")
    ids = torch.randint(1, 38, (1, 9))
    seen: list[type] = []
    hook = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(type(module)))
    try:
        torch.manual_seed(1)
        found = model(ids).waveform
        own = seen.count(nn.Conv1d)
        torch.manual_seed(1)
        expected = peer(ids).waveform
    finally:
        hook.remove()
    assert seen.count(nn.Conv1d) - own == own > 20
    assert relative_error(found, expected) <= MODEL_FLOAT32


def test_layers_are_torchs_with_their_attributes() -> None:
    model, peer = pair("small")
    assert not observed(model.text_encoder, model.flow, model.decoder, model.duration_predictor)
    own = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd))
    }
    published = {name: module for name, module in peer.named_modules() if name in own}
    assert own.keys() == published.keys()
    assert len(own) > 60
    for name, layer in own.items():
        other = published[name]
        assert type(layer).__name__ == type(other).__name__, name
        for attribute in ("in_features", "out_features", *nn.Conv1d.__constants__):
            assert getattr(layer, attribute, None) == getattr(other, attribute, None), (name, attribute)


def test_copies_and_pickles_of_weight_norm() -> None:
    model, _ = pair("small")
    ids = torch.randint(1, 38, (1, 9))
    with torch.no_grad():
        expected = model(ids, seed=1).waveform
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(other(ids, seed=1).waveform, expected)
            layer = other.flow.flows[0].wavenet.in_layers[0]
            layer.parametrizations.weight.original0.mul_(2)
            assert not torch.equal(other(ids, seed=1).waveform, expected)
            other.load_state_dict(model.state_dict())
            assert torch.equal(other(ids, seed=1).waveform, expected)
        assert torch.equal(model(ids, seed=1).waveform, expected)


def test_gradients_are_the_same_with_hooks() -> None:
    model = pair("small")[0].double()
    ids = torch.randint(1, 38, (1, 9))
    found: list[dict[str, Tensor | None]] = []
    for hooked in (False, True):
        hooks = [layer.register_forward_hook(lambda *_: None) for layer in leaves(model)] if hooked else []
        model.zero_grad()
        model(ids, seed=1).waveform.square().sum().backward()
        found.append({name: parameter.grad for name, parameter in model.named_parameters()})
        for hook in hooks:
            hook.remove()
    for name, one in found[0].items():
        other = found[1][name]
        assert (one is None) == (other is None), name
        # A bias of keys moves all scores of a query alike: its gradient is 0, but for rounding.
        if one is not None and other is not None and not name.endswith("k_proj.bias"):
            assert relative_error(one, other) <= MODEL_FLOAT64 * 1e3, name


@torch.no_grad()
def test_a_change_of_the_configuration_is_heard() -> None:
    model, _ = pair("small")
    ids = torch.randint(1, 38, (1, 13))
    frames = {}
    for rate in (1.0, 0.25, 2.0):
        model.config.speaking_rate = rate
        assert model.speaking_rate == rate
        frames[rate] = int(model(ids, seed=1).durations.sum())
    assert frames[0.25] > frames[1.0] > frames[2.0]
    model.speaking_rate = 0.25
    assert int(model(ids, seed=1).durations.sum()) == frames[0.25]
    model.config.speaking_rate = 1.0
    assert int(copy.deepcopy(model)(ids, seed=1).durations.sum()) == frames[1.0]


def test_outputs_are_put_together_as_data_parallel_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """`gather` moves tensors to one GPU with `Gather.apply`; here there is none, and they are put behind each other."""
    from torch.nn.parallel import scatter_gather

    model, _ = pair("small")
    with torch.no_grad():
        outputs = [model(torch.randint(1, 38, (1, 9)), seed=1, durations=torch.ones(1, 9).long()) for _ in range(2)]
    monkeypatch.setattr(scatter_gather.Gather, "apply", lambda device, dim, *tensors: torch.cat(tensors, dim))
    gathered = scatter_gather.gather(outputs, 0)
    assert type(gathered) is type(outputs[0])
    assert isinstance(gathered, dict)
    assert list(gathered) == list(outputs[0])
    assert torch.equal(gathered.waveform, torch.cat([output.waveform for output in outputs]))
    assert gathered["durations"] is gathered.durations


def test_a_mask_with_holes_is_named() -> None:
    model, _ = pair("small")
    mask = torch.tensor([[[1.0, 0.0, 1.0]]])
    with pytest.raises(ValueError, match="padding_mask"):
        model.flow(torch.randn(1, SMALL["flow_size"], 3), mask)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_leaves_speech_and_gradients_as_they_are(dtype: torch.dtype) -> None:
    model, _ = pair("multi-speaker-plain-durations")
    ids = torch.randint(1, 38, (1, 9))
    found = []
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", dtype, enabled=enabled):
            waveform = model(ids, seed=1, speaker_id=1).waveform
            waveform.square().sum().backward()
        found.append([waveform.detach(), model.flow.flows[0].conv_pre.weight.grad, model.embed_speaker.weight.grad])
    for one, other in zip(*found, strict=True):
        assert relative_error(one, other) <= MODEL_FLOAT32
    hooks = [layer.register_forward_hook(lambda *_: None) for layer in leaves(model)]
    durations = model(ids, seed=1, speaker_id=1).durations
    with torch.autocast("cpu", dtype), torch.no_grad():  # which torch's own layers do follow
        heard = model(ids, seed=1, speaker_id=1, durations=durations).waveform
    assert relative_error(heard, found[0][0]) <= HALF_PRECISION_MODEL[dtype]
    for hook in hooks:
        hook.remove()


def test_gradients_can_be_differentiated() -> None:
    model, _ = pair("small")
    weight = model.decoder.resblocks[0].convs1[0].weight
    found = []
    for backend in ("auto", "eager"):
        latents = torch.randn(1, 24, 6, generator=torch.Generator().manual_seed(1)).requires_grad_()
        with use_backend(backend):
            (first,) = torch.autograd.grad(model.decoder(latents).square().sum(), latents, create_graph=True)
            found.append(torch.autograd.grad(first.square().sum(), [latents, weight]))
    for one, other in zip(*found, strict=True):
        assert other.norm() > 0
        assert relative_error(one, other) <= MODEL_FLOAT32


def test_tracing_the_whole_model_says_what_to_do() -> None:
    model, _ = pair("small")
    with pytest.raises(RuntimeError, match="fastvits export"):
        torch.jit.trace(model, (torch.randint(1, 38, (1, 9)),), strict=False)


def test_weight_norm_comes_and_goes() -> None:
    model = own_model(SMALL)
    ids = random_ids(1, 9)
    names, expected = list(model.state_dict()), model(ids, seed=1).waveform
    model.decoder.apply_weight_norm()
    model.decoder.apply_weight_norm()
    assert any(name.endswith("weight.original0") for name in model.decoder.state_dict())
    assert relative_rms(model(ids, seed=1).waveform, expected) <= MODEL_FLOAT32
    model.decoder.remove_weight_norm()
    assert sorted(model.state_dict()) == sorted(names)
    assert relative_rms(model(ids, seed=1).waveform, expected) <= MODEL_FLOAT32


def test_holes_in_a_mask_stay_an_error_where_there_are_labels() -> None:
    model, ids = own_model(SMALL), random_ids(1, 9)
    mask = torch.tensor([[1, 1, 0, 1, 1, 1, 1, 1, 0]])
    fastvits.strict(False)
    try:
        with pytest.warns(UserWarning, match="attention_mask with holes is spoken across them"):
            model(ids, mask, seed=1)
        with pytest.raises(ValueError, match="no holes"):
            model(ids, mask, labels=torch.rand(1, 33, 40))
        with pytest.raises(ValueError, match="no holes"):
            model.stream(ids, mask)
        with pytest.raises(ValueError, match="no item without a token"):
            model(ids, torch.zeros_like(mask))
    finally:
        fastvits.strict(True)
