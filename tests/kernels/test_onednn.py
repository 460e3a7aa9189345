"""The CPU's backend beyond single ops: pieces of time, packed weights, half precision, long texts."""

import logging
import math
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from fastvits import VitsConfig, VitsModel
from fastvits.models import hifigan
from fastvits_kernels import conv1d, durations, relative_attention, use_backend, wavenet_layer
from fastvits_kernels.dispatch import devices, registry
from fastvits_kernels.onednn import attention, convolution, scratch
from tests.support.models import SMALL, own_model, random_ids, relative_rms
from tests.support.tolerances import HALF_PRECISION_MODEL, MODEL_FLOAT32, MODEL_FLOAT64


def test_every_op_runs_on_a_cpu() -> None:
    assert {name for name, op in registry.ops().items() if "onednn" not in op.implementations} == set()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"resblock_type": 2},
        {"resblock_dilation_sizes": [[1, 3], [2], [1, 1, 7]]},
        {"upsample_rates": [5, 3, 2], "upsample_kernel_sizes": [11, 9, 2], "upsample_initial_channel": 40},
        {"upsample_rates": [8], "upsample_kernel_sizes": [16]},
    ],
)
@pytest.mark.parametrize("lengths", [None, [220, 41, 220]])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, MODEL_FLOAT32), (torch.float64, MODEL_FLOAT64)])
def test_pieces_of_time_change_nothing(
    settings: dict[str, Any],
    lengths: list[int] | None,
    dtype: torch.dtype,
    tolerance: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoder = VitsModel(VitsConfig(**SMALL | settings)).eval().to(dtype).decoder
    items = 1 if lengths is None else 3
    latents = torch.randn(items, 220, 24, generator=torch.Generator().manual_seed(1)).to(dtype)
    frames = None if lengths is None else torch.tensor(lengths)
    cuts = []
    real = decoder._stages

    def counted(x: torch.Tensor, first: int, *others: Any) -> torch.Tensor:
        cuts.append(first)
        return real(x, first, *others)

    monkeypatch.setattr(decoder, "_stages", counted)
    with torch.no_grad(), use_backend("auto"):
        whole = decoder.decode(latents, frames)
        assert cuts == [0, 1][: len(decoder.upsampler)]
        monkeypatch.setattr(hifigan, "_PIECE_BYTES", {"cpu": 6000})
        cut = decoder.decode(latents, frames)
    assert all(cuts.count(first) > 3 for first in cuts)
    assert relative_rms(cut, whole) < tolerance
    if lengths is not None:
        assert not cut[1, 41 * math.prod(decoder.config.upsample_rates) :].any()


def test_convolutions_have_few_numbers_of_steps() -> None:
    whole = [convolution.whole_steps(steps) for steps in range(1, 20_000)]
    for steps, more in enumerate(whole, start=1):
        assert steps <= more < steps + max(16, steps / 8)
    assert whole == sorted(whole)
    assert not any(more % 16 for more in whole)
    assert len(set(whole)) <= 120


@pytest.mark.parametrize("processor", ["AVX-512", "matrix units", "AVX2"])
@pytest.mark.parametrize(
    ("given", "tolerance"), [(torch.float32, MODEL_FLOAT32), (torch.bfloat16, HALF_PRECISION_MODEL[torch.bfloat16])]
)
@pytest.mark.parametrize("op", ["conv1d", "wavenet_layer"])
def test_one_packed_weight_serves_every_length(
    op: str, given: torch.dtype, tolerance: float, processor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or, in half precision with matrix units, one all short and one all long sequences. Where oneDNN wants another
    layout than the packed one, it rearranges weights in every call."""
    matrix_units = processor == "matrix units"
    monkeypatch.setattr(convolution, "has_matrix_units", lambda: matrix_units)
    monkeypatch.setattr(convolution, "_one_layout", lambda: processor == "AVX2")
    forms: set[Any] = set()

    def noted(weight: torch.Tensor, form: Any, build: Any) -> Any:
        if weight.shape[0] == 5:
            forms.add(form)
        return packed(weight, form, build)

    packed = convolution.packed
    monkeypatch.setattr(convolution, "packed", noted)
    weight, square = torch.randn(5, 16, 32, dtype=given), torch.randn(16, 16, dtype=given)
    for steps in (1, 33, 64, 80, 96, 2300):
        x = torch.randn(2, steps, 16, dtype=given)

        def compute(x: torch.Tensor = x) -> torch.Tensor:
            if op == "conv1d":
                return conv1d(x, weight)
            return wavenet_layer(x, None, weight, x.new_zeros(32), square, x.new_zeros(16))

        with use_backend("onednn"):
            found = compute()
        with use_backend("eager"):
            assert relative_rms(found, compute()) < tolerance
    dtype = convolution.compute_dtype(given)
    if processor == "AVX2":
        assert forms == {("onednn", dtype, 1, 1.0, "only")}
        return
    long = {("onednn", dtype, 1, 1.0, "long")} if matrix_units and dtype != torch.float32 else set()
    assert forms == {("onednn windows", dtype, 1.0)} | long


def test_a_piece_is_as_wide_as_memory_lets_it() -> None:
    """Eager is not cut."""
    long = torch.zeros(2, 1 << 20, 4)
    with torch.no_grad(), use_backend("eager"):
        assert hifigan._piece_steps(long, 16) is None
    with use_backend("auto"):
        assert hifigan._piece_steps(long, 16) is None
        with torch.no_grad():
            assert hifigan._piece_steps(long, 16) == 1 << 16
            assert hifigan._piece_steps(long.bfloat16(), 1 << 20) == 64
            planned = torch.empty(2, 1 << 20, 4, device="meta")
            assert hifigan._piece_steps(planned, 16) is None
            with devices.assume(torch.device("cuda")):
                assert hifigan._piece_steps(planned, 16) == 1 << 22
            with FakeTensorMode():
                on_a_gpu = torch.empty(2, 1 << 20, 4, device="cuda")
                assert hifigan._piece_steps(on_a_gpu, 16) == 1 << 22


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_weights_are_packed_once_and_never_stale(mode: type, monkeypatch: pytest.MonkeyPatch) -> None:
    packings = []
    real = convolution.reordered

    def counted(*args: Any) -> torch.Tensor:
        packings.append(args)
        return real(*args)

    monkeypatch.setattr(convolution, "reordered", counted)
    model = own_model(SMALL)

    def speak() -> torch.Tensor:
        torch.manual_seed(0)
        with mode(), use_backend("onednn"):
            return model(random_ids(1, 20)).waveform

    before = speak()
    count = len(packings)
    assert count > 0
    assert torch.equal(speak(), before)
    assert len(packings) == count, "weights were packed again"
    with torch.no_grad():
        model.decoder.conv_pre.weight.mul_(1.5)
        dict(model.named_parameters())["flow.flows.0.wavenet.in_layers.0.parametrizations.weight.original1"][0].mul_(-1)
    after = speak()
    torch.manual_seed(0)
    with torch.no_grad(), use_backend("eager"):
        expected = model(random_ids(1, 20)).waveform
    assert relative_rms(after, expected) < MODEL_FLOAT32


@pytest.mark.parametrize(
    ("dtype", "native"),
    [(torch.bfloat16, False), (torch.bfloat16, True), (torch.float16, False)],  # float16 is emulated nowhere
    ids=["bfloat16-widened", "bfloat16-native", "float16-widened"],
)
def test_half_precision(
    dtype: torch.dtype, native: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With the processor's own instructions, and widened to float32."""
    if native and dtype not in convolution.native_dtypes():
        pytest.skip(f"this processor has no instructions for {dtype}, and torch packs no weights without them")
    monkeypatch.setattr(convolution, "native_dtypes", lambda: frozenset({torch.float32, *([dtype] if native else [])}))
    convolution._say_widened.cache_clear()
    settings = SMALL | {"num_speakers": 3, "speaker_embedding_size": 8}
    model = own_model(settings)
    model.noise_scale = 0.0  # the prior's noise is drawn in the model's dtype

    def speak() -> torch.Tensor:
        torch.manual_seed(0)
        with torch.no_grad(), use_backend("auto"):
            return model(random_ids(1, 20), speaker_id=1).waveform

    exact = speak()
    model.to(dtype)
    with caplog.at_level(logging.WARNING, "fastvits"):
        rounded = speak()
        speak()
    assert rounded.dtype == dtype
    assert relative_rms(rounded.float(), exact) < HALF_PRECISION_MODEL[dtype]
    said = [record for record in caplog.records if "computing in float32" in record.message]
    assert len(said) == (0 if native else 1)
    latents = torch.randn(1, 30, 24, generator=torch.Generator().manual_seed(1)).to(dtype)
    with torch.no_grad():
        speaker = torch.randn(1, 8, generator=torch.Generator().manual_seed(2)).to(dtype)
        half = model.decoder.decode(latents, None, speaker)
        full = model.to(torch.float32).decoder.decode(latents.float(), None, speaker.float())
    assert relative_rms(half.float(), full) < HALF_PRECISION_MODEL[dtype]


def test_attention_in_blocks_of_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = torch.randn(2, 100, 3, 2, 8, generator=torch.Generator().manual_seed(0)).unbind(2)
    tables = torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(1)).unbind(0)
    lengths = torch.tensor([100, 37])
    with use_backend("eager"):
        expected = relative_attention(q, k, v, *tables, lengths=lengths)
    monkeypatch.setattr(attention, "_SCORES_AT_ONCE", 1)  # 16 queries at a time, and 4 at the end
    with use_backend("onednn"):
        actual = relative_attention(q, k, v, *tables, lengths=lengths)
    assert relative_rms(actual, expected) < MODEL_FLOAT32


def test_a_torch_without_onednn_runs_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    convolution._broken.cache_clear()
    try:
        x = torch.randn(1, 5, 4)
        reason = convolution.unsupported(x)
        assert reason is not None
        assert "oneDNN" in reason
        op = registry.ops()["gated_activation"]
        assert op.resolve(x, None).backend == "eager"
        with use_backend("onednn"), pytest.raises(registry.BackendError, match="oneDNN"):
            op.resolve(x, None)
    finally:
        convolution._broken.cache_clear()


def test_float64_is_eager() -> None:
    assert (
        registry.ops()["gated_activation"].resolve(torch.randn(1, 5, 4, dtype=torch.float64), None).backend == "eager"
    )


def test_torchs_defaults_do_not_matter() -> None:
    """Neither to the probe of oneDNN nor to its scratch memory."""
    x, weight = torch.randn(1, 40, 16), torch.randn(3, 16, 16)
    with torch.no_grad(), use_backend("onednn"):
        expected = conv1d(x, weight, slope=0.1, dilation=2)
        convolution._broken.cache_clear()
        scratch._kept.blocks.clear()
        before = torch.get_default_dtype()
        try:
            torch.set_default_dtype(torch.bfloat16)
            with torch.device("meta"):
                assert torch.equal(conv1d(x, weight, slope=0.1, dilation=2), expected)
        finally:
            torch.set_default_dtype(before)
        assert torch.equal(conv1d(x, weight, slope=0.1, dilation=2), expected)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_lengths_may_be_narrow(dtype: torch.dtype) -> None:
    with use_backend("onednn"):
        counts, _ = durations(torch.zeros(2, 3), torch.ones(2), lengths=torch.tensor([1, 3], dtype=dtype))
    assert counts.tolist() == [[1, 0, 0], [1, 1, 1]]


def test_lengths_beyond_no_steps() -> None:
    with use_backend("onednn"):
        out = conv1d(torch.zeros(2, 0, 16), torch.zeros(3, 16, 8), lengths=torch.tensor([3, 3]))
    assert out.shape == (2, 0, 8)
