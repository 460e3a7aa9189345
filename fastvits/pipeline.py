"""From text to audio in one call: tokenizer, model and device put together."""

import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, SupportsIndex, TypedDict, overload

import numpy
import torch

from fastvits.checkpoint import resolve_dtype, usable_device
from fastvits.model import VitsModel
from fastvits.tokenization import VitsTokenizer

__all__ = ["AudioOutput", "TextToAudioPipeline", "pipeline", "resolve_device"]

TASKS = ("text-to-speech", "text-to-audio")
"""Names of the one task there is."""

SpeakerId = int | Sequence[int] | torch.Tensor
SpeakingRate = float | Sequence[float] | torch.Tensor
DeviceLike = int | str | torch.device

_FORWARD_PARAMETERS = ("speaker_id", "speaking_rate")
# What the pipeline itself decides about a call of the tokenizer.
_OWN_TOKENIZER_ARGUMENTS = ("text", "text_pair", "padding", "return_tensors", "return_attention_mask")


class AudioOutput(TypedDict):
    """What one text becomes.

    Keys:
        audio: float32 samples in [-1, 1], shape `[T_samples]`.
        sampling_rate: samples a second.
    """

    audio: numpy.ndarray
    sampling_rate: int


def resolve_device(device: DeviceLike | None) -> torch.device:
    """Return the device meant by an index, a name, a `torch.device` or None, and make sure that it is there.

    An index from 0 counts CUDA devices, -1 is the CPU. None is the first CUDA device where there is one, else the CPU.

    Raises:
        TypeError: none of these.
        ValueError: a name of no device, or a device that this machine or this build of torch does not have.
    """
    if device is None:
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    if isinstance(device, int) and device == -1:
        return torch.device("cpu")
    return usable_device(
        device, "device", "give None, a torch.device, its name, the index of a CUDA device, or -1 for the CPU"
    )


class TextToAudioPipeline:
    """Synthesises texts with one model; `pipeline` makes it.

    Attributes:
        task: "text-to-speech" or "text-to-audio", which mean the same.
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
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.batch_size = _checked_batch_size(batch_size)
        self.sampling_rate = int(model.config.sampling_rate)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in."""
        return self.model.dtype

    def __repr__(self) -> str:
        return f"{type(self).__name__}(task={self.task!r}, device='{self.device}', dtype={self.dtype})"

    @overload
    def __call__(
        self,
        text_inputs: str,
        *,
        speaker_id: SpeakerId | None = None,
        speaking_rate: SpeakingRate | None = None,
        batch_size: SupportsIndex | None = None,
        forward_params: Mapping[str, Any] | None = None,
        preprocess_params: Mapping[str, Any] | None = None,
    ) -> AudioOutput: ...

    @overload
    def __call__(
        self,
        text_inputs: list[str] | tuple[str, ...],
        *,
        speaker_id: SpeakerId | None = None,
        speaking_rate: SpeakingRate | None = None,
        batch_size: SupportsIndex | None = None,
        forward_params: Mapping[str, Any] | None = None,
        preprocess_params: Mapping[str, Any] | None = None,
    ) -> list[AudioOutput]: ...

    def __call__(
        self,
        text_inputs: str | list[str] | tuple[str, ...],
        *,
        speaker_id: SpeakerId | None = None,
        speaking_rate: SpeakingRate | None = None,
        batch_size: SupportsIndex | None = None,
        forward_params: Mapping[str, Any] | None = None,
        preprocess_params: Mapping[str, Any] | None = None,
    ) -> AudioOutput | list[AudioOutput]:
        """Synthesise one text, or each of several.

        Every text is tokenized and checked before the first is synthesised.

        Args:
            text_inputs: a text, or a list or tuple of texts.
            speaker_id: the voice of a multi-speaker model: one for all texts, or one for each.
            speaking_rate: above 1 is faster: one for all texts, or one for each; the model's own where None.
            batch_size: how many texts go through the model at a time, in the order given; the pipeline's own where
                None. At 1, each text draws its random numbers as it would alone.
            forward_params: `speaker_id` and `speaking_rate` in a dictionary instead.
            preprocess_params: further arguments of the tokenizer's call, such as `truncation` and `max_length`.

        Returns:
            For a text, its `AudioOutput`; for a list, a list of them, each cut to its own length.

        Raises:
            TypeError: a text that is no str, an unknown parameter, or one given twice.
            ValueError: a text that is empty or that has no character this voice can say.
        """
        settings = _forward_settings({"speaker_id": speaker_id, "speaking_rate": speaking_rate}, forward_params)
        size = self.batch_size if batch_size is None else _checked_batch_size(batch_size)
        texts = [text_inputs] if isinstance(text_inputs, str) else text_inputs
        if not isinstance(texts, list | tuple):
            raise TypeError(f"text_inputs must be a str or a list of str, not {type(text_inputs).__name__}")
        tokenizer_arguments = _tokenizer_arguments(preprocess_params)
        ids = [self._encode(text, tokenizer_arguments) for text in texts]
        for_each = {name: _one_a_text(name, value, len(ids)) for name, value in settings.items()}
        outputs: list[AudioOutput] = []
        for start in range(0, len(ids), size):
            chunk = slice(start, start + size)
            outputs.extend(self._synthesise(ids[chunk], {name: value[chunk] for name, value in for_each.items()}))
        return outputs[0] if isinstance(text_inputs, str) else outputs

    def _encode(self, text: str, tokenizer_arguments: Mapping[str, Any]) -> list[int]:
        """Return the ids of one text, and refuse a text that nothing can be heard of."""
        if not isinstance(text, str):
            raise TypeError(f"text_inputs must be a str or a list of str, but holds {type(text).__name__}")
        if not text.strip():
            raise ValueError("text is empty, so that there is nothing to say")
        ids = list(self.tokenizer(text, **tokenizer_arguments)["input_ids"])
        if not self._says_something(ids):
            raise ValueError(f"text {_shortened(text)!r} has no character that this voice can say")
        return ids

    def _says_something(self, ids: Sequence[int]) -> bool:
        """Tell whether ids hold more than blanks, padding, marks of beginning and end, and what is unknown."""
        tokenizer = self.tokenizer
        silent = {tokenizer.pad_token_id, tokenizer.unk_token_id}
        if tokenizer.frontend == "piper":
            silent |= {tokenizer.bos_token_id, tokenizer.eos_token_id}
        elif tokenizer.add_blank:
            silent.add(0)
        return any(number not in silent for number in ids)

    def _synthesise(self, ids: Sequence[list[int]], settings: Mapping[str, Any]) -> Iterable[AudioOutput]:
        """Run the model once over a batch of ids and cut its waveforms to their lengths."""
        batch = self.tokenizer.pad({"input_ids": list(ids)}, padding=True, return_tensors="pt")
        with torch.no_grad():
            output = self.model(
                input_ids=batch["input_ids"].to(self.device),
                attention_mask=batch["attention_mask"].to(self.device),
                return_dict=True,
                **settings,
            )
        waveforms = output.waveform.to(device="cpu", dtype=torch.float32).numpy()
        for waveform, length in zip(waveforms, output.sequence_lengths.tolist(), strict=True):
            # A copy, so that one item kept does not keep its whole batch.
            yield AudioOutput(audio=waveform[: int(length)].copy(), sampling_rate=self.sampling_rate)


