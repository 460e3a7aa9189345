"""The items of a corpus on their way: rows to sentences, sentences through the model in batches, audio to files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from ..audio.levels import Levels
from ..models.inputs import per_item
from ..progress import ProgressLine
from ..speech.long_form import place_timestamps, sentence_seed, silences
from ..speech.parts import DEFAULT_PREPARATION, encoded_parts, language_of
from ..speech.speaker import Speaker
from ..speech.timestamps import TimeSpan
from ..text.batch_encoding import BatchEncoding
from ..text.sentences import Sentence, split_sentences
from ..voices.speakers import speaker_in_range
from .fingerprint import voice_fingerprint
from .folder import OutputFolder
from .items import Item, identifier_of, item_seed, number_of, row_name
from .manifest import COLUMNS, Failure, is_broken
from .report import BadItem, CorpusReport
from .shards import Shard

__all__ = ["CorpusRun"]

logger = logging.getLogger("fastvits")

_WINDOW = 32
"""How many batches' worth of items are sorted by length at a time."""


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


class CorpusRun:
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
        shard: Shard | None,
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
        self.shard = shard
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
        self.present: set[str] = set()  # of a shard: the items that are there at its end
        self.rows = self.dealt = 0
        self.names = hashlib.sha256()
        self.unknown_columns: set[str] = set()

    def speak(self, items: Iterator[str | Mapping[str, Any] | Failure], folder: OutputFolder) -> None:
        """Speak everything, a window of items after the other."""
        numbered = self._dealt(items)
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
        if self.shard is not None:
            folder.finish(
                self.present,
                rows=self.rows,
                dealt=self.dealt,
                names=self.names.hexdigest(),
                settings=hashlib.sha256(
                    json.dumps([self.settings, self.seed, self.speaker, self.rate]).encode()
                ).hexdigest(),
                failures=[dataclasses.asdict(failure) for failure in self.report.failures],
            )
        self._show(last=True)
        if self.clipped:
            logger.warning("%d samples were too loud and are clipped: lower the volume.", self.clipped)

    def _dealt(
        self, items: Iterator[str | Mapping[str, Any] | Failure]
    ) -> Iterator[tuple[int, str | Mapping[str, Any] | Failure]]:
        """The rows that fall to this run, with their numbers."""
        for number, given in enumerate(items, 1):
            if self.shard is not None:
                name = row_name(given, number)
                self.rows = number
                self.names.update(f"{name}\0".encode(errors="surrogatepass"))
                if not self.shard.takes(name):
                    continue
                self.dealt += 1
            yield number, given

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
                raise ValueError(f"must be a text or a mapping, got {type(given).__name__}")
            row = given.get("row", number)
            identifier = identifier_of(given, row)
            item = self._item(given, row, identifier)
            if folder.has(item):
                self.report.skipped += 1
                self.present.add(item.id)
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
            raise ValueError("has no text" if text is None else f"text must be a string, got {type(text).__name__}")
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
        self.present.add(job.item.id)
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
