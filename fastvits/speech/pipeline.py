"""From text to audio in one call: tokenizer, model and device put together."""

import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex, TypedDict, overload

import numpy
import torch

from ..models.inputs import to_device
from ..models.output import VitsModelOutput
from ..models.vits import VitsModel
from ..text.batch_encoding import BatchEncoding
from ..text.tokenization import VitsTokenizer
from ..weights.loading import resolve_dtype, usable_device

if TYPE_CHECKING:
    from .long_form import SpokenSentence

__all__ = ["AudioOutput", "TextToAudioPipeline", "pipeline", "resolve_device"]

TASKS = ("text-to-speech", "text-to-audio")
"""Names of the one task there is."""

SpeakerId = int | Sequence[int] | torch.Tensor
Number = float | Sequence[float] | torch.Tensor
DeviceLike = int | str | torch.device

CONTROLS = ("speaker_id", "speaker_embedding", "speaking_rate", "noise_scale", "noise_scale_duration", "seed")
"""What a call may set for each text."""
# What the pipeline itself decides about a call of the tokenizer.
_OWN_TOKENIZER_ARGUMENTS = ("text", "text_pair", "padding", "return_tensors", "return_attention_mask")


class _Audio(TypedDict):
    audio: numpy.ndarray
    sampling_rate: int


