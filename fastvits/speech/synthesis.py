"""A model and its tokenizer put together: one sentence, or a batch of them, from text to samples and times."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
import torch

from ..models.inputs import check_frames, to_device
from ..models.output import VitsModelOutput
from ..models.streaming import PieceSizes, PieceStream, PieceWindow, decoded, next_pieces, next_windows
from ..models.vits import VitsModel
from ..text.batch_encoding import BatchEncoding
from ..text.tokenization import VitsTokenizer
from ..voices.speakers import speaker_names
from .controls import SpeakerChoice, batch_controls, one_a_text
from .timestamps import Level, TimeSpan, timestamps

__all__ = [
    "DEFAULT_CHUNK_FRAMES",
    "DEFAULT_FIRST_CHUNK_FRAMES",
    "Speech",
    "SpeechStream",
    "Synthesizer",
    "pieces_together",
    "windows_together",
]

DEFAULT_CHUNK_FRAMES = 128
"""Frames of a piece of a stream."""
DEFAULT_FIRST_CHUNK_FRAMES = 16
"""Frames of a stream's first piece, which is wanted early."""


@dataclass(frozen=True)
class Speech:
    """What a text became.

    Attributes:
        audio: float32 samples in [-1, 1], shape `[T_samples]`.
        sampling_rate: samples a second.
        encoding: the ids that were spoken, `[1, T_text]`, which remember their text.
        output: what the model told of them: `sequence_lengths` `[1]` and `durations` `[1, T_text]`.
    """

    audio: np.ndarray
    sampling_rate: int
    encoding: BatchEncoding = field(repr=False)
    output: VitsModelOutput = field(repr=False)
    _tokenizer: VitsTokenizer = field(repr=False)

    def timestamps(self, level: Level | None = None) -> list[TimeSpan]:
        """When the tokens, characters and words are heard, as `fastvits.timestamps` tells it; seconds from the first
        sample."""
        return _timestamps(self._tokenizer, self.encoding, self.output, self.sampling_rate, level)


