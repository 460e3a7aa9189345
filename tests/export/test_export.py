"""Exported voices in onnxruntime, piper-tts and sherpa-onnx: the same samples as ours, and read back as written."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from piper.config import SynthesisConfig
from piper.voice import PiperVoice
from safetensors.torch import load_file

import fastvits
from fastvits import VitsConfig, VitsModel, VitsTokenizer
from fastvits.checkpoints import convert, read
from fastvits.cli import main
from fastvits.export import export_voice
from tests.support.small_voices import save_small_voice
from tests.support.tolerances import EXPORT_AGAINST_ONNXRUNTIME, EXPORTED_HALF_WEIGHTS

TEXT = "the quick brown fox"

KINDS: dict[str, dict[str, Any]] = {
    "stochastic": {},
    "plain durations": {"use_stochastic_duration_prediction": False},
    "speakers": {"num_speakers": 3, "speaker_embedding_size": 8},
    "other sizes": {
        "num_attention_heads": 4,
        "ffn_kernel_size": 4,
        "window_size": 2,
        "upsample_rates": [8, 4],
        "upsample_kernel_sizes": [16, 8],
        "wavenet_dilation_rate": 2,
        "prior_encoder_num_flows": 3,
        "duration_predictor_flow_bins": 6,
    },
}


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("voices")
    return {kind: save_small_voice(folder / kind, **changes) for kind, changes in KINDS.items()}


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])


def feeds(ids: list[list[int]], lengths: list[int], speaker: int | None, rate: float) -> dict[str, np.ndarray]:
    given = {
        "input": np.array(ids),
        "input_lengths": np.array(lengths),
        "scales": np.array([0.0, 1.0 / rate, 0.0], np.float32),
    }
    return given if speaker is None else given | {"sid": np.array([speaker] * len(ids))}


def ours(model: VitsModel, ids: list[int], speaker: int | None, rate: float = 1.0) -> tuple[list[int], np.ndarray]:
    with torch.no_grad():
        output = model(
            torch.tensor([ids]), speaker_id=speaker, speaking_rate=rate, noise_scale=0.0, noise_scale_duration=0.0
        )
    return output.durations[0].tolist(), output.waveform[0].numpy()


def relative_rms(actual: np.ndarray, expected: np.ndarray) -> float:
    assert actual.shape == expected.shape
    difference = actual.astype(np.float64) - expected
    return float(np.sqrt(np.square(difference).mean() / np.square(expected.astype(np.float64)).mean()))


@pytest.mark.parametrize("kind", KINDS)
def test_onnxruntime_says_what_the_model_says(voices: dict[str, Path], kind: str, tmp_path: Path) -> None:
    path, beside = export_voice(voices[kind], tmp_path / "voice.onnx", durations=True)
    assert beside == tmp_path / "voice.onnx.json"
    model, tokenizer = VitsModel.from_pretrained(voices[kind]), VitsTokenizer.from_pretrained(voices[kind])
    voice = session(path)
    for text in (TEXT, "a"):
        ids = tokenizer(text)["input_ids"]
        for speaker, rate in [(None, 1.0), (None, 0.6)] if kind != "speakers" else [(0, 1.0), (2, 1.4)]:
            audio, frames = voice.run(None, feeds([ids], [len(ids)], speaker, rate))
            durations, expected = ours(model, ids, speaker, rate)
            assert frames.reshape(-1).tolist() == durations
            assert relative_rms(audio[0, 0], expected) <= EXPORT_AGAINST_ONNXRUNTIME
    # A shorter item beside a longer one has its own durations.
    short, long = tokenizer("the fox")["input_ids"], tokenizer(TEXT)["input_ids"]
    padded = [short + [1] * (len(long) - len(short)), long]
    speaker = 1 if kind == "speakers" else None
    _, frames = voice.run(None, feeds(padded, [len(short), len(long)], speaker, 1.0))
    assert frames[0, 0, : len(short)].tolist() == ours(model, short, speaker)[0]
    assert not frames[0, 0, len(short) :].any()


@pytest.mark.parametrize("kind", KINDS)
def test_what_went_out_comes_back(voices: dict[str, Path], kind: str, tmp_path: Path) -> None:
    path, _ = fastvits.export(voices[kind], tmp_path / "voice.onnx")
    first = convert(path, tmp_path / "first")
    assert first.family == "Piper voice"
    model, back = VitsModel.from_pretrained(voices[kind]), VitsModel.from_pretrained(tmp_path / "first")
    ids, speaker = list(range(1, 20)), 1 if kind == "speakers" else None
    durations, expected = ours(model, ids, speaker)
    assert ours(back, ids, speaker)[0] == durations
    assert relative_rms(ours(back, ids, speaker)[1], expected) <= EXPORT_AGAINST_ONNXRUNTIME
    # Weights that are folded now go out and come back bit by bit.
    path, _ = export_voice(tmp_path / "first", tmp_path / "again.onnx")
    convert(path, tmp_path / "second")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert VitsConfig.from_pretrained(tmp_path / "first") == VitsConfig.from_pretrained(tmp_path / "second")
    for file in ("vocab.json", "tokenizer_config.json"):
        assert (tmp_path / "first" / file).read_text("utf-8") == (tmp_path / "second" / file).read_text("utf-8")


@pytest.mark.parametrize("weights", ["float16", "int8"])
def test_smaller_weights_keep_the_length(voices: dict[str, Path], weights: str, tmp_path: Path) -> None:
    whole, _ = export_voice(voices["stochastic"], tmp_path / "whole.onnx", durations=True)
    path, _ = export_voice(voices["stochastic"], tmp_path / "voice.onnx", weights=weights, durations=True)
    assert path.stat().st_size < whole.stat().st_size
    ids = VitsTokenizer.from_pretrained(voices["stochastic"])(TEXT)["input_ids"]
    (audio, frames), (expected, durations) = (
        session(file).run(None, feeds([ids], [len(ids)], None, 1.0)) for file in (path, whole)
    )
    np.testing.assert_array_equal(frames, durations)
    assert relative_rms(audio, expected) <= EXPORTED_HALF_WEIGHTS[weights]
    convert(path, tmp_path / "back")
    _, said = ours(VitsModel.from_pretrained(tmp_path / "back"), ids, None)
    assert relative_rms(audio[0, 0], said) <= EXPORT_AGAINST_ONNXRUNTIME  # the rounded weights, read back


@pytest.mark.parametrize("kind", ["stochastic", "speakers"])
def test_piper_speaks_it_with_alignments(voices: dict[str, Path], kind: str, tmp_path: Path) -> None:
    path, beside = export_voice(voices[kind], tmp_path / "voice.onnx")
    settings = json.loads(beside.read_text("utf-8"))
    assert (settings["phoneme_type"], settings["hop_length"], settings["num_symbols"]) == ("text", 16, 38)
    graph = onnx.load(path).graph
    assert sum(node.op_type == "Ceil" for node in graph.node) == 1
    speaker = 1 if kind == "speakers" else None
    voice = PiperVoice.load(path, include_alignments=True)
    quiet = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0, normalize_audio=False, speaker_id=speaker)
    (chunk,) = voice.synthesize("The quick brown fox", quiet, include_alignments=True)
    ids = VitsTokenizer.from_pretrained(voices[kind])("The quick brown fox")["input_ids"]
    assert chunk.phoneme_ids == ids
    durations, expected = ours(VitsModel.from_pretrained(voices[kind]), ids, speaker)
    assert relative_rms(chunk.audio_float_array, expected.clip(-1, 1)) <= EXPORT_AGAINST_ONNXRUNTIME
    assert chunk.phoneme_id_samples is not None
    assert chunk.phoneme_id_samples.tolist() == [16 * frames for frames in durations]
    assert chunk.phoneme_alignments


def test_sherpa_speaks_it(voices: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("sherpa_onnx")
    path, tokens = export_voice(voices["speakers"], tmp_path / "model.onnx", format="sherpa")
    assert tokens == tmp_path / "tokens.txt"
    # It ends the process where something is missing.
    code = (
        "import sys, numpy as np, sherpa_onnx as s; p, t, o = sys.argv[1:];"
        "v = s.OfflineTtsVitsModelConfig(model=p, tokens=t, noise_scale=0.0, noise_scale_w=0.0);"
        "c = s.OfflineTtsConfig(model=s.OfflineTtsModelConfig(vits=v, num_threads=1));"
        f"a = s.OfflineTts(c).generate({TEXT!r}, sid=2);"
        "np.save(o, np.array(a.samples, np.float32)); print(a.sample_rate)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, os.fspath(path), os.fspath(tokens), os.fspath(tmp_path / "said.npy")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["16000"]
    ids = VitsTokenizer.from_pretrained(voices["speakers"])(TEXT)["input_ids"]
    _, expected = ours(VitsModel.from_pretrained(voices["speakers"]), ids, 2)
    assert relative_rms(np.load(tmp_path / "said.npy"), expected) <= EXPORT_AGAINST_ONNXRUNTIME
    voice = read(tmp_path)  # the folder, and what it holds
    assert voice.family == "voice of characters packed for sherpa-onnx"
    voice.save(tmp_path / "back")
    assert VitsTokenizer.from_pretrained(tmp_path / "back")(TEXT)["input_ids"] == ids
    _, said = ours(VitsModel.from_pretrained(tmp_path / "back"), ids, 2)
    assert relative_rms(said, expected) <= EXPORT_AGAINST_ONNXRUNTIME


def test_the_command_exports_and_converts_back(
    voices: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(voices["stochastic"]), str(tmp_path / "v.onnx"), "--weights", "float16"]) == 0
    assert capsys.readouterr().out == f"file: {tmp_path / 'v.onnx'}\nfile: {tmp_path / 'v.onnx.json'}\n"
    assert main(["convert", str(tmp_path / "v.onnx"), str(tmp_path / "back")]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == (f"folder: {tmp_path / 'back'}\n", "fastvits: taken for: Piper voice\n")


def test_what_cannot_be_exported_is_refused(voices: dict[str, Path], tmp_path: Path) -> None:
    folder = voices["stochastic"]
    for arguments, message in (
        ({"format": "coqui"}, "format must be one of piper, sherpa, got 'coqui'"),
        ({"weights": "int4"}, "weights must be one of float32, float16, int8, got 'int4'"),
    ):
        with pytest.raises(ValueError, match=message):
            export_voice(folder, tmp_path / "voice.onnx", **arguments)
    with pytest.raises(ValueError, match=r"must be called \.onnx"):
        export_voice(folder, tmp_path / "voice.ort")
    model = VitsModel.from_pretrained(folder)
    with pytest.raises(TypeError, match="give tokenizer="):
        export_voice(model, tmp_path / "voice.onnx")
    with pytest.raises(TypeError, match="unexpected keyword"):
        export_voice(folder, tmp_path / "voice.onnx", opset=20)
    model.config.hidden_act = "gelu"
    with pytest.raises(ValueError, match="hidden_act 'gelu' cannot be exported"):
        export_voice(model, tmp_path / "voice.onnx", tokenizer=VitsTokenizer.from_pretrained(folder))
    assert list(tmp_path.iterdir()) == []
