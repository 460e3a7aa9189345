"""Many texts into many audio files: in batches, safe against being killed, and the same whatever the batches are.

The output folder holds an audio file an item and `manifest.jsonl`, one line an item. A file is written under another
name, brought to the disk and renamed; then its line is appended and brought to the disk. So a line stands for a
complete file, and a run that is started again does what has no line yet. What an item sounds like depends on its text,
its controls and its seed, and on nothing else: not on the other items, their order, or the batches (up to the last bit
of a 16-bit sample, for sums are rounded in another order).
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy
import torch

from ..storage import PARTIAL_PREFIX, replacing
from ..text.batch_encoding import BatchEncoding
from ..text.sentences import DEFAULT_MAX_LENGTH, Sentence, split_sentences

if TYPE_CHECKING:
    from ..models.vits import VitsModel
    from ..progress import ProgressLine
    from ..speech.pipeline import TextToAudioPipeline

__all__ = [
    "MANIFEST_FORMATS",
    "MANIFEST_NAME",
    "BadItem",
    "CorpusReport",
    "Failure",
    "item_seed",
    "read_manifest",
    "speaker_in_range",
    "speaker_number",
    "synthesize",
]

logger = logging.getLogger("fastvits")

MANIFEST_NAME = "manifest.jsonl"
MANIFEST_FORMATS = ("jsonl", "csv", "lines")
COLUMNS = ("id", "text", "speaker", "seed", "rate", "speaking_rate")
"""What a row may say; `rate` and `speaking_rate` are the same, and other columns are ignored."""

_LONGEST_FIELD = 2**31 - 1
_csv_limit = threading.Lock()
_WINDOW = 32
"""How many batches' worth of items are sorted by length at a time."""


class BadItem(ValueError):
    """A row that cannot be spoken, in a run that is `strict`."""


@dataclass(frozen=True)
class Failure:
    """A row that could not be spoken: its number from 1, its id where it has one, and why."""

    row: int
    id: str | None
    message: str

    def __str__(self) -> str:
        return f"row {self.row}{f' ({self.id})' if self.id else ''}: {self.message}"


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


@dataclass(frozen=True)
class _Item:
    row: int
    id: str
    text: str
    speaker: int | None
    seed: int
    rate: float
    key: str  # a hash of everything that its audio depends on


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

    item: _Item
    sentences: list[Sentence]
    missing: int
    audio: dict[int, numpy.ndarray] = field(default_factory=dict)
    spans: dict[int, list[Any]] = field(default_factory=dict)
    failed: bool = False


# ---------------------------------------------------------------------------------------------------------------------
# What goes in


def read_manifest(
    source: str | os.PathLike[str] | BinaryIO, manifest_format: str | None = None
) -> Iterator[dict[str, Any] | Failure]:
    """The rows of a manifest, one dictionary each; a row that cannot be read is a `Failure`.

    Args:
        source: a file, or an open binary stream.
        manifest_format: "jsonl" (an object a line), "csv" (a header line first; commas, semicolons or tabs), or "lines"
        (a text a
            line); None goes by the name: `.jsonl` and `.ndjson`, `.csv` and `.tsv`, else lines. Empty lines are left
            out.

    Raises:
        OSError: the file cannot be read.
        ValueError: an unknown format, or a CSV without a column `text` or with two of one name.
    """
    if manifest_format not in (None, *MANIFEST_FORMATS):
        raise ValueError(f"unknown manifest format {manifest_format!r}: use {', '.join(MANIFEST_FORMATS)}")
    if manifest_format is None:
        suffix = Path(source).suffix.lower() if isinstance(source, str | os.PathLike) else ""
        manifest_format = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv"}.get(suffix, "lines")
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(open(source, "rb")) if isinstance(source, str | os.PathLike) else source
        # Bytes that are no UTF-8 spoil their row and not the file.
        newline = "" if manifest_format == "csv" else None
        text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline=newline)
        if isinstance(source, str | os.PathLike):
            stack.callback(text.close)
        else:
            stack.callback(text.detach)
        rows = _csv_rows(text) if manifest_format == "csv" else _line_rows(text, manifest_format == "jsonl")
        yield from rows


def _line_rows(stream: Iterable[str], as_json: bool) -> Iterator[dict[str, Any] | Failure]:
    for number, line in enumerate(stream, 1):
        line = line.strip()
        if not line:
            continue
        if _is_broken(line):
            yield Failure(number, None, "is not UTF-8")
        elif not as_json:
            yield {"text": line, "row": number}
        else:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Failure(number, None, f"is no JSON: {error}")
                continue
            if isinstance(row, dict):
                yield {**row, "row": number}
            else:
                yield Failure(number, None, f"must be a JSON object, not {type(row).__name__}")


