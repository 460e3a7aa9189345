"""Calls by way of graphs: padded they say the same, and the cache of graphs keeps its books.

Without a GPU a double stands for the recording of CUDA graphs: it runs the stage on the same padded buffers.
"""

import copy
import gc
import logging
import pickle
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fastvits import VitsConfig, VitsModel, VitsModelOutput, set_seed, use_backend
from fastvits.models import inputs as model_inputs
from fastvits.runtime.graphs import GraphCache, GraphLimits, Padded, parse_graphs
from fastvits.runtime.padding import MIN_FRAMES, padded_size, padded_sizes
from fastvits_kernels.dispatch import packing
from tests.support.fake_gpu.recorder import FakeRecorder
from tests.support.models import SMALL, own_model, random_ids, relative_rms
from tests.support.tolerances import MODEL_FLOAT32, MODEL_FLOAT64

MULTI = SMALL | {"num_speakers": 3, "speaker_embedding_size": 8}


def on_a_cpu(model: VitsModel) -> VitsModel:
    model.graph_cache = GraphCache({"cpu": FakeRecorder})
    return model


def speak(model: VitsModel, *args: Any, global_seed: int = 0, **kwargs: Any) -> VitsModelOutput:
    set_seed(global_seed)
    with torch.no_grad():
        output = model(*args, **kwargs)
    assert isinstance(output, VitsModelOutput)
    return output


def compare(got: VitsModelOutput, expected: VitsModelOutput, tolerance: float) -> None:
    assert torch.equal(got.durations, expected.durations)
    assert torch.equal(got.sequence_lengths, expected.sequence_lengths)
    assert relative_rms(got.waveform, expected.waveform) <= tolerance
    assert relative_rms(got.spectrogram, expected.spectrogram) <= tolerance
    for one, other in zip(got.hidden_states or (), expected.hidden_states or (), strict=True):
        assert relative_rms(one, other) <= tolerance


def test_padded_sizes_waste_less_than_a_quarter() -> None:
    for size in range(1, 5000):
        padded = padded_size(size)
        assert size <= padded < 1.25 * size
        assert padded_size(padded) == padded
    assert padded_sizes(1, 16) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16]
    assert padded_sizes(3, 70, 32) == [32, 40, 48, 56, 64, 80]
    assert padded_size(5, MIN_FRAMES) == MIN_FRAMES


