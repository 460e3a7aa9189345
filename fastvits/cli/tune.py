"""`fastvits tune`: measure the tiles of Triton's kernels on this machine's GPU."""

import argparse
import sys
from pathlib import Path

import torch

from fastvits_kernels.launch import tiles

from ..configuration import VitsConfig
from ..planning.tuning import MODES, tune, write_table
from .arguments import InputError, OneLineParser

EPILOG = """example:
  fastvits tune
  fastvits tune --op conv1d --op resblock_pair --dtype float16 --output mine.json
"""


def add_to(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "tune",
        help="measure which kernels are fastest on this machine's GPU",
        description="Measure, for every op of a model at texts of several lengths, which tiles of Triton's kernel are "
        "the fastest on this machine's GPU and whether they beat eager, and write the table that is looked up from "
        "then on. Nothing else should use the GPU meanwhile.",
        epilog=EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument("--voice", metavar="VOICE", help="tune for this voice too (a folder, a hub id or a .onnx file)")
    parser.add_argument("--op", metavar="OP", action="append", help="only this op; can be repeated")
    parser.add_argument("--dtype", choices=tuple(MODES), action="append", help="only this dtype; can be repeated")
    parser.add_argument(
        "--output",
        metavar="FILE.json",
        type=Path,
        help="where the table goes (default: among the installed tables, where it is found by itself)",
    )


def run(options: argparse.Namespace) -> None:
    """Measure, and tell where the table is."""
    if not torch.cuda.is_available():
        raise InputError("tuning measures kernels on a GPU, and torch finds none here")
    device = torch.device("cuda", torch.cuda.current_device())
    path = options.output or tiles.TUNED / f"{tiles.arch_of(device)}.json"
    if not path.parent.is_dir():
        raise InputError(f"folder {path.parent} does not exist")
    configs = [VitsConfig()]
    if options.voice is not None:
        from ..voices.folders import voice_folder

        configs.append(VitsConfig.from_pretrained(voice_folder(options.voice)))
    table = tune(configs, device, ops=options.op, modes=options.dtype or MODES, progress=show_progress)
    write_table(table, path)
    print(f"file: {path.resolve()}")


def show_progress(done: int, total: int, width: int = 24) -> None:
    """Write how many shapes are done: over the same line on a terminal, a line of its own elsewhere."""
    filled = round(done / max(total, 1) * width)
    line = f"[{'#' * filled}{'.' * (width - filled)}] {done}/{total} shapes"
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="\n" if done == total else "", file=sys.stderr, flush=True)
    else:
        print(line, file=sys.stderr, flush=True)
