"""The pipeline of transformers on a `Speaker`: texts in, audio out, one, many, or as they come."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, SupportsIndex, TypedDict, overload

import numpy as np
import torch

from ..models.vits import VitsModel
from ..text.batch_encoding import BatchEncoding
from .controls import SPEAKER_CONTROLS, merged_controls, one_a_text
from .long_form import SpokenSentence
from .pipeline_arguments import check_batch_size, check_num_workers
from .speaker import Speaker
from .timestamps import TimeSpan

__all__ = ["TASKS", "AudioOutput", "TextToAudioPipeline", "check_generates_nothing"]

TASKS = ("text-to-speech", "text-to-audio")
"""Names of the one task there is."""

SpeakerId = int | Sequence[int] | torch.Tensor
Number = float | Sequence[float] | torch.Tensor
Texts = list[str] | tuple[str, ...]

# What the pipeline itself decides about a call of the tokenizer.
_OWN_TOKENIZER_ARGUMENTS = ("text", "text_pair", "padding", "return_tensors", "return_attention_mask")
_STEPS = ("preprocess", "forward", "postprocess")


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

    A subclass may override `preprocess`, `forward` and `postprocess`: texts then go through these, one by one.

    Args:
        model: the `VitsModel`; it is put into eval mode.
        tokenizer: the `VitsTokenizer`, or transformers' own. (Timestamps need ours.)
        task: "text-to-speech" or "text-to-audio", which mean the same.
        batch_size: how many texts of a list go through the model at a time where a call does not say.
        num_workers: accepted and not used: texts are tokenized where the model is.
        feature_extractor: kept, and saved with the rest; VITS has none.
        sampling_rate: what outputs tell, where the model's own is not wanted.
        forward_params, preprocess_params: what calls take where they do not say.

    Attributes:
        task, model, tokenizer, feature_extractor, sampling_rate: see above. The model's `speaking_rate`, `noise_scale`
            and `noise_scale_duration` are read at each call.
        speaker: the `Speaker` that does the work.
    """

    framework = "pt"
    processor = image_processor = vocoder = None

    def __init__(
        self,
        model: VitsModel,
        tokenizer: Any,
        *,
        task: str = TASKS[0],
        batch_size: SupportsIndex = 1,
        num_workers: SupportsIndex | None = None,
        feature_extractor: Any = None,
        sampling_rate: int | None = None,
        forward_params: Mapping[str, Any] | None = None,
        preprocess_params: Mapping[str, Any] | None = None,
    ) -> None:
        self.task = task
        self.speaker = Speaker.of(model, tokenizer)
        self.batch_size = check_batch_size(batch_size)
        self.num_workers = check_num_workers(num_workers)
        self.feature_extractor = feature_extractor
        self.sampling_rate = self.speaker.sampling_rate if sampling_rate is None else int(sampling_rate)
        self._forward_params = merged_controls({}, forward_params)
        self._preprocess_params = _tokenizer_arguments(preprocess_params)

    @property
    def model(self) -> VitsModel:
        """The `VitsModel`, in eval mode."""
        return self.speaker.model

    @model.setter
    def model(self, model: VitsModel) -> None:
        self.speaker.model = model

    @property
    def tokenizer(self) -> Any:
        """The tokenizer."""
        return self.speaker.tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        self.speaker.tokenizer = tokenizer

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.speaker.device

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in."""
        return self.speaker.dtype

    @property
    def torch_dtype(self) -> torch.dtype:
        """The older name of `dtype`."""
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
        num_workers: SupportsIndex | None = None,
        forward_params: Mapping[str, Any] | None = None,
        preprocess_params: Mapping[str, Any] | None = None,
        generate_kwargs: Mapping[str, Any] | None = None,
    ) -> AudioOutput: ...

    @overload
    def __call__(
        self,
        text_inputs: Texts,
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
        num_workers: SupportsIndex | None = None,
        forward_params: Mapping[str, Any] | None = None,
        preprocess_params: Mapping[str, Any] | None = None,
        generate_kwargs: Mapping[str, Any] | None = None,
    ) -> list[AudioOutput]: ...

    @overload
    def __call__(self, text_inputs: Any, **controls: Any) -> Any: ...

    def __call__(
        self,
        text_inputs: str | Texts | Iterable[str],
        *,
        return_timestamps: bool = False,
        batch_size: SupportsIndex | None = None,
        num_workers: SupportsIndex | None = None,
        forward_params: Mapping[str, Any] | None = None,
        preprocess_params: Mapping[str, Any] | None = None,
        generate_kwargs: Mapping[str, Any] | None = None,
        **controls: Any,
    ) -> AudioOutput | list[AudioOutput] | Iterator[AudioOutput]:
        """Synthesise one text, or each of several, each in one go (`sentences` and `stream` go through long texts).

        Every text of a list is tokenized and checked before the first is synthesized. A generator, any other iterator
        and a dataset of torch are gone through as their outputs are asked for, `batch_size` texts at a time.

        Args:
            text_inputs: a text; a list or tuple of texts, or another sequence of them, such as a dataset's column; or a
                generator or a dataset of torch that gives texts.
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
            num_workers: accepted and not used.
            forward_params: any of the controls above in a dictionary instead.
            preprocess_params: further arguments of the tokenizer's call, such as `truncation` and `max_length`.
            generate_kwargs: refused unless empty: VITS generates no tokens.

        Returns:
            For a text, its `AudioOutput`; for a list, tuple or other sequence, a list of them, each cut to its own
            length; for a generator or a dataset, an iterator of them.

        Raises:
            TypeError: a text that is no str, an unknown parameter, or one given twice.
            ValueError: a text that is empty or that has no character this voice can say, or a control out of range.
        """
        check_generates_nothing(generate_kwargs)
        check_num_workers(num_workers)
        settings = merged_controls(controls, forward_params)
        chosen = any(name in settings for name in SPEAKER_CONTROLS)
        for name, value in self._forward_params.items():
            if not (chosen and name in SPEAKER_CONTROLS):
                settings.setdefault(name, value)
        size = self.batch_size if batch_size is None else check_batch_size(batch_size)
        arguments = {**self._preprocess_params, **_tokenizer_arguments(preprocess_params)}
        if isinstance(text_inputs, str):
            return next(self._spoken([text_inputs], settings, size, arguments, return_timestamps))
        if _is_lazy(text_inputs):
            return self._spoken_lazily(iter(text_inputs), settings, size, arguments, return_timestamps)
        texts = _listed(text_inputs)
        _draw_as_a_loader(settings)
        return list(self._spoken(texts, settings, size, arguments, return_timestamps))

    def _spoken(
        self,
        texts: Sequence[str],
        settings: Mapping[str, Any],
        size: int,
        tokenizer_arguments: Mapping[str, Any],
        return_timestamps: bool,
    ) -> Iterator[AudioOutput]:
        """The outputs of texts, all of which are checked before the first is spoken."""
        for_each = {name: one_a_text(name, value, len(texts)) for name, value in settings.items()}
        if self._has_own_steps():
            yield from self._stepwise(texts, for_each, tokenizer_arguments)
            return
        encodings = [self.speaker.encode(text, **tokenizer_arguments) for text in texts]
        for start in range(0, len(encodings), size):
            chunk = slice(start, start + size)
            controls = {name: value[chunk] for name, value in for_each.items()}
            for speech in self.speaker.synthesize(encodings[chunk], **controls):
                result = AudioOutput(audio=speech.audio, sampling_rate=self.sampling_rate)
                if return_timestamps:
                    result["timestamps"] = speech.timestamps()
                yield result

    def _spoken_lazily(
        self,
        texts: Iterator[str],
        settings: Mapping[str, Any],
        size: int,
        tokenizer_arguments: Mapping[str, Any],
        return_timestamps: bool,
    ) -> Iterator[AudioOutput]:
        """The outputs of texts that are read a batch at a time."""
        for name, value in settings.items():
            one_a_text(name, value, 1)  # of texts nobody has counted, a control is one for all
        _draw_as_a_loader(settings)
        batch: list[str] = []
        for text in texts:
            batch.append(text)
            if len(batch) == size:
                yield from self._spoken(batch, settings, size, tokenizer_arguments, return_timestamps)
                batch = []
        if batch:
            yield from self._spoken(batch, settings, size, tokenizer_arguments, return_timestamps)

    def _has_own_steps(self) -> bool:
        """Whether a subclass, or whoever assigned to this object, has steps of its own."""
        return any(
            name in self.__dict__ or getattr(type(self), name) is not getattr(TextToAudioPipeline, name)
            for name in _STEPS
        )

    def _stepwise(
        self, texts: Sequence[str], for_each: Mapping[str, Sequence[Any]], tokenizer_arguments: Mapping[str, Any]
    ) -> Iterator[AudioOutput]:
        for number, text in enumerate(texts):
            inputs = self.preprocess(text, **tokenizer_arguments)
            controls = {name: values[number] for name, values in for_each.items()}
            yield self.postprocess(self.forward(inputs, forward_params=controls, generate_kwargs={}))

    def preprocess(self, text: str | Texts, **tokenizer_arguments: Any) -> BatchEncoding:
        """The encoding of a text `[1, T_text]`, or of several that are equally long or padded (`padding=True`)."""
        texts = [text] if isinstance(text, str) else list(text)
        return self.tokenizer(texts, return_tensors="pt", **tokenizer_arguments)

    def forward(
        self,
        model_inputs: Mapping[str, Any],
        forward_params: Mapping[str, Any] | None = None,
        generate_kwargs: Mapping[str, Any] | None = None,
        **controls: Any,
    ) -> torch.Tensor:
        """The waveform `[B, T_samples]` of what `preprocess` gives, on the CPU.

        Args:
            model_inputs: `input_ids` and `attention_mask`, `[B, T_text]` each.
            forward_params: the controls of a call, in a dictionary.
            generate_kwargs: refused unless empty.
            controls: the same controls as keywords.
        """
        check_generates_nothing(generate_kwargs)
        settings = merged_controls(controls, forward_params)
        return self.speaker.waveform(model_inputs, **settings).cpu()

    def postprocess(self, audio: torch.Tensor) -> AudioOutput:
        """A waveform as an output: float32 samples, axes of size 1 left out."""
        samples = audio.to(device="cpu", dtype=torch.float32).numpy().squeeze()
        return AudioOutput(audio=samples, sampling_rate=self.sampling_rate)

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

    def transform(self, texts: Any) -> Any:
        """The call, as scikit-learn names it."""
        return self(texts)

    predict = transform

    def ensure_tensor_on_device(self, **inputs: Any) -> dict[str, Any]:
        """The inputs, tensors among them on the model's device."""
        return {
            name: value.to(self.device) if isinstance(value, torch.Tensor) else value for name, value in inputs.items()
        }

    def device_placement(self) -> contextlib.AbstractContextManager[Any]:
        """A context in which new tensors are made on the model's device."""
        return torch.device(self.device)

    def get_inference_context(self) -> Callable[[], contextlib.AbstractContextManager[Any]]:
        """What makes the context in which the model runs: no gradients."""
        return torch.no_grad

    def save_pretrained(self, save_directory: str | os.PathLike[str], **options: Any) -> None:
        """Save the model, the tokenizer and, where there is one, the feature extractor.

        Args:
            save_directory: the folder, made if missing.
            options: further arguments of `VitsModel.save_pretrained`, such as `max_shard_size`.

        Raises:
            NotADirectoryError: a file is there.
        """
        folder = Path(save_directory)
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"save_directory must be a folder, and {folder} is a file")
        self.model.save_pretrained(folder, **options)
        for part in (self.tokenizer, self.feature_extractor):
            if part is not None:
                part.save_pretrained(folder)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the model, then the tokenizer, to a repository of the hub; returns the address of the first commit.

        Args:
            repo_id: "owner/name", or "name" for the owner of the token; made if missing.
            options: further arguments of `VitsModel.push_to_hub`, such as `private`, `commit_message`, `branch` and
                `token`; those that are about a commit count for the tokenizer's too.

        Raises:
            OSError: the hub cannot be reached, or refuses.
        """
        from huggingface_hub import HfApi

        address = self.model.push_to_hub(repo_id, **options)
        api = HfApi(token=options.get("token"))
        with tempfile.TemporaryDirectory() as folder:
            self.tokenizer.save_pretrained(folder)
            api.upload_folder(
                repo_id=api.create_repo(repo_id, exist_ok=True).repo_id,
                folder_path=folder,
                commit_message=options.get("commit_message", "Upload tokenizer"),
                revision=options.get("branch"),
                create_pr=options.get("create_pr"),
            )
        return str(address)


def check_generates_nothing(generate_kwargs: Mapping[str, Any] | None) -> None:
    """Raise ValueError for arguments of a generation, which VITS has none of."""
    if generate_kwargs:
        raise ValueError(
            f"generate_kwargs has no place here, for VITS generates no tokens: give {', '.join(generate_kwargs)} "
            "in forward_params, if the model takes it"
        )


def _draw_as_a_loader(settings: Mapping[str, Any]) -> None:
    """The random number that torch's DataLoader draws, which transformers sends all but a single text through."""
    if settings.get("seed") is None:
        torch.empty((), dtype=torch.int64).random_()


def _is_lazy(texts: Any) -> bool:
    """Whether texts are gone through as outputs are asked for, as in transformers: generators and torch's datasets."""
    return isinstance(texts, Iterator | torch.utils.data.Dataset)


def _listed(texts: Any) -> list[str]:
    """The texts of a list, a tuple, or another sequence such as a dataset's column."""
    is_sequence = isinstance(texts, Sized) and hasattr(texts, "__iter__") and not isinstance(texts, Mapping | bytes)
    if not is_sequence:
        raise TypeError(f"text_inputs must be a str or a list of str, got {type(texts).__name__}")
    listed = list(texts)
    if listed and isinstance(listed[0], Mapping):
        raise TypeError(
            "text_inputs must hold texts, and holds dictionaries: VITS has no chat template, and of a dataset's rows "
            "give the column of texts"
        )
    return listed


def _tokenizer_arguments(preprocess_params: Mapping[str, Any] | None) -> dict[str, Any]:
    arguments = dict(preprocess_params or {})
    for name in _OWN_TOKENIZER_ARGUMENTS:
        if name in arguments:
            raise TypeError(f"{name} in preprocess_params is the pipeline's own to set")
    return arguments
