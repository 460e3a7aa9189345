"""Many texts into many audio files: in batches, safe against being killed, and the same whatever the batches are.

The output folder holds an audio file an item and `manifest.jsonl`, one line an item. A file is written under another
name, brought to the disk and renamed; then its line is appended and brought to the disk. So a line stands for a
complete file, and a run that is started again does what has no line yet. What an item sounds like depends on its text,
its controls and its seed, and on nothing else: not on the other items, their order, or the batches (up to the last bit
of a 16-bit sample, for sums are rounded in another order).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from ..audio.files import require_flac
from ..audio.levels import Levels
from ..models.inputs import per_item
from ..models.vits import VitsModel
from ..progress import ProgressLine
from ..speech.long_form import DEFAULT_SENTENCE_SILENCE, place_timestamps, sentence_seed, silences
from ..speech.parts import DEFAULT_PREPARATION, encoded_parts, language_of
from ..speech.pipeline import TextToAudioPipeline
from ..speech.speaker import Speaker
from ..speech.timestamps import TimeSpan
from ..text.batch_encoding import BatchEncoding
from ..text.sentences import DEFAULT_MAX_LENGTH, Sentence, split_sentences
from ..voices.folders import DEFAULT_VOICE
from ..voices.speakers import speaker_in_range
from .fingerprint import voice_fingerprint
from .folder import OutputFolder
from .items import Item, identifier_of, item_seed, number_of
from .manifest import COLUMNS, Failure, is_broken

__all__ = ["BadItem", "CorpusReport", "synthesize"]

logger = logging.getLogger("fastvits")

_WINDOW = 32
"""How many batches' worth of items are sorted by length at a time."""


class BadItem(ValueError):
    """A row that cannot be spoken, in a run that is `strict`."""


@dataclass
class CorpusReport:
    """What a run did.

    Attributes:
        done: items spoken by this run.
        skipped: items that an earlier run had spoken.
        failures: rows that could not be spoken.
        audio_seconds: length of what this run spoke.
        seconds: time it took.
    """

    done: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)
    audio_seconds: float = 0.0
    seconds: float = 0.0


@dataclass
class _Unit:
    """A sentence of an item, waiting for its batch."""

    job: _Job
    index: int
    sentence: Sentence
    encoding: BatchEncoding
    seed: int


@dataclass
class _Job:
    """An item on its way: its sentences' audio as far as it is there."""

    item: Item
    sentences: list[Sentence]
    missing: int
    audio: dict[int, np.ndarray] = field(default_factory=dict)
    spans: dict[int, list[TimeSpan]] = field(default_factory=dict)
    failed: bool = False


