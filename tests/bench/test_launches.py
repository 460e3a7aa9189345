"""How many kernels an utterance launches, counted without a GPU; and how they multiply matrices."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.configurations import CONFIGURATIONS, STANDARD, meta_model
from bench.gpu import launches
from fastvits import VitsConfig, VitsModel
from fastvits.planning.tuning import allowing_tf32
from fastvits_kernels.dispatch import devices, precision, registry
from fastvits_kernels.launch import jit
from tests.support.models import SMALL, own_model, random_ids, relative_rms
from tests.support.tolerances import MODEL_FLOAT32


@torch.library.custom_op("fastvits_tests::fifty", mutates_args=())
def fifty(x: Tensor) -> Tensor:
    """An operator that is made of fifty others, and of views and allocations, which launch nothing."""
    out = torch.empty_like(x)
    for _ in range(49):
        x = x.view(-1).view(x.shape) + 1
    return out.copy_(x)


def test_the_counter_sees_fifty_in_an_op_of_fifty() -> None:
    x = torch.zeros(2, 3)
    with launches.counting() as counter:
        result = fifty(x)
    assert counter.total == 50
    assert torch.equal(result, torch.full((2, 3), 49.0))
    with launches.counting() as counter:
        fifty(x).t()[0].split(1)
        x.mul_(2)
    assert counter.total == 51


def test_the_counter_sees_every_launch_of_an_op_and_what_its_launcher_adds() -> None:
    weights = [torch.randn(16, 16, 3).permute(2, 1, 0) for _ in range(4)]
    biases = [torch.zeros(16) for _ in range(2)]
    x = torch.randn(1, 1, 9, 16)
    op = registry.ops()["resblock_pair"]
    arguments = (x, weights[:2], biases, weights[2:], biases, None, [1, 3], 0.1, True)
    with registry.use_backend("triton"):
        with launches.counting() as first:
            result = op(*arguments)
        with launches.counting() as second:
            op(*arguments)
        with launches.counting() as as_operator, torch.no_grad():
            op.library_op(*arguments)
    assert first.total == 6, "two launches, and four weights packed"
    assert second.total == 2
    assert as_operator.total == 2
    assert torch.equal(result, op.reference(*arguments))


def test_counting_leaves_ops_and_model_as_they_were() -> None:
    before = {name: dict(op.implementations) for name, op in registry.ops().items()}
    model = own_model(SMALL)
    ids = random_ids(1, 9)
    with torch.no_grad(), registry.use_backend("eager"):
        expected = model(ids, seed=1).waveform
        with registry.use_backend("triton"), launches.counting(model) as counter:
            counted = model(ids, seed=1).waveform
        assert torch.equal(model(ids, seed=1).waveform, expected)
    # For Triton the decoder stores activations, which are undone for residuals.
    assert relative_rms(counted, expected) <= MODEL_FLOAT32
    assert counter.total > 50
    assert {name: dict(op.implementations) for name, op in registry.ops().items()} == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.fixture(scope="module")
def standard() -> VitsModel:
    torch.manual_seed(0)
    return VitsModel(VitsConfig(**STANDARD), inference_only=True).eval()


@pytest.mark.parametrize("masked", [False, True])
def test_launches_of_the_published_configuration(standard: VitsModel, masked: bool) -> None:
    found = launches.launches_of(standard, "triton", masked)
    layers = standard.config.num_hidden_layers
    assert found["text encoder"] == 5 * layers + 2, "the embedding, the first projection, five a layer"
    assert found["duration predictor"] <= 22
    assert found["length regulator"] == 1
    assert found["flow"] == 4 * 6 + 1, "six a coupling, and the halves put together"
    assert found["decoder"] == 30
    # docs/gpu.md says so.
    assert found["total"] == (119 if masked else 117)


# --- Products of the modules that decide lengths


def recorded(model: VitsModel) -> Iterator[tuple[bool, jit.Launch]]:
    """Each launch of an utterance on a GPU, and whether it is one of the modules that decide lengths."""
    ids = torch.empty(1, 40, dtype=torch.int64, device="meta")
    config = model.config
    with torch.no_grad(), devices.assume(torch.device("cuda")), registry.use_backend("triton"):
        with jit.recording() as exact:
            speaker = model.embed_speaker(ids[:, 0]) if config.num_speakers > 1 else None
            hidden = model.text_encoder.encode(ids, ids.new_empty(1)).hidden
            noise = (hidden.new_empty(1, 40, 2),) if config.use_stochastic_duration_prediction else ()
            model.duration_predictor.predict(hidden, ids.new_empty(1), speaker, *noise)
        with jit.recording() as others:
            latents = torch.empty(1, 70, config.flow_size, dtype=model.dtype, device="meta")
            model.decoder.decode(model.flow.transform(latents, None, None, reverse=True), None, None)
    yield from ((True, launch) for launch in exact)
    yield from ((False, launch) for launch in others)


SPOKEN = {
    **CONFIGURATIONS,
    "plain durations": {"use_stochastic_duration_prediction": False},
    "speakers": {"num_speakers": 3, "speaker_embedding_size": 16},
}


@pytest.mark.parametrize("settings", SPOKEN.values(), ids=SPOKEN)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_decides_lengths_is_ieee_float32(settings: dict[str, Any], dtype: torch.dtype) -> None:
    model = meta_model(settings, dtype)
    with allowing_tf32(True):
        found = list(recorded(model))
    products = [(exact, dict(launch.constants).get("PRECISION", "ieee"), launch) for exact, launch in found]
    assert {precision for exact, precision, _ in products if exact} == {"ieee"}
    kinds = {kind for exact, _, launch in products if exact for _, kind in launch.signature if kind.startswith("*")}
    assert kinds <= {"*fp32", "*i64"}
    expected = "tf32" if dtype == torch.float32 else "ieee"
    assert {precision for exact, precision, _ in products if not exact} == {expected}
    half = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16"}[dtype]
    kinds = {kind for exact, _, launch in products if not exact for _, kind in launch.signature if kind[0] == "*"}
    assert kinds == {half}


@pytest.mark.parametrize("ieee", [False, True])
def test_eager_products_on_a_gpu_keep_from_tf32(ieee: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flags that cuBLAS and cuDNN see while the reference runs, also as an operator of the library."""
    op = registry.ops()["conv1d"]
    seen: list[bool] = []
    reference = op.reference

    def watched(*args: Any) -> Any:
        seen.append(precision.tf32_allowed())
        return reference(*args)

    monkeypatch.setattr(op, "reference", watched)
    x, weight = torch.empty(1, 9, 16, device="meta"), torch.empty(1, 16, 8, device="meta")
    arguments = (x, weight, None, None, None, None, 1, 0, 1.0, "none", 1.0, ieee)
    with allowing_tf32(True), devices.assume(torch.device("cuda")), registry.use_backend("eager"):
        op(*arguments)
        op._run_inside(*arguments)
        assert precision.tf32_allowed()
    assert seen == [not ieee] * 2


def test_flags_come_back_when_the_last_holder_leaves() -> None:
    with allowing_tf32(True):
        first, second = precision.ieee_products(), precision.ieee_products()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert not precision.tf32_allowed()
        second.__exit__(None, None, None)
        assert precision.tf32_allowed()
        with pytest.raises(ValueError, match="out of it"), precision.ieee_products():
            raise ValueError("out of it")
        assert precision.tf32_allowed()


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="torch 2.9 and later")
def test_the_newer_flags_are_kept_too() -> None:
    matmul, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = matmul.fp32_precision, convolutions.fp32_precision
    try:
        matmul.fp32_precision = convolutions.fp32_precision = "tf32"
        assert precision.tf32_allowed()
        with precision.ieee_products():
            assert not precision.tf32_allowed()
            assert jit.dot_precision(torch.float32) == "ieee"
        assert (matmul.fp32_precision, convolutions.fp32_precision) == ("tf32", "tf32")
    finally:
        matmul.fp32_precision, convolutions.fp32_precision = before
