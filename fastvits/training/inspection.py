"""A look at all of the data before anything is trained on it, and one report of what cannot be used."""

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..audio.reading import audio_info, mixed_down, read_audio, resampled, trimmed
from ..audio.spectrogram import frame_count
from ..configuration import VitsConfig
from .recordings import Clip, Problem
from .settings import TrainingSettings

__all__ = ["DataReport", "Example", "inspect_clips"]


@dataclass(frozen=True)
class Example:
    """A clip that can be learnt from, ready to be read."""

    id: str
    text: str
    ids: tuple[int, ...]  # tokens
    speaker: int | None
    file: Path  # `[T_samples]` float32, as numpy saves it: one channel at the voice's rate, trimmed
    samples: int
    frames: int


@dataclass
class DataReport:
    """What there is to learn from, and what not."""

    examples: list[Example] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    seconds: float = 0.0

    def fingerprint(self) -> str:
        """A hash of all that a run sees of its data."""
        digest = hashlib.sha256()
        for example in self.examples:
            digest.update(repr((example.id, example.ids, example.speaker, example.samples)).encode())
        return digest.hexdigest()

    def __str__(self) -> str:
        """The report, a few lines: how much can be used, and each kind of problem with its first cases."""
        hours = f"{self.seconds / 3600:.2f} hours" if self.seconds >= 3600 else f"{self.seconds / 60:.1f} minutes"
        lines = [f"{len(self.examples)} clips can be used, {hours} in all."]
        kinds = Counter(problem.kind for problem in self.problems)
        for kind, count in kinds.most_common():
            lines.append(f"{kind} ({count}):")
            cases = [problem for problem in self.problems if problem.kind == kind]
            lines += [f"  {case}" for case in cases[:5]]
            lines += [f"  and {count - 5} more"] if count > 5 else []
        return "\n".join(lines)


def inspect_clips(
    clips: Iterable[Clip | Problem],
    tokenizer: Any,
    config: VitsConfig,
    speakers: Mapping[str, int],
    settings: TrainingSettings,
    folder: Path,
    on_progress: Callable[[int], None] | None = None,
) -> DataReport:
    """Read every clip once, and keep what training reads of it in `folder`.

    What is there already, of the same file and the same settings, is not made again.

    Args:
        clips: what `read_clips` gives.
        tokenizer: gives token ids, and tells of characters that its vocabulary lacks.
        config: the voice's: its rate, its spectrograms.
        speakers: the number of each speaker by name; empty for a voice with one.
        settings: limits of length, channels, silence.
        folder: where prepared audio goes; made if missing.
        on_progress: called with the number of clips done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    report, seen = DataReport(), set[str]()
    for number, clip in enumerate(clips, 1):
        if isinstance(clip, Problem):
            report.problems.append(clip)
        elif clip.id in seen:
            report.problems.append(
                Problem(clip.id, "id that is there twice", f"is there already; {clip.file} is left out")
            )
        else:
            seen.add(clip.id)
            found = _inspect(clip, tokenizer, config, speakers, settings, folder)
            if isinstance(found, Problem):
                report.problems.append(found)
            else:
                report.examples.append(found)
                report.seconds += found.samples / config.sampling_rate
        if on_progress is not None:
            on_progress(number)
    return report


def _inspect(
    clip: Clip,
    tokenizer: Any,
    config: VitsConfig,
    speakers: Mapping[str, int],
    settings: TrainingSettings,
    folder: Path,
) -> Example | Problem:
    if not clip.text:
        return Problem(clip.id, "no text", "has no text")
    if len(speakers) and clip.speaker not in speakers:
        named = "names no speaker" if clip.speaker is None else f"is spoken by {clip.speaker!r}"
        return Problem(clip.id, "unknown speaker", f"{named}; the voice has {', '.join(sorted(speakers)[:10])}")
    normalize, split_special_tokens = tokenizer.text_settings(None, None)
    try:
        reading = tokenizer.prepared_front_end(None).read(
            clip.text, normalize=normalize, split_special_tokens=split_special_tokens
        )
        lacking = " ".join(character for lost in reading.losses() for character in lost)
        if lacking:
            return Problem(clip.id, "unknown characters", f"the vocabulary lacks {lacking} of {clip.text[:60]!r}")
        ids = tuple(int(number) for number in tokenizer(clip.text)["input_ids"])
    except ValueError as error:
        return Problem(clip.id, "text that cannot be read", f"{clip.text[:60]!r}: {error}")
    try:
        info = audio_info(clip.file)
    except OSError as error:
        return Problem(clip.id, "unreadable file", str(error))
    # What is far too long is not even read; silence may be cut off what is a little too long.
    if info.seconds > settings.max_seconds * (1 if settings.trim_decibels is None else 2):
        return Problem(clip.id, "too long", f"lasts {info.seconds:.2f} s, more than {settings.max_seconds:g} s")
    try:
        file, samples = _prepared(clip, config.sampling_rate, settings, folder)
    except OSError as error:
        return Problem(clip.id, "unreadable file", str(error))
    except ValueError as error:
        return Problem(clip.id, "unusable sound", f"{clip.file.name} {error}")
    seconds = samples / config.sampling_rate
    if not settings.min_seconds <= seconds <= settings.max_seconds:
        short = seconds < settings.min_seconds
        limit = f"less than {settings.min_seconds:g} s" if short else f"more than {settings.max_seconds:g} s"
        return Problem(clip.id, "too short" if short else "too long", f"lasts {seconds:.2f} s, {limit}")
    frames = frame_count(samples, config.n_fft, config.hop_length)
    if frames < len(ids) or samples < config.n_fft:
        return Problem(
            clip.id, "more tokens than frames", f"has {len(ids)} tokens but {max(frames, 0)} frames: {clip.text[:60]!r}"
        )
    speaker = speakers[clip.speaker] if len(speakers) and clip.speaker is not None else None
    return Example(clip.id, clip.text, ids, speaker, file, samples, frames)


def _prepared(clip: Clip, sampling_rate: int, settings: TrainingSettings, folder: Path) -> tuple[Path, int]:
    """The clip as training reads it: where it is kept, and its number of samples."""
    stat = clip.file.stat()
    source = (str(clip.file.resolve()), stat.st_size, stat.st_mtime_ns)
    key = (*source, sampling_rate, settings.mix_down, settings.trim_decibels)
    file = folder / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.npy"
    if file.is_file():
        with contextlib.suppress(OSError, ValueError):
            return file, len(np.load(file, mmap_mode="r"))
    channels, rate = read_audio(clip.file)
    samples = mixed_down(channels, settings.mix_down)
    if not len(samples):
        raise ValueError("holds no sound")
    if not np.isfinite(samples).all():
        raise ValueError("holds samples that are not finite")
    if not samples.any():
        raise ValueError("is silent throughout")
    samples = resampled(samples, rate, sampling_rate)
    if settings.trim_decibels is not None:
        samples = trimmed(samples, sampling_rate, settings.trim_decibels)
    samples = np.clip(samples, -1, 1)  # what resampling overshoots by
    temporary = file.with_suffix(".partial.npy")
    np.save(temporary, samples)
    temporary.replace(file)
    return file, len(samples)