@pytest.mark.parametrize("backend", ["auto", "eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seeded", [False, True])
def test_padding_changes_nothing(dtype: torch.dtype, backend: str, seeded: bool) -> None:
    model = own_model(MULTI).to(dtype)
    tolerance = MODEL_FLOAT32 if dtype == torch.float32 else MODEL_FLOAT64
    calls: list[tuple[Tensor, Tensor | None, dict[str, Any]]] = []
    for batch, steps in ((1, 5), (1, 23), (3, 40), (5, 17), (9, 33)):
        mask = torch.ones(batch, steps, dtype=torch.long)
        for item in range(1, batch):
            mask[item, : item * steps // (batch + 1)] = 0  # on the left
        calls.append((random_ids(batch, steps, seed=steps), mask if batch > 1 else None, {"speaker_id": 1}))
    with use_backend(backend):
        plain = [speak(model, i, m, output_hidden_states=True, **k, **seeds(i, seeded)) for i, m, k in calls]
        on_a_cpu(model)
        for turn in range(3):
            for (ids, mask, controls), expected in zip(calls, plain, strict=True):
                got = speak(model, ids, mask, output_hidden_states=True, **controls, **seeds(ids, seeded))
                compare(got, expected, tolerance)
            assert (model.graph_cache.statistics().replayed > 0) == (turn > 0)


def seeds(ids: Tensor, seeded: bool) -> dict[str, Any]:
    return {"seed": list(range(ids.shape[0]))} if seeded else {}


def test_a_graph_serves_other_lengths_of_its_padded_size() -> None:
    model = own_model(SMALL)
    lengths = (29, 32, 30, 31, 29)
    plain = [speak(model, random_ids(1, n), speaking_rate=0.5) for n in lengths]
    on_a_cpu(model)
    for n, expected in zip(lengths, plain, strict=True):
        compare(speak(model, random_ids(1, n), speaking_rate=0.5), expected, MODEL_FLOAT32)
    assert model.graph_cache.statistics().recorded >= 1


def test_results_are_the_callers_own() -> None:
    model = on_a_cpu(own_model(SMALL))
    outputs = [speak(model, random_ids(1, 20), global_seed=turn) for turn in range(4)]
    kept = [output.waveform.clone() for output in outputs]
    speak(model, random_ids(1, 20), global_seed=9)
    assert all(torch.equal(output.waveform, one) for output, one in zip(outputs, kept, strict=True))


def test_a_call_looks_at_the_parameters_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = on_a_cpu(own_model(SMALL))
    ids = random_ids(1, 9)
    for _ in range(2):
        speak(model, ids)
    looks: list[None] = []
    usable = GraphCache.usable

    def counted(*arguments: Any) -> bool:
        looks.append(None)
        return usable(*arguments)

    monkeypatch.setattr(GraphCache, "usable", counted)
    replayed = model.graph_cache.statistics().replayed
    speak(model, ids)
    assert model.graph_cache.statistics().replayed == replayed + 2
    assert len(looks) == 1


def test_inference_mode_and_no_grad_share_graphs() -> None:
    model = on_a_cpu(own_model(SMALL))
    ids = random_ids(1, 20)
    with torch.inference_mode():
        for _ in range(3):
            set_seed(0)
            inside = model(ids).waveform
    recorded = model.graph_cache.statistics().recorded
    assert relative_rms(speak(model, ids).waveform, inside) <= MODEL_FLOAT32
    assert model.graph_cache.statistics().recorded == recorded == 2


def test_what_goes_without_graphs() -> None:
    model = on_a_cpu(own_model(SMALL))
    ids = random_ids(1, 20)

    def replays(call: Callable[[], Any]) -> int:
        before = model.graph_cache.statistics().replayed
        call()
        call()
        return model.graph_cache.statistics().replayed - before

    set_seed(0)
    assert replays(lambda: model(ids)) == 0  # gradients
    model.train()
    assert replays(lambda: speak(model, ids)) == 0
    model.eval()
    hook = model.flow.register_forward_hook(lambda *_: None)
    assert replays(lambda: speak(model, ids)) == 0
    hook.remove()
    model.graphs = "off"
    assert replays(lambda: speak(model, ids)) == 0
    model.graphs = GraphLimits(steps=10)
    assert replays(lambda: speak(model, ids)) == 0
    model.graphs = None
    assert replays(lambda: speak(model, ids)) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.decoder.conv_pre.bias.add_(0.1),
        lambda model: model.load_state_dict({k: v * 1.01 for k, v in model.state_dict().items()}),
        lambda model: model.double(),
        lambda model: setattr(model.flow.flows[0], "conv_post", copy.deepcopy(model.flow.flows[1].conv_post)),
        lambda model: setattr(model.decoder.conv_pre.weight, "data", model.decoder.conv_pre.weight.data * 0.9),
    ],
    ids=["in place", "loaded", "dtype", "another module", "another storage"],
)
def test_a_changed_parameter_is_heard(change: Callable[[VitsModel], Any]) -> None:
    model = on_a_cpu(own_model(SMALL))
    ids = random_ids(1, 20)
    for _ in range(2):
        speak(model, ids)
    with torch.no_grad():
        change(model)
    plain = copy.deepcopy(model)
    assert plain.graph_cache is not model.graph_cache
    plain.graphs = "off"
    expected = speak(plain, ids)
    for _ in range(3):
        compare(speak(model, ids), expected, MODEL_FLOAT32)
    assert model.graph_cache.statistics().dropped >= 2


