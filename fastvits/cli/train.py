"""`fastvits train`: from a folder of recordings to a voice."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import InputError, OneLineParser, device, not_negative, output_folder, positive, seed, whole_number

if TYPE_CHECKING:
    from ..training.inspection import DataReport

EPILOG = """DATA is LJSpeech's folder (metadata.csv, wavs/), VCTK's (txt/, wav48/), the folder that `fastvits
synthesize` writes, or a manifest of your own: .jsonl or .csv with the columns file, text and, if you like, id and
speaker.

examples:
  fastvits train recordings --from facebook/mms-tts-eng --output my-voice
  fastvits train VCTK-Corpus --from facebook/mms-tts-eng --from-scratch --output vctk --steps 300000
  fastvits train recordings --from en_US-joe-medium --only-posterior --output joe
  torchrun --nproc-per-node 4 -m fastvits train recordings --from my-voice --output better-voice
  fastvits say "Hello." --voice my-voice

Started again with the same folder it goes on from the last checkpoint. Exit status: 0 when all updates are done, 1 if
the run had to stop, 2 for a wrong option or data that cannot be used.
"""

_MOST = 10**9


def add_to(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "train",
        help="make a voice from recordings, or make one better",
        description="Train a voice on recordings and their texts. All of the data is looked at first; what cannot be "
        "used is reported and left out.",
        epilog=EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument("data", metavar="DATA", help="the recordings: a folder or a manifest")
    parser.add_argument("--from", dest="voice", metavar="VOICE", required=True, help="the voice to begin with")
    parser.add_argument(
        "--output", metavar="DIR", required=True, type=output_folder, help="where the voice goes; made if missing"
    )
    _add_start_options(parser)
    _add_data_options(parser)
    _add_recipe_options(parser)
    parser.add_argument("--device", metavar="DEVICE", type=device, help="default: CUDA where there is one, else cpu")
    parser.add_argument("--no-events", dest="events", action="store_false", help="write no TensorBoard events")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def _add_start_options(parser: OneLineParser) -> None:
    parser.add_argument("--from-scratch", action="store_true", help="take VOICE's architecture and no weights")
    parser.add_argument(
        "--only-posterior",
        action="store_true",
        help="give VOICE the posterior encoder that it lacks, and train that with the rest frozen",
    )
    parser.add_argument(
        "--tokenizer", metavar="FOLDER", help="whose tokenizer takes the place of VOICE's; common tokens are kept"
    )
    parser.add_argument(
        "--extend-vocabulary", action="store_true", help="add the characters of DATA that the vocabulary lacks"
    )
    parser.add_argument(
        "--discriminator", metavar="FILE", help="a checkpoint with a discriminator to begin with (default: a new one)"
    )


def _add_data_options(parser: OneLineParser) -> None:
    from ..training.recordings import LAYOUTS

    parser.add_argument("--layout", choices=LAYOUTS, help="of DATA (default: as it looks)")
    parser.add_argument("--strict", action="store_true", help="refuse data of which a clip cannot be used")
    parser.add_argument("--min-seconds", metavar="S", type=not_negative, help="shorter clips are left out (0.3)")
    parser.add_argument("--max-seconds", metavar="S", type=positive, help="longer clips are left out (20)")
    parser.add_argument("--mix-down", action="store_true", help="average stereo channels instead of refusing the clip")
    parser.add_argument(
        "--trim-silence",
        dest="trim_decibels",
        metavar="DB",
        type=positive,
        help="cut off the ends what is so far below the loudest part, such as 40",
    )


def _add_recipe_options(parser: OneLineParser) -> None:
    def count(name: str, least: int, text: str) -> None:
        parser.add_argument(f"--{name}", metavar="N", type=whole_number(_MOST, least), help=text)

    count("steps", 1, "updates in all (100000)")
    count("batch-size", 1, "clips of an update on all devices together (16)")
    count("accumulation", 1, "batches that make one update (1)")
    count("validation-clips", 0, "clips held back (16, at most a tenth)")
    count("validation-interval", 1, "updates between validations (500)")
    count("checkpoint-interval", 1, "updates between checkpoints (1000)")
    count("kept-checkpoints", 1, "checkpoints that stay (2)")
    count("samples", 0, "clips drawn and spoken at each validation (2)")
    count("discriminator-warmup", 0, "first updates in which a new discriminator learns alone (0)")
    parser.add_argument("--precision", choices=("float32", "bfloat16", "float16"), help="of autocast (float32)")
    parser.add_argument("--learning-rate", metavar="RATE", type=positive, help="AdamW's (2e-4)")
    parser.add_argument("--lr-decay", metavar="FACTOR", type=positive, help="of the learning rate an epoch (0.999875)")
    parser.add_argument("--weight-decay", metavar="DECAY", type=not_negative, help="AdamW's (0.01)")
    parser.add_argument("--clip-norm", metavar="NORM", type=positive, help="largest norm of all gradients (none)")
    parser.add_argument("--mel-weight", metavar="FACTOR", type=not_negative, help="of the mel loss (45)")
    parser.add_argument("--duration-weight", metavar="FACTOR", type=not_negative, help="of the duration loss (1)")
    parser.add_argument("--kl-weight", metavar="FACTOR", type=not_negative, help="of the divergence (1)")
    parser.add_argument(
        "--no-discriminator",
        dest="adversarial",
        action="store_false",
        default=None,
        help="train without discriminators",
    )
    parser.add_argument(
        "--train-only",
        dest="trained",
        metavar="PREFIXES",
        help="parameters that learn, by the beginnings of their names, such as decoder.,flow.",
    )
    parser.add_argument("--seed", metavar="N", type=seed, help="of everything random (1234)")


def run(options: argparse.Namespace) -> int:
    """Train, and tell where the voice is."""
    from ..training.run import TrainingFailed, UnusableData, train
    from ..training.settings import TrainingSettings
    from ..voices.folders import voice_folder

    given: dict[str, Any] = {
        name: value
        for name, value in vars(options).items()
        if name in TrainingSettings.__dataclass_fields__ and value is not None
    }
    if options.trained is not None:
        given["trained"] = tuple(prefix for prefix in options.trained.split(",") if prefix)
    if options.from_scratch and options.only_posterior:
        raise InputError("--from-scratch takes no weights, and --only-posterior keeps all but the posterior encoder's")
    for what, place in (("data", options.data), ("discriminator", options.discriminator)):
        if place is not None and not Path(place).exists():
            raise InputError(f"{what} {place} does not exist")

    def tell(report: "DataReport") -> None:
        print(f"data:    {report}", file=sys.stderr)

    try:
        report = train(
            options.data,
            voice_folder(options.voice),
            options.output,
            TrainingSettings(**given),
            layout=options.layout,
            tokenizer=options.tokenizer,
            extend_vocabulary=options.extend_vocabulary,
            from_scratch=options.from_scratch,
            only_posterior=options.only_posterior,
            discriminator=options.discriminator,
            device=options.device,
            events=options.events,
            progress=not options.quiet,
            on_report=tell,
        )
    except UnusableData as error:
        raise InputError(str(error).splitlines()[0]) from None  # the report was told already
    except TrainingFailed as error:
        print(f"fastvits: error: {error}", file=sys.stderr)
        return 1
    last = report.validation[-1] if report.validation else {}
    losses = ", ".join(f"{name} {value:.4g}" for name, value in last.items() if name != "step")
    print(f"updates: {report.step}" + (f" ({len(report.skipped)} skipped)" if report.skipped else ""))
    if losses:
        print(f"held back: {losses}")
    print(f"voice:   {report.folder.resolve()}")
    print(f"report:  {report.report.resolve()}")
    return 0