def _csv_rows(stream: io.TextIOWrapper) -> Iterator[dict[str, Any] | Failure]:
    first = stream.readline()
    delimiter = max(",;\t|", key=first.count)
    header = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter), [])]
    if "text" not in header:
        raise ValueError(f"the CSV has no column 'text'; its header names {', '.join(header) or 'nothing'}")
    repeated = sorted({name for name in header if name in COLUMNS and header.count(name) > 1})
    if repeated:
        raise ValueError(f"the CSV has more than one column {', '.join(map(repr, repeated))}")
    reader = csv.reader(stream, delimiter=delimiter)
    number = 0
    while True:
        number += 1
        try:
            values = _next_row(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Failure(number, None, f"cannot be read: {error}")
            continue
        if not any(value.strip() for value in values):
            number -= 1
        elif len(values) != len(header):
            yield Failure(number, None, f"has {len(values)} columns, but the header has {len(header)}")
        elif any(map(_is_broken, values)):
            yield Failure(number, None, "is not UTF-8")
        else:
            yield {**dict(zip(header, values, strict=True)), "row": number}


def _next_row(reader: Iterator[list[str]]) -> list[str]:
    """The next row, its fields of any length: the limit is the csv module's, for the whole process."""
    with _csv_limit:
        before = csv.field_size_limit(_LONGEST_FIELD)
        try:
            return next(reader)
        finally:
            csv.field_size_limit(before)


def _is_broken(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def item_seed(identifier: str, seed: int = 0) -> int:
    """The seed of an item that names none: a hash of its id and the run's seed, below 2**56, the same everywhere."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{identifier}".encode()).digest()[:7], "big")


def _number(name: str, value: Any, kind: type[int] | type[float]) -> Any:
    """A number of a row; JSON has numbers, CSV text, and an empty field is none at all."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        if kind is int and isinstance(value, float):
            raise ValueError
        return kind(value)
    except (ValueError, OverflowError):
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"{name} must be {what}, not {value!r}") from None


def speaker_number(config: Any, speaker: Any) -> int | None:
    """The number of a speaker given by number or, where the voice names its speakers, by name; None for nothing."""
    if speaker is None or (isinstance(speaker, str) and not speaker.strip()):
        return None
    names: dict[str, int] = (getattr(config, "piper", None) or {}).get("speaker_id_map") or {}
    if isinstance(speaker, str) and speaker in names:
        return int(names[speaker])
    try:
        return int(_number("speaker", speaker, int))
    except ValueError:
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        known = f"; named are {', '.join(sorted(names, key=names.__getitem__)[:10])}{more}" if names else ""
        message = f"speaker must be a whole number or a name that the voice knows, not {speaker!r}{known}"
        raise ValueError(message) from None


def speaker_in_range(config: Any, speaker: Any) -> int | None:
    """`speaker_number`, refused where the voice has no such speaker."""
    number = speaker_number(config, speaker)
    speakers = max(config.num_speakers, 1)
    if number is not None and not 0 <= number < speakers:
        raise ValueError(f"speaker {number} is out of range: allowed is 0 to {speakers - 1}")
    return number


_FORBIDDEN = re.compile(r'[/\\<>:"|?*\x00-\x1f\x7f]')


def _check_id(identifier: str) -> None:
    """Refuse an id that is no file name on some system."""
    ends = identifier != identifier.strip() or identifier.startswith((".", "-")) or identifier.endswith(".")
    if not identifier or ends:
        raise ValueError(f"id {identifier!r} is no file name: it is empty, or has a space, dot or hyphen at an end")
    if _is_broken(identifier):
        raise ValueError("id is not UTF-8")
    found = _FORBIDDEN.search(identifier)
    if found is not None:
        raise ValueError(f"id {identifier!r} is no file name: it holds {found.group()!r}")
    if len(identifier.encode()) > 200:
        raise ValueError(f"id {identifier[:20]!r}… is longer than 200 bytes")


# ---------------------------------------------------------------------------------------------------------------------
# What comes out


class _OutputFolder:
    """The folder of a run, its manifest, and a lock that ends with the process."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder)
        self.path.mkdir(parents=True, exist_ok=True)
        self.manifest = self.path / MANIFEST_NAME
        self.keys: dict[str, str] = {}  # what there is, by id
        self.needs_compaction = False

    def __enter__(self) -> _OutputFolder:
        self._lock = open(self.path / ".lock", "ab")
        try:
            import fcntl

            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass  # not on this system: two runs at a time are the user's to avoid
        except OSError as error:
            self._lock.close()
            raise OSError(f"another run is writing to {self.path}") from error
        for leftover in self.path.glob(PARTIAL_PREFIX + "*"):
            leftover.unlink(missing_ok=True)
        self._read()
        self._file = open(self.manifest, "ab")
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._file.close()
        if self.needs_compaction:
            self._compact()
        self._lock.close()

    def _lines(self) -> Iterator[tuple[bytes, str, str] | None]:
        """(line, id, key) of every line of the manifest; None for one that is torn or whose file is not there."""
        if not self.manifest.exists():
            return
        with open(self.manifest, "rb") as file:
            for line in file:
                try:
                    row = json.loads(line)
                    found = line, str(row["id"]), str(row["key"])
                    whole = line.endswith(b"\n") and (self.path / row["file"]).stat().st_size == row["bytes"]
                except (ValueError, KeyError, TypeError, OSError):
                    whole = False
                yield found if whole else None

    def _read(self) -> None:
        """Learn what is there already; take torn and repeated lines out of the manifest."""
        for line in self._lines():
            self.needs_compaction |= line is None or line[1] in self.keys
            if line is not None:
                self.keys[line[1]] = line[2]
        if self.needs_compaction:
            self._compact()

    def _compact(self) -> None:
        """Write the manifest anew, the last line of each item alone."""
        last = {line[1]: number for number, line in enumerate(self._lines()) if line is not None}
        with replacing(self.manifest) as temporary, open(temporary, "wb") as file:
            for number, line in enumerate(self._lines()):
                if line is not None and last[line[1]] == number:
                    file.write(line[0])
        self._sync_folder()
        self.needs_compaction = False

    def _sync_folder(self) -> None:
        if os.name != "posix":
            return
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def has(self, item: _Item) -> bool:
        """Whether the item is there as it would be spoken now."""
        return self.keys.get(item.id) == item.key

    def add(self, item: _Item, audio: numpy.ndarray, sampling_rate: int, format: str, spans: list[Any] | None) -> None:
        """Keep the audio of an item: first its file, then its line."""
        from ..audio.files import write_audio

        name = f"{item.id}.{format}"
        with replacing(self.path / name) as temporary:
            write_audio(temporary, audio, sampling_rate, format)
            size = temporary.stat().st_size
        self._sync_folder()
        row: dict[str, Any] = {
            "id": item.id,
            "file": name,
            "text": item.text,
            "speaker": item.speaker,
            "seed": item.seed,
            "speaking_rate": item.rate,
            "sampling_rate": sampling_rate,
            "samples": len(audio),
            "seconds": round(len(audio) / sampling_rate, 6),
            "bytes": size,
            "key": item.key,
        }
        if spans is not None:
            row["timestamps"] = spans
        self.needs_compaction |= item.id in self.keys
        self.keys[item.id] = item.key
        self._file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
        self._file.flush()
        os.fsync(self._file.fileno())


def _voice_key(pipeline: TextToAudioPipeline) -> str:
    """A hash of the voice: configuration, parameters and vocabulary."""
    model, tokenizer = pipeline.model, pipeline.tokenizer
    digest = hashlib.sha256(json.dumps(model.config.to_dict(), sort_keys=True, default=str).encode())
    words = [getattr(tokenizer, name) for name in ("frontend", "add_blank", "normalize", "phonemize", "is_uroman")]
    words += [tokenizer.language, tokenizer.espeak_voice, tokenizer.uroman_language, tokenizer.get_vocab()]
    digest.update(json.dumps(words, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------------------------------
# The run


def synthesize(
    items: Iterable[str | Mapping[str, Any] | Failure],
    output_dir: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | VitsModel | TextToAudioPipeline | None = None,
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
    strict: bool = False,
    progress: ProgressLine | bool = False,
    on_failure: Callable[[Failure], None] | None = None,
    **pipeline_options: Any,
) -> CorpusReport:
    """Speak many texts into a folder, an audio file each, and write a manifest of them.

    Started again with the same folder it goes on where it was, even if it was killed; items whose text, controls or
    voice have changed are spoken anew. Long texts are spoken sentence by sentence, as `speak_sentences` does it.

    Args:
        items: texts, or mappings with `text` and perhaps `id` (a file name; the row's number by default), `speaker` (a
            number or a name), `seed` and `rate` (or `speaking_rate`); what `read_manifest` gives. Read as it goes, not
            all at once.
        output_dir: the folder, made if missing, for `<id>.wav` (or `.flac`) and `manifest.jsonl`.
        model: a pipeline, or what `pipeline` takes as `model`; None means the bundled voice.
        batch_size: how many sentences go through the model at a time. They are sorted by length first, a window of
            items at a time.
        format: "wav" or "flac".
        speaker, speaking_rate: for rows that say nothing of it.
        noise_scale, noise_scale_duration: the model's own where None.
        seed: rows without a seed get one from their id and this number (`item_seed`).
        sentence_silence, paragraph_silence, max_length: as in `speak_sentences`.
        timestamps: write into the manifest when each token, character and word is heard.
        strict: raise BadItem at the first row that cannot be spoken, instead of reporting it and going on.
        progress: True for a line on standard error, or a `ProgressLine`.
        on_failure: called with each `Failure`; by default it is logged as a warning.
        pipeline_options: `device`, `dtype`, `revision` and so on, as `pipeline` takes them.

    Returns:
        A `CorpusReport`.

    Raises:
        BadItem: see `strict`.
        TypeError, ValueError: an argument that cannot be.
        OSError: the folder cannot be written to, or another run is writing to it.
        ImportError: FLAC without the package `soundfile`.
    """
    from ..progress import ProgressLine
    from ..speech.long_form import DEFAULT_SENTENCE_SILENCE

    if format not in ("wav", "flac"):
        raise ValueError(f"format must be 'wav' or 'flac', not {format!r}")
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number from 1, not {batch_size!r}")
    if isinstance(items, str | bytes | Mapping):
        raise TypeError("items must be an iterable of texts or of mappings: put a single one into a list")
    if format == "flac":
        from ..audio.files import require_flac

        require_flac()
    run = _Run(
        pipeline=_pipeline(model, pipeline_options),
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
        strict=strict,
        progress=ProgressLine(len(items) if isinstance(items, Sized) else None)
        if progress is True
        else progress or None,
        on_failure=on_failure,
    )
    with _OutputFolder(output_dir) as folder:
        run.speak(iter(items), folder)
    return run.report


def _pipeline(model: Any, options: Mapping[str, Any]) -> TextToAudioPipeline:
    from ..speech.pipeline import TextToAudioPipeline, pipeline
    from ..voices.folders import DEFAULT_VOICE, voice_folder

    if isinstance(model, TextToAudioPipeline):
        if options:
            raise TypeError(f"{', '.join(options)} cannot be given beside a pipeline that is made already")
        return model
    if model is None or isinstance(model, str | os.PathLike):
        model = voice_folder(DEFAULT_VOICE if model is None else model)
    return pipeline("text-to-speech", model=model, **options)


class _Run:
    """One run: its settings, and what it has done."""

    def __init__(
        self,
        *,
        pipeline: TextToAudioPipeline,
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
        strict: bool,
        progress: ProgressLine | None,
        on_failure: Callable[[Failure], None] | None,
    ) -> None:
        from ..models.inputs import per_item
        from ..speech.long_form import sentence_seed, silences

        model = pipeline.model
        self.pipeline = pipeline
        self.batch_size = batch_size
        self.format = format
        self.speaker = speaker_in_range(model.config, speaker)
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
        self.pauses = silences(sentence_silence, paragraph_silence, pipeline.sampling_rate)
        split_sentences("", max_length)
        self.max_length = max_length
        self.timestamps = timestamps
        self.strict = strict
        self.progress = progress
        self.on_failure = on_failure
        self.report = CorpusReport()
        self.begun = time.perf_counter()
        settings = [_voice_key(pipeline), str(model.dtype), format, self.noise, self.pauses, max_length, timestamps]
        self.settings = json.dumps(settings, sort_keys=True)
        self.ids: set[str] = set()
        self.unknown_columns: set[str] = set()

    def speak(self, items: Iterator[str | Mapping[str, Any] | Failure], folder: _OutputFolder) -> None:
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

    def _job(self, number: int, given: str | Mapping[str, Any] | Failure, folder: _OutputFolder) -> list[_Unit] | None:
        """The sentences of an item; None if there is nothing to do for it."""
        from ..speech.long_form import sentence_seed

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
            identifier = _identifier(given, row)
            item = self._item(given, row, identifier)
            if folder.has(item):
                self.report.skipped += 1
                return None
            sentences = list(split_sentences(item.text, self.max_length))
            job = _Job(item, sentences, 0)
            units = []
            for index, sentence in enumerate(sentences):
                encoding = self.pipeline.tokenizer([sentence.text], return_tensors="pt")
                if self.pipeline.says_something(encoding):
                    units.append(_Unit(job, index, sentence, encoding, sentence_seed(item.seed, index) or 0))
            if not units:
                raise ValueError("text has no character that this voice can say")
            job.missing = len(units)
            return units
        except (ValueError, TypeError) as error:
            self._fail(Failure(row, identifier, str(error)))
            return None

    def _item(self, given: Mapping[str, Any], row: int, identifier: str) -> _Item:
        """A row, checked."""
        from ..models.inputs import per_item
        from ..speech.long_form import sentence_seed

        strangers = [
            str(name) for name in given if name not in COLUMNS and name != "row" and name not in self.unknown_columns
        ]
        if strangers:
            self.unknown_columns.update(strangers)
            logger.warning("Columns that mean nothing here are ignored: %s.", ", ".join(strangers))
        text = given.get("text")
        if not isinstance(text, str):
            raise ValueError("has no text" if text is None else f"text must be a string, not {type(text).__name__}")
        if _is_broken(text):
            raise ValueError("text is not UTF-8")
        if not text.strip():
            raise ValueError("text is empty")
        if identifier.casefold() in self.ids:
            raise ValueError("the id stands in an earlier row already")
        self.ids.add(identifier.casefold())
        rates = [_number(name, given.get(name), float) for name in ("rate", "speaking_rate")]
        if None not in rates and rates[0] != rates[1]:
            raise ValueError("rate and speaking_rate differ: give one of them")
        rate = next((one for one in rates if one is not None), self.rate)
        per_item("rate", rate, 1, minimum=0, exclusive=True)
        config = self.pipeline.model.config
        speaker = speaker_in_range(config, given.get("speaker"))
        speaker = self.speaker if speaker is None else speaker
        if speaker is None and config.num_speakers > 1:
            raise ValueError(f"has no speaker, and the voice has {config.num_speakers}")
        seed = _number("seed", given.get("seed"), int)
        seed = item_seed(identifier, self.seed) if seed is None else seed
        sentence_seed(seed, 0)
        facts = json.dumps([self.settings, text, speaker, seed, rate])
        return _Item(row, identifier, text, speaker, seed, rate, hashlib.sha256(facts.encode()).hexdigest()[:16])

    def _run_batch(self, units: list[_Unit], folder: _OutputFolder) -> None:
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
        if self.pipeline.model.config.num_speakers > 1:
            controls["speaker_id"] = [item.speaker for item in items]
        try:
            spoken = list(self.pipeline.synthesise([unit.encoding for unit in units], controls))
        except (ValueError, RuntimeError) as error:
            if len(units) > 1:
                for unit in units:
                    self._run_batch([unit], folder)
                return
            units[0].job.failed = True
            self._fail(Failure(items[0].row, items[0].id, str(error)))
            return
        for unit, (audio, output) in zip(units, spoken, strict=True):
            job = unit.job
            job.audio[unit.index] = audio
            if self.timestamps:
                job.spans[unit.index] = self.pipeline.timestamps(unit.encoding, output)
            job.missing -= 1
            if not job.missing:
                self._finish(job, folder)

    def _finish(self, job: _Job, folder: _OutputFolder) -> None:
        """Put the sentences of an item together, with the pauses between, and keep it."""
        from ..speech.long_form import place_timestamps

        rate = self.pipeline.sampling_rate
        pieces: list[numpy.ndarray] = []
        spans: list[Any] = []
        samples = 0
        for index, sentence in enumerate(job.sentences):
            audio = job.audio.pop(index, None)
            if audio is None:
                continue
            spans.extend(place_timestamps(job.spans.pop(index, []), sentence, samples / rate))
            pause = numpy.zeros(self.pauses[sentence.boundary], numpy.float32)
            pieces += [audio, pause]
            samples += len(audio) + len(pause)
        written = [dataclasses.asdict(span) for span in spans] if self.timestamps else None
        folder.add(job.item, numpy.concatenate(pieces), rate, self.format, written)
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


def _identifier(given: Mapping[str, Any], row: int) -> str:
    identifier = given.get("id")
    if identifier is None or identifier == "":
        return f"{row:06d}"
    if isinstance(identifier, bool) or not isinstance(identifier, str | int):
        raise ValueError(f"id must be a string or a whole number, not {identifier!r}")
    _check_id(str(identifier))
    return str(identifier)
