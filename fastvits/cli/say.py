"""`fastvits say`: a text of any length into a file or a pipe."""

import argparse
import contextlib
import logging
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from ..audio.compressed import COMPRESSED_FORMATS, require_av
from ..audio.files import FILE_FORMATS, FORMATS, AudioWriter, audio_format
from ..audio.levels import Levels
from ..audio.playback import find_player, playing
from ..speech.lexicon import read_lexicon
from ..speech.marked_text import parse_markup
from ..speech.script import Script, parse_breaks
from ..speech.speaker import Speaker
from ..speech.ssml import parse_ssml
from ..speech.subtitles import write_timestamps
from ..speech.synthesis import DEFAULT_CHUNK_FRAMES, DEFAULT_FIRST_CHUNK_FRAMES
from ..speech.timestamps import TimeSpan
from ..storage import replacing
from ..voices.speakers import speaker_in_range
from .arguments import (
    InputError,
    OneLineParser,
    add_level_options,
    add_text_options,
    add_voice_options,
    load_speaker,
    not_negative,
    output_file,
    positive,
    preparation,
    read_input,
    seed,
)

logger = logging.getLogger("fastvits")

EPILOG = """examples:
  fastvits say "Hello, my dog is cute." --output hello.wav
  fastvits say --file letter.txt --speaking-rate 1.2 --seed 7 --output letter.wav --timestamps letter.srt
  fastvits say "Good morning." --voice my-voices --speaker-mix 0=0.7,1=0.3 --output mixed.wav
  fastvits say --file book.txt --stream --output - | aplay
  fastvits say --file book.txt --output book.opus
  fastvits say 'One moment. <break time="1.5s"/> Here it is.' --play
"""

TIMESTAMP_FORMATS = (".json", ".srt", ".vtt")


def add_to(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "say",
        help="synthesize a text into a file, a pipe or the loudspeaker",
        description="Synthesize a text of any length, sentence by sentence, into one channel of audio, and report "
        "its length, the time to synthesize it (from text to samples, without loading the voice) and the real-time "
        "factor (that time divided by the length).",
        epilog=EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "text",
        metavar="TEXT",
        nargs="?",
        help="what to say (behind -- if it begins with a hyphen); - reads standard input",
    )
    parser.add_argument("--file", metavar="TEXTFILE", help="read the text from this UTF-8 file; - reads standard input")
    parser.add_argument("--output", metavar="FILE", type=output_file, help="where the audio goes; - is standard output")
    parser.add_argument(
        "--play",
        action="store_true",
        help="play it while it is spoken, by the player that this machine has (FASTVITS_PLAYER names another)",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="default: as the file's name ends (.mp3, .ogg, .opus and .aac too, with the extra 'audio'), else wav",
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="write pieces of sentences as soon as they are there, for a player at the other end of a pipe",
    )
    parser.add_argument(
        "--timestamps",
        metavar="FILE",
        type=_timestamp_file,
        help="write when each word is heard: .json (tokens, characters and words), .srt (SubRip) or .vtt (WebVTT)",
    )
    parser.add_argument(
        "--ssml",
        action="store_true",
        help="the text is SSML: speak, p, s, break, prosody rate, phoneme, sub, say-as characters; without this, only "
        '<break time="500ms"/> is markup',
    )
    parser.add_argument(
        "--lexicon",
        metavar="LEXICON",
        help="a file of words that are read otherwise: a word, a tab, and a spelling or [[phonemes]], line by line",
    )
    parser.add_argument(
        "--tail",
        metavar="SECONDS",
        type=not_negative,
        default=0.0,
        help="silence behind the last sentence (default: 0)",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=seed,
        help="make the variation repeatable; sentence i of the text has the seed N + i",
    )
    add_text_options(parser)
    add_level_options(parser)
    add_voice_options(parser)
    parser.add_argument(
        "--speaker-mix",
        metavar="ID=SHARE,...",
        type=_shares,
        help="a voice between those of a multi-speaker model, such as anna=0.7,bert=0.3; shares count by their sum",
    )


