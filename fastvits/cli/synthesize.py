"""`fastvits synthesize`: many texts into many audio files."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..corpus import MANIFEST_FORMATS, MANIFEST_NAME, BadItem, Failure, Shard, read_manifest, synthesize
from ..corpus.items import row_name
from .arguments import (
    InputError,
    OneLineParser,
    add_level_options,
    add_voice_options,
    load_speaker,
    output_folder,
    seed,
    whole_number,
)

EPILOG = """The manifest has a row a text: JSON objects line by line (.jsonl), a JSON list (.json), CSV with a header
line (.csv, .tsv), id|text or id|text|normalized text as in LJSpeech (.csv), or plain lines. Columns: text, and if you
like id (names the file), speaker or speaker_id, seed, rate (above 1 is faster).

examples:
  fastvits synthesize sentences.txt --output-dir corpus
  fastvits synthesize sentences.csv --output-dir corpus --format flac --timestamps
  fastvits synthesize sentences.jsonl --output-dir corpus --voice facebook/mms-tts-eng --batch-size 32 --device cuda
  fastvits synthesize sentences.jsonl --output-dir corpus --shard 3/8

Started again with the same folder it goes on where it was. Exit status: 0 if every row is there, 1 if some could not be
spoken, 2 for a wrong option or an unreadable manifest.
"""


def add_to(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "synthesize",
        help="synthesize many texts, an audio file each",
        description="Synthesize the texts of a manifest into a folder, an audio file each, and write "
        f"{MANIFEST_NAME} there.",
        epilog=EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument("manifest", metavar="MANIFEST", help="the texts; - reads standard input")
    parser.add_argument(
        "--output-dir", metavar="DIR", required=True, type=output_folder, help="where the audio goes; made if missing"
    )
    parser.add_argument(
        "--manifest-format", choices=MANIFEST_FORMATS, help="default: as the manifest's name ends, else lines"
    )
    parser.add_argument("--format", choices=("wav", "flac"), default="wav", help="of the audio (default: wav)")
    parser.add_argument(
        "--timestamps", action="store_true", help="write into the output manifest when each word is heard"
    )
    parser.add_argument(
        "--batch-size",
        metavar="N",
        type=whole_number(4096, 1),
        default=8,
        help="sentences that go through the model at a time (default: 8); the audio does not depend on it",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=seed,
        default=0,
        help="rows without a seed get one made of their id and this number (default: 0)",
    )
    parser.add_argument(
        "--shard",
        metavar="I/N",
        type=_shard,
        help="only part I of N of the rows, dealt by their ids, into a manifest of its own; fastvits merge puts the "
        "parts together. auto takes the part from torchrun, Slurm or a Kubernetes job with indexes (auto/N where it "
        "does not say how many there are)",
    )
    parser.add_argument("--strict", action="store_true", help="stop at the first row that cannot be spoken")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    add_level_options(parser)
    add_voice_options(parser)


def run(options: argparse.Namespace) -> int:
    """Synthesize, report the rows that failed as they come, and sum up."""
    from ..progress import ProgressLine, clock

    total = _count(options)
    progress = ProgressLine(total)

    def report_failure(failure: Failure) -> None:
        progress.message(f"fastvits: {' '.join(str(failure).split())}")

    try:
        with _rows(options) as rows:
            report = synthesize(
                rows,
                options.output_dir,
                model=load_speaker(options),
                batch_size=options.batch_size,
                format=options.format,
                speaker=options.speaker,
                speaking_rate=options.speaking_rate,
                noise_scale=options.noise_scale,
                noise_scale_duration=options.noise_scale_duration,
                seed=options.seed,
                sentence_silence=options.sentence_silence,
                timestamps=options.timestamps,
                volume=options.volume,
                normalize=options.normalize,
                strict=options.strict,
                shard=options.shard,
                progress=False if options.quiet else progress,
                on_failure=report_failure,
            )
    except BadItem as error:
        print(f"fastvits: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    factor = f", real-time factor {report.seconds / report.audio_seconds:.3f}" if report.audio_seconds else ""
    print(f"done:    {report.done} ({clock(report.audio_seconds)} of audio in {clock(report.seconds)}{factor})")
    print(f"skipped: {report.skipped} (there already)")
    print(f"failed:  {len(report.failures)}")
    return 1 if report.failures else 0


def _count(options: argparse.Namespace) -> int | None:
    """How many rows a manifest has, or a shard of it; None for one that can be read only once."""
    path = Path(options.manifest)
    if options.manifest == "-":
        return None
    if not path.exists():
        raise InputError(f"manifest {path} does not exist")
    if not path.is_file():
        if path.is_dir():
            raise InputError(f"manifest {path} is a folder")
        return None
    if path.resolve() == (options.output_dir / MANIFEST_NAME).resolve():
        raise InputError(f"{path} is the output manifest: it cannot be read and written in one run")
    if not os.access(path, os.R_OK):
        raise InputError(f"manifest {path} cannot be read")
    count = own = 0
    for number, row in enumerate(read_manifest(path, options.manifest_format), 1):
        count = number
        own += options.shard is None or options.shard.takes(row_name(row, number))
    if not count:
        raise InputError(f"manifest {path} has no rows")
    return own


def _shard(text: str) -> Shard | None:
    try:
        return Shard.of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


@contextlib.contextmanager
def _rows(options: argparse.Namespace) -> Iterator[Iterator[Any]]:
    source = sys.stdin.buffer if options.manifest == "-" else options.manifest
    rows = read_manifest(source, options.manifest_format)
    try:
        yield rows
    finally:
        rows.close()  # type: ignore[attr-defined]