class AudioOutput(_Audio, total=False):
    """What one text becomes.

    Keys:
        audio: float32 samples in [-1, 1], shape `[T_samples]`.
        sampling_rate: samples a second.
        timestamps: with `return_timestamps`, when each token, character and word of the text is heard, as
            `fastvits.timestamps` tells it.
    """

    timestamps: list[Any]


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
            speaker_id: the voice of a multi-speaker model: one for all texts, or one for each.
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
            "speaker_id": speaker_id,
            "speaker_embedding": speaker_embedding,
            "speaking_rate": speaking_rate,
            "noise_scale": noise_scale,
            "noise_scale_duration": noise_scale_duration,
            "seed": seed,
        }
        settings = _forward_settings(keywords, forward_params)
        size = self.batch_size if batch_size is None else _checked_batch_size(batch_size)
        texts = [text_inputs] if isinstance(text_inputs, str) else text_inputs
        if not isinstance(texts, list | tuple):
            raise TypeError(f"text_inputs must be a str or a list of str, not {type(text_inputs).__name__}")
        tokenizer_arguments = _tokenizer_arguments(preprocess_params)
        encodings = [self.encode(text, **tokenizer_arguments) for text in texts]
        for_each = {name: one_a_text(name, value, len(encodings)) for name, value in settings.items()}
        outputs: list[AudioOutput] = []
        for start in range(0, len(encodings), size):
            chunk = slice(start, start + size)
            controls = {name: value[chunk] for name, value in for_each.items()}
            for encoding, (audio, output) in zip(
                encodings[chunk], self.synthesise(encodings[chunk], controls), strict=True
            ):
                result = AudioOutput(audio=audio, sampling_rate=self.sampling_rate)
                if return_timestamps:
                    result["timestamps"] = self.timestamps(encoding, output)
                outputs.append(result)
        return outputs[0] if isinstance(text_inputs, str) else outputs

    def sentences(self, text: str, **options: Any) -> "Iterator[SpokenSentence]":
        """Speak a text of any length by sentences; `fastvits.speech.long_form.speak_sentences` has the options."""
        from .long_form import speak_sentences

        return speak_sentences(self, text, **options)

    def stream(self, text: str, **options: Any) -> Iterator[numpy.ndarray]:
        """Speak a text of any length piece by piece, the first one as early as the network allows.

        The pieces are float32 arrays `[n]` to be played one after another, pauses included; see
        `fastvits.speech.long_form.stream_speech` for the options.
        """
        from .long_form import stream_speech

        return stream_speech(self, text, **options)

    def encode(self, text: str, **tokenizer_arguments: Any) -> BatchEncoding:
        """The encoding of one text, `[1, T_text]`; refuses a text that nothing can be heard of by ValueError."""
        if not isinstance(text, str):
            raise TypeError(f"text_inputs must be a str or a list of str, but holds {type(text).__name__}")
        if not text.strip():
            raise ValueError("text is empty, so that there is nothing to say")
        encoding = self.tokenizer([text], return_tensors="pt", **tokenizer_arguments)
        if not self.says_something(encoding):
            raise ValueError(f"text {_shortened(text)!r} has no character that this voice can say")
        return encoding

    def says_something(self, encoding: BatchEncoding) -> bool:
        """Whether an encoding holds more than blanks, padding, marks of beginning and end, and what is unknown."""
        tokenizer = self.tokenizer
        silent = {tokenizer.pad_token_id, tokenizer.unk_token_id}
        if tokenizer.frontend == "piper":
            silent |= {tokenizer.bos_token_id, tokenizer.eos_token_id}
        elif tokenizer.add_blank:
            silent.add(0)
        return any(number not in silent for number in encoding["input_ids"].flatten().tolist())

    def synthesise(
        self, encodings: Sequence[BatchEncoding], controls: Mapping[str, Sequence[Any]]
    ) -> Iterator[tuple[numpy.ndarray, VitsModelOutput]]:
        """Run the model once over encodings of one text each, with controls for each.

        Yields for each text its samples (float32, `[T_samples]`) and what the model tells of it: `sequence_lengths`
        `[1]` and `durations` `[1, T_text]`.
        """
        ids = [encoding["input_ids"][0].tolist() for encoding in encodings]
        batch = self.tokenizer.pad({"input_ids": ids}, padding=True, padding_side="right", return_tensors="pt")
        with torch.no_grad():
            output = self.model(
                input_ids=to_device(batch["input_ids"], self.device),
                attention_mask=to_device(batch["attention_mask"], self.device),
                return_dict=True,
                **batch_controls(controls),
            )
        waveforms = output.waveform.to(device="cpu", dtype=torch.float32).numpy()
        lengths, durations = output.sequence_lengths.cpu(), output.durations.cpu()
        for row, (waveform, tokens) in enumerate(zip(waveforms, ids, strict=True)):
            one = VitsModelOutput(
                sequence_lengths=lengths[row : row + 1], durations=durations[row : row + 1, : len(tokens)]
            )
            # A copy, so that one item kept does not keep its whole batch.
            yield waveform[: int(lengths[row])].copy(), one

    def timestamps(self, encoding: BatchEncoding, output: VitsModelOutput) -> list[Any]:
        """When the tokens, characters and words of one text are heard; see `fastvits.timestamps`."""
        from .timestamps import timestamps

        return list(timestamps(self.tokenizer, encoding, output, sampling_rate=self.sampling_rate)[0])


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
        if name not in CONTROLS:
            raise TypeError(f"unknown parameter {name!r} in forward_params: allowed are {', '.join(CONTROLS)}")
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


def one_a_text(name: str, value: Any, count: int) -> list[Any]:
    """Return a parameter of the model as one value a text (the model checks the values themselves)."""
    if isinstance(value, torch.Tensor):
        value = list(value) if name == "speaker_embedding" and value.dim() == 2 else value.tolist()
    values = list(value) if isinstance(value, list | tuple) else [value]
    if len(values) == 1:
        return values * count
    if len(values) != count:
        raise ValueError(f"{name} must be one for all texts or one a text ({count}), got {len(values)}")
    return values


def batch_controls(controls: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The keywords of the model's call from values one a text, those of speaker embeddings as one tensor."""
    keywords: dict[str, Any] = {name: list(values) for name, values in controls.items()}
    embeddings = keywords.get("speaker_embedding")
    if embeddings is not None and all(isinstance(row, torch.Tensor) for row in embeddings):
        keywords["speaker_embedding"] = torch.stack(embeddings)
    return keywords


def _shortened(text: str, limit: int = 60) -> str:
    """Return a text as an error message quotes it."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