def pipeline(
    task: str = TASKS[0],
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

    Args:
        task: "text-to-speech" or "text-to-audio", which mean the same.
        model: a folder, a hub id, or a `VitsModel`. One that is loaded here is loaded for inference: without the
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
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}: use 'text-to-speech' or 'text-to-audio'")
    if model is None:
        raise ValueError("model is missing: name a folder or a hub id, or give a VitsModel")
    if not isinstance(model, str | os.PathLike | VitsModel):
        raise TypeError(f"model must be a folder, a hub id or a VitsModel, not {type(model).__name__}")
    if tokenizer is not None and not isinstance(tokenizer, str | os.PathLike | VitsTokenizer):
        raise TypeError(f"tokenizer must be a folder, a hub id or a VitsTokenizer, not {type(tokenizer).__name__}")
    if tokenizer is None and isinstance(model, VitsModel):
        raise ValueError("tokenizer is missing: a VitsModel does not tell which one it was trained with")
    batch_size = _checked_batch_size(batch_size)
    wanted_dtype = resolve_dtype(dtype)
    wanted_device = resolve_device(device)
    location: dict[str, Any] = {
        "revision": revision,
        "subfolder": subfolder,
        "cache_dir": cache_dir,
        "local_files_only": local_files_only,
        "token": token,
    }
    if not isinstance(tokenizer, VitsTokenizer):
        source = model if tokenizer is None else tokenizer
        assert not isinstance(source, VitsModel)
        tokenizer = VitsTokenizer.from_pretrained(source, **location)
    if isinstance(model, VitsModel):
        model = model.to(device=wanted_device, dtype=wanted_dtype)
    else:
        model = VitsModel.from_pretrained(
            model, dtype=wanted_dtype, device_map=wanted_device, inference_only=True, **location
        )
    return TextToAudioPipeline(model, tokenizer, task=task, batch_size=batch_size)


def _checked_batch_size(batch_size: SupportsIndex) -> int:
    try:
        size = operator.index(batch_size)
    except TypeError:
        raise TypeError(f"batch_size must be a whole number, not {type(batch_size).__name__}") from None
    if size < 1:
        raise ValueError(f"batch_size must be at least 1, not {size}")
    return size


def _forward_settings(keywords: Mapping[str, Any], forward_params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Merge the keywords of a call with its dictionary of the same parameters."""
    settings = {name: value for name, value in keywords.items() if value is not None}
    for name, value in (forward_params or {}).items():
        if name not in _FORWARD_PARAMETERS:
            raise TypeError(f"unknown parameter {name!r} in forward_params: use {' and '.join(_FORWARD_PARAMETERS)}")
        if name in settings:
            raise TypeError(f"{name} is given twice, as a keyword and in forward_params")
        if value is not None:
            settings[name] = value
    return settings


def _tokenizer_arguments(preprocess_params: Mapping[str, Any] | None) -> dict[str, Any]:
    arguments = dict(preprocess_params or {})
    for name in _OWN_TOKENIZER_ARGUMENTS:
        if name in arguments:
            raise TypeError(f"{name} in preprocess_params is the pipeline's own to set")
    return arguments


def _one_a_text(name: str, value: Any, count: int) -> list[Any]:
    """Return a parameter of the model as one value a text (the model checks the values themselves)."""
    if isinstance(value, torch.Tensor):
        value = value.tolist()
    values = list(value) if isinstance(value, list | tuple) else [value]
    if len(values) == 1:
        return values * count
    if len(values) != count:
        raise ValueError(f"{name} must be one for all texts or one a text ({count}), got {len(values)}")
    return values


def _shortened(text: str, limit: int = 60) -> str:
    """Return a text as an error message quotes it."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
