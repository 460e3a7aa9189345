"""From text to audio in one call: tokenizer, model and device put together."""

import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, SupportsIndex, TypedDict, overload

import numpy as np
import torch

from ..models.vits import VitsModel
from ..text.batch_encoding import BatchEncoding
from ..text.tokenization import VitsTokenizer
from ..voices.folders import DEFAULT_VOICE
from .controls import merged_controls, one_a_text
from .loading import DeviceLike, resolve_device
from .long_form import SpokenSentence
from .speaker import Speaker
from .timestamps import TimeSpan

__all__ = ["AudioOutput", "TextToAudioPipeline", "pipeline", "resolve_device"]

TASKS = ("text-to-speech", "text-to-audio")
"""Names of the one task there is."""

SpeakerId = int | Sequence[int] | torch.Tensor
Number = float | Sequence[float] | torch.Tensor

# What the pipeline itself decides about a call of the tokenizer.
_OWN_TOKENIZER_ARGUMENTS = ("text", "text_pair", "padding", "return_tensors", "return_attention_mask")


class _Audio(TypedDict):
    audio: np.ndarray
    sampling_rate: int


class AudioOutput(_Audio, total=False):
    """What one text becomes.

    Keys:
        audio: float32 samples in [-1, 1], shape `[T_samples]`.
        sampling_rate: samples a second.
        timestamps: with `return_timestamps`, when each token, character and word of the text is heard, as
            `fastvits.timestamps` tells it.
    """

    timestamps: list[TimeSpan]


