"""Models under `torch.compile(fullgraph=True)` and `torch.export`: the ops are nodes, and the results are the eager
ones.

A call has two graphs, up to the number of frames and from there on: text encoder with duration predictor, flow with
decoder.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from fastvits import BackendError, VitsConfig, VitsModel, use_backend
from fastvits_kernels.dispatch import registry
from tests.support.models import SMALL, random_ids
from tests.support.tolerances import MODEL_FLOAT32

SMALLER = SMALL | {
    "num_speakers": 3,
    "speaker_embedding_size": 8,
    "num_hidden_layers": 1,
    "prior_encoder_num_flows": 1,
    "duration_predictor_num_flows": 2,
    "resblock_kernel_sizes": [3, 5],
    "resblock_dilation_sizes": [[1, 3], [1, 3]],
}
"""Every kind of layer, no more of each than needed: tracing takes its time."""

LENGTHS = torch.tensor([12, 7])
FRAMES = torch.tensor([10, 4])


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    registry.forget_decisions()
    with torch.no_grad(), use_backend("eager"):
        yield


@pytest.fixture(scope="module")
def model() -> VitsModel:
    torch.manual_seed(0)
    return VitsModel(VitsConfig(**SMALLER), inference_only=True).eval()


class Graphs:
    """A dynamo backend that keeps the graphs it is given and runs them as they are."""

    def __init__(self) -> None:
        self.graphs: list[torch.fx.GraphModule] = []

    def __call__(self, graph: torch.fx.GraphModule, example_inputs: list[Tensor]) -> Callable[..., Any]:
        self.graphs.append(graph)
        return graph.forward


def ops_of(graph: torch.fx.Graph) -> set[str]:
    """The names of our operators among a graph's nodes."""
    targets = [node.target for node in graph.nodes if node.op == "call_function"]
    return {target.name().split("::")[1] for target in targets if str(target).startswith("fastvits.")}  # type: ignore[union-attr]


class Encoder(nn.Module):
    """The text encoder by lengths, as a call of the model takes it."""

    def __init__(self, model: VitsModel) -> None:
        super().__init__()
        self.text_encoder = model.text_encoder

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Any:
        return self.text_encoder.encode(input_ids, lengths)


class Decoder(nn.Module):
    """The decoder of latents `[B, T, C]`, likewise."""

    def __init__(self, model: VitsModel) -> None:
        super().__init__()
        self.decoder = model.decoder

    def forward(self, latents: Tensor, lengths: Tensor, speaker: Tensor) -> Tensor:
        waveform: Tensor = self.decoder.decode(latents, lengths, speaker)
        return waveform


def close(actual: Any, expected: Any) -> None:
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape
        assert ((one - other).norm() / other.norm()).item() <= MODEL_FLOAT32


