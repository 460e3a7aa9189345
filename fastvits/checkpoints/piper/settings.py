"""The JSON file beside a Piper voice, of any age: what it says of the voice, checked, as our files say it.

Files of 2023 lack `phoneme_type`, `language` and `hop_length`; later ones spell a phoneme type as its Python
enumeration prints it, or a language or an espeak voice as a plain string. All of them load; what cannot be understood
is refused in a sentence that names the key.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...text.piper_languages import PIPER_LANGUAGES

PHONEME_TYPES = ("espeak", "text", *PIPER_LANGUAGES)

_MARKS = ("_", "^", "$")


def vocabulary(settings: Mapping[str, Any], vocab_size: int) -> dict[str, int]:
    """Token -> id, in the order of the ids; marks that have none are left out.

    A token is a phoneme of one id, or one of the ids of a phoneme that has several and has no name of its own: `<12>`.
    """
    phonemes = _phoneme_ids(settings, vocab_size)
    tokens = {phoneme: ids[0] for phoneme, ids in phonemes.items() if len(ids) == 1}
    for token, index in _parts_of_spellings(phonemes).items():
        tokens[token] = index
    return dict(sorted(tokens.items(), key=lambda item: item[1]))


def spellings(settings: Mapping[str, Any], vocab_size: int) -> dict[str, list[str]]:
    """The phonemes that stand for more than one id, and the tokens of these."""
    phonemes = _phoneme_ids(settings, vocab_size)
    named = {ids[0]: phoneme for phoneme, ids in reversed(phonemes.items()) if len(ids) == 1}
    named |= {index: token for token, index in _parts_of_spellings(phonemes).items()}
    return {phoneme: [named[index] for index in ids] for phoneme, ids in phonemes.items() if len(ids) > 1}


def _parts_of_spellings(phonemes: Mapping[str, list[int]]) -> dict[str, int]:
    """Tokens for the ids that stand only among the several ids of a phoneme."""
    named = {ids[0] for ids in phonemes.values() if len(ids) == 1}
    parts = {index for ids in phonemes.values() if len(ids) > 1 for index in ids if index not in named}
    return {f"<{index}>": index for index in sorted(parts)}


def has_marks(settings: Mapping[str, Any]) -> bool:
    """Whether sentences begin and end with a mark. Voices of other families, in Piper's format, have blanks alone."""
    phonemes = settings.get("phoneme_id_map")
    return not (isinstance(phonemes, dict) and phonemes.get("^") == [] and phonemes.get("$") == [])


def _phoneme_ids(settings: Mapping[str, Any], vocab_size: int) -> dict[str, list[int]]:
    phonemes = settings.get("phoneme_id_map")
    if not isinstance(phonemes, dict) or not phonemes:
        raise ValueError("the JSON of the voice has no phoneme_id_map")
    found: dict[str, list[int]] = {}
    unmarked = () if has_marks(settings) else ("^", "$")
    for phoneme, ids in phonemes.items():
        listed = [ids] if type(ids) is int else ids
        if phoneme in unmarked:
            found[phoneme] = []
            continue
        if not (
            isinstance(listed, list) and listed and all(type(one) is int and 0 <= one < vocab_size for one in listed)
        ):
            raise ValueError(f"phoneme_id_map gives {phoneme!r} the ids {ids}; expected ids below {vocab_size}")
        found[phoneme] = listed
    for mark in _MARKS:
        if mark not in found:
            raise ValueError(f"phoneme_id_map lacks {mark!r}, one of the marks that Piper puts around phonemes")
        if len(found[mark]) > 1:
            raise ValueError(f"phoneme_id_map gives the mark {mark!r} the ids {found[mark]}; expected one")
    return dict(sorted(found.items(), key=lambda item: item[1]))