def synthesize(
    items: Iterable[str | Mapping[str, Any] | Failure],
    output_dir: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | VitsModel | TextToAudioPipeline | Speaker | None = None,
    batch_size: int = 8,
    format: str = "wav",
    speaker: int | str | None = None,
    speaking_rate: float | None = None,
    noise_scale: float | None = None,
    noise_scale_duration: float | None = None,
    seed: int = 0,
    sentence_silence: float | None = None,
    paragraph_silence: float | None = None,
    max_length: int = DEFAULT_MAX_LENGTH,
    timestamps: bool = False,
    volume: float = 1.0,
    normalize: str | None = None,
    strict: bool = False,
    progress: ProgressLine | bool = False,
    on_failure: Callable[[Failure], None] | None = None,
    **voice_options: Any,
) -> CorpusReport:
    """Speak many texts into a folder, an audio file each, and write a manifest of them.

    Started again with the same folder it goes on where it was, even if it was killed; items whose text, controls or
    voice have changed are spoken anew. Long texts are spoken sentence by sentence, as `speak_sentences` does it.

    Args:
        items: texts, or mappings with `text` and perhaps `id` (a file name; the row's number by default), `speaker` (a
            number or a name) or `speaker_id` (a number), `seed` and `rate` (or `speaking_rate`); what `read_manifest`
            gives. Read as it goes, not all at once.
        output_dir: the folder, made if missing, for `<id>.wav` (or `.flac`) and `manifest.jsonl`.
        model: a `Speaker`, a pipeline, or what `pipeline` takes as `model`; None means the bundled voice.
        batch_size: how many sentences go through the model at a time. They are sorted by length first, a window of
            items at a time.
        format: "wav" or "flac".
        speaker, speaking_rate: for rows that say nothing of it.
        noise_scale, noise_scale_duration: the model's own where None.
        seed: rows without a seed get one from their id and this number (`item_seed`).
        sentence_silence, paragraph_silence, max_length: as in `speak_sentences`.
        timestamps: write into the manifest when each token, character and word is heard.
        volume: a factor for the samples; what it makes too loud is clipped, and a warning says how much.
        normalize: "peak" scales each sentence to full scale, as Piper does; "loudness" to -18 LUFS, or as near to it as
            its peak lets it come; None leaves it.
        strict: raise BadItem at the first row that cannot be spoken, instead of reporting it and going on.
        progress: True for a line on standard error, or a `ProgressLine`.
        on_failure: called with each `Failure`; by default it is logged as a warning.
        voice_options: `tokenizer`, `device`, `dtype`, `revision` and so on, as `Speaker` takes them.

    Returns:
        A `CorpusReport`.

    Raises:
        BadItem: see `strict`.
        TypeError, ValueError: an argument that cannot be.
        OSError: the folder cannot be written to, or another run is writing to it.
        ImportError: FLAC without the package `soundfile`.
    """
    if format not in ("wav", "flac"):
        raise ValueError(f"format must be 'wav' or 'flac', not {format!r}")
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number from 1, not {batch_size!r}")
    if isinstance(items, str | bytes | Mapping):
        raise TypeError("items must be an iterable of texts or of mappings: put a single one into a list")
    if format == "flac":
        require_flac()
    run = _Run(
        voice=_speaker(model, voice_options),
        batch_size=batch_size,
        format=format,
        speaker=speaker,
        rate=speaking_rate,
        noise_scale=noise_scale,
        noise_scale_duration=noise_scale_duration,
        seed=seed,
        sentence_silence=DEFAULT_SENTENCE_SILENCE if sentence_silence is None else sentence_silence,
        paragraph_silence=paragraph_silence,
        max_length=max_length,
        timestamps=timestamps,
        levels=Levels(volume, normalize),
        strict=strict,
        progress=ProgressLine(len(items) if isinstance(items, Sized) else None)
        if progress is True
        else progress or None,
        on_failure=on_failure,
    )
    with OutputFolder(output_dir) as folder:
        run.speak(iter(items), folder)
    return run.report


def _speaker(model: Any, options: Mapping[str, Any]) -> Speaker:
    made = model.speaker if isinstance(model, TextToAudioPipeline) else model
    if not isinstance(made, Speaker):
        return Speaker(DEFAULT_VOICE if made is None else made, **options)
    if options:
        raise TypeError(f"{', '.join(options)} cannot be given beside a pipeline that is made already")
    return made


