"""The command `fastvits`: say texts, synthesize corpora, convert and export voices, and tell what voices there are.

Exit status: 0 for success, 2 for input that cannot be used (an option, a text, a voice), 1 for a failure on the way
(a download, a full disk, rows of a corpus that cannot be spoken), 130 when interrupted. An error is one line on
standard error. Each command has a file of its own, with a function that adds it to the parser and one that runs it.
"""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

import fastvits

from ..audio.files import write_wav
from ..runtime.cores import use_usable_cores
from ..text.espeak_process import espeak_apart
from . import calibrate, convert, download, export, info, merge, revoice, say, serve, synthesize, train, tune, voices
from .arguments import InputError, OneLineParser, one_line

__all__ = ["main", "write_wav"]

EPILOG = """examples:
  fastvits say "Hello, my dog is cute." --output hello.wav
  fastvits synthesize sentences.csv --output-dir corpus
  fastvits voices
  fastvits info facebook/mms-tts-eng

`fastvits COMMAND --help` tells more about each.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (the process's own where None) and return its exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="fastvits: %(message)s", level=logging.WARNING)
    use_usable_cores()
    status = 0
    try:
        with warnings.catch_warnings(), espeak_apart():
            warnings.showwarning = _show_warning
            status = options.run(options) or 0
        sys.stdout.flush()
    except InputError as error:
        return _fail(2, str(error))
    except KeyboardInterrupt:
        return _fail(130, "interrupted")
    except BrokenPipeError:
        # Whoever read the output has gone: nothing is left to tell, nor may the interpreter try at its end.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, TypeError, NotImplementedError) as error:
        return _fail(2, str(error))
    except (OSError, ImportError) as error:
        return _fail(1, str(error))
    except Exception as error:  # the last resort of a command line: whatever it is, a line and not a stack trace
        return _fail(1, f"{type(error).__name__}: {error}")
    return int(status)


def _parser() -> OneLineParser:
    parser = OneLineParser(prog="fastvits", description="VITS text-to-speech.", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"fastvits {fastvits.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (
        say,
        synthesize,
        merge,
        serve,
        voices,
        download,
        info,
        convert,
        export,
        calibrate,
        train,
        revoice,
        tune,
    ):
        command.add_to(commands)
    return parser


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning as a line, without the place in the code where it came up."""
    print(f"fastvits: warning: {one_line(str(message))}", file=sys.stderr)


def _fail(status: int, message: str) -> int:
    print(f"fastvits: error: {one_line(message)}", file=sys.stderr)
    return status
