"""What Coqui's configuration says of text: its symbols in the order of their ids, and how it is cleaned before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_COMPOSED_LOWERCASE = ("compose", "lowercase", "collapse_whitespace", "strip")
_WITHOUT_SYMBOLS = ("replace_punctuation", "remove_brackets", "collapse_whitespace", "strip")

CLEANERS: Mapping[str | None, Sequence[str]] = {
    None: (),
    "no_cleaners": ("remove_line_breaks",),
    "basic_cleaners": _COMPOSED_LOWERCASE,
    "basic_german_cleaners": _COMPOSED_LOWERCASE,
    "transliteration_cleaners": _COMPOSED_LOWERCASE,
    "basic_turkish_cleaners": ("compose", "lowercase_turkish", "collapse_whitespace", "strip"),
    "uroman_cleaners": ("compose", "romanize", "lowercase", "collapse_whitespace", "strip"),
    "multilingual_cleaners": ("compose", "lowercase", *_WITHOUT_SYMBOLS),
    # Coqui tells a model of one language none, and then these do what the one before does.
    "french_cleaners": ("compose", "lowercase", *_WITHOUT_SYMBOLS),
    "portuguese_cleaners": ("compose", "lowercase", *_WITHOUT_SYMBOLS),
    "multilingual_phoneme_cleaners": ("compose", *_WITHOUT_SYMBOLS),
}
"""The cleaners that need no tables of words, step by step."""

_BLANK = "<BLNK>"


def vocabulary_and_tokenizer(
    said: Mapping[str, Any], vocab_size: int, where: Path
) -> tuple[dict[str, int], dict[str, Any]]:
    """Symbol -> id, and the settings of the tokenizer.

    Raises:
        ValueError: the symbols are not those of the checkpoint, or the text is treated in a way that is not supported.
    """
    characters = said.get("characters")
    if not isinstance(characters, dict):
        raise ValueError(f"{where} has no section 'characters', which lists the symbols")
    symbols, pad, blank = _symbols(characters, where)
    if len(symbols) != vocab_size:
        raise ValueError(f"{where} lists {len(symbols)} symbols, the checkpoint has {vocab_size}")
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    cleaner = said.get("text_cleaner")
    if cleaner not in CLEANERS:
        supported = ", ".join(name for name in CLEANERS if name)
        raise ValueError(f"{where} cleans its text by {cleaner!r}; only {supported} are supported")
    phonemes = bool(said.get("use_phonemes"))
    if phonemes and said.get("phonemizer") not in (None, "espeak"):
        raise ValueError(f"{where} makes phonemes by {said['phonemizer']!r}; only 'espeak' is supported")
    language = said.get("phoneme_language")
    if phonemes and not isinstance(language, str):
        raise ValueError(f"{where} does not say the phoneme_language")
    if said.get("enable_eos_bos_chars"):
        raise ValueError(f"{where} sets enable_eos_bos_chars, which is not supported")
    add_blank = bool(said.get("add_blank", True))
    if add_blank and blank is None:
        raise ValueError(f"{where} sets add_blank, but its characters have no blank")
    return vocabulary, {
        "tokenizer_class": "VitsTokenizer",
        "frontend": "symbols",
        "cleaners": [*CLEANERS[cleaner], *(["phonemize_chunks"] if phonemes else [])],
        "pad_token": pad,
        "unk_token": None,
        "blank_token": blank,
        "add_blank": add_blank,
        "normalize": False,
        "phonemize": phonemes,
        "is_uroman": False,
        "language": None,
        "espeak_voice": language if phonemes else None,
    }


def _symbols(characters: Mapping[str, Any], where: Path) -> tuple[list[str], str | None, str | None]:
    """All symbols, the padding and the blank, in the order that the class of characters gives them."""

    def text(key: str) -> str:
        value = characters.get(key)
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{where} must give characters.{key} as a string, got {value!r}")
        return value or ""

    listed = characters.get("vocab_dict")
    if isinstance(listed, list) and listed and all(isinstance(symbol, str) for symbol in listed):
        return listed, text("pad") or None, text("blank") or None
    name = str(characters.get("characters_class") or "VitsCharacters").rpartition(".")[2]
    if name == "VitsCharacters":
        pad = text("pad")
        # One that an old configuration gives is not looked at: the class has a blank of its own.
        return [pad, *text("punctuations"), *text("characters"), *text("phonemes"), _BLANK], pad, _BLANK
    if name not in ("IPAPhonemes", "Graphemes", "BaseCharacters"):
        raise ValueError(f"{where} has characters of the class {name}, which is not supported")
    letters = text("phonemes") if name == "IPAPhonemes" and characters.get("phonemes") else text("characters")
    if characters.get("is_unique"):
        letters = "".join(dict.fromkeys(letters)) if not characters.get("is_sorted") else "".join(set(letters))
    ordered = sorted(letters) if characters.get("is_sorted", True) else list(letters)
    specials = [text(key) for key in ("pad", "eos", "bos", "blank")]
    return [*filter(None, specials), *ordered, *text("punctuations")], text("pad") or None, text("blank") or None
