"""`fastvits convert`: a Piper voice into a folder."""

import argparse
from pathlib import Path

from .arguments import OneLineParser, onnx_file, output_folder

EPILOG = """example:
  fastvits convert en_GB-alba-medium.onnx alba
  fastvits say "Hello." --voice alba --output hello.wav
"""


def add_to(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "convert",
        help="convert a Piper voice into a folder that from_pretrained reads",
        description="Convert a Piper voice, VOICE.onnx with VOICE.onnx.json beside it, into a folder with a model, as "
        "`say --voice`, VitsModel.from_pretrained and VitsTokenizer.from_pretrained read it.",
        epilog=EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument("voice", metavar="VOICE.onnx", type=onnx_file, help="the Piper voice")
    parser.add_argument("folder", metavar="FOLDER", type=output_folder, help="where the model goes; made if missing")


def run(options: argparse.Namespace) -> None:
    """Convert, and tell where the result is."""
    from ..checkpoints.piper import convert

    folder = convert(options.voice, options.folder)
    print(f"folder: {Path(folder).resolve()}")