def test_a_model_with_graphs_goes_with_its_last_reference() -> None:
    model = on_a_cpu(own_model(SMALL))
    speak(model, random_ids(1, 20))
    gone = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert gone() is None
    finally:
        gc.enable()


def test_parameters_made_in_inference_mode_go_without_graphs() -> None:
    model = on_a_cpu(VitsModel(VitsConfig(**SMALL)).eval())
    with torch.inference_mode():
        model.decoder.conv_pre.weight = nn.Parameter(model.decoder.conv_pre.weight.clone(), requires_grad=False)
    for _ in range(2):
        with torch.inference_mode():
            set_seed(0)
            model(random_ids(1, 5), speaking_rate=2)
    assert model.graph_cache.statistics().recorded == 0


def test_a_pickled_model_leaves_its_graphs_behind() -> None:
    model = own_model(SMALL)
    assert pickle.loads(pickle.dumps(model)).graph_cache.statistics().count == 0


def run_cache(cache: GraphCache, size: int, limits: GraphLimits, **options: Any) -> Tensor | None:
    given = {"x": Padded(torch.full((size,), 2.0), (size,))}
    return cache.run(limits, torch.device("cpu"), ("square",), lambda x: x["x"] ** 2, given, Tensor.clone, **options)


def test_the_second_use_records_and_the_least_recently_used_goes() -> None:
    cache, limits = GraphCache({"cpu": FakeRecorder}), GraphLimits(count=2)
    assert run_cache(cache, 1, limits) is None
    assert run_cache(cache, 1, limits).tolist() == [4.0]  # type: ignore[union-attr]
    assert run_cache(cache, 2, limits, at_once=True) is not None
    assert run_cache(cache, 1, limits) is not None
    assert run_cache(cache, 3, limits, at_once=True) is not None  # 2 goes
    assert cache.statistics().count == 2
    recorded = cache.statistics().recorded
    assert run_cache(cache, 1, limits) is not None
    assert run_cache(cache, 3, limits) is not None
    assert cache.statistics().recorded == recorded == 3
    cache.clear()
    assert (cache.statistics().count, cache.statistics().bytes) == (0, 0)


def test_the_memory_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    cache, limits = GraphCache({"cpu": FakeRecorder}), GraphLimits(bytes=2500)
    for size in (1, 2):
        assert run_cache(cache, size, limits, at_once=True) is not None
    assert run_cache(cache, 3, limits, at_once=True) is None
    assert cache.statistics().bytes == 0
    assert run_cache(cache, 3, limits, at_once=True) is not None
    assert run_cache(cache, 1000, limits, at_once=True) is None  # 5000 bytes beside the first, and alone
    with caplog.at_level(logging.WARNING, "fastvits"):
        assert run_cache(cache, 1000, limits, at_once=True) is None
    assert "GraphLimits.bytes" in caplog.text
    assert cache.statistics().bytes <= limits.bytes


def test_a_failed_recording_falls_back_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = own_model(SMALL)
    expected = speak(model, random_ids(1, 20))
    on_a_cpu(model)
    monkeypatch.setattr(FakeRecorder, "fails", "operation not permitted")
    with caplog.at_level(logging.WARNING, "fastvits"):
        for _ in range(4):
            compare(speak(model, random_ids(1, 20)), expected, 0.0)
    assert caplog.text.count("operation not permitted") == 2  # one a stage
    assert model.graph_cache.statistics().failed == 2
    monkeypatch.setattr(FakeRecorder, "fails", None)
    model.graph_cache.clear()
    compare(speak(model, random_ids(1, 20)), expected, MODEL_FLOAT32)


def test_threads_share_graphs() -> None:
    model = own_model(SMALL)
    texts = [random_ids(1, 17 + n % 4, seed=n) for n in range(8)]
    plain = [speak_seeded(model, ids) for ids in texts]
    on_a_cpu(model)
    found: dict[int, VitsModelOutput] = {}

    def work(number: int) -> None:
        for _ in range(3):
            found[number] = speak_seeded(model, texts[number])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, expected in enumerate(plain):
        compare(found[number], expected, MODEL_FLOAT32)
    assert model.graph_cache.statistics().replayed > 0


