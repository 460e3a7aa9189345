"""What other programs have to be told beside the graph: Piper's JSON file, sherpa-onnx's metadata and tokens."""

from __future__ import annotations

import logging
import math
import re
import unicodedata
from typing import Any

from ..configuration import VitsConfig
from ..text.tokenization import VitsTokenizer

logger = logging.getLogger("fastvits")

BLANK, BOS, EOS = "_", "^", "$"


def speaker_ids(config: VitsConfig) -> dict[str, int]:
    """Name -> id of the speakers that the voice names, or else their numbers."""
    if config.num_speakers < 2:
        return {}
    extra = config.to_dict()
    named = (extra.get("piper") or {}).get("speaker_id_map") or extra.get("speaker_id_map")
    return dict(named) if named else {str(number): number for number in range(config.num_speakers)}


def piper_settings(config: VitsConfig, tokenizer: VitsTokenizer, vocab_size: int) -> dict[str, Any]:
    """The JSON file of a Piper voice."""
    extra = config.to_dict().get("piper") or {}
    language = extra.get("language") or ({"code": tokenizer.language} if tokenizer.language else None)
    voice = getattr(tokenizer, "espeak_voice", None) or "en-us"
    return {
        "audio": {"sample_rate": config.sampling_rate, **({"quality": q} if (q := extra.get("quality")) else {})},
        "espeak": {"voice": voice},
        **({"language": language} if language else {}),
        "inference": {
            "noise_scale": config.noise_scale,
            "length_scale": 1.0 / config.speaking_rate,
            "noise_w": config.noise_scale_duration,
        },
        "phoneme_type": _phoneme_type(tokenizer),
        "phoneme_map": {},
        "phoneme_id_map": _phoneme_ids(tokenizer),
        "num_symbols": vocab_size,
        "num_speakers": config.num_speakers,
        "speaker_id_map": speaker_ids(config),
        **({"vowel_clusters": tokenizer.vowel_clusters} if tokenizer.vowel_clusters else {}),
        **({"dataset": extra["dataset"]} if "dataset" in extra else {}),
        **({"default_speaker_id": extra["default_speaker_id"]} if "default_speaker_id" in extra else {}),
        "piper_version": str(extra.get("piper_version", "1.0.0")),
        "hop_length": math.prod(config.upsample_rates),
    }


def _phoneme_type(tokenizer: VitsTokenizer) -> str:
    if not tokenizer.phonemize:
        return "text"
    return "espeak" if tokenizer.phonemizer is None else tokenizer.phonemizer


def _phoneme_ids(tokenizer: VitsTokenizer) -> dict[str, list[int]]:
    """Symbol -> ids.

    Piper lays out `^ _ p _ p _ ... $`. A voice with blanks alone, `_ p _ p _`, has no ids for the marks at both ends.
    One that lower-cases its text has each letter's id for its capital too.
    """
    vocabulary = dict(tokenizer.encoder)
    ids: dict[str, list[int]]
    if tokenizer.frontend == "piper":
        spelt = tokenizer.spellings or {}
        inner = {token for tokens in spelt.values() for token in tokens if re.fullmatch(r"<\d+>", token)}
        ids = {token: [index] for token, index in vocabulary.items() if token not in inner}
        return ids | {phoneme: [vocabulary[token] for token in tokens] for phoneme, tokens in spelt.items()}
    blank = tokenizer.blank_id
    ids = {BLANK: [] if blank is None else [blank], BOS: [], EOS: []}
    composed = []
    for token, index in sorted(vocabulary.items(), key=lambda item: item[1]):
        if len(token) != 1 or token in ids:
            continue
        ids[token] = [index]
        if len(unicodedata.normalize("NFD", token)) > 1:
            composed.append(token)
        capital = token.upper()
        if tokenizer.normalize and len(capital) == 1 and capital not in vocabulary:
            ids.setdefault(capital, [index])
    if composed and not tokenizer.phonemize:
        logger.warning("Piper takes letters apart from their accents, and so will leave out %s.", " ".join(composed))
    if tokenizer.is_uroman:
        logger.warning("This voice reads romanised text, and Piper does not romanise: romanise it before.")
    return ids


def sherpa_tokens(tokenizer: VitsTokenizer) -> str:
    """tokens.txt: a line for each symbol of one code point and its id."""
    source = (
        _phoneme_ids(tokenizer) if tokenizer.frontend == "piper" else {t: [i] for t, i in tokenizer.encoder.items()}
    )
    lines = [f"{token} {ids[0]}" for token, ids in source.items() if len(token) == 1 and token not in "\n\r\t"]
    return "\n".join(lines) + "\n"


def sherpa_metadata(config: VitsConfig, tokenizer: VitsTokenizer) -> dict[str, str]:
    """What sherpa-onnx reads from the graph: it ends the process where one of the first four is missing."""
    piper = tokenizer.frontend == "piper"
    metadata = {
        "sample_rate": str(config.sampling_rate),
        "n_speakers": str(config.num_speakers),
        "language": _language(config, tokenizer),
        "comment": "piper" if piper else "fastvits",
        "model_type": "vits",
    }
    if piper:
        voice = getattr(tokenizer, "espeak_voice", None) or ""
        return metadata | {"voice": voice, "has_espeak": str(int(tokenizer.phonemize))}
    blank = tokenizer.blank_id
    return metadata | {
        "frontend": "characters",
        "add_blank": str(int(blank is not None)),
        "blank_id": str(blank or 0),
        "pad_id": "0",
        "use_eos_bos": "0",
    }


def _language(config: VitsConfig, tokenizer: VitsTokenizer) -> str:
    language = (config.to_dict().get("piper") or {}).get("language") or {}
    return str(language.get("name_english") or tokenizer.language or "unknown")
