"""Voices that Piper's own training code exports, and how onnxruntime runs them."""

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from piper.train.vits.models import SynthesizerTrn

from fastvits import VitsModel


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])


def run_onnx(
    voice: onnxruntime.InferenceSession, ids: list[int], speaking_rate: float = 1.0, speaker: int | None = None
) -> np.ndarray:
    """The waveform that onnxruntime makes without noise."""
    feeds: dict[str, Any] = {
        "input": np.array([ids]),
        "input_lengths": np.array([len(ids)]),
        "scales": np.array([0.0, 1.0 / speaking_rate, 0.0], dtype=np.float32),
    }
    if speaker is not None:
        feeds["sid"] = np.array([speaker])
    return voice.run(None, feeds)[0].reshape(-1)


def speak(model: VitsModel, ids: list[int], **arguments: Any) -> np.ndarray:
    with torch.no_grad():
        output = model(torch.tensor([ids]), **arguments)
    assert output.sequence_lengths.tolist() == [output.waveform.shape[1]]
    return output.waveform[0].numpy()


def relative_rms(actual: np.ndarray, expected: np.ndarray) -> float:
    assert actual.shape == expected.shape
    actual, expected = actual.astype(np.float64), expected.astype(np.float64)
    return float(np.sqrt(np.square(actual - expected).mean() / np.square(expected).mean()))


SETTINGS: dict[str, Any] = {
    "audio": {"sample_rate": 16000, "quality": "x_low"},
    "espeak": {"voice": "en-us"},
    "inference": {"noise_scale": 0.5, "length_scale": 1.25, "noise_w": 0.6},
    "phoneme_type": "espeak",
    "phoneme_id_map": {symbol: [number] for number, symbol in enumerate("_^$ abdehilnost.,ˈəɪʊː")},
    "num_symbols": 40,
    "num_speakers": 1,
    "speaker_id_map": {},
}


KINDS: dict[str, dict[str, Any]] = {
    "high quality, speakers": {
        "resblock": "1",
        "upsample_rates": (4, 2, 2),
        "upsample_kernel_sizes": (8, 4, 4),
        "n_speakers": 3,
        "gin_channels": 8,
    },
    "plain durations, speakers": {"use_sdp": False, "n_speakers": 2, "gin_channels": 8},
    "other sizes": {
        "inter_channels": 24,
        "hidden_channels": 32,
        "filter_channels": 48,
        "n_heads": 4,
        "n_layers": 3,
        "kernel_size": 5,
        "resblock_kernel_sizes": (3, 5, 7),
        "resblock_dilation_sizes": ((1, 2, 4), (2, 6, 3), (3, 12, 1)),
        "upsample_initial_channel": 32,
    },
}


def export(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """Builds a small random voice with Piper's training code and exports it the way its export_onnx.py does.

    Both that code and the exporter are written for older torch releases: they warn, and that is no matter of ours.
    """
    arguments = {
        "n_vocab": 40,
        "spec_channels": 65,
        "segment_size": 32,
        "inter_channels": 16,
        "hidden_channels": 16,
        "filter_channels": 32,
        "n_heads": 2,
        "n_layers": 2,
        "kernel_size": 3,
        "p_dropout": 0.1,
        "resblock": "2",
        "resblock_kernel_sizes": (3, 5),
        "resblock_dilation_sizes": ((1, 2, 4), (2, 6, 3)),
        "upsample_rates": (4, 4),
        "upsample_initial_channel": 16,
        "upsample_kernel_sizes": (8, 8),
    } | changes
    with torch.random.fork_rng(devices=[]), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        model = SynthesizerTrn(**arguments).eval()
        model.dec.remove_weight_norm()
        for parameter in model.parameters():  # off its start, so that no part is without effect
            parameter.add_(0.05 * torch.randn_like(parameter))
        model.dec.conv_post.weight.mul_(0.2)

        def forward(
            text: torch.Tensor, lengths: torch.Tensor, scales: torch.Tensor, sid: torch.Tensor | None = None
        ) -> torch.Tensor:
            audio = model.infer(
                text, lengths, sid=sid, noise_scale=scales[0], length_scale=scales[1], noise_scale_w=scales[2]
            )[0]
            return audio.unsqueeze(1)

        model.forward = forward
        speakers = arguments.get("n_speakers", 1)
        path = folder / "voice.onnx"
        torch.onnx.export(  # the exporter that Piper's voices were made with, not torch's later one
            model,
            (
                torch.arange(1, 31)[None],
                torch.tensor([30]),
                torch.tensor([0.667, 1.0, 0.8]),
                torch.tensor([0]) if speakers > 1 else None,
            ),
            os.fspath(path),
            opset_version=15,
            input_names=["input", "input_lengths", "scales", "sid"],
            output_names=["output"],
            dynamic_axes={
                "input": {0: "batch_size", 1: "phonemes"},
                "input_lengths": {0: "batch_size"},
                "output": {0: "batch_size", 2: "time"},
            },
            dynamo=False,
        )
    settings = SETTINGS | {"num_speakers": speakers}
    if speakers > 1:
        settings["speaker_id_map"] = {f"speaker {number}": number for number in range(speakers)}
    path.with_name("voice.onnx.json").write_text(json.dumps(settings), encoding="utf-8")
    return path


def changed_copy(voice: Path, folder: Path, change: Callable[[onnx.GraphProto], None], **settings: Any) -> Path:
    """A copy of a voice with a changed graph, and JSON."""
    model = onnx.load(voice)
    change(model.graph)
    path = folder / "voice.onnx"
    onnx.save(model, path)
    json_settings = json.loads(voice.with_name("voice.onnx.json").read_text("utf-8")) | settings
    path.with_name("voice.onnx.json").write_text(json.dumps(json_settings), encoding="utf-8")
    return path


def add_tensor(name: str, *shape: int) -> Callable[[onnx.GraphProto], None]:
    return lambda graph: graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
