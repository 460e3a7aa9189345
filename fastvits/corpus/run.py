"""Many texts into many audio files: in batches, safe against being killed, and the same whatever the batches are.

The output folder holds an audio file an item and `manifest.jsonl`, one line an item. A file is written under another
name, brought to the disk and renamed; then its line is appended and brought to the disk. So a line stands for a
complete file, and a run that is started again does what has no line yet. What an item sounds like depends on its text,
its controls and its seed, and on nothing else: not on the other items, their order, or the batches (up to the last bit
of a 16-bit sample, for sums are rounded in another order).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Any

from ..audio.files import require_flac
from ..audio.levels import Levels
from ..models.vits import VitsModel
from ..progress import ProgressLine
from ..speech.long_form import DEFAULT_SENTENCE_SILENCE
from ..speech.pipeline import TextToAudioPipeline
from ..speech.speaker import Speaker
from ..text.espeak_process import espeak_apart
from ..text.sentences import DEFAULT_MAX_LENGTH
from ..voices.folders import DEFAULT_VOICE
from .folder import OutputFolder
from .manifest import Failure
from .report import BadItem, CorpusReport
from .shards import Shard
from .speaking import CorpusRun

__all__ = ["BadItem", "CorpusReport", "synthesize"]


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
    shard: Shard | str | None = None,
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
        shard: speak only the rows that fall to this part of them, such as "3/8" (see `Shard`), into the same folder as
            the others; `merge` puts their manifests together.
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
        raise ValueError(f"format must be 'wav' or 'flac', got {format!r}")
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number from 1, got {batch_size!r}")
    if isinstance(items, str | bytes | Mapping):
        raise TypeError("items must be an iterable of texts or of mappings: put a single one into a list")
    if format == "flac":
        require_flac()
    run = CorpusRun(
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
        shard=Shard.of(shard),
        progress=ProgressLine(len(items) if isinstance(items, Sized) else None)
        if progress is True
        else progress or None,
        on_failure=on_failure,
    )
    with espeak_apart(), OutputFolder(output_dir, run.shard) as folder:
        run.speak(iter(items), folder)
    return run.report


def _speaker(model: Any, options: Mapping[str, Any]) -> Speaker:
    made = model.speaker if isinstance(model, TextToAudioPipeline) else model
    if not isinstance(made, Speaker):
        return Speaker(DEFAULT_VOICE if made is None else made, **options)
    if options:
        raise TypeError(f"{', '.join(options)} cannot be given beside a pipeline that is made already")
    return made
