"""Voices packed for sherpa-onnx: a graph whose metadata say what it is, and tokens.txt beside it.

The graph is Piper's, with the inputs `input` and `scales`, or has the inputs `x`, `noise_scale` and the like, as voices
of MMS-TTS, of the original VITS and of Coqui are packed. What turns text into tokens is told by the metadata:
characters (`frontend`), espeak-ng (`comment`, Piper's), or a lexicon.txt, in which words are looked up. Voices that
segment Chinese into words first (`jieba`, `has_g2pw`) and MeloTTS's are refused.

Source: sherpa-onnx (sherpa-onnx/csrc/offline-tts-vits-model.cc, offline-tts-character-frontend.cc; scripts/vits).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..text.front_ends.lexicon import ascii_lower
from .folder import ConvertedVoice, reading
from .piper import settings as piper_settings
from .piper.graph import Graph
from .piper.voice import read_graph

logger = logging.getLogger("fastvits")


def read(path: Path) -> ConvertedVoice:
    """Reads a voice packed for sherpa-onnx.

    Args:
        path: the graph; tokens.txt lies beside it.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the graph is no VITS, or its text is treated in a way that is not supported.
        ImportError: the package `onnx` is missing.
    """
    tokens_file = path.with_name("tokens.txt")
    with reading(path):
        graph = Graph(path, ids="input" if _is_piper(path) else "x")
        fields, state = read_graph(graph)
        metadata = graph.metadata
        sampling_rate = _number(metadata, "sample_rate", path)
        if _number(metadata, "n_speakers", path) not in (fields["num_speakers"], 0):
            raise ValueError(f"{path} says n_speakers {metadata['n_speakers']}, it has {fields['num_speakers']}")
    vocabulary = _tokens(tokens_file, fields["vocab_size"])
    if "piper" in metadata.get("comment", ""):
        settings = {
            "audio": {"sample_rate": sampling_rate},
            "espeak": {"voice": metadata.get("voice", "")},
            "phoneme_id_map": {token: [index] for token, index in vocabulary.items()},
        }
        vocabulary = piper_settings.vocabulary(settings, fields["vocab_size"])
        config = piper_settings.configuration(settings, fields, vocabulary["_"])
        tokenizer = piper_settings.tokenizer(settings, fields["vocab_size"])
        return ConvertedVoice("Piper voice packed for sherpa-onnx", state, config, vocabulary, tokenizer)
    for key, part in (("jieba", "segments Chinese into words"), ("has_g2pw", "reads Chinese by g2pW")):
        if _number(metadata, key, path, 0):
            raise ValueError(f"{path} {part} before it looks them up ({key}), which is not supported")
    if metadata.get("frontend") == "characters":
        family, tokenizer = "voice of characters", _characters(metadata, vocabulary, path)
    else:
        family, tokenizer = "voice with a lexicon", _lexicon(metadata, vocabulary, path)
    config = {
        "architectures": ["VitsModel"],
        "model_type": "vits",
        **fields,
        "sampling_rate": sampling_rate,
        "pad_token_id": 0,
    }
    return ConvertedVoice(f"{family} packed for sherpa-onnx", state, config, vocabulary, tokenizer)


def _is_piper(path: Path) -> bool:
    """Whether the graph has Piper's inputs."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError("reading a sherpa-onnx voice needs the package `onnx`: install `fastvits[voice]`") from error
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError:
        raise
    except Exception as error:  # protobuf raises exceptions of its own
        raise ValueError(f"{path} is not an ONNX model: {error}") from error
    return any(value.name == "scales" for value in model.graph.input)


def _number(metadata: Mapping[str, str], key: str, path: Path, default: int | None = None) -> int:
    value = metadata.get(key, "" if default is None else str(default))
    if re.fullmatch(r"-?\d{1,9}", value) is None:
        raise ValueError(f"the metadata of {path} must give {key} as a whole number, got {value!r}")
    return int(value)


def _tokens(path: Path, vocab_size: int) -> dict[str, int]:
    """Token -> id; a line is a token, a space and the id, and the token may be a space itself."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}, the tokens of a sherpa-onnx voice")
    found: dict[str, int] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        token, _, index = line.rstrip("\r\n").rpartition(" ")
        token = token.strip() or " "
        if re.fullmatch(r"\d{1,9}", index) is None or int(index) >= vocab_size:
            raise ValueError(f"line {number} of {path} must be a token and an id below {vocab_size}, got {line!r}")
        if token in found:
            raise ValueError(f"{path} lists {token!r} twice")
        found[token] = int(index)
    if not found:
        raise ValueError(f"{path} lists no tokens")
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: {error}") from None


def _lexicon(metadata: Mapping[str, str], vocabulary: Mapping[str, int], path: Path) -> dict[str, Any]:
    """The settings of the tokenizer of a voice that looks words up in the lexicon.txt beside it."""
    file = path.with_name("lexicon.txt")
    if not file.is_file():
        raise FileNotFoundError(f"there is no {file}, in which {path} looks words up")
    language = metadata.get("language", "").lower()
    if not language:
        raise ValueError(f"the metadata of {path} must give the language, of which the lexicon is")
    punctuation = [mark for mark in metadata.get("punctuation", "").split(" ") if mark]
    words: dict[str, str] = {}
    unknown = 0
    for line in _lines(file):
        if not line.strip():
            continue
        word, *tokens = line.split()
        if not tokens or any(token not in vocabulary for token in tokens):
            unknown += 1
            continue
        # Of a word that stands there twice, the first line counts.
        words.setdefault(ascii_lower(word), " ".join(tokens))
    if not words:
        raise ValueError(f"{file} lists no word whose tokens are in tokens.txt")
    if unknown:
        logger.warning(
            "%s has %d words with no tokens, or ones that tokens.txt lacks: they are left out.", file, unknown
        )
    lacking = [token for token in ([] if language == "chinese" else [" ", *punctuation]) if token not in vocabulary]
    if lacking:
        raise ValueError(f"tokens.txt beside {path} lacks {lacking[0]!r}, which its lexicon needs")
    by_id = {index: token for token, index in vocabulary.items()}
    if 0 not in by_id:
        raise ValueError(f"tokens.txt beside {path} lacks the id 0, which is the blank")
    return {
        "tokenizer_class": "VitsTokenizer",
        "frontend": "lexicon",
        "lexicon": {"words": words, "punctuation": punctuation, "chinese": language == "chinese"},
        "pad_token": by_id[0],
        "unk_token": None,
        "add_blank": bool(_number(metadata, "add_blank", path, 0)),
        "normalize": False,
        "phonemize": False,
        "is_uroman": False,
    }


def _characters(metadata: Mapping[str, str], vocabulary: Mapping[str, int], path: Path) -> dict[str, Any]:
    """The settings of the tokenizer of a voice that reads characters."""
    if _number(metadata, "use_eos_bos", path, 1):
        raise ValueError(f"{path} puts marks around sentences (use_eos_bos), which is not supported")
    blank_id = _number(metadata, "blank_id", path, 0)
    by_id = {index: token for token, index in vocabulary.items()}
    if blank_id not in by_id or 0 not in by_id:
        raise ValueError(f"{path} has the blank {blank_id}, which its tokens.txt does not list")
    return {
        "tokenizer_class": "VitsTokenizer",
        "frontend": "symbols",
        "cleaners": ["lowercase"],
        "blank_token": by_id[blank_id],
        "pad_token": by_id[0],
        "unk_token": None,
        "add_blank": bool(_number(metadata, "add_blank", path, 0)),
        "normalize": False,
        "phonemize": False,
        "is_uroman": False,
    }
