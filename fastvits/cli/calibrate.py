"""`fastvits calibrate`: find out between which bounds a voice's activations lie, for `--dtype int8`."""

import argparse
import sys
from pathlib import Path

from ..voices.folders import DEFAULT_VOICE
from .arguments import InputError, OneLineParser, output_folder, read_input, voice

EPILOG = """examples:
  fastvits calibrate
  fastvits calibrate eng --texts sentences.txt
  fastvits say "Hello." --voice eng --dtype int8 --output hello.wav
"""


def add_to(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "calibrate",
        help="prepare a voice for --dtype int8",
        description="Let a voice speak some sentences, record between which bounds its activations lie, and write them "
        "into its config.json, for --dtype int8. Parts that would be heard to change stay in higher precision.",
        epilog=EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "voice",
        metavar="VOICE",
        nargs="?",
        default=DEFAULT_VOICE,
        type=voice,
        help="a folder with a model, or a Piper voice's .onnx file (default: the English voice that the extra 'voice' "
        "installs); a hub id goes with --output",
    )
    parser.add_argument(
        "--texts",
        metavar="FILE",
        help="sentences in the voice's language, one a line; some ten seconds are enough (default: five in English)",
    )
    parser.add_argument("--speaker", metavar="ID", help="which voice of a multi-speaker model speaks")
    parser.add_argument(
        "--output", metavar="FOLDER", type=output_folder, help="write the calibrated voice here, and leave its own be"
    )


def run(options: argparse.Namespace) -> None:
    """Calibrate, write, and tell what was found."""
    from ..configuration import CONFIG_NAME
    from ..speech.calibration import TEXTS, calibrate
    from ..speech.speaker import Speaker
    from ..storage import read_json, write_json
    from ..voices.folders import voice_folder

    folder = voice_folder(options.voice)
    if options.output is None and not isinstance(folder, Path):
        raise InputError(f"{folder} lies on the hub: say by --output where the calibrated voice goes")
    texts = list(TEXTS)
    if options.texts is not None:
        content, called = read_input(options.texts)
        texts = [line.strip() for line in content.decode("utf-8-sig").splitlines() if line.strip()]
        if not texts:
            raise InputError(f"{called} has no sentence")
    speaker = Speaker(options.voice, dtype="float32", device="cpu")
    chosen = speaker.speaker_number(options.speaker)
    if chosen is None and speaker.num_speakers > 1:
        chosen = speaker.default_speaker()
    found = calibrate(speaker, texts, **({} if chosen is None else {"speaker": chosen}))
    for part, decibels in found.decibels.items():
        where = "stays in higher precision" if part in found.kept else "int8"
        print(f"fastvits: {part}: {decibels:.2f} dB, {where}", file=sys.stderr)
    if options.output is None:
        path = Path(folder) / CONFIG_NAME
        write_json(path, {**read_json(path), "int8_ranges": found.ranges})
        print(f"file: {path.resolve()}")
    else:
        speaker.model.save_pretrained(options.output)
        speaker.tokenizer.save_pretrained(options.output)
        print(f"folder: {options.output.resolve()}")
