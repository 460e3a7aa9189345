"""`fastvits info`: what a voice is made of."""

import argparse
import json
from pathlib import Path
from typing import Any

from .arguments import OneLineParser, device, voice
from .voices import size

EPILOG = """examples:
  fastvits info en_US-joe-medium
  fastvits info facebook/mms-tts-eng --json
"""


def add_to(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "info",
        help="show configuration, speakers, languages, sizes and backends of a voice",
        description="Show configuration, speakers, language, sizes and backends of a voice. Of a voice on the hub only "
        "the configuration and the tokenizer are fetched.",
        epilog=EPILOG,
    )
    parser.set_defaults(run=run)
    parser.add_argument("voice", metavar="VOICE", type=voice, help="a folder, a hub id, or a Piper voice's .onnx file")
    parser.add_argument(
        "--device", metavar="DEVICE", type=device, help="for which the backends are told (default: cpu)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object with the whole configuration")


def describe(name: str, device_name: str | None = None) -> dict[str, Any]:
    """What is to be told of a voice, weights not loaded."""
    import torch

    from ..configuration import VitsConfig
    from ..models.vits import VitsModel
    from ..planning.explain import explain
    from ..speech.loading import resolve_device
    from ..text.tokenization import VitsTokenizer
    from ..voices.folders import voice_folder
    from ..voices.listing import folder_bytes
    from ..voices.speakers import speaker_names

    source = voice_folder(name)
    config = VitsConfig.from_pretrained(source)
    tokenizer = VitsTokenizer.from_pretrained(source)
    with torch.device("meta"):
        model = VitsModel(config, inference_only=True).eval()
    counts = {part: sum(p.numel() for p in module.parameters()) for part, module in model.named_children()}
    # Memory is reserved but never touched: the ops are asked, nothing is computed.
    plan = explain(model.to_empty(device=resolve_device(device_name or "cpu")))
    folder = Path(source)
    return {
        "voice": name,
        "path": str(folder) if folder.is_dir() else None,
        "bytes": folder_bytes(folder) if folder.is_dir() else None,
        "language": tokenizer.language or tokenizer.espeak_voice,
        "front end": _front_end(tokenizer),
        "vocabulary": len(tokenizer),
        "speakers": max(config.num_speakers, 1),
        "speaker names": speaker_names(config),
        "sampling rate": config.sampling_rate,
        "parameters": {**counts, "all": sum(counts.values())},
        "speaking rate": config.speaking_rate,
        "noise scale": config.noise_scale,
        "noise scale of durations": config.noise_scale_duration,
        "backends": plan.as_dicts(),
        "configuration": config.to_dict(),
    }


def _front_end(tokenizer: Any) -> str:
    """How the voice reads text."""
    if tokenizer.lexicon is not None:
        return f"a lexicon of {len(tokenizer.lexicon['words'])} words"
    if tokenizer.phonemizer is not None:
        return f"phonemes of {tokenizer.phonemizer}{' by piper-tts' if tokenizer.frontend == 'piper' else ''}"
    if tokenizer.phonemize:
        return f"phonemes by espeak-ng{', in the way of Piper' if tokenizer.frontend == 'piper' else ''}"
    return "letters, romanised by uroman" if tokenizer.is_uroman else "letters"


def run(options: argparse.Namespace) -> None:
    """Print what is told of the voice."""
    facts = describe(options.voice, options.device)
    if options.json:
        print(json.dumps(facts, indent=2, ensure_ascii=False, default=str))
        return
    numbers = facts["speaker names"]
    names = ", ".join(sorted(numbers, key=numbers.get))
    parameters = facts["parameters"]
    parts = ", ".join(f"{part} {count / 1e6:.1f}" for part, count in parameters.items() if part != "all")
    config = facts["configuration"]
    shape = ", ".join(
        f"{key} {config[key]}"
        for key in ("hidden_size", "num_hidden_layers", "flow_size", "upsample_rates", "resblock_kernel_sizes")
    )
    lines = [
        ("voice", facts["voice"]),
        ("path", facts["path"] or "on the hub"),
        ("size on disk", "?" if facts["bytes"] is None else size(facts["bytes"])),
        ("language", facts["language"] or "?"),
        ("front end", f"{facts['front end']}, {facts['vocabulary']} tokens"),
        ("speakers", f"{facts['speakers']}{f' ({names})' if names else ''}"),
        ("sampling rate", f"{facts['sampling rate']} Hz"),
        ("parameters", f"{parameters['all'] / 1e6:.1f} million ({parts})"),
        ("configuration", shape),
        ("speaking rate", f"{facts['speaking rate']:g}"),
        ("noise scales", f"{facts['noise scale']:g}, {facts['noise scale of durations']:g} for durations"),
    ]
    for label, text in lines:
        print(f"{label + ':':<15} {text}")
    backends: dict[str, list[str]] = {}
    for row in facts["backends"]:
        backends.setdefault(row["implementation"], []).append(row["op"])
    for backend, ops in backends.items():
        print(f"{'backend ' + backend + ':':<15} {', '.join(dict.fromkeys(ops))}")