def speak_seeded(model: VitsModel, ids: Tensor) -> VitsModelOutput:
    with torch.no_grad():
        output = model(ids, seed=5)
    assert isinstance(output, VitsModelOutput)
    return output


class HostReads(TorchFunctionMode):
    """Counts what makes the host wait for values of a device."""

    READS = ("tolist", "item", "__bool__", "__int__", "__float__", "__index__", "cpu", "numpy", "nonzero", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in self.READS:
            self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))


def test_the_host_waits_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(2)
    with HostReads() as reads:
        x.tolist()
        bool(x[0])
        x.sum().item()
    assert reads.seen == ["tolist", "__bool__", "item"]

    def unseen(compared: Callable[..., bool]) -> Callable[..., bool]:
        """What a weight holds is looked at on a CPU, and on no other device."""

        def compare(*arguments: Any) -> bool:
            with torch._C.DisableTorchFunction():
                return compared(*arguments)

        return compare

    for owner, name in ((packing.Mark, "is_of"), (packing.Mark, "holds"), (packing._Part, "unchanged")):
        monkeypatch.setattr(owner, name, unseen(getattr(owner, name)))
    for module in ("inputs", "request"):
        monkeypatch.setattr(f"fastvits.models.{module}.read_at_once", lambda device: False)
    model = on_a_cpu(own_model(MULTI))
    ids, mask = random_ids(2, 20), torch.ones(2, 20, dtype=torch.long)
    for turn in range(3):
        # oneDNN's own operators read lengths, which costs a CPU nothing; a GPU does not take them.
        with torch.no_grad(), use_backend("eager"), HostReads() as reads:
            model(ids, mask, speaker_id=[0, 2], speaking_rate=[0.5, 0.7], noise_scale_duration=0)
        assert reads.seen == ["tolist"], f"turn {turn}"
    assert model.graph_cache.statistics().replayed >= 4


def test_the_switch_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    model = own_model(SMALL)
    assert model.graphs is None
    for bad, error in (("on", ValueError), (3, TypeError), (True, TypeError)):
        with pytest.raises(error, match="graphs"):
            model.graphs = bad  # type: ignore[assignment]
        with pytest.raises(error, match="graphs"):
            VitsModel.from_pretrained("/nowhere", graphs=bad)  # type: ignore[arg-type]
    for bad in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            GraphLimits(count=bad)
    with pytest.raises(TypeError, match="whole number"):
        GraphLimits(bytes=1.5)  # type: ignore[arg-type]
    monkeypatch.setenv("FASTVITS_GRAPHS", "off")
    assert parse_graphs(None) is None
    assert parse_graphs("auto") == GraphLimits()
    monkeypatch.setenv("FASTVITS_GRAPHS", "sometimes")
    with pytest.raises(ValueError, match="FASTVITS_GRAPHS is 'sometimes'"):
        parse_graphs(None)


def test_a_host_tensor_arrives_unchanged() -> None:
    assert torch.equal(model_inputs.to_device(torch.arange(3), torch.device("cpu")), torch.arange(3))


def test_a_stream_replays_one_graph_for_its_pieces() -> None:
    model = own_model(MULTI)
    ids, mask = random_ids(2, 30), torch.ones(2, 30, dtype=torch.long)
    mask[1, 11:] = 0
    arguments: dict[str, Any] = {"speaker_id": 1, "speaking_rate": 0.3, "seed": [1, 2]}
    whole = speak(model, ids, mask, **arguments).waveform
    on_a_cpu(model)
    for _ in range(2):
        pieces = list(model.stream(ids, mask, chunk_frames=24, first_chunk_frames=8, **arguments))
        assert len(pieces) > 5
        assert relative_rms(torch.cat(pieces, 1), whole) <= MODEL_FLOAT32
    # The text, and flow and decoder for the first piece and for the others.
    assert model.graph_cache.statistics().recorded == 5


