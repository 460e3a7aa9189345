"""`fastvits voices`: the voices at hand."""

import argparse
import json

from .arguments import OneLineParser

EPILOG = """example:
  fastvits voices
  fastvits voices --json
"""


def add_to(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "voices",
        help="list the voices at hand",
        description="List the voices on this machine: the bundled one, Piper voices that were converted in the cache, "
        "and VITS models in the cache of the Hugging Face hub. The first column is what --voice takes.",
        epilog=EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")


def size(count: int) -> str:
    """Bytes in megabytes."""
    return f"{count / 1e6:.1f} MB"


def run(options: argparse.Namespace) -> None:
    """Print the table."""
    from ..voices.listing import list_voices

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
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
