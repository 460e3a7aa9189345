"""Voices that Piper's own training code exports say what onnxruntime says."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import load_file

from fastvits import VitsConfig, VitsModel, VitsTokenizer
from fastvits.checkpoints.piper import convert
from tests.checkpoints.piper_exports import (
    KINDS,
    SETTINGS,
    changed_copy,
    export,
    relative_rms,
    run_onnx,
    session,
    speak,
)
from tests.support.tolerances import PIPER_AGAINST_ONNXRUNTIME


@pytest.mark.parametrize("kind", ["small", *KINDS])
def test_every_kind_of_voice_says_what_onnxruntime_says(kind: str, small_voice: Path, tmp_path: Path) -> None:
    path = small_voice if kind == "small" else export(tmp_path, **KINDS[kind])
    model = VitsModel.from_pretrained(convert(path, tmp_path / "converted"))
    assert (model.config.resblock_type == 1) == kind.startswith("high")
    assert model.config.use_stochastic_duration_prediction == (not kind.startswith("plain"))
    assert (model.noise_scale, model.noise_scale_duration, model.speaking_rate) == (0.5, 0.6, 0.8)
    model.noise_scale = model.noise_scale_duration = 0.0
    voice = session(path)
    ids = [1, 0, *range(3, 40), 7, 5, 3, 9, 0, 2]
    speakers = model.config.num_speakers
    names = json.loads((tmp_path / "converted" / "config.json").read_text("utf-8"))["piper"].get("speaker_id_map", {})
    assert names == ({f"speaker {number}": number for number in range(speakers)} if speakers > 1 else {})
    said = []
    for speaker in range(speakers) if speakers > 1 else [None]:
        for speaking_rate in (0.5, 1.0):
            expected = run_onnx(voice, ids, speaking_rate, speaker)
            actual = speak(model, ids, speaking_rate=speaking_rate, speaker_id=speaker)
            assert relative_rms(actual, expected) <= PIPER_AGAINST_ONNXRUNTIME
        said.append(expected)
    for other in said[1:]:
        assert other.shape != said[0].shape or relative_rms(other, said[0]) > 0.01


@pytest.mark.parametrize(
    "settings",
    [
        {"phoneme_type": "PhonemeType.ESPEAK", "language": "en-us", "espeak": "en-us"},
        {"num_symbols": 20, "hop_length": 16, "speaker_id_map": [], "vowel_clusters": []},
        {"phoneme_id_map": {s: n for n, s in enumerate("_^$ abdehilnost.,ˈəɪʊː")}, "num_symbols": None},
    ],
)
def test_json_files_of_all_ages_are_read(small_voice: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    if settings.get("num_symbols") == 20:
        settings = settings | {"num_symbols": len(SETTINGS["phoneme_id_map"])}
    path = changed_copy(small_voice, tmp_path, lambda graph: None, **settings)
    beside = path.with_name("voice.onnx.json")
    content = json.loads(beside.read_text("utf-8"))
    named = tmp_path / "of_2023.json"  # a byte order mark, and another name
    named.write_text(json.dumps({key: content[key] for key in content if key != "phoneme_type"}), "utf-8-sig")
    for file in (beside, named):
        folder = convert(path, tmp_path / f"from {file.name}", config_path=file)
        tokenizer = VitsTokenizer.from_pretrained(folder)
        assert (tokenizer.phonemize, tokenizer.espeak_voice) == (True, "en-us")
        assert tokenizer.encoder == {symbol: ids[0] for symbol, ids in SETTINGS["phoneme_id_map"].items()}


def test_half_precision_by_onnxruntimes_tool_is_read(small_voice: Path, tmp_path: Path) -> None:
    float16 = pytest.importorskip("onnxruntime.transformers.float16")
    path = tmp_path / "voice.onnx"
    onnx.save(float16.convert_float_to_float16(onnx.load(small_voice)), path)
    shutil.copyfile(small_voice.with_name("voice.onnx.json"), tmp_path / "voice.onnx.json")
    exact = load_file(convert(small_voice, tmp_path / "exact") / "model.safetensors")
    folder = convert(path, tmp_path / "half")
    for name, tensor in load_file(folder / "model.safetensors").items():
        torch.testing.assert_close(tensor, exact[name], rtol=2e-3, atol=1e-5)
    assert VitsConfig.from_pretrained(folder).layer_norm_eps == 1e-5


def test_quantised_and_optimised_graphs_are_refused_by_name(small_voice: Path, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    path = tmp_path / "voice.onnx"
    shutil.copyfile(small_voice.with_name("voice.onnx.json"), tmp_path / "voice.onnx.json")
    quantization.quantize_dynamic(small_voice, path)
    with pytest.raises(ValueError, match=r"was quantised \(it has the op \w+\)"):
        convert(path, tmp_path / "converted")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = os.fspath(path)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    onnxruntime.InferenceSession(os.fspath(small_voice), options, providers=["CPUExecutionProvider"])
    with pytest.raises(ValueError, match="was rewritten by an optimiser"):
        convert(path, tmp_path / "converted")
    assert not (tmp_path / "converted").exists()


def test_half_precision_is_read(small_voice: Path, tmp_path: Path) -> None:
    exact = load_file(convert(small_voice, tmp_path / "exact") / "model.safetensors")

    def halve(graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))

    path = changed_copy(small_voice, tmp_path, halve)
    state = load_file(convert(path, tmp_path / "half") / "model.safetensors")
    for name, tensor in exact.items():
        assert state[name].dtype == torch.float32
        torch.testing.assert_close(state[name], tensor, rtol=2e-3, atol=1e-5)
