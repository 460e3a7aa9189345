"""`fastvits convert`: a voice of another program into a folder."""

import argparse
import sys
from pathlib import Path

from .arguments import OneLineParser, output_folder

SUFFIXES = (".onnx", ".ckpt", ".pth", ".pt", ".tar")

EPILOG = """what SOURCE may be, told by looking:
  voice.onnx           a Piper voice, its JSON file beside it; a graph packed for sherpa-onnx with tokens.txt
  last.ckpt            a checkpoint of Piper's training
  G_100000.pth         a checkpoint of the original VITS or of MMS-TTS, config.json beside it
  model_file.pth       a checkpoint of Coqui's VITS, config.json beside it
  FOLDER               a folder that holds one of these

examples:
  fastvits convert en_GB-alba-medium.onnx alba
  fastvits convert G_100000.pth eng --with-discriminator
  fastvits say "Hello." --voice alba --output hello.wav
"""


def add_to(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "convert",
        help="convert a voice of another program into a folder that from_pretrained reads",
        description="Convert a voice of Piper, Coqui, MMS-TTS, the original VITS or sherpa-onnx into a folder with a "
        "model, as `say --voice`, VitsModel.from_pretrained and VitsTokenizer.from_pretrained read it.",
        epilog=EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument("source", metavar="SOURCE", type=_source, help="the voice")
    parser.add_argument("folder", metavar="FOLDER", type=output_folder, help="where the model goes; made if missing")
    parser.add_argument(
        "--config", metavar="FILE", type=_existing, help="the configuration, where it does not lie beside the voice"
    )
    parser.add_argument(
        "--with-discriminator", action="store_true", help="convert the discriminators of the training too"
    )


def _existing(text: str) -> Path:
    path = Path(text)
    if not text or not path.exists():
        raise argparse.ArgumentTypeError(f"{text or 'an empty name'} does not exist")
    return path


def _source(text: str) -> Path:
    path = _existing(text)
    if path.is_file() and path.suffix.lower() not in SUFFIXES:
        raise argparse.ArgumentTypeError(
            f"must be a Piper voice's .onnx file, a checkpoint ({', '.join(SUFFIXES[1:])}) or a folder, got {text}"
        )
    return path


def run(options: argparse.Namespace) -> None:
    """Convert, and tell what the source was taken for and where the result is."""
    from ..checkpoints import convert

    voice = convert(
        options.source, options.folder, config_path=options.config, with_discriminator=options.with_discriminator
    )
    print(f"fastvits: taken for: {voice.family}", file=sys.stderr)
    print(f"folder: {options.folder.resolve()}")
