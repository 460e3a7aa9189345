"""The whole model on a fake GPU: every tensor is there, the host waits when it says so, and graphs hold no host.

What the fake GPU computes is what the CPU computes. Backend `triton` allocates, packs and describes its launches
as on a GPU, and the references give the results.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fastvits import VitsModel, VitsModelOutput, pipeline, set_seed, use_backend
from fastvits.models import hifigan
from fastvits.models.hifigan import VitsHifiGan
from fastvits.models.streaming import PieceSizes, next_pieces
from fastvits.runtime.graphs import GraphCache
from fastvits_kernels.dispatch import registry
from fastvits_kernels.launch import ahead, jit
from tests.support.fake_gpu.recorder import FakeRecorder, tensors
from tests.support.fake_gpu.tensors import DEVICE, FakeGpu, OnGpu, fake_gpu
from tests.support.models import SMALL, own_model, random_ids, relative_rms
from tests.support.small_voices import save_small_voice
from tests.support.tolerances import MODEL_FLOAT32

FEW = SMALL | {
    "num_hidden_layers": 1,
    "duration_predictor_num_flows": 2,
    "resblock_kernel_sizes": [3, 5],
    "resblock_dilation_sizes": [[1, 3], [1, 3]],
}
VOICES = FEW | {"num_speakers": 3, "speaker_embedding_size": 8}
SETTINGS = {
    "one voice": FEW,
    "voices": VOICES,
    "plain durations": VOICES | {"use_stochastic_duration_prediction": False},
    "second type": FEW | {"resblock_type": 2},
    "uneven": FEW | {"resblock_dilation_sizes": [[1, 2], [2]]},
}
LEFT = torch.tensor([[1] * 13, [0] * 4 + [1] * 9])
RIGHT = LEFT.flip(1)
DURATIONS = torch.full((2, 13), 3)
VECTORS = torch.linspace(-1, 1, 16).view(2, 8)

CASES: dict[str, tuple[str, dict[str, Any], int]] = {
    "plain": ("one voice", {}, 0),
    "padding on the right": ("one voice", {"attention_mask": RIGHT}, 0),
    "padding on the left": ("one voice", {"attention_mask": LEFT}, 0),
    "one seed": ("one voice", {"seed": 7}, 0),
    "seeds and padding": ("one voice", {"seed": [7, 8], "attention_mask": LEFT}, 1),
    "rates": (
        "one voice",
        {"speaking_rate": [0.7, 1.3], "noise_scale": [0.5, 0.6], "noise_scale_duration": 0, "attention_mask": RIGHT},
        0,
    ),
    "forced durations": ("one voice", {"durations": DURATIONS}, 1),
    "forced durations and padding": ("one voice", {"durations": DURATIONS * LEFT, "attention_mask": LEFT}, 1),
    "hidden states": ("one voice", {"output_hidden_states": True, "attention_mask": LEFT}, 0),
    "attentions": ("one voice", {"output_attentions": True, "attention_mask": LEFT}, 0),
    "speaker": ("voices", {"speaker_id": 2}, 0),
    "speakers": ("voices", {"speaker_id": [2, 0], "attention_mask": LEFT}, 0),
    "speakers of a tensor": ("voices", {"speaker_id": torch.tensor([2, 0])}, 0),
    "speaker embedding": ("voices", {"speaker_embedding": VECTORS, "attention_mask": RIGHT}, 1),
    "plain durations": ("plain durations", {"speaker_id": 1, "attention_mask": RIGHT}, 0),
    "second type": ("second type", {"attention_mask": RIGHT}, 0),
    "uneven": ("uneven", {"attention_mask": RIGHT}, 0),
}
"""A configuration, the keywords of a call, and how often the host waits beside the number of frames."""
IDS = ["aten._to_copy.default"]
"""The copies from memory that is not pinned, where `speak` brings the ids."""


@cache
def model_on_cpu(settings: str) -> VitsModel:
    return own_model(SETTINGS[settings])


class WatchedGraphs(GraphCache):
    """Graphs that are recorded while no stage touches the host."""

    def __init__(self, gpu: FakeGpu) -> None:
        super().__init__({"cuda": partial(_Recorder, gpu)})

    # The real ones stay out of modes, such as the fake GPU.
    def usable(self, *_: Any) -> bool:
        return True

    def unobserved(self, *_: Any) -> bool:
        return True


class _Recorder(FakeRecorder):
    def __init__(self, gpu: FakeGpu, device: torch.device) -> None:
        super().__init__(device)
        self.gpu = gpu

    def record(self, run: Callable[[], Any]) -> Any:
        def captured() -> Any:
            with self.gpu.capturing():
                return run()

        run()
        return super().record(captured)


def moved(model: VitsModel, gpu: FakeGpu) -> VitsModel:
    """A copy on the GPU; its first call runs without graphs, its second records them."""
    model = copy.deepcopy(model).to(DEVICE)
    model.graph_cache = WatchedGraphs(gpu)
    gpu.forget()
    return model


@pytest.fixture(params=["eager", "triton"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A backend; launchers of Triton see that all they pass is on the GPU, and give the references' results."""
    describe = jit._describe

    def described(op: str, kernel: Any, grid: Any, args: tuple[Any, ...], *rest: Any) -> jit.Launch:
        assert all(isinstance(x, OnGpu) for x in args if isinstance(x, Tensor)), f"{kernel.name} gets what is not there"
        return describe(op, kernel, grid, args, *rest)

    monkeypatch.setattr(jit, "_describe", described)
    monkeypatch.setattr("fastvits.runtime.stages.compile_ahead", lambda run, device: len(ahead.recorded(run)))
    for op in registry.ops().values():
        if "triton" in op.implementations:
            triton = op.implementations["triton"]
            run = partial(launched, op, triton.run)
            monkeypatch.setitem(op.implementations, "triton", replace(triton, run=run))
    with use_backend(request.param), jit.recording() as launches:
        yield request.param
    assert bool(launches) == (request.param == "triton")


