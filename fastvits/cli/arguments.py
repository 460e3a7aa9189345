"""What the commands have in common: a parser whose errors are one line, types of arguments, options of every voice."""

import argparse
import dataclasses
import math
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from ..audio.levels import NORMALIZATIONS, TARGET_LOUDNESS
from ..speech.loading import resolve_device
from ..speech.speaker import Speaker
from ..text.markup import MARKUPS
from ..text.preparation import AS_PUBLISHED, Preparation
from ..voices.folders import DEFAULT_VOICE

DTYPES = ("float32", "float64", "bfloat16", "float16", "int8")


class InputError(Exception):
    """Something the user gave cannot be used; the message says what, in one line."""


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage above it, and whose epilogue keeps its lines."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_Formatter, **options)

    def error(self, message: str) -> NoReturn:
        """End with status 2 and one line."""
        self.exit(2, f"{self.prog}: error: {one_line(message)} (see {self.prog} --help)\n")


class _Formatter(argparse.HelpFormatter):
    """Fills paragraphs, but leaves lines that are indented, such as examples, alone."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return "".join(indent + line for line in text.splitlines(keepends=True))
        return super()._fill_text(text, width, indent)


Commands = "argparse._SubParsersAction[OneLineParser]"


def one_line(message: str) -> str:
    """A message on one line."""
    return " ".join(message.split())


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number, got {text!r}")
    return value


def positive(text: str) -> float:
    """A number above 0."""
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value


def not_negative(text: str) -> float:
    """A number from 0 on."""
    value = number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {text}")
    return value


def whole_number(limit: int, least: int = 0) -> Callable[[str], int]:
    """A type of whole numbers from `least` to `limit`."""

    def parse(text: str) -> int:
        if re.fullmatch(r"[0-9]+", text) is None or not least <= int(text) <= limit:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {limit}, got {text!r}")
        return int(text)

    return parse


seed = whole_number(2**63 - 1)


def device(text: str) -> str:
    """A device that is there."""
    try:
        resolve_device(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def output_file(text: str) -> Path:
    """A file that can be written, or `-` for standard output."""
    path = Path(text)
    if text == "-":
        return path
    if not text or path.is_dir():
        raise argparse.ArgumentTypeError(f"must name a file, not the folder {text or '.'}")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"folder {path.parent} does not exist")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} cannot be written")
    return path


def output_folder(text: str) -> Path:
    """A folder, or one that can be made."""
    path = Path(text)
    if not text or (path.exists() and not path.is_dir()):
        raise argparse.ArgumentTypeError(f"must name a folder, and {text!r} is none")
    return path


def onnx_file(text: str) -> Path:
    """A Piper voice's file."""
    path = Path(text)
    if path.suffix != ".onnx":
        raise argparse.ArgumentTypeError(f"must be a Piper voice's .onnx file, got {text}")
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text} does not exist")
    return path


def voice(text: str) -> str:
    """A voice that may exist: local files are looked for here, hub ids by who loads them."""
    path = Path(text)
    if path.suffix == ".onnx":
        return str(onnx_file(text))
    if path.is_file():
        raise argparse.ArgumentTypeError(f"{text} is a file, but no Piper voice's .onnx file")
    # A hub id is `name` or `organisation/name`; whatever else does not exist can only have been meant as a folder.
    if not path.is_dir() and re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", text) is None:
        raise argparse.ArgumentTypeError(f"folder {text or repr(text)} does not exist")
    return text


def add_voice_options(parser: argparse.ArgumentParser) -> None:
    """The options that choose a voice and say how it speaks."""
    parser.add_argument(
        "--voice",
        metavar="VOICE",
        type=voice,
        help="a folder with a model, a hub id such as facebook/mms-tts-eng, or a Piper voice's .onnx file "
        "(default: the English voice that the extra 'voice' installs)",
    )
    parser.add_argument(
        "--speaker",
        metavar="ID",
        help="which voice of a multi-speaker model: its number, or its name if it has one; id:N and name:NAME say "
        "which is meant where names are numbers (default: a Piper voice's own, else needed)",
    )
    parser.add_argument(
        "--speaking-rate", metavar="RATE", type=positive, help="above 1 is faster (default: the voice's)"
    )
    parser.add_argument(
        "--noise-scale", metavar="SCALE", type=not_negative, help="variation of the sound (default: the voice's)"
    )
    parser.add_argument(
        "--noise-scale-duration",
        metavar="SCALE",
        type=not_negative,
        help="variation of the rhythm (default: the voice's)",
    )
    parser.add_argument(
        "--sentence-silence",
        metavar="SECONDS",
        type=not_negative,
        default=0.2,
        help="silence between sentences (default: 0.2); twice as long between paragraphs, which empty lines separate",
    )
    parser.add_argument(
        "--device",
        metavar="DEVICE",
        type=device,
        help="such as cpu, cuda or cuda:1 (default: the first CUDA device where there is one, else cpu)",
    )
    parser.add_argument("--dtype", choices=DTYPES, help="what to compute in (default: the voice's)")


def add_level_options(parser: argparse.ArgumentParser) -> None:
    """The options that say how loud the audio is."""
    parser.add_argument(
        "--volume", metavar="FACTOR", type=not_negative, default=1.0, help="multiply the samples by this (default: 1)"
    )
    parser.add_argument(
        "--normalize",
        choices=NORMALIZATIONS,
        help="scale each sentence: peak to full scale, as Piper does, or loudness to "
        f"{TARGET_LOUDNESS:g} LUFS (default: as the voice speaks)",
    )


def add_text_options(parser: argparse.ArgumentParser) -> None:
    """Add what is done to a text before it is said."""
    group = parser.add_argument_group("text")
    group.add_argument(
        "--markup",
        choices=MARKUPS,
        default="plain",
        help="say a text in Markdown or HTML without its marks, with pauses behind headings and items (default: plain)",
    )
    group.add_argument("--lines", action="store_true", help="a pause behind every line, for poems and lists")
    group.add_argument(
        "--no-inline-phonemes",
        action="store_true",
        help="say what stands in [[double brackets]] as text, where Piper's voices take it for phonemes",
    )
    group.add_argument(
        "--normalize-numbers",
        choices=["auto", "off"],
        default="auto",
        help="numbers in words for voices that read letters, with the extra 'text' (default: auto)",
    )
    group.add_argument(
        "--as-published",
        action="store_true",
        help="read accents, abbreviations, numbers and sums as the published tokenizer does, as they are typed",
    )


def preparation(options: argparse.Namespace) -> Preparation:
    """What the options of `add_text_options` do to a text."""
    base = AS_PUBLISHED if options.as_published else Preparation(normalize_numbers=options.normalize_numbers)
    return dataclasses.replace(base, inline_phonemes=not options.no_inline_phonemes)


def load_speaker(options: argparse.Namespace) -> Speaker:
    """The voice that the options name."""
    name = DEFAULT_VOICE if options.voice is None else options.voice
    return Speaker(name, dtype=options.dtype, device=options.device)


def read_input(path: str) -> tuple[bytes, str]:
    """The bytes of a file, or of standard input for `-`, and what to call it."""
    if path == "-":
        return sys.stdin.buffer.read(), "standard input"
    try:
        return Path(path).read_bytes(), path
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