class TextToAudioPipeline:
    """Synthesises texts with one model; `pipeline` makes it.

    Attributes:
        task: "text-to-speech" or "text-to-audio", which mean the same.
        speaker: the `Speaker` that does the work.
        model: the `VitsModel`, in eval mode. Its `speaking_rate`, `noise_scale` and `noise_scale_duration` are read at
            each call.
        tokenizer: the `VitsTokenizer`.
        batch_size: how many texts of a list go through the model at a time where a call does not say.
        sampling_rate: samples a second.
    """

    def __init__(
        self, model: VitsModel, tokenizer: VitsTokenizer, *, task: str = TASKS[0], batch_size: SupportsIndex = 1
    ) -> None:
        self.task = task
        self.speaker = Speaker.of(model, tokenizer)
        self.batch_size = _checked_batch_size(batch_size)

    @property
    def model(self) -> VitsModel:
        """The `VitsModel`, in eval mode."""
        return self.speaker.model

    @model.setter
    def model(self, model: VitsModel) -> None:
        self.speaker.model = model

    @property
    def tokenizer(self) -> VitsTokenizer:
        """The `VitsTokenizer`."""
        return self.speaker.tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: VitsTokenizer) -> None:
        self.speaker.tokenizer = tokenizer

    @property
    def sampling_rate(self) -> int:
        """Samples a second."""
        return self.speaker.sampling_rate

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.speaker.device

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in."""
        return self.speaker.dtype

    def __repr__(self) -> str:
        return f"{type(self).__name__}(task={self.task!r}, device='{self.device}', dtype={self.dtype})"

    @overload
    def __call__(
        self,
        text_inputs: str,
        *,
        speaker: int | str | Sequence[int | str] | None = None,
        speaker_id: SpeakerId | None = None,
        speaker_embedding: torch.Tensor | None = None,
        speaking_rate: Number | None = None,
        noise_scale: Number | None = None,
        noise_scale_duration: Number | None = None,
        seed: int | Sequence[int] | None = None,
        return_timestamps: bool = False,
        batch_size: SupportsIndex | None = None,
        forward_params: Mapping[str, Any] | None = None,
        preprocess_params: Mapping[str, Any] | None = None,
    ) -> AudioOutput: ...

    @overload
    def __call__(
        self,
        text_inputs: list[str] | tuple[str, ...],
        *,
        speaker: int | str | Sequence[int | str] | None = None,
        speaker_id: SpeakerId | None = None,
        speaker_embedding: torch.Tensor | None = None,
        speaking_rate: Number | None = None,
        noise_scale: Number | None = None,
        noise_scale_duration: Number | None = None,
        seed: int | Sequence[int] | None = None,
        return_timestamps: bool = False,
        batch_size: SupportsIndex | None = None,
        forward_params: Mapping[str, Any] | None = None,
        preprocess_params: Mapping[str, Any] | None = None,
    ) -> list[AudioOutput]: ...

    def __call__(
        self,
        text_inputs: str | list[str] | tuple[str, ...],
        *,
        speaker: int | str | Sequence[int | str] | None = None,
        speaker_id: SpeakerId | None = None,
        speaker_embedding: torch.Tensor | None = None,
        speaking_rate: Number | None = None,
        noise_scale: Number | None = None,
        noise_scale_duration: Number | None = None,
        seed: int | Sequence[int] | None = None,
        return_timestamps: bool = False,
        batch_size: SupportsIndex | None = None,
        forward_params: Mapping[str, Any] | None = None,
        preprocess_params: Mapping[str, Any] | None = None,
    ) -> AudioOutput | list[AudioOutput]:
        """Synthesise one text, or each of several, each in one go (`sentences` and `stream` go through long texts).

        Every text is tokenized and checked before the first is synthesised.

        Args:
            text_inputs: a text, or a list or tuple of texts.
            speaker: the voice of a multi-speaker model, by number or, where the voice names its speakers, by name: one
                for all texts, or one for each. Without any, a Piper voice speaks as its default speaker; any other
                refuses.
            speaker_id: the same by number, as the model takes it.
            speaker_embedding: floats `[1, speaker_embedding_size]` or one row for each text, instead of `speaker_id`: a
                voice that may be a mixture.
            speaking_rate: above 1 is faster: one for all texts, or one for each; the model's own where None.
            noise_scale, noise_scale_duration: variation of the sound and of the rhythm, likewise.
            seed: a whole number below 2**63 for all texts, or one for each: what a text sounds like then depends on its
                seed alone, not on the others or the batch. None draws from torch's global generators, text after text.
            return_timestamps: add `timestamps` to each output.
            batch_size: how many texts go through the model at a time, in the order given; the pipeline's own where
                None. At 1, each text draws its random numbers as it would alone.
            forward_params: any of the controls above in a dictionary instead.
            preprocess_params: further arguments of the tokenizer's call, such as `truncation` and `max_length`.

        Returns:
            For a text, its `AudioOutput`; for a list, a list of them, each cut to its own length.

        Raises:
            TypeError: a text that is no str, an unknown parameter, or one given twice.
            ValueError: a text that is empty or that has no character this voice can say, or a control out of range.
        """
        keywords = {
            "speaker": speaker,
            "speaker_id": speaker_id,
            "speaker_embedding": speaker_embedding,
            "speaking_rate": speaking_rate,
            "noise_scale": noise_scale,
            "noise_scale_duration": noise_scale_duration,
            "seed": seed,
        }
        settings = merged_controls(keywords, forward_params)
        size = self.batch_size if batch_size is None else _checked_batch_size(batch_size)
        texts = [text_inputs] if isinstance(text_inputs, str) else text_inputs
        if not isinstance(texts, list | tuple):
            raise TypeError(f"text_inputs must be a str or a list of str, not {type(text_inputs).__name__}")
        tokenizer_arguments = _tokenizer_arguments(preprocess_params)
        encodings = [self.speaker.encode(text, **tokenizer_arguments) for text in texts]
        for_each = {name: one_a_text(name, value, len(encodings)) for name, value in settings.items()}
        outputs: list[AudioOutput] = []
        for start in range(0, len(encodings), size):
            chunk = slice(start, start + size)
            controls = {name: value[chunk] for name, value in for_each.items()}
            for speech in self.speaker.synthesize(encodings[chunk], **controls):
                result = AudioOutput(audio=speech.audio, sampling_rate=self.sampling_rate)
                if return_timestamps:
                    result["timestamps"] = speech.timestamps()
                outputs.append(result)
        return outputs[0] if isinstance(text_inputs, str) else outputs

    def encode(self, text: str, **tokenizer_arguments: Any) -> BatchEncoding:
        """The encoding of one text, `[1, T_text]`; see `Speaker.encode`."""
        return self.speaker.encode(text, **tokenizer_arguments)

    def sentences(self, text: str, **options: Any) -> Iterator[SpokenSentence]:
        """Speak a text of any length by sentences; `fastvits.speech.long_form.speak_sentences` has the options."""
        return self.speaker.sentences(text, **options)

    def stream(self, text: str, **options: Any) -> Iterator[np.ndarray]:
        """Speak a text of any length piece by piece, the first one as early as the network allows.

        The pieces are float32 arrays `[n]` to be played one after another, pauses included; see
        `fastvits.speech.long_form.stream_speech` for the options.
        """
        return self.speaker.stream(text, **options)


def pipeline(
    task: str | None = None,
    model: str | os.PathLike[str] | VitsModel | None = None,
    *,
    tokenizer: str | os.PathLike[str] | VitsTokenizer | None = None,
    dtype: str | torch.dtype | None = "auto",
    device: DeviceLike | None = None,
    batch_size: SupportsIndex = 1,
    revision: str | None = None,
    subfolder: str = "",
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> TextToAudioPipeline:
    """Make a `TextToAudioPipeline`: `pipeline("text-to-speech", model="facebook/mms-tts-eng")("Hello")["audio"]`.

    `pipeline()` alone speaks with the bundled English voice.

    Args:
        task: "text-to-speech" or "text-to-audio", which mean the same, as None does. A program that names its task
            names its model too.
        model: a folder, a hub id, a Piper voice's `.onnx` file, the name of a voice at hand such as
            "en_US-joe-medium", or a `VitsModel`. One that is loaded here is loaded for inference: without the
            modules that only training uses. A model that is given is moved as `device` and `dtype` say.
        tokenizer: a folder, a hub id, or a `VitsTokenizer`; where None, the one beside the model.
        dtype: a torch dtype, its name, or "auto" or None for the checkpoint's.
        device: the index of a CUDA device, -1 for the CPU, a name, a `torch.device`, or None for the first CUDA device
            where there is one, else the CPU.
        batch_size: how many texts of a list go through the model at a time.
        revision, subfolder, cache_dir, local_files_only, token: where the files are, as in `VitsModel.from_pretrained`.

    Raises:
        TypeError: an argument of the wrong type, or an unknown one.
        ValueError: an unknown task, dtype or device, or no telling which model or tokenizer is meant.
        OSError: files that are missing or cannot be read.
    """
    if task is not None and task not in TASKS:
        raise ValueError(f"unknown task {task!r}: use 'text-to-speech' or 'text-to-audio'")
    if model is None and task is not None:
        raise ValueError(
            "model is missing: name a folder, a hub id or a .onnx file, or give a VitsModel "
            "(`pipeline()` alone speaks with the bundled voice)"
        )
    batch_size = _checked_batch_size(batch_size)
    speaker = Speaker(
        DEFAULT_VOICE if model is None else model,
        tokenizer,
        dtype=dtype,
        device=device,
        revision=revision,
        subfolder=subfolder,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        token=token,
    )
    return TextToAudioPipeline(
        speaker.model, speaker.tokenizer, task=TASKS[0] if task is None else task, batch_size=batch_size
    )


def _checked_batch_size(batch_size: SupportsIndex) -> int:
    try:
        size = operator.index(batch_size)
    except TypeError:
        raise TypeError(f"batch_size must be a whole number, not {type(batch_size).__name__}") from None
    if size < 1:
        raise ValueError(f"batch_size must be at least 1, not {size}")
    return size


def _tokenizer_arguments(preprocess_params: Mapping[str, Any] | None) -> dict[str, Any]:
    arguments = dict(preprocess_params or {})
    for name in _OWN_TOKENIZER_ARGUMENTS:
        if name in arguments:
            raise TypeError(f"{name} in preprocess_params is the pipeline's own to set")
    return arguments
