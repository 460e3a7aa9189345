"""`fastvits calibrate` and `dtype="int8"`: bounds are found, kept and used; lengths stay; what cannot be is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fastvits import VitsConfig, VitsModel
from fastvits.cli import main
from fastvits.models import int8 as models_int8
from fastvits.speech import calibration
from fastvits.speech.speaker import Speaker
from fastvits_kernels import use_backend, wavenet_layer
from fastvits_kernels.dispatch import registry
from fastvits_kernels.onednn import int8
from tests.support.numerics import relative_error
from tests.support.small_voices import save_small_voice
from tests.support.tolerances import INT8_MODEL, MODEL_FLOAT32

TEXTS = ["a birch canoe slid on the planks", "how much did that cost", "yes no perhaps"]
HELD_OUT = "it rained for forty days"

needs_int8 = pytest.mark.skipif(int8.unsupported() is not None, reason=str(int8.unsupported()))


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random voice, calibrated on the command line, with every part in int8."""
    folder = save_small_voice(tmp_path_factory.mktemp("calibrated"))
    texts = folder / "texts.txt"
    texts.write_text("\n".join(TEXTS), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "MOST_DECIBELS", 1e3)
        assert main(["calibrate", str(folder), "--texts", str(texts)]) == 0
    return folder


def spoken(model: VitsModel, ids: torch.Tensor, **controls: Any) -> torch.Tensor:
    waveform = model(ids, seed=3, **controls).waveform
    assert waveform is not None
    return waveform.float()


@pytest.fixture
def ids(voice: Path) -> torch.Tensor:
    return Speaker(voice, dtype="float32", device="cpu").encode(HELD_OUT)["input_ids"]


def test_bounds_hold_what_is_seen(voice: Path) -> None:
    ranges = json.loads((voice / "config.json").read_text("utf-8"))["int8_ranges"]
    speaker = Speaker(voice, dtype="float32", device="cpu")
    seen: list[tuple[float, float]] = []
    conv = speaker.model.decoder.resblocks[0].convs2[1]  # type: ignore[union-attr, index]
    hook = conv.register_forward_pre_hook(lambda module, given: seen.append((given[0].min(), given[0].max())))
    for seed, text in enumerate(TEXTS):
        speaker.synthesize([text], seed=seed)
    hook.remove()
    # Of a stage: its input, that of all blocks, the first block's second convolution, its second step's two.
    low, high = ranges["decoder"][0][8:10]
    least, most = min(low for low, _ in seen), max(high for _, high in seen)
    assert least * 1.001 <= low <= least * min(calibration._SHARES) * 0.999
    assert most * min(calibration._SHARES) * 0.999 <= high <= most * 1.001


def test_calibration_changes_nothing_but_the_configuration(voice: Path, ids: torch.Tensor) -> None:
    speaker = Speaker(voice, dtype="float32", device="cpu")
    speaker.model.config.int8_ranges = None
    before = spoken(speaker.model, ids)
    found = calibration.calibrate(speaker, TEXTS[:1])
    assert set(found.decibels) == {"flow", "decoder stage 0", "decoder stage 1"}
    assert set(found.kept) == {name for name, distance in found.decibels.items() if distance > 1.5}
    assert speaker.model.config.int8_ranges == found.ranges
    assert torch.equal(spoken(speaker.model, ids), before)


@needs_int8
def test_int8_has_the_lengths_and_nearly_the_sound_of_float32(voice: Path, ids: torch.Tensor) -> None:
    exact = VitsModel.from_pretrained(voice, dtype="float32")
    model = VitsModel.from_pretrained(voice, dtype="int8")
    assert model.text_dtype == torch.float32
    assert not any(parameter.requires_grad for parameter in model.parameters())
    expected, found = spoken(exact, ids), spoken(model, ids)
    assert found.shape == expected.shape
    assert 0 < relative_error(found, expected) < INT8_MODEL
    assert torch.equal(found, spoken(model, ids))


@needs_int8
def test_int8_is_what_its_reference_says(voice: Path, ids: torch.Tensor) -> None:
    """In float32 all around, so that nothing else is rounded; and it is another thing than float32."""
    model = VitsModel.from_pretrained(voice, dtype="float32")
    exact = spoken(model, ids)
    assert model.config.int8_ranges is not None
    models_int8.use_int8(model, model.config.int8_ranges)
    registry.forget_decisions()
    found = spoken(model, ids)
    assert {d.backend for d in registry.decisions() if d.op in ("mrf_stage", "wavenet_layer")} == {"onednn"}
    with use_backend("eager"):
        expected = spoken(model, ids)
    assert relative_error(found, expected) < relative_error(exact, expected) / 10


