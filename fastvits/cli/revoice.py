"""`fastvits revoice`: one speaker's recording in another speaker's voice."""

import argparse
from pathlib import Path

from .arguments import InputError, OneLineParser, device, not_negative, output_file, seed, voice

EPILOG = """example:
  fastvits revoice interview.wav --voice my-voices --from anna --to bert --output bert.wav
"""


def add_to(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "revoice",
        help="say a recording again in another speaker's voice",
        description="Say a recording of one of a voice's speakers again as another of them. The voice needs a "
        "posterior encoder, which checkpoints made for training have.",
        epilog=EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument("recording", metavar="IN", help="an audio file of any rate")
    parser.add_argument(
        "--voice", metavar="VOICE", required=True, type=voice, help="a folder with a model, or a hub id"
    )
    parser.add_argument("--from", dest="source", metavar="ID", help="who speaks: a number, or a name if it has one")
    parser.add_argument("--to", dest="target", metavar="ID", help="who shall speak")
    parser.add_argument("--output", metavar="OUT", required=True, type=output_file, help="a .wav, .flac or .raw file")
    parser.add_argument("--mix-down", action="store_true", help="average the channels of a stereo file")
    parser.add_argument(
        "--noise-scale",
        metavar="SCALE",
        type=not_negative,
        default=1.0,
        help="how far latents are drawn from their means (default: 1, as published)",
    )
    parser.add_argument("--seed", metavar="N", type=seed, help="makes the result repeatable")
    parser.add_argument(
        "--device", metavar="DEVICE", type=device, help="such as cpu or cuda:1 (default: CUDA where there is one)"
    )


def run(options: argparse.Namespace) -> None:
    """Convert, and write the file."""
    import torch

    from ..audio.files import audio_format, write_audio
    from ..audio.reading import mixed_down, read_audio
    from ..models.vits import VitsModel
    from ..speech.conversion import revoice
    from ..voices.folders import voice_folder
    from ..voices.speakers import speaker_in_range

    if str(options.output) == "-":
        raise InputError("a recording is written to a file, not to standard output")
    channels, rate = read_audio(options.recording)
    try:
        samples = mixed_down(channels, options.mix_down)
    except ValueError:
        raise InputError(
            f"{options.recording} has {len(channels)} channels: average them with --mix-down, or give one channel"
        ) from None
    where = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = VitsModel.from_pretrained(voice_folder(options.voice), device_map=where)
    source, target = (speaker_in_range(model.config, one) for one in (options.source, options.target))
    if model.config.num_speakers > 1 and None in (source, target):
        raise InputError(f"the voice has {model.config.num_speakers} speakers: say which by --from and --to")
    audio = revoice(model, samples, rate, source, target, noise_scale=options.noise_scale, seed=options.seed)
    write_audio(Path(options.output), audio, model.config.sampling_rate, audio_format(options.output))