def test_warming_up_records_what_calls_replay() -> None:
    model = on_a_cpu(own_model(MULTI))
    report = model.warmup(tokens=[21, 24, 40], frames=[300, 301], batch_sizes=[1, 2], progress=False)
    assert (report.graphs, report.plain) == (6, 0)
    assert model.graph_cache.statistics().recorded == 6
    speak(model, random_ids(2, 22), speaker_id=1)
    assert model.graph_cache.statistics().recorded == 6
    assert model.graph_cache.statistics().replayed >= 7


def test_warming_up_records_what_streams_replay() -> None:
    model = on_a_cpu(own_model(MULTI))
    before = torch.get_rng_state()
    report = model.warmup(tokens=24, frames=64, chunk_frames=24, progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    # The text, the waveform, and flow and decoder for the first piece and for the others.
    assert (report.graphs, report.plain) == (6, 0)
    pieces = list(model.stream(random_ids(1, 22), speaker_id=1, speaking_rate=0.3, chunk_frames=24))
    assert len(pieces) > 3
    assert model.graph_cache.statistics().recorded == 6


def test_warming_up_without_graphs_runs_once(capsys: pytest.CaptureFixture[str]) -> None:
    report = own_model(SMALL).warmup()
    assert (report.graphs, report.plain) == (0, 2)
    assert report.seconds > 0
    assert "100%" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("warmup", "error", "message"),
    [
        (3, TypeError, "warmup must be True"),
        ({"chunk_frames": 0}, ValueError, "chunk_frames must be at least 1, got 0"),
        ({"token": 3}, TypeError, "unknown keyword 'token'"),
        ({"tokens": 0}, ValueError, "tokens must be at least 1"),
        ({"frames": [1.5]}, TypeError, "frames must be a whole number"),
        ({"batch_sizes": []}, ValueError, "batch_sizes is empty"),
    ],
)
def test_bad_warm_ups(warmup: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        VitsModel.from_pretrained("/nowhere", warmup=warmup)
    if isinstance(warmup, dict) and "token" not in warmup:
        with pytest.raises(error, match=message):
            own_model(SMALL).warmup(**warmup)


GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_real_graphs_equal_the_plain_run(dtype: torch.dtype) -> None:
    model = own_model(MULTI).to("cuda", dtype)
    for batch, steps in ((1, 5), (1, 23), (3, 40), (5, 17)):
        ids = random_ids(batch, steps, seed=steps).cuda()
        model.graphs = "off"
        expected = speak(model, ids, speaker_id=1)
        model.graphs = "auto"
        for _ in range(4):
            got = speak(model, ids, speaker_id=1)
            assert torch.equal(got.durations, expected.durations)
            assert relative_rms(got.waveform, expected.waveform) <= (MODEL_FLOAT32 if dtype == torch.float32 else 2e-2)
    assert model.graph_cache.statistics().failed == 0
    assert model.graph_cache.statistics().replayed >= 16


@pytest.mark.gpu
@GPU
def test_real_graphs_in_threads_and_streams() -> None:
    model = own_model(SMALL).to("cuda")
    texts = [random_ids(1, 17 + n % 4, seed=n).cuda() for n in range(8)]
    model.graphs = "off"
    plain = [speak_seeded(model, ids) for ids in texts]
    model.graphs = GraphLimits(count=3, bytes=2**28)
    found: dict[int, VitsModelOutput] = {}

    def work(number: int) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.default_stream())
        with torch.cuda.stream(stream):
            for _ in range(10):
                found[number] = speak_seeded(model, texts[number])
        stream.synchronize()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, expected in enumerate(plain):
        compare(found[number], expected, MODEL_FLOAT32)
    statistics = model.graph_cache.statistics()
    assert statistics.failed == 0
    assert statistics.count <= 3
    assert 0 < statistics.bytes <= 2**28