class SpeechStream(Iterator[np.ndarray]):
    """A sentence piece by piece: an iterator of float32 arrays `[n]`, which together are the sentence.

    Text and durations are computed when it is made, so that its length and the times of its words are known before the
    first piece; a piece is computed when it is asked for. One thread at a time takes pieces; different streams of one
    voice do not disturb each other. `close()`, or leaving a `with` block, drops what the rest would need: no later
    piece is computed, and iterating ends.

    Attributes:
        samples: how many samples there will be.
        sampling_rate: samples a second.
        encoding: the ids that are spoken, `[1, T_text]`, which remember their text.
        output: `sequence_lengths` `[1]` and `durations` `[1, T_text]`.
    """

    def __init__(
        self,
        pieces: PieceStream,
        *,
        sampling_rate: int,
        encoding: BatchEncoding,
        output: VitsModelOutput,
        tokenizer: VitsTokenizer,
    ) -> None:
        assert output.sequence_lengths is not None
        self.samples = int(output.sequence_lengths[0])
        self.sampling_rate = sampling_rate
        self.encoding = encoding
        self.output = output
        self._tokenizer = tokenizer
        self._pieces: PieceStream | None = pieces

    def __next__(self) -> np.ndarray:
        pieces = self._pieces
        if pieces is None or not pieces.frames:
            raise StopIteration
        try:
            return _on_host(next_pieces([pieces]))[0]
        except BaseException:
            self.close()
            raise

    @property
    def next_frames(self) -> int:
        """The frames that the next piece has at the most; 0 at the end."""
        pieces = self._pieces
        return 0 if pieces is None else pieces.frames

    def timestamps(self, level: Level | None = None) -> list[TimeSpan]:
        """When the tokens, characters and words are heard, as `fastvits.timestamps` tells it; seconds from the first
        sample."""
        return _timestamps(self._tokenizer, self.encoding, self.output, self.sampling_rate, level)

    def close(self) -> None:
        """End the stream; of what was not asked for yet, nothing is computed."""
        # Another thread may be computing a piece: it gets that one.
        self._pieces = None

    def __enter__(self) -> SpeechStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Synthesizer:
    """A model and its tokenizer: what speaks one sentence, or a batch of sentences.

    Calls may come from several threads at once: each has its own controls and, with a seed, its own random numbers.
    (The attributes of `model` are everybody's: set a call's rate and noise by its keywords.)

    Attributes:
        model: the `VitsModel`, in eval mode. Its `speaking_rate`, `noise_scale` and `noise_scale_duration` are read at
            each call that does not say.
        tokenizer: the `VitsTokenizer`, or transformers' own.
    """

    def __init__(self, model: VitsModel, tokenizer: Any) -> None:
        self.model = model.eval()
        self.tokenizer: Any = tokenizer
        self._choice = SpeakerChoice(model.config)
        self._call: Any = None

    def freeze(self) -> None:
        """Promise that nobody writes to the model's weights from now on: `begin` and `begin_together` do not look at
        them any more, which takes a few milliseconds a sentence on a CPU."""
        self._call = self.model.begun_call()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_call": None}  # a copy's weights are others

    @property
    def sampling_rate(self) -> int:
        """Samples a second."""
        return int(self.model.config.sampling_rate)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in."""
        return self.model.dtype

    @property
    def language(self) -> str | None:
        """The code of the voice's language as its files tell it; None where they do not."""
        return self.tokenizer.language or getattr(self.tokenizer, "espeak_voice", None)

    @property
    def num_speakers(self) -> int:
        """How many speakers the voice has, 1 at least."""
        return max(int(self.model.config.num_speakers), 1)

    @property
    def speaker_names(self) -> dict[str, int]:
        """The names of the speakers and their numbers; empty where the voice names none."""
        return speaker_names(self.model.config)

    def speaker_number(self, speaker: int | str | None) -> int | None:
        """The number of a speaker given by number or name (`name:` and `id:` settle which is meant); None for None.

        Raises ValueError for a name that the voice does not know.
        """
        return self._choice.number(speaker)

    def default_speaker(self) -> int | None:
        """The speaker where nobody names one: a multi-speaker Piper voice has one, as in Piper, which a message tells
        once; None for every other voice."""
        return self._choice.default()

    def encode(self, text: str, **tokenizer_arguments: Any) -> BatchEncoding:
        """The encoding of one text, `[1, T_text]`.

        Args:
            text: the text.
            tokenizer_arguments: further arguments of the tokenizer's call.

        Raises:
            TypeError: `text` is no str.
            ValueError: a text that nothing can be heard of.
        """
        if not isinstance(text, str):
            raise TypeError(f"text_inputs must be a str or a list of str, but holds {type(text).__name__}")
        if not text.strip():
            raise ValueError("text is empty, so that there is nothing to say")
        encoding: BatchEncoding = self.tokenizer([text], return_tensors="pt", **tokenizer_arguments)
        if not self.says_something(encoding):
            raise ValueError(f"text {_shortened(text)!r} has no character that this voice can say")
        return encoding

    def heard_tokens(self, encoding: BatchEncoding) -> int:
        """How many ids are heard: all but blanks, padding, marks of beginning and end, and what is unknown."""
        tokenizer = self.tokenizer
        # One of transformers' own has the published layout: blanks, padding, and what is unknown.
        published = {tokenizer.pad_token_id, tokenizer.unk_token_id, 0}
        silent = getattr(tokenizer, "silent_ids", published)
        return sum(number not in silent for number in encoding["input_ids"].flatten().tolist())

    def says_something(self, encoding: BatchEncoding) -> bool:
        """Whether anything of an encoding is heard."""
        return self.heard_tokens(encoding) > 0

    def synthesize(self, texts: Sequence[str | BatchEncoding], **controls: Any) -> list[Speech]:
        """Speak a batch, in one run of the model.

        Args:
            texts: texts, or encodings `[1, T_text]` of one text each.
            controls: `speaker` (a number or a name) or `speaker_id` or `speaker_embedding`, `speaking_rate`,
                `noise_scale`, `noise_scale_duration` and `seed`: one for all texts, or a list of one each, in which
                None means what it means alone.

        Returns:
            One `Speech` a text, in their order.

        Raises:
            TypeError: a wrong type, or an unknown control.
            ValueError: a text that nothing can be heard of, or a control that does not fit.
        """
        if isinstance(texts, str | Mapping):
            raise TypeError("texts must be a list of texts or of encodings: put a single one into a list")
        encodings = [self.encode(text) if isinstance(text, str) else text for text in texts]
        if not encodings:
            return []
        keywords = self._keywords(controls, len(encodings))
        output = self._run(*_side_by_side(encodings), keywords)
        assert output.waveform is not None
        assert output.sequence_lengths is not None
        assert output.durations is not None
        waveforms = output.waveform.to(device="cpu", dtype=torch.float32).numpy()
        lengths, durations = output.sequence_lengths.cpu(), output.durations.cpu()
        spoken = []
        for row, (waveform, encoding) in enumerate(zip(waveforms, encodings, strict=True)):
            tokens = encoding["input_ids"].shape[1]
            one = VitsModelOutput(sequence_lengths=lengths[row : row + 1], durations=durations[row : row + 1, :tokens])
            # A copy, so that one item kept does not keep its whole batch.
            audio = waveform[: int(lengths[row])].copy()
            spoken.append(Speech(audio, self.sampling_rate, encoding, one, self.tokenizer))
        return spoken

    def waveform(self, encoding: Mapping[str, Any], **controls: Any) -> torch.Tensor:
        """The waveform `[B, T_samples]` of a batch that is padded already, where the model is and in its dtype.

        Args:
            encoding: `input_ids` and perhaps `attention_mask`, `[B, T_text]` each.
            controls: those of `synthesize`.
        """
        input_ids, attention_mask = encoding["input_ids"], encoding.get("attention_mask")
        output = self._run(input_ids, attention_mask, self._keywords(controls, input_ids.shape[0]))
        assert output.waveform is not None
        return output.waveform

    def _run(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None, keywords: dict[str, Any]
    ) -> VitsModelOutput:
        with torch.no_grad():
            output: VitsModelOutput = self.model(
                input_ids=to_device(input_ids, self.device),
                attention_mask=None if attention_mask is None else to_device(attention_mask, self.device),
                return_dict=True,
                **keywords,
            )
        return output

    def begin(
        self,
        text: str | BatchEncoding,
        *,
        chunk_frames: int = DEFAULT_CHUNK_FRAMES,
        first_chunk_frames: int | None = DEFAULT_FIRST_CHUNK_FRAMES,
        **controls: Any,
    ) -> SpeechStream:
        """Speak one sentence piece by piece, with the samples that `synthesize` gives for it alone.

        Args:
            text: a text, or its encoding `[1, T_text]`.
            chunk_frames: frames of a piece, of `prod(config.upsample_rates)` samples each.
            first_chunk_frames: frames of the first piece, which comes early; None: as the others.
            controls: those of `synthesize`.

        Raises:
            TypeError: a wrong type, or an unknown control.
            ValueError: a text that nothing can be heard of, or a control that does not fit.
        """
        (stream,) = self.begin_together(
            [self.encode(text) if isinstance(text, str) else text],
            [controls],
            chunk_frames=chunk_frames,
            first_chunk_frames=first_chunk_frames,
        )
        return stream

    def begin_together(
        self,
        encodings: Sequence[BatchEncoding],
        controls: Sequence[Mapping[str, Any]],
        *,
        chunk_frames: int = DEFAULT_CHUNK_FRAMES,
        first_chunk_frames: int | None = DEFAULT_FIRST_CHUNK_FRAMES,
        sizes: PieceSizes | None = None,
    ) -> list[SpeechStream]:
        """Begin to speak several sentences, their durations computed in one call, each to go on at its own pace.

        With a seed, a sentence's samples are those of `begin` for it alone. `windows_together` and `pieces_together`
        compute pieces of several in one call.

        Args:
            encodings: encodings `[1, T_text]` of one sentence each.
            controls: those of `begin`, for each sentence.
            chunk_frames, first_chunk_frames: as of `begin`.
            sizes: how the streams are cut instead of by these two.

        Raises:
            TypeError, ValueError: as of `begin`, where one of them does not fit.
        """
        check_frames(chunk_frames, "chunk_frames")
        if first_chunk_frames is not None:
            check_frames(first_chunk_frames, "first_chunk_frames")
        names = {name for one in controls for name, value in one.items() if value is not None}
        values = {name: [one_a_text(name, one.get(name), 1)[0] for one in controls] for name in names}
        keywords = self._keywords(values, len(encodings))
        input_ids, attention_mask = _side_by_side(encodings)
        if sizes is None:
            sizes = PieceSizes(chunk_frames, first_chunk_frames or chunk_frames)
        call = self.model.begun_call() if self._call is None else self._call  # one look at the weights for all of it
        with torch.no_grad(), self.model.entered(call):
            request = self.model.request(
                to_device(input_ids, self.device),
                None if attention_mask is None else to_device(attention_mask, self.device),
                **keywords,
            )
            prior = self.model.prior(request)
            streams = self.model.pieces_of_each(prior, sizes, call)
        hop = math.prod(self.model.config.upsample_rates)
        durations = prior.text.restored(prior.durations, 1).cpu()
        return [
            SpeechStream(
                stream,
                sampling_rate=self.sampling_rate,
                encoding=encoding,
                output=VitsModelOutput(
                    sequence_lengths=torch.tensor([count * hop]),
                    durations=durations[row : row + 1, : encoding["input_ids"].shape[1]],
                ),
                tokenizer=self.tokenizer,
            )
            for row, (stream, encoding, count) in enumerate(zip(streams, encodings, prior.counts, strict=True))
        ]

    def timestamps(self, encoding: BatchEncoding, output: VitsModelOutput) -> list[TimeSpan]:
        """When the tokens, characters and words of one text are heard; see `fastvits.timestamps`."""
        return _timestamps(self.tokenizer, encoding, output, self.sampling_rate, None)

    def _keywords(self, controls: Mapping[str, Any], count: int) -> dict[str, Any]:
        """The controls of a call as keywords of the model's."""
        one_each = {name: one_a_text(name, value, count) for name, value in controls.items() if value is not None}
        return batch_controls(self.model, self._choice, one_each, count)


