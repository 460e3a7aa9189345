"""`fastvits download`: voices of Piper's catalogue, of MMS, or of the hub, onto this machine."""

import argparse
import sys

from .arguments import OneLineParser
from .voices import size

EPILOG = """examples:
  fastvits download en_US-lessac-medium
  fastvits download deu
  fastvits say "Guten Tag." --voice facebook/mms-tts-deu --output guten-tag.wav

FASTVITS_PIPER_VOICES names another place with the catalogue's layout, HF_ENDPOINT another hub.
"""


def add_to(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "download",
        help="fetch a voice, check it, and show its licence",
        description="Fetch voices: by a name of Piper's catalogue (fastvits voices --all lists them), by the code of a "
        "language of MMS, or by the id of a repository on the hub. Piper's files are compared with the catalogue's "
        "checksums. What is there already is not fetched again.",
        epilog=EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "names", metavar="NAME", nargs="+", help="such as en_US-lessac-medium, deu or facebook/mms-tts-deu"
    )
    parser.add_argument("--force", action="store_true", help="fetch again what is there")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(options: argparse.Namespace) -> None:
    """Fetch, and tell of each voice what --voice takes, where it is, and its licence."""
    from ..voices.download import download

    show = _Progress() if not options.quiet and sys.stderr.isatty() else None
    for number, name in enumerate(options.names):
        found = download(name, force=options.force, progress=show)
        if number:
            print()
        print(f"voice:   {found.voice}")
        print(f"path:    {found.path}")
        print(f"licence: {found.licence or 'not told; see the files'}")
        if found.fetched is not None:
            print(f"fetched: {size(found.fetched) if found.fetched else 'nothing, it was there'}")


class _Progress:
    """A line on a terminal: which file, and how much of it is there."""

    def __call__(self, name: str, done: int, total: int) -> None:
        end = "\n" if done == total else ""
        print(f"\r\x1b[K{name}: {size(done)} of {size(total)}", end=end, file=sys.stderr, flush=True)
