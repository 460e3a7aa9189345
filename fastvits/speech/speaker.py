"""A voice that speaks texts of any length: what the pipeline, corpora, the command line and servers stand on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ..models.vits import VitsModel
from ..voices.folders import DEFAULT_VOICE
from .loading import DeviceLike, load_model_and_tokenizer
from .long_form import (
    PlannedSentence,
    SentenceStream,
    SpokenSentence,
    planned_sentences,
    sentence_streams,
    speak_sentences,
    stream_speech,
)
from .script import Script
from .synthesis import Synthesizer

__all__ = ["Speaker"]


class Speaker(Synthesizer):
    """A voice: `Speaker().stream("Hello.")` gives float32 samples as they come.

    One sentence or a batch: `encode`, `synthesize`, `begin` (a sentence piece by piece) and `timestamps`. A text of any
    length: `sentences` (each in one go), `stream` (pieces, pauses included) and `sentence_streams` (sentence by
    sentence, what is known of each before its pieces). Every method takes its own controls and may be called from
    several threads at once; an iterator belongs to one thread at a time, and closing it ends the work.

    Args:
        voice: the name of a voice at hand, such as "en_US-joe-medium", the bundled one and the default; a folder; a hub
            id; a Piper voice's `.onnx` file; or a `VitsModel`, which is moved as `device` and `dtype` say.
        tokenizer: a `VitsTokenizer` or transformers' own, or where it is; where None, beside the model.
        dtype: a torch dtype, its name, or "auto" or None for the checkpoint's.
        device: the index of a CUDA device, -1 for the CPU, a name, a `torch.device`, or None for the first CUDA device
            where there is one, else the CPU.
        revision, subfolder, cache_dir, local_files_only, token: where the files are, as in `VitsModel.from_pretrained`.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: an unknown dtype or device, a file that is no voice, or a `VitsModel` without a tokenizer.
        OSError: files that are missing or cannot be read.
        ImportError: the bundled voice, or what reads a `.onnx` file, is not installed.
    """

    def __init__(
        self,
        voice: str | os.PathLike[str] | VitsModel = DEFAULT_VOICE,
        tokenizer: Any = None,
        *,
        dtype: str | torch.dtype | None = "auto",
        device: DeviceLike | None = None,
        revision: str | None = None,
        subfolder: str = "",
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
    ) -> None:
        model, tokenizer = load_model_and_tokenizer(
            voice,
            tokenizer,
            dtype=dtype,
            device=device,
            revision=revision,
            subfolder=subfolder,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            token=token,
        )
        super().__init__(model, tokenizer)

    @classmethod
    def of(cls, model: VitsModel, tokenizer: Any) -> Speaker:
        """A speaker of a model and a tokenizer that are there already, the model left where it is and as it is."""
        speaker = cls.__new__(cls)
        Synthesizer.__init__(speaker, model, tokenizer)
        return speaker

    def __repr__(self) -> str:
        return f"{type(self).__name__}(language={self.language!r}, device='{self.device}', dtype={self.dtype})"

    def sentences(self, text: str | Script, **options: Any) -> Iterator[SpokenSentence]:
        """Speak a text of any length by sentences; `fastvits.speech.long_form.speak_sentences` has the options."""
        return speak_sentences(self, text, **options)

    def stream(self, text: str | Script, **options: Any) -> Iterator[np.ndarray]:
        """Speak a text of any length piece by piece, the first one as early as the network allows.

        The pieces are float32 arrays `[n]` to be played one after another, pauses included; see
        `fastvits.speech.long_form.stream_speech` for the options. Closing the iterator ends the work.
        """
        return stream_speech(self, text, **options)

    def sentence_streams(self, text: str | Script, **options: Any) -> Iterator[SentenceStream]:
        """Speak a text of any length sentence by sentence, each told of before it is spoken: where it stands in the
        text, how long it will be, when its words are heard, and its pieces as they come; see
        `fastvits.speech.long_form.sentence_streams` for the options."""
        return sentence_streams(self, text, **options)

    def planned_sentences(self, text: str | Script, **options: Any) -> Iterator[PlannedSentence]:
        """Read a text of any length sentence by sentence, for who makes the calls of the model himself: with
        `begin_together`, several texts' sentences in one; see `fastvits.speech.long_form.planned_sentences`."""
        return planned_sentences(self, text, **options)