def windows_together(streams: Sequence[SpeechStream]) -> list[PieceWindow]:
    """What the next piece of each of these different streams of one voice is made of, computed in one call.

    The streams go on behind these pieces, which `pieces_together` computes: in any order, and in any thread. Windows of
    one size (`SpeechStream.next_frames`) waste the least. Raises ValueError where a stream is at its end.
    """
    pieces = [one for stream in streams if (one := stream._pieces) is not None]
    if len(pieces) < len(streams):
        raise ValueError("a stream that was closed has no next piece")
    return next_windows(pieces)


def pieces_together(windows: Sequence[PieceWindow]) -> list[np.ndarray]:
    """The piece `[n]` of each of these windows of one voice, computed in one call; each has the samples that it has
    alone."""
    return _on_host(decoded(windows))


def _on_host(waveforms: Sequence[torch.Tensor]) -> list[np.ndarray]:
    """Waveforms `[1, n]` as float32 arrays `[n]`."""
    return [waveform[0].to(device="cpu", dtype=torch.float32).numpy() for waveform in waveforms]


def _side_by_side(encodings: Sequence[BatchEncoding]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The ids `[B, T_text]` of encodings `[1, T_text]`, and where they are not of one length, their mask."""
    ids = [encoding["input_ids"][0] for encoding in encodings]
    longest = max(len(one) for one in ids)
    input_ids = torch.zeros(len(ids), longest, dtype=torch.int64)
    for row, one in zip(input_ids, ids, strict=True):
        row[: len(one)] = one
    if all(len(one) == longest for one in ids):
        return input_ids, None
    lengths = torch.tensor([[len(one)] for one in ids])
    return input_ids, (torch.arange(longest) < lengths).long()


def _timestamps(
    tokenizer: VitsTokenizer, encoding: BatchEncoding, output: VitsModelOutput, rate: int, level: Level | None
) -> list[TimeSpan]:
    return list(timestamps(tokenizer, encoding, output, level=level, sampling_rate=rate)[0])


def _shortened(text: str, limit: int = 60) -> str:
    """A text as an error message quotes it."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