def launched(op: registry.Op, run: Callable[..., Any], *args: Any) -> Any:
    outputs = run(*args)
    for one, expected in zip(tensors(outputs), tensors(op.reference(*args)), strict=True):
        assert (one.shape, one.dtype) == (expected.shape, expected.dtype), op.name
        one.copy_(expected)
    return outputs


def on_host(output: Any) -> list[Tensor]:
    """All tensors of an output, none of which may have been on the host."""
    found = list(tensors(list(output.values())))
    assert all(isinstance(x, OnGpu) for x in found)
    return [x.held for x in found if isinstance(x, OnGpu)]


@torch.no_grad()
def speak(model: VitsModel, keywords: dict[str, Any]) -> VitsModelOutput:
    set_seed(5)
    output = model(random_ids(2, 13).to(model.device), **keywords)
    assert isinstance(output, VitsModelOutput)
    return output


def placed(keywords: dict[str, Any]) -> dict[str, Any]:
    return {name: value.to(DEVICE) if isinstance(value, Tensor) else value for name, value in keywords.items()}


def assert_graphs(model: VitsModel, recorded: int) -> None:
    statistics = model.graph_cache.statistics()
    assert (statistics.recorded, statistics.failed) == (recorded, 0)


def compare(got: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(got, expected, strict=True):
        if one.is_floating_point():
            assert relative_rms(one, other) <= MODEL_FLOAT32
        else:
            assert torch.equal(one, other)


@pytest.mark.parametrize(("settings", "keywords", "waits"), CASES.values(), ids=CASES)
def test_a_call(
    settings: str, keywords: dict[str, Any], waits: int, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with use_backend("eager"):
        expected = list(tensors(list(speak(model_on_cpu(settings), keywords).values())))
    with fake_gpu(monkeypatch) as gpu:
        model, keywords = moved(model_on_cpu(settings), gpu), placed(keywords)
        for recorded in (0, 2 - bool({"durations", "output_attentions"} & set(keywords))):
            gpu.forget()
            compare(on_host(speak(model, keywords)), expected)
            assert len(gpu.reads) == 1 + waits, gpu.reads
            assert gpu.pageable == IDS
            assert gpu.uploads > 0
            assert_graphs(model, recorded)


@pytest.mark.parametrize(
    ("keywords", "waits"),
    [
        ({"speaker_id": torch.tensor([2, 0])}, 0),
        ({"speaker_embedding": VECTORS}, 0),
        ({"speaker_id": 1, "durations": DURATIONS}, 1),
    ],
    ids=lambda given: next(reversed(given)) if isinstance(given, dict) else "",
)
def test_what_the_host_has_is_not_waited_for(
    keywords: dict[str, Any], waits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with use_backend("eager"), fake_gpu(monkeypatch) as gpu:
        on_host(speak(moved(model_on_cpu("voices"), gpu), keywords))
    assert len(gpu.reads) == 1 + waits, gpu.reads
    assert gpu.pageable == IDS


@pytest.mark.parametrize("name", ["speaking_rate", "noise_scale", "noise_scale_duration", "seed"])
def test_a_control_on_the_gpu_is_read_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with use_backend("eager"), fake_gpu(monkeypatch) as gpu:
        control = torch.ones(2, dtype=torch.int64 if name == "seed" else torch.float32, device=DEVICE)
        on_host(speak(moved(model_on_cpu("one voice"), gpu), {name: control}))
    assert len(gpu.reads) == 2, gpu.reads


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keywords = {"speaker_id": [0, 2], "attention_mask": RIGHT}
    with fake_gpu(monkeypatch) as gpu:
        model = moved(model_on_cpu("voices"), gpu).to(dtype)
        for recorded in (0, 2):
            gpu.forget()
            output = speak(model, placed(keywords))
            on_host(output)
            assert output.waveform.dtype == dtype
            assert len(gpu.reads) == 1
            assert_graphs(model, recorded)


@torch.no_grad()
def test_a_stream_after_a_warm_up(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keywords = {"speaker_id": [0, 2], "attention_mask": LEFT, "speaking_rate": 0.5}
    with use_backend("eager"):
        expected = speak(model_on_cpu("voices"), keywords).waveform
    with fake_gpu(monkeypatch) as gpu:
        model = moved(model_on_cpu("voices"), gpu)
        assert model.warmup(tokens=13, frames=24, batch_sizes=2, chunk_frames=12, progress=False).plain == 0
        recorded = model.graph_cache.statistics().recorded
        ids = random_ids(2, 13).to(DEVICE)
        gpu.forget()
        set_seed(5)
        pieces = list(model.stream(ids, chunk_frames=12, first_chunk_frames=8, **placed(keywords)))
        assert len(pieces) > 2
        assert len(gpu.reads) == 1, gpu.reads
        assert_graphs(model, recorded)
        compare([torch.cat([piece.held for piece in pieces], 1)], [expected])


@torch.no_grad()
def test_streams_that_share_calls(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one graph, whoever shares the call, and without waiting once more."""
    keywords = {"speaker_id": [0, 2], "attention_mask": LEFT, "speaking_rate": 0.5}

    def speak_each(model: VitsModel, ids: Tensor, keywords: dict[str, Any]) -> list[list[Tensor]]:
        set_seed(5)
        with model.entered():
            streams = model.pieces_of_each(model.prior(model.request(ids, **keywords)), PieceSizes(24, 8))
        heard: list[list[Tensor]] = [[], []]
        while left := [item for item, stream in enumerate(streams) if stream.frames]:
            for item, piece in zip(left, next_pieces([streams[item] for item in left]), strict=True):
                heard[item].append(piece)
        return heard

    with use_backend("eager"):
        expected = speak(model_on_cpu("voices"), keywords)
    assert expected.waveform is not None
    assert expected.sequence_lengths is not None
    with fake_gpu(monkeypatch) as gpu:
        model = moved(model_on_cpu("voices"), gpu)
        ids = random_ids(2, 13).to(DEVICE)
        for _ in range(3):  # plainly, recorded, and replayed
            gpu.forget()
            heard = speak_each(model, ids, placed(keywords))
            assert len(gpu.reads) == 1, gpu.reads
            assert min(map(len, heard)) > 2
            for pieces, whole, samples in zip(heard, expected.waveform, expected.sequence_lengths, strict=True):
                compare([torch.cat([piece.held for piece in pieces], 1)[0]], [whole[: int(samples)]])
        assert model.graph_cache.statistics().replayed > 0


def test_a_text_sentence_by_sentence(tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the number of frames, a sentence waits for its samples, their number and the durations."""
    say = pipeline(model=save_small_voice(tmp_path), device="cpu")
    with use_backend("eager"):
        expected = [torch.from_numpy(one.audio) for one in say.sentences("One two. Three.", seed=1)]
    with fake_gpu(monkeypatch) as gpu:
        say.model = moved(say.model, gpu)
        for _ in range(2):
            gpu.forget()
            compare([torch.from_numpy(one.audio) for one in say.sentences("One two. Three.", seed=1)], expected)
            # A sentence alone has no mask, for which its seed would have to wait.
            assert len(gpu.reads) == 2 * 4, gpu.reads
            assert gpu.pageable == []
        gpu.forget()
        pieces = list(say.stream("One two. Three.", seed=1, sentence_silence=0))
        assert len(gpu.reads) == 2 * 2 + len(pieces), gpu.reads
        assert gpu.pageable == []
        compare([torch.cat([torch.from_numpy(piece) for piece in pieces])], [torch.cat(expected)])


@pytest.mark.parametrize(
    ("kibibytes", "pieces"),
    [(256, [(4, 100), (4, 400)]), (64, [(2, 100), (2, 100), (2, 400), (2, 400)]), (16, [(1, 64), (1, 44)] * 4)],
)
@torch.no_grad()
def test_a_batch_in_pieces(
    kibibytes: int, pieces: list[tuple[int, int]], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some items together where they fit, and else the time of one."""
    latents = torch.randn(4, 100, 24, generator=torch.Generator().manual_seed(1))
    frames = torch.tensor([100, 41, 100, 7])
    with use_backend("eager"):
        decoder = model_on_cpu("one voice").decoder
        expected = decoder.decode(latents, frames)
    worked: list[tuple[int, int]] = []
    real = VitsHifiGan._stages

    def noted(self: VitsHifiGan, x: Tensor, *others: Any) -> Tensor:
        worked.append((x.shape[0], x.shape[1]))
        return real(self, x, *others)

    monkeypatch.setattr(VitsHifiGan, "_stages", noted)
    monkeypatch.setitem(hifigan._PIECE_BYTES, "cuda", kibibytes << 10)
    with fake_gpu(monkeypatch):
        waveform = copy.deepcopy(decoder).to(DEVICE).decode(latents.to(DEVICE), frames.to(DEVICE))
        compare([waveform.held], [expected])
    assert worked[: len(pieces)] == pieces if backend == "triton" else worked == [(4, 100), (4, 400)]


MISTAKES: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "item": (lambda x: x.sum().item(), "_local_scalar_dense.default makes the host wait"),
    "bool": (lambda x: bool(x.any()), "_local_scalar_dense.default makes the host wait"),
    "mask": (lambda x: torch.masked_select(x, x > 0), "masked_select.default makes the host wait"),
    "tolist": (lambda x: x.tolist(), "_to_copy.default makes the host wait"),
    "new on the host": (lambda x: torch.zeros(3), "zeros.default makes a tensor on the host"),
    "from a list": (lambda x: torch.tensor([1.0, 2.0]), "a tensor on the host"),
    "to the host": (lambda x: torch.empty_like(x, device="cpu"), "a tensor on the host"),
    "random": (lambda x: torch.randn_like(x), "draws random numbers"),
}


@pytest.mark.parametrize(("mistake", "message"), MISTAKES.values(), ids=MISTAKES)
def test_the_fake_gpu_sees(mistake: Callable[[Tensor], Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_gpu(monkeypatch) as gpu:
        x = torch.ones(4, device=DEVICE)
        with gpu.capturing(), pytest.raises(RuntimeError, match=message):
            mistake(x)
        with pytest.raises(RuntimeError, match="two devices"):
            x + torch.ones(4)
        gpu.forget()
        x.copy_(torch.ones(4))
        torch.ones(4).pin_memory().to(DEVICE)
        torch.ones(4).to(DEVICE, non_blocking=True)
        assert (len(gpu.pageable), gpu.uploads, gpu.reads) == (3, 0, [])
        x.copy_(torch.ones(4).pin_memory(), non_blocking=True)
        assert (len(gpu.pageable), gpu.uploads, gpu.reads) == (3, 1, [])
