"""The command `fastvits`: say a text with a voice, and convert Piper voices.

Exit status: 0 for success, 2 for input that cannot be used (an option, a text, a voice), 1 for a failure on the way
(a download, a full disk), 130 when interrupted. An error is one line on standard error.
"""

import argparse
import logging
import math
import os
import re
import sys
import time
import warnings
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TextIO

import numpy

import fastvits
from fastvits.pipeline import pipeline, resolve_device
from fastvits.seeding import set_seed

__all__ = ["main", "write_wav"]

DTYPES = ("float32", "float64", "bfloat16", "float16")
PARAGRAPH_PAUSE = 0.4
"""Seconds of silence between two paragraphs."""


class InputError(Exception):
    """Something the user gave cannot be used; the message says what, in one line."""


class _OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {_one_line(message)} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (the process's own where None) and return its exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="fastvits: %(message)s", level=logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            options.run(options)
        sys.stdout.flush()
    except InputError as error:
        return _fail(2, str(error))
    except KeyboardInterrupt:
        return _fail(130, "interrupted")
    except BrokenPipeError:
        # Whoever read the report has gone: nothing is left to tell, nor may the interpreter try at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, TypeError, NotImplementedError) as error:
        return _fail(2, str(error))
    except (OSError, ImportError) as error:
        return _fail(1, str(error))
    except Exception as error:  # the last resort of a command line: whatever it is, a line and not a stack trace
        return _fail(1, f"{type(error).__name__}: {error}")
    return 0


def write_wav(path: str | os.PathLike[str], audio: numpy.ndarray, sampling_rate: int) -> None:
    """Write one channel of audio as a WAV file of 16-bit PCM.

    Args:
        path: the file, overwritten if it exists.
        audio: floating-point samples, shape `[T_samples]`; what lies outside [-1, 1] is clipped. A model's output never
            does, since a hyperbolic tangent ends it.
        sampling_rate: samples a second.
    """
    samples = numpy.rint(numpy.clip(audio, -1.0, 1.0) * 32767.0).astype("<i2")
    with wave.open(os.fspath(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sampling_rate)
        file.writeframes(samples.tobytes())


def _parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(prog="fastvits", description="VITS text-to-speech.")
    parser.add_argument("--version", action="version", version=f"fastvits {fastvits.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_say(commands)
    _add_convert(commands)
    return parser


def _add_say(commands: "argparse._SubParsersAction[_OneLineParser]") -> None:
    say = commands.add_parser(
        "say",
        help="synthesise a text into a WAV file",
        description="Synthesise a text into a WAV file (16-bit PCM, one channel), and report its length, the time to "
        "synthesise it (from text to samples, without loading the voice) and the real-time factor (that time divided "
        "by the length). Paragraphs, which blank lines separate, are said one after another.",
    )
    say.set_defaults(run=_say)
    say.add_argument("text", metavar="TEXT", nargs="?", help="what to say; - reads standard input")
    say.add_argument("--file", metavar="TEXTFILE", help="read the text from this UTF-8 file; - reads standard input")
    say.add_argument("--output", metavar="FILE.wav", required=True, type=_output_file, help="where the audio goes")
    say.add_argument(
        "--voice",
        metavar="VOICE",
        type=_voice,
        help="a folder with a model, a hub id such as facebook/mms-tts-eng, or a Piper voice's .onnx file "
        "(default: the English voice that the extra 'voice' installs)",
    )
    say.add_argument("--speaker", metavar="ID", type=_speaker, help="which voice of a multi-speaker model")
    say.add_argument("--speaking-rate", metavar="RATE", type=_positive, help="above 1 is faster (default: the voice's)")
    say.add_argument(
        "--noise-scale", metavar="SCALE", type=_not_negative, help="variation of the sound (default: the voice's)"
    )
    say.add_argument(
        "--noise-scale-duration",
        metavar="SCALE",
        type=_not_negative,
        help="variation of the rhythm (default: the voice's)",
    )
    say.add_argument("--seed", metavar="N", type=_seed, help="make the variation repeatable")
    say.add_argument(
        "--device",
        metavar="DEVICE",
        type=_device,
        help="such as cpu, cuda or cuda:1 (default: the first CUDA device where there is one, else cpu)",
    )
    say.add_argument("--dtype", choices=DTYPES, help="what to compute in (default: the voice's)")


def _add_convert(commands: "argparse._SubParsersAction[_OneLineParser]") -> None:
    convert = commands.add_parser(
        "convert",
        help="convert a Piper voice into a folder that from_pretrained reads",
        description="Convert a Piper voice, VOICE.onnx with VOICE.onnx.json beside it, into a folder with a model, as "
        "`say --voice`, VitsModel.from_pretrained and VitsTokenizer.from_pretrained read it.",
    )
    convert.set_defaults(run=_convert)
    convert.add_argument("voice", metavar="VOICE.onnx", type=_onnx_file, help="the Piper voice")
    convert.add_argument("folder", metavar="FOLDER", type=_output_folder, help="where the model goes; made if missing")


def _say(options: argparse.Namespace) -> None:
    paragraphs = _paragraphs(_text(options))
    from fastvits.voices import DEFAULT_VOICE, voice_folder

    voice = DEFAULT_VOICE if options.voice is None else options.voice
    say = pipeline("text-to-speech", model=voice_folder(voice), dtype=options.dtype, device=options.device)
    for name in ("speaking_rate", "noise_scale", "noise_scale_duration"):
        if getattr(options, name) is not None:
            setattr(say.model, name, getattr(options, name))
    if options.seed is not None:
        set_seed(options.seed)

    start = time.perf_counter()
    spoken = [output["audio"] for output in say(paragraphs, speaker_id=options.speaker)]
    seconds = time.perf_counter() - start

    pause = numpy.zeros(round(PARAGRAPH_PAUSE * say.sampling_rate), dtype=numpy.float32)
    pieces = [piece for audio in spoken for piece in (pause, audio)][1:]
    audio = numpy.concatenate(pieces)
    write_wav(options.output, audio, say.sampling_rate)
    length = len(audio) / say.sampling_rate
    print(f"file:             {options.output.resolve()}")
    print(f"length:           {length:.2f} s")
    print(f"synthesis time:   {seconds:.2f} s")
    print(f"real-time factor: {seconds / length:.3f}")


def _convert(options: argparse.Namespace) -> None:
    from fastvits.piper import convert

    folder = convert(options.voice, options.folder)
    print(f"folder: {Path(folder).resolve()}")


def _text(options: argparse.Namespace) -> str:
    """Return the text that the options ask for, wherever it stands."""
    if (options.text is None) == (options.file is None):
        raise InputError("give the text either as TEXT or with --file")
    source = options.file if options.text is None else options.text
    if source == "-":
        encoded, name = sys.stdin.buffer.read(), "standard input"
    elif options.file is not None:
        name = options.file
        try:
            encoded = Path(options.file).read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {options.file}: {error.strerror}") from None
    else:
        return str(options.text)
    try:
        return encoded.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text: byte {error.start} is invalid") from None


def _paragraphs(text: str) -> list[str]:
    """Return a text's paragraphs, each on one line: a line break inside one is a space and no word of its own."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.replace("\r\n", "\n"))]
    paragraphs = [paragraph for paragraph in paragraphs if paragraph]
    if not paragraphs:
        raise InputError("the text is empty, so that there is nothing to say")
    return paragraphs


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from None
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"must be a finite number, not {text!r}")
    return number


def _positive(text: str) -> float:
    number = _number(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return number


def _not_negative(text: str) -> float:
    number = _number(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {text}")
    return number


def _whole_number(limit: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if re.fullmatch(r"[0-9]+", text) is None or int(text) > limit:
            raise argparse.ArgumentTypeError(f"must be a whole number from 0 to {limit}, not {text!r}")
        return int(text)

    return parse


_seed = _whole_number(2**32 - 1)
_speaker = _whole_number(2**31 - 1)


def _device(text: str) -> str:
    try:
        resolve_device(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _output_file(text: str) -> Path:
    path = Path(text)
    if not text or path.is_dir():
        raise argparse.ArgumentTypeError(f"must name a file, not the folder {text or '.'}")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"folder {path.parent} does not exist")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} cannot be written")
    return path


def _output_folder(text: str) -> Path:
    path = Path(text)
    if not text or (path.exists() and not path.is_dir()):
        raise argparse.ArgumentTypeError(f"must name a folder, and {text!r} is none")
    return path


def _onnx_file(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".onnx":
        raise argparse.ArgumentTypeError(f"must be a Piper voice's .onnx file, not {text}")
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text} does not exist")
    return path


def _voice(text: str) -> str:
    """Return a voice that may exist: local files are looked for here, hub ids by who loads them."""
    path = Path(text)
    if path.suffix == ".onnx":
        return str(_onnx_file(text))
    if path.is_file():
        raise argparse.ArgumentTypeError(f"{text} is a file, but no Piper voice's .onnx file")
    # A hub id is `name` or `organisation/name`; whatever else does not exist can only have been meant as a folder.
    if not path.is_dir() and re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", text) is None:
        raise argparse.ArgumentTypeError(f"folder {text or repr(text)} does not exist")
    return text


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning as a line, without the place in the code where it came up."""
    print(f"fastvits: warning: {_one_line(str(message))}", file=sys.stderr)


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _fail(status: int, message: str) -> int:
    print(f"fastvits: error: {_one_line(message)}", file=sys.stderr)
    return status
