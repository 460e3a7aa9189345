"""`fastvits voices`: the voices at hand."""

import argparse
import json
import logging
from collections.abc import Sequence

from .arguments import OneLineParser

logger = logging.getLogger("fastvits")

EPILOG = """example:
  fastvits voices
  fastvits voices --all
"""


def add_to(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "voices",
        help="list the voices at hand",
        description="List the voices on this machine: the bundled one, Piper voices that were downloaded, or converted "
        "in the cache, and VITS models in the cache of the Hugging Face hub. The first column is what --voice takes.",
        epilog=EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--all",
        action="store_true",
        help="list the voices that `fastvits download` can fetch: Piper's catalogue, and the languages of MMS",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")


def size(count: int) -> str:
    """Bytes in megabytes."""
    return f"{count / 1e6:.1f} MB"


def run(options: argparse.Namespace) -> None:
    """Print the table."""
    from ..voices.listing import list_voices

    if options.all:
        _print_all(options.json)
        return
    entries = list_voices()
    if options.json:
        print(json.dumps([entry.__dict__ for entry in entries], indent=2, ensure_ascii=False))
        return
    if not entries:
        print("no voices at hand: install fastvits[voice], or name a hub id such as facebook/mms-tts-eng")
        return
    rows = [("voice", "kind", "language", "speakers", "rate", "size")]
    for entry in entries:
        speakers = "?" if entry.speakers is None else str(entry.speakers)
        rate = "?" if entry.sampling_rate is None else f"{entry.sampling_rate} Hz"
        rows.append((entry.voice, entry.kind, entry.language or "?", speakers, rate, size(entry.bytes)))
    _print_table(rows)


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_all(as_json: bool) -> None:
    """Print what can be fetched; where the hub cannot be asked, Piper's catalogue alone."""
    from ..voices.catalogue import mms_languages, piper_catalogue

    piper = list(piper_catalogue().values())
    languages: list[str] = []
    try:
        languages = sorted(mms_languages())
    except OSError as error:
        logger.warning("%s", error)
    if as_json:
        found = [
            {
                "voice": voice.key,
                "from": "Piper",
                "language": voice.language,
                "language_name": voice.language_name,
                "quality": voice.quality,
                "speakers": voice.speakers,
                "bytes": voice.bytes,
            }
            for voice in piper
        ]
        found += [{"voice": code, "from": "MMS", "language": code} for code in languages]
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    rows = [("voice", "from", "language", "quality", "speakers", "size")]
    rows += [(one.key, "Piper", one.language, one.quality, str(one.speakers), size(one.bytes)) for one in piper]
    rows += [(code, "MMS", code, "?", "1", "?") for code in languages]
    _print_table(rows)