def front(model: VitsModel, ids: Tensor, lengths: Tensor | None, speaker: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
    """From a text to what decides the number of frames, and the prior."""
    encoding = model.text_encoder.encode(ids, lengths)
    log_duration = model.duration_predictor.predict(encoding.hidden, lengths, speaker, noise)
    durations = log_duration.exp().ceil()
    return durations.sum(1), log_duration, encoding.means, encoding.log_scales


def back(model: VitsModel, latents: Tensor, lengths: Tensor | None, speaker: Tensor) -> tuple[Tensor, ...]:
    """From latents of the prior to the waveform."""
    latents = model.flow.transform(latents, lengths, speaker, reverse=True)
    return latents, model.decoder.decode(latents, lengths, speaker)


def front_inputs(batch: int = 2, tokens: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    speaker = torch.randn(batch, 8, generator=generator)
    return random_ids(batch, tokens), speaker, torch.randn(batch, tokens, 2, generator=generator)


def back_inputs(model: VitsModel, batch: int = 2, frames: int = 10) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(batch, frames, model.config.flow_size, generator=generator)
    return latents, torch.randn(batch, 8, generator=generator)


@pytest.mark.parametrize("ragged", [True, False])
def test_text_encoder_and_duration_predictor_are_one_graph(model: VitsModel, ragged: bool) -> None:
    ids, speaker, noise = front_inputs()
    arguments = (ids, LENGTHS if ragged else None, speaker, noise)
    graphs = Graphs()
    compiled = torch.compile(lambda *args: front(model, *args), fullgraph=True, backend=graphs)
    close(compiled(*arguments), front(model, *arguments))
    assert len(graphs.graphs) == 1
    of_text = {"conv1d", "conv1d_layer_norm", "conv1d_layer_norm_projection", "relative_attention"}
    assert ops_of(graphs.graphs[0].graph) == of_text | {"depth_separable_layer", "spline_coupling"}


@pytest.mark.parametrize("resblock_type", [1, 2])
def test_flow_and_decoder_are_one_graph(resblock_type: int) -> None:
    torch.manual_seed(0)
    model = VitsModel(VitsConfig(**SMALLER, resblock_type=resblock_type), inference_only=True).eval()
    latents, speaker = back_inputs(model)
    graphs = Graphs()
    compiled = torch.compile(lambda *args: back(model, *args), fullgraph=True, backend=graphs)
    close(compiled(latents, FRAMES, speaker), back(model, latents, FRAMES, speaker))
    assert len(graphs.graphs) == 1
    assert ops_of(graphs.graphs[0].graph) == {"conv1d", "mrf_stage", "wavenet_layer"}


def test_one_graph_serves_every_length(model: VitsModel) -> None:
    """Marked dynamic, the number of frames compiles once."""
    graphs = Graphs()
    compiled = torch.compile(lambda *args: back(model, *args), fullgraph=True, backend=graphs)
    for frames in (10, 33, 5):
        latents, speaker = back_inputs(model, frames=frames)
        torch._dynamo.mark_dynamic(latents, 1)
        lengths = torch.tensor([frames, 2])
        close(compiled(latents, lengths, speaker), back(model, latents, lengths, speaker))
    assert len(graphs.graphs) == 1


def test_the_whole_ahead_of_time_pipeline_agrees(model: VitsModel) -> None:
    """As inductor sees it: functionalised, with fake tensors whose strides are checked."""
    latents, speaker = back_inputs(model)
    compiled = torch.compile(lambda *args: back(model, *args), fullgraph=True, backend="aot_eager")
    close(compiled(latents, FRAMES, speaker), back(model, latents, FRAMES, speaker))


def test_a_whole_model_compiles_with_breaks_between_its_graphs(model: VitsModel) -> None:
    ids = random_ids(1, 5)
    torch.manual_seed(3)
    expected = model(ids, speaker_id=1).waveform
    torch.manual_seed(3)
    found = torch.compile(model, backend="eager")(ids, speaker_id=1).waveform
    close([found], [expected])


def test_the_backend_is_chosen_when_the_compiled_code_runs(model: VitsModel) -> None:
    """Not frozen while tracing: a later choice holds without compiling again, by context or by the model's ops."""
    graphs = Graphs()
    compiled = torch.compile(lambda *args: back(model, *args), fullgraph=True, backend=graphs)
    latents, speaker = back_inputs(model, batch=1, frames=3)
    expected = back(model, latents, None, speaker)
    for backend in ("eager", "triton", "eager"):
        registry.forget_decisions()
        with use_backend("eager", wavenet_layer=backend):
            close(compiled(latents, None, speaker), expected)
        assert {d.backend for d in registry.decisions() if d.op == "wavenet_layer"} == {backend}
    doubled = model.flow.double()
    try:
        with use_backend("triton"), pytest.raises(BackendError, match="float64"):
            compiled(latents.double(), None, speaker.double())
    finally:
        doubled.float()
    assert len(graphs.graphs) <= 2, "only the change of dtype may compile again"


def test_changed_weights_are_seen_by_compiled_code(model: VitsModel) -> None:
    layer = model.flow.flows[0].wavenet.in_layers[0].parametrizations["weight"].original0
    latents, speaker = back_inputs(model)
    compiled = torch.compile(lambda *args: back(model, *args), fullgraph=True, backend="eager")
    before = compiled(latents, None, speaker)
    layer.mul_(1.5)
    try:
        close(compiled(latents, None, speaker), back(model, latents, None, speaker))
        assert not torch.equal(compiled(latents, None, speaker)[0], before[0])
    finally:
        layer.div_(1.5)


def test_gradients_flow_through_compiled_code(model: VitsModel) -> None:
    latents, speaker = back_inputs(model)
    compiled = torch.compile(model.flow.transform, fullgraph=True, backend="aot_eager")
    found = []
    with torch.enable_grad():
        for function in (model.flow.transform, compiled):
            leaf = latents.clone().requires_grad_()
            function(leaf, FRAMES, speaker, reverse=True).square().mean().backward()
            found.append(leaf.grad)
            model.zero_grad(set_to_none=True)
    close(found[1:], found[:1])


def test_the_text_encoder_exports(model: VitsModel) -> None:
    ids, _, _ = front_inputs()
    tokens = Dim("tokens", min=2, max=4096)
    exported = torch.export.export(
        Encoder(model), (ids, LENGTHS), dynamic_shapes={"input_ids": {1: tokens}, "lengths": None}
    )
    of_text = {"conv1d", "conv1d_layer_norm", "conv1d_layer_norm_projection", "relative_attention"}
    assert ops_of(exported.graph) == of_text
    for tokens_now in (12, 31):
        ids = random_ids(2, tokens_now)
        lengths = torch.tensor([tokens_now, 3])
        found, expected = exported.module()(ids, lengths), model.text_encoder.encode(ids, lengths)
        close(found[:3], expected[:3])


def test_the_decoder_exports_and_is_read_back(model: VitsModel, tmp_path: Any) -> None:
    latents, speaker = back_inputs(model)
    batch, frames = Dim("batch", max=64), Dim("frames", min=2, max=4096)
    exported = torch.export.export(
        Decoder(model),
        (latents, FRAMES, speaker),
        dynamic_shapes={"latents": {0: batch, 1: frames}, "lengths": {0: batch}, "speaker": {0: batch}},
    )
    assert ops_of(exported.graph) == {"conv1d", "mrf_stage"}
    torch.export.save(exported, tmp_path / "decoder.pt2")
    restored = torch.export.load(tmp_path / "decoder.pt2").module()
    latents, speaker = back_inputs(model, batch=3, frames=21)
    lengths = torch.tensor([21, 1, 20])
    close([restored(latents, lengths, speaker)], [model.decoder.decode(latents, lengths, speaker)])