def _shares(text: str) -> dict[str, float]:
    """Speakers, by number or name, and their shares."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        speaker, _, share = part.rpartition("=")
        if not speaker.strip() or speaker.strip() in shares:
            raise argparse.ArgumentTypeError(
                f"must be different speakers with a share each, as 0=0.7,1=0.3, got {text!r}"
            )
        shares[speaker.strip()] = positive(share)
    return shares


def mixed_voice(voice: Speaker, shares: dict[str, float]) -> torch.Tensor:
    """The embedding `[1, speaker_embedding_size]` of a voice between others, by their shares.

    Raises ValueError for a model with one voice, for a speaker that it does not have or that is named twice, and for
    shares whose sum is not finite.
    """
    model = voice.model
    if model.config.num_speakers < 2:
        raise ValueError("the model has one speaker, and none to mix")
    numbers = [speaker_in_range(model.config, voice.speaker_number(speaker)) for speaker in shares]
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"a mix names each speaker once, got {', '.join(shares)}")
    total = sum(shares.values())
    if not math.isfinite(total):
        raise ValueError(f"the shares of a mix have a finite sum, got {', '.join(map(str, shares.values()))}")
    table = model.embed_speaker.weight.detach()
    weights = table.new_tensor([share / total for share in shares.values()])
    return (weights @ table[numbers]).unsqueeze(0)


def _timestamp_file(text: str) -> Path:
    path = output_file(text)
    if path.suffix.lower() not in TIMESTAMP_FORMATS:
        raise argparse.ArgumentTypeError(f"must end with {', '.join(TIMESTAMP_FORMATS)}, got {text!r}")
    return path


def run(options: argparse.Namespace) -> None:
    """Say the text, and report on standard output, or on standard error where the audio goes there."""
    text = _text(options)
    if not text.strip():
        raise InputError("the text is empty, so that there is nothing to say")
    if options.output is None and not options.play:
        raise InputError("the following arguments are required: --output (or --play)")
    to_file = options.output is not None
    if options.timestamps is not None and to_file and options.timestamps.resolve() == options.output.resolve():
        raise InputError(f"--output and --timestamps are the same file, {options.output}")
    if options.speaker is not None and options.speaker_mix is not None:
        raise InputError("give either --speaker or --speaker-mix")
    if options.normalize is not None and options.stream:
        raise InputError("--normalize needs whole sentences: leave out --stream, or take --volume")
    if not to_file and options.format is not None:
        raise InputError("--format is that of --output, which is missing")
    form = _format(options) if to_file else "wav"
    if form in COMPRESSED_FORMATS and form != "flac":
        require_av()
    levels = Levels(options.volume, options.normalize)
    script = _script(options, text)
    speaker = load_speaker(options)
    in_pieces = options.stream or (options.play and options.normalize is None)
    spoken = speaker.sentence_streams(
        script,
        sentence_silence=options.sentence_silence,
        tail=options.tail,
        seed=options.seed,
        return_timestamps=options.timestamps is not None,
        chunk_frames=DEFAULT_CHUNK_FRAMES if in_pieces else None,
        first_chunk_frames=DEFAULT_FIRST_CHUNK_FRAMES if in_pieces else None,
        speaker=options.speaker,
        speaker_embedding=None if options.speaker_mix is None else mixed_voice(speaker, options.speaker_mix),
        preparation=preparation(options),
        speaking_rate=options.speaking_rate,
        noise_scale=options.noise_scale,
        noise_scale_duration=options.noise_scale_duration,
    )
    spans: list[TimeSpan] = []
    seconds, first, clipped, samples = 0.0, None, 0, 0
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        writers = _writers(stack, options, form, speaker.sampling_rate)
        for one in spoken:
            spans.extend(one.timestamps or [])
            for piece in one.pieces:
                seconds += time.perf_counter() - start  # synthesis alone: whoever reads a pipe may be slow
                first = seconds if first is None else first
                piece = levels.apply(piece, speaker.sampling_rate)
                clipped += int(np.count_nonzero(np.abs(piece) > 1.0))
                samples += len(piece)
                for writer in writers:
                    writer.write(piece)
                start = time.perf_counter()
            for writer in writers if one.pause else ():
                writer.write(np.zeros(one.pause, np.float32))
            samples += one.pause
    if clipped:
        logger.warning("%d samples were too loud and are clipped: lower --volume.", clipped)
    if options.timestamps is not None:
        # Lines of subtitles are cut out of a plain text; where there is markup they are put together from words.
        is_cut_out = isinstance(script, str) or options.timestamps.suffix.lower() == ".json"
        write_timestamps(options.timestamps, spans, text if is_cut_out else None)
    _report(options, samples / speaker.sampling_rate, seconds, first if options.stream else None)


def _script(options: argparse.Namespace, text: str) -> str | Script:
    """The text, or what its markup and the lexicon make of it."""
    script: str | Script = text
    if options.ssml and (options.markup != "plain" or options.lines):
        raise InputError("--ssml is a markup of its own: leave out --markup and --lines")
    if options.ssml:
        script = parse_ssml(text)
    elif options.markup != "plain" or options.lines:
        script = parse_markup(text, options.markup, lines=options.lines)
    elif "<break" in text.lower():
        script = parse_breaks(text)
    if options.lexicon is not None:
        try:
            lexicon = read_lexicon(options.lexicon)
        except OSError as error:
            raise InputError(f"cannot read lexicon {options.lexicon}: {error.strerror}") from None
        script = lexicon.apply(Script.plain(text) if isinstance(script, str) else script)
    return script


def _writers(
    stack: contextlib.ExitStack, options: argparse.Namespace, form: str, sampling_rate: int
) -> list[AudioWriter]:
    """Where the audio goes: a file or a pipe, a player, or both."""
    files: list[tuple[BinaryIO, str]] = []
    if options.output is not None:
        files.append((stack.enter_context(_opened(options.output)), form))
    if options.play:
        player = find_player(sampling_rate)
        files.append((stack.enter_context(playing(player)), player.format))
    return [stack.enter_context(AudioWriter(file, sampling_rate, kind)) for file, kind in files]


def _report(options: argparse.Namespace, length: float, seconds: float, first: float | None) -> None:
    to_pipe = str(options.output) == "-"
    report = sys.stderr if to_pipe else sys.stdout
    if options.output is not None:
        print(f"file:             {'standard output' if to_pipe else options.output.resolve()}", file=report)
    print(f"length:           {length:.2f} s", file=report)
    if first is not None:
        print(f"first piece:      {first:.2f} s", file=report)
    print(f"synthesis time:   {seconds:.2f} s", file=report)
    print(f"real-time factor: {seconds / length:.3f}", file=report)


def _format(options: argparse.Namespace) -> str:
    """The format of the output: as its name ends, where --format does not contradict."""
    if options.format is None:
        try:
            return audio_format(options.output)
        except ValueError as error:
            raise InputError(f"{error}; or say --format {', '.join(FORMATS[:-1])} or {FORMATS[-1]}") from None
    named = FILE_FORMATS.get(options.output.suffix.lower(), options.format)
    if named != options.format:
        raise InputError(f"--format {options.format} does not fit the name {options.output}: leave one of them out")
    return str(options.format)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file to write to: standard output for `-`; a regular file appears when it is complete, and not before."""
    if str(path) == "-":
        yield sys.stdout.buffer
        return
    if path.exists() and not path.is_file():  # a device or a named pipe
        with open(path, "wb") as file:
            yield file
        return
    with replacing(path) as temporary, open(temporary, "w+b") as file:
        yield file


def _text(options: argparse.Namespace) -> str:
    """Return the text that the options ask for, wherever it stands."""
    if (options.text is None) == (options.file is None):
        raise InputError("give the text either as TEXT or with --file")
    source = options.file if options.text is None else options.text
    if source != "-" and options.file is None:
        return str(options.text)
    encoded, name = read_input(source)
    try:
        return encoded.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text: byte {error.start} is invalid") from None