class _Run:
    """One run: its settings, and what it has done."""

    def __init__(
        self,
        *,
        voice: Speaker,
        batch_size: int,
        format: str,
        speaker: int | str | None,
        rate: float | None,
        noise_scale: float | None,
        noise_scale_duration: float | None,
        seed: int,
        sentence_silence: float,
        paragraph_silence: float | None,
        max_length: int,
        timestamps: bool,
        levels: Levels,
        strict: bool,
        progress: ProgressLine | None,
        on_failure: Callable[[Failure], None] | None,
    ) -> None:
        model = voice.model
        self.voice = voice
        self.batch_size = batch_size
        self.format = format
        self.speaker = speaker_in_range(model.config, voice.speaker_number(speaker))
        (self.rate,) = per_item(
            "speaking_rate", model.speaking_rate if rate is None else rate, 1, minimum=0, exclusive=True
        )
        self.noise: dict[str, float] = {}
        for name, value in (("noise_scale", noise_scale), ("noise_scale_duration", noise_scale_duration)):
            (self.noise[name],) = per_item(
                name, getattr(model, name) if value is None else value, 1, minimum=0, exclusive=False
            )
        sentence_seed(seed, 0)
        self.seed = seed
        self.pauses = silences(sentence_silence, paragraph_silence, voice.sampling_rate)
        split_sentences("", max_length)
        self.max_length = max_length
        self.timestamps = timestamps
        self.levels = levels
        self.clipped = 0
        self.strict = strict
        self.progress = progress
        self.on_failure = on_failure
        self.report = CorpusReport()
        self.begun = time.perf_counter()
        self.reported: set[str] = set()
        settings = [
            voice_fingerprint(voice),
            repr(DEFAULT_PREPARATION),
            str(model.dtype),
            format,
            self.noise,
            self.pauses,
            max_length,
            timestamps,
        ]
        if levels != Levels():  # else a folder of an earlier version is spoken anew
            settings.append([levels.volume, levels.normalize])
        self.settings = json.dumps(settings, sort_keys=True)
        self.ids: set[str] = set()
        self.unknown_columns: set[str] = set()

    def speak(self, items: Iterator[str | Mapping[str, Any] | Failure], folder: OutputFolder) -> None:
        """Speak everything, a window of items after the other."""
        numbered = enumerate(items, 1)
        while True:
            window = list(islice(numbered, _WINDOW * self.batch_size))
            if not window:
                break
            units: list[_Unit] = []
            for number, given in window:
                job = self._job(number, given, folder)
                if job is not None:
                    units.extend(job)
            units.sort(key=lambda unit: (-unit.encoding["input_ids"].shape[1], unit.job.item.row, unit.index))
            for start in range(0, len(units), self.batch_size):
                self._run_batch(units[start : start + self.batch_size], folder)
        self._show(last=True)
        if self.clipped:
            logger.warning("%d samples were too loud and are clipped: lower the volume.", self.clipped)

    def _job(self, number: int, given: str | Mapping[str, Any] | Failure, folder: OutputFolder) -> list[_Unit] | None:
        """The sentences of an item; None if there is nothing to do for it."""
        if isinstance(given, Failure):
            self._fail(given)
            return None
        identifier = None
        row = number
        try:
            if isinstance(given, str):
                given = {"text": given}
            if not isinstance(given, Mapping):
                raise ValueError(f"must be a text or a mapping, not {type(given).__name__}")
            row = given.get("row", number)
            identifier = identifier_of(given, row)
            item = self._item(given, row, identifier)
            if folder.has(item):
                self.report.skipped += 1
                return None
            job = _Job(item, [], 0)
            units = []
            for whole in split_sentences(item.text, self.max_length, language=language_of(self.voice)):
                for sentence, encoding in encoded_parts(self.voice, whole, DEFAULT_PREPARATION, self.reported):
                    index = len(job.sentences)
                    job.sentences.append(sentence)
                    if self.voice.says_something(encoding):
                        units.append(_Unit(job, index, sentence, encoding, sentence_seed(item.seed, index) or 0))
            if not units:
                raise ValueError("text has no character that this voice can say")
            job.missing = len(units)
            return units
        except (ValueError, TypeError) as error:
            self._fail(Failure(row, identifier, str(error)))
            return None

    def _item(self, given: Mapping[str, Any], row: int, identifier: str) -> Item:
        """A row, checked."""
        strangers = [
            str(name) for name in given if name not in COLUMNS and name != "row" and name not in self.unknown_columns
        ]
        if strangers:
            self.unknown_columns.update(strangers)
            logger.warning("Columns that mean nothing here are ignored: %s.", ", ".join(strangers))
        text = given.get("text")
        if not isinstance(text, str):
            raise ValueError("has no text" if text is None else f"text must be a string, not {type(text).__name__}")
        if is_broken(text):
            raise ValueError("text is not UTF-8")
        if not text.strip():
            raise ValueError("text is empty")
        if identifier.casefold() in self.ids:
            raise ValueError("the id stands in an earlier row already")
        self.ids.add(identifier.casefold())
        rates = [number_of(name, given.get(name), float) for name in ("rate", "speaking_rate")]
        if None not in rates and rates[0] != rates[1]:
            raise ValueError("rate and speaking_rate differ: give one of them")
        rate = next((one for one in rates if one is not None), self.rate)
        per_item("rate", rate, 1, minimum=0, exclusive=True)
        speaker = self._speaker(given)
        seed = number_of("seed", given.get("seed"), int)
        seed = item_seed(identifier, self.seed) if seed is None else seed
        sentence_seed(seed, 0)
        facts = json.dumps([self.settings, text, speaker, seed, rate])
        return Item(row, identifier, text, speaker, seed, rate, hashlib.sha256(facts.encode()).hexdigest()[:16])

    def _speaker(self, given: Mapping[str, Any]) -> int | None:
        """The speaker of a row: its own, the run's, or the one that the voice has for such a case."""
        config = self.voice.model.config
        number = number_of("speaker_id", given.get("speaker_id"), int)
        chosen = [
            speaker_in_range(config, one)
            for one in (self.voice.speaker_number(given.get("speaker")), number)
            if one is not None
        ]
        if len(set(chosen)) > 1:
            raise ValueError("speaker and speaker_id differ: give one of them")
        speaker = chosen[0] if chosen else self.speaker
        if speaker is None and self.voice.num_speakers > 1:
            speaker = self.voice.default_speaker()
            if speaker is None:
                raise ValueError(f"has no speaker, and the voice has {self.voice.num_speakers}")
        return speaker

    def _run_batch(self, units: list[_Unit], folder: OutputFolder) -> None:
        """Speak sentences at a time; if one of them spoils the batch, each alone."""
        units = [unit for unit in units if not unit.job.failed]
        if not units:
            return
        items = [unit.job.item for unit in units]
        controls: dict[str, list[Any]] = {
            "seed": [unit.seed for unit in units],
            "speaking_rate": [item.rate for item in items],
            **{name: [value] * len(units) for name, value in self.noise.items()},
        }
        if self.voice.num_speakers > 1:
            controls["speaker_id"] = [item.speaker for item in items]
        try:
            spoken = self.voice.synthesize([unit.encoding for unit in units], **controls)
        except (ValueError, RuntimeError) as error:
            if len(units) > 1:
                for unit in units:
                    self._run_batch([unit], folder)
                return
            units[0].job.failed = True
            self._fail(Failure(items[0].row, items[0].id, str(error)))
            return
        for unit, speech in zip(units, spoken, strict=True):
            job = unit.job
            audio = self.levels.apply(speech.audio, speech.sampling_rate)
            self.clipped += int(np.count_nonzero(np.abs(audio) > 1.0))
            job.audio[unit.index] = audio
            if self.timestamps:
                job.spans[unit.index] = speech.timestamps()
            job.missing -= 1
            if not job.missing:
                self._finish(job, folder)

    def _finish(self, job: _Job, folder: OutputFolder) -> None:
        """Put the sentences of an item together, with the pauses between, and keep it."""
        rate = self.voice.sampling_rate
        pieces: list[np.ndarray] = []
        spans: list[TimeSpan] = []
        samples = 0
        for index, sentence in enumerate(job.sentences):
            audio = job.audio.pop(index, None)
            if audio is None:
                continue
            spans.extend(place_timestamps(job.spans.pop(index, []), sentence, samples / rate))
            pause = np.zeros(self.pauses[sentence.boundary], np.float32)
            pieces += [audio, pause]
            samples += len(audio) + len(pause)
        written = [dataclasses.asdict(span) for span in spans] if self.timestamps else None
        folder.add(job.item, np.concatenate(pieces), rate, self.format, written)
        self.report.done += 1
        self.report.audio_seconds += samples / rate
        self._show()

    def _fail(self, failure: Failure) -> None:
        self.report.failures.append(failure)
        if self.strict:
            raise BadItem(str(failure))
        if self.on_failure is not None:
            self.on_failure(failure)
        else:
            logger.warning("%s", failure)
        self._show()

    def _show(self, last: bool = False) -> None:
        report = self.report
        report.seconds = time.perf_counter() - self.begun
        if self.progress is not None:
            failed = len(report.failures)
            finished = report.done + report.skipped + failed
            self.progress.update(finished, report.done, report.audio_seconds, failed, last=last)