@needs_int8
def test_pieces_and_batches_are_what_is_said_alone(voice: Path, ids: torch.Tensor) -> None:
    model = VitsModel.from_pretrained(voice, dtype="int8")
    whole = spoken(model, ids)
    pieces = torch.cat(list(model.stream(ids, seed=3, chunk_frames=7)), 1).float()
    assert relative_error(pieces, whole) < MODEL_FLOAT32
    batch = model(
        torch.cat([ids, ids]),
        attention_mask=torch.cat([torch.ones_like(ids), torch.ones_like(ids).tril(ids.shape[1] - 9)]),
        seed=[3, 3],
    )
    assert batch.waveform is not None
    assert relative_error(batch.waveform[:1, : whole.shape[1]].float(), whole) < MODEL_FLOAT32


@needs_int8
def test_changed_weights_are_heard(voice: Path, ids: torch.Tensor) -> None:
    model = VitsModel.from_pretrained(voice, dtype="int8")
    before = spoken(model, ids)
    model.decoder.resblocks[0].convs1[0].weight.data.mul_(0.5)  # type: ignore[union-attr, index, operator]
    after = spoken(model, ids)
    assert not torch.equal(before, after)
    model.decoder.resblocks[0].convs1[0].weight.data.mul_(2)  # type: ignore[union-attr, index, operator]
    assert torch.equal(spoken(model, ids), before)


@needs_int8
def test_a_calibrated_voice_is_saved_and_said_on_the_command_line(voice: Path, tmp_path: Path) -> None:
    speaker = Speaker(voice, dtype="int8", device="cpu")
    speaker.model.save_pretrained(tmp_path / "copy")
    speaker.tokenizer.save_pretrained(tmp_path / "copy")
    audio = tmp_path / "said.wav"
    assert main(["say", HELD_OUT, "--voice", str(tmp_path / "copy"), "--dtype", "int8", "--output", str(audio)]) == 0
    assert audio.stat().st_size > 1000


@needs_int8
def test_gradients_are_refused() -> None:
    x, weight, square = torch.zeros(1, 4, 8), torch.zeros(3, 8, 16, requires_grad=True), torch.zeros(8, 8)
    arguments = (x, None, weight, torch.zeros(16), square, torch.zeros(8))
    with pytest.raises(RuntimeError, match="int8 has no gradients"):
        wavenet_layer(*arguments, ranges=[-1.0, 1.0])
    with torch.no_grad(), pytest.raises(ValueError, match="1 pairs of bounds"):
        wavenet_layer(*arguments, ranges=[1.0, 2.0])


def test_what_cannot_be_is_refused(voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = VitsConfig.from_pretrained(voice)
    with pytest.raises(ValueError, match="is for CPUs, not cuda"):
        models_int8.check_int8(config, torch.device("cuda"))
    monkeypatch.setattr(int8, "unsupported", lambda: "this processor has no instructions for int8")
    with pytest.raises(ValueError, match=r"dtype='int8' cannot be had here: this processor .*; choose float32"):
        VitsModel.from_pretrained(voice, dtype="int8")
    monkeypatch.setattr(int8, "unsupported", lambda: None)
    with pytest.raises(ValueError, match="fastvits calibrate"):
        VitsModel.from_pretrained(save_small_voice(tmp_path), dtype=torch.int8)
    assert config.int8_ranges is not None
    short = config.int8_ranges | {"decoder": [None]}
    with pytest.raises(ValueError, match=r"int8_ranges\['decoder'\] must be 2 lists of"):
        VitsModel.from_pretrained(voice, dtype="int8", int8_ranges=short)
    with pytest.raises(ValueError, match="flow and decoder and nothing else"):
        VitsConfig(int8_ranges={"flow": [None]})
    with pytest.raises(TypeError, match="must be a number"):
        VitsConfig(int8_ranges={"flow": [["low"]], "decoder": [None]})


def test_calibration_wants_float32_and_texts(voice: Path) -> None:
    with pytest.raises(ValueError, match="calibrated in float32"):
        calibration.calibrate(Speaker(voice, dtype="bfloat16", device="cpu"), TEXTS)
    with pytest.raises(ValueError, match="one sentence at least"):
        calibration.calibrate(Speaker(voice, dtype="float32", device="cpu"), [])


def test_processors_without_the_instructions_take_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    int8.unsupported.cache_clear()
    try:
        x, weight, square = torch.ones(1, 4, 8), torch.ones(3, 8, 16), torch.ones(8, 8)
        arguments = (x, None, weight, torch.zeros(16), square, torch.zeros(8))
        registry.forget_decisions()
        wavenet_layer(*arguments, ranges=[-1.0, 1.0])
        (decision,) = registry.decisions()
        assert (decision.backend, "no instructions for int8" in decision.reason) == ("eager", True)
    finally:
        int8.unsupported.cache_clear()