def section(settings: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object inside the file; empty where there is none."""
    value = settings.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{key} of the voice must be a JSON object, got {value!r}")
    return value


def _number(settings: Mapping[str, Any], key: str, default: float) -> float:
    """A number that is not negative, of the settings for inference."""
    value = section(settings, "inference").get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ValueError(f"inference.{key} of the voice must be a number that is not negative, got {value!r}")
    return float(value)


def speaker_ids(settings: Mapping[str, Any], num_speakers: int) -> dict[str, int]:
    """Speaker -> id. A list gives the speakers in the order of their ids; ids may be written as strings of digits."""
    named = settings.get("speaker_id_map") or {}
    if isinstance(named, list):
        named = {name: index for index, name in enumerate(named)}
        if len(named) != len(settings["speaker_id_map"]):
            raise ValueError("speaker_id_map of the voice lists a name twice")
    if not isinstance(named, dict):
        raise ValueError(f"speaker_id_map of the voice must be an object or a list, got {named!r}")
    speakers = {}
    for name, number in named.items():
        if isinstance(number, str) and number.isascii() and number.isdigit():
            number = int(number)
        if not isinstance(name, str) or type(number) is not int or not 0 <= number < max(num_speakers, 1):
            raise ValueError(f"speaker_id_map gives {name!r} the id {number!r}; the voice has {num_speakers} speakers")
        speakers[name] = number
    return speakers


def configuration(settings: Mapping[str, Any], architecture: Mapping[str, Any], pad_token_id: int) -> dict[str, Any]:
    """config.json."""
    audio = section(settings, "audio")
    sampling_rate = audio.get("sample_rate")
    if type(sampling_rate) is not int or sampling_rate <= 0:
        raise ValueError(f"audio.sample_rate of the voice must be a positive whole number, got {sampling_rate!r}")
    _check_counts(settings, architecture)
    hop = math.prod(architecture["upsample_rates"])
    if settings.get("hop_length", hop) not in (hop, None):
        raise ValueError(f"the JSON of the voice says hop_length {settings['hop_length']}, its graph {hop}")
    length_scale = _number(settings, "length_scale", 1.0)
    if length_scale == 0:
        raise ValueError("inference.length_scale of the voice must not be 0")
    config: dict[str, Any] = {
        "architectures": ["VitsModel"],
        "model_type": "vits",
        **architecture,
        "sampling_rate": sampling_rate,
        "speaking_rate": 1.0 / length_scale,
        "noise_scale": _number(settings, "noise_scale", 0.667),
        "noise_scale_duration": _number(settings, "noise_w", 0.8),
        "pad_token_id": pad_token_id,
        "piper": _said_of_itself(settings, architecture["num_speakers"]),
    }
    return config


def _check_counts(settings: Mapping[str, Any], architecture: Mapping[str, Any]) -> None:
    """Refuses a file that counts other speakers or symbols than the graph has.

    Some tools write the length of the phoneme map for the number of symbols, of which the graph has more.
    """
    if settings.get("num_speakers") not in (None, architecture["num_speakers"]):
        raise ValueError(
            f"the JSON of the voice says num_speakers {settings['num_speakers']}, "
            f"its graph {architecture['num_speakers']}"
        )
    symbols, known = settings.get("num_symbols"), architecture["vocab_size"]
    if symbols not in (None, known, len(settings.get("phoneme_id_map") or ())):
        raise ValueError(f"the JSON of the voice says num_symbols {symbols}, its graph {known}")


def _said_of_itself(settings: Mapping[str, Any], num_speakers: int) -> dict[str, Any]:
    """What the file says of the voice, for people and for whoever wants to choose a speaker by name."""
    said = {
        key: settings[key]
        for key in ("dataset", "language", "piper_version", "speaker_id_map", "default_speaker_id")
        if settings.get(key) not in (None, {}, [], "")
    }
    if isinstance(said.get("language"), str):
        said["language"] = {"code": said["language"]}
    if "speaker_id_map" in said:
        said["speaker_id_map"] = speaker_ids(settings, num_speakers)
    default = said.get("default_speaker_id", 0)
    if type(default) is not int or not 0 <= default < max(num_speakers, 1):
        raise ValueError(f"default_speaker_id of the voice is {default!r}, of {num_speakers} speakers")
    quality = section(settings, "audio").get("quality")
    if quality:
        said["quality"] = quality
    return said


def phoneme_type(settings: Mapping[str, Any]) -> str:
    """The kind of phonemes; espeak's where the file is too old to say."""
    kind = settings.get("phoneme_type") or "espeak"
    if isinstance(kind, str) and kind.startswith("PhonemeType."):  # how Python prints the enumeration
        kind = kind.removeprefix("PhonemeType.").lower()
    if kind not in PHONEME_TYPES:
        raise ValueError(
            f"the voice reads phonemes of the type {kind!r}; only {', '.join(PHONEME_TYPES)} are supported"
        )
    return str(kind)


def tokenizer(settings: Mapping[str, Any], vocab_size: int) -> dict[str, Any]:
    """tokenizer_config.json."""
    kind = phoneme_type(settings)
    clusters = settings.get("vowel_clusters") or None
    if clusters is not None and not (
        isinstance(clusters, list)
        and all(
            isinstance(cluster, list) and all(isinstance(phoneme, str) for phoneme in cluster) for cluster in clusters
        )
    ):
        raise ValueError(f"vowel_clusters of the voice must be lists of phonemes, got {clusters!r}")
    espeak = settings.get("espeak")
    voice = espeak if isinstance(espeak, str) else section(settings, "espeak").get("voice")
    if kind == "espeak" and not (isinstance(voice, str) and voice):
        raise ValueError("the JSON of the voice does not name its espeak voice")
    language = settings.get("language")
    code = language if isinstance(language, str) else section(settings, "language").get("code")
    if code is not None and not isinstance(code, str):
        raise ValueError(f"language.code of the voice must be a string, got {code!r}")
    several = spellings(settings, vocab_size)
    if not has_marks(settings):
        if several or kind not in ("espeak", "text"):
            raise ValueError("a voice without ids for '^' and '$' reads letters or espeak's phonemes, of one id each")
        return {
            "tokenizer_class": "VitsTokenizer",
            "frontend": "symbols",
            "cleaners": ["phonemize", "collapse_whitespace"] if kind == "espeak" else [],
            "pad_token": "_",
            "blank_token": "_",
            "unk_token": None,
            "add_blank": True,
            "normalize": False,
            "phonemize": kind == "espeak",
            "is_uroman": False,
            "language": code or None,
            "espeak_voice": voice if kind == "espeak" else None,
        }
    return {
        "tokenizer_class": "VitsTokenizer",
        "frontend": "piper",
        "pad_token": "_",
        "bos_token": "^",
        "eos_token": "$",
        "unk_token": "_",
        "add_blank": True,
        "normalize": False,
        "phonemize": kind != "text",
        "is_uroman": False,
        "language": code or None,
        "espeak_voice": voice if kind == "espeak" else None,
        **({"phonemizer": kind} if kind in PIPER_LANGUAGES else {}),
        **({"spellings": several} if several else {}),
        **({} if clusters is None else {"vowel_clusters": clusters}),
    }
