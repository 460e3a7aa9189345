"""`fastvits export`: a voice into a file that another program speaks with."""

import argparse
from pathlib import Path

from .arguments import OneLineParser

EPILOG = """examples:
  fastvits export alba alba.onnx
  fastvits export facebook/mms-tts-eng eng/model.onnx --format sherpa
  fastvits export alba small/alba.onnx --weights int8 --durations
"""

FORMATS = ("piper", "sherpa")
WEIGHT_TYPES = ("float32", "float16", "int8")


def add_to(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "export",
        help="export a voice as a file for piper-tts or sherpa-onnx",
        description="Export a voice as an ONNX graph, with OUT.onnx.json beside it for piper-tts or tokens.txt for "
        "sherpa-onnx.",
        epilog=EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument("voice", metavar="VOICE", help="a folder, a model on the hub, or a Piper voice's .onnx file")
    parser.add_argument("output", metavar="OUT.onnx", type=_graph_file, help="where the graph goes")
    parser.add_argument("--format", choices=FORMATS, default="piper", help="for which program (default: piper)")
    parser.add_argument(
        "--weights",
        choices=WEIGHT_TYPES,
        default="float32",
        help="how the weights of the flow and the decoder are stored (default: float32)",
    )
    parser.add_argument("--durations", action="store_true", help="put out the frames of each token too")


def _graph_file(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".onnx" or path.is_dir():
        raise argparse.ArgumentTypeError(f"must be a file called .onnx, got {text!r}")
    return path


def run(options: argparse.Namespace) -> None:
    """Export, and tell which files were written."""
    from ..export import export_voice

    files = export_voice(
        options.voice,
        options.output,
        format=options.format,
        weights=options.weights,
        durations=options.durations,
    )
    for file in files:
        print(f"file: {file.resolve()}")
