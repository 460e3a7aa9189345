"""Text to token ids and back, equal token for token to the published `VitsTokenizer`.

The way of a text: casing is normalised, characters beyond ASCII are romanised (`is_uroman`), words become phonemes
(`phonemize`), and what is left is looked up character by character, a blank (id 0) between all of them and at both ends
(`add_blank`). Voices from Piper keep Piper's own way (`frontend="piper"`).

A quirk of the published tokenizer that every trained checkpoint knows, and that is kept: special tokens are cut out of
the text first. In the MMS vocabularies the pad token is a letter, in English `k`, so a `k` stands without blanks of its
own. With `_` for the blank, "ab" is `_ a _ b _`, and "akb" is `_ a _ k _ b _`: a segment, the letter, a segment.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from ..storage import read_json, write_json
from .batch_encoding import BatchEncoding, TokenSource, tensor_type_name
from .tokenizer_arguments import (
    FRONTENDS,
    PADDING_STRATEGIES,
    SIDES,
    TRUNCATION_STRATEGIES,
    Options,
    Work,
    all_ids,
    arrange,
    check_bool,
    choice,
    describe,
    is_sequence,
    is_whole,
    optional_length,
    optional_multiple,
    truncate,
    wrong_value,
)

__all__ = ["VitsTokenizer"]

logger = logging.getLogger("fastvits")

# transformers writes this number for "no limit", and takes every limit above LARGE_LENGTH for none.
VERY_LARGE_LENGTH = int(1e30)
LARGE_LENGTH = int(1e20)

VOCABULARY_FILE = "vocab.json"
SETTINGS_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"

# The order decides which ids tokens get that the vocabulary lacks.
SPECIAL_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

# Spaces that tokenisers put before English punctuation, and what they were (`clean_up_tokenization_spaces`).
_SPACES_TO_CLOSE = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"),
    (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip

_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_UROMAN_LOCK = threading.Lock()


@functools.lru_cache(maxsize=1)
def _uroman() -> Any:
    """The romanizer, built once a process: reading its tables takes seconds, romanising a text a millisecond."""
    try:
        import uroman
    except ImportError as error:
        raise ImportError(
            "This tokenizer romanises its texts (is_uroman=True) and needs the package `uroman`: pip install uroman."
        ) from error
    return uroman.Uroman()


def romanized_pieces(text: str, language: str | None) -> list[tuple[str, int, int]]:
    """What the romanizer makes of `text`, piece by piece: `(letters, start, end)` from the characters `start:end`.

    Args:
        text: the text.
        language: ISO 639-3 code that uroman is told; None tells it none.
    """
    with _UROMAN_LOCK:
        romanizer = _uroman()
        from uroman import RomFormat

        options = {} if language is None else {"lcode": language}
        edges = romanizer.romanize_string(text, rom_format=RomFormat.EDGES, **options)
        return [(edge.txt, edge.start, edge.end) for edge in edges]


@dataclass(frozen=True)
class _AddedToken:
    """A token that is looked for in the text as a whole, before the text is cut into characters.

    `lstrip` and `rstrip` take the spaces on that side of it out of the text. The other flags are only kept for files.
    """

    content: str
    lstrip: bool = False
    normalized: bool = False
    rstrip: bool = False
    single_word: bool = False
    special: bool = True

    def settings(self) -> dict[str, Any]:
        return {
            "content": self.content,
            "lstrip": self.lstrip,
            "normalized": self.normalized,
            "rstrip": self.rstrip,
            "single_word": self.single_word,
            "special": self.special,
        }


class VitsTokenizer:
    """The tokenizer of VITS and MMS-TTS checkpoints, and of Piper voices that were converted.

    Args:
        vocab_file: a JSON file of tokens (characters or phonemes) and their ids. Id 0 is the blank.
        pad_token: fills shorter items of a batch. A token that the vocabulary lacks gets the next free id.
        unk_token: stands for what the vocabulary lacks where it is not left out.
        language: ISO 639-3 code of the language. "ron" turns `ț` into `ţ`; with `phonemize`, a language that espeak-ng
            has a voice for is read by that voice.
        add_blank: put id 0 between all tokens and at both ends.
        normalize: lower-case what the vocabulary has no capital of, and, unless phonemes are made, leave out
            characters that the vocabulary lacks. What is left out is logged as a warning, once a text.
        phonemize: turn the text into phonemes by espeak-ng; without, characters are looked up as they are.
        is_uroman: romanise texts with characters beyond ASCII by uroman.
        espeak_voice: voice of espeak-ng; None means the one of `language`, or "en-us".
        frontend: "vits", or "piper" for text in sentences of phonemes, each `bos blank p blank ... p blank eos`.
        bos_token, eos_token, sep_token, cls_token, mask_token: further special tokens.
        uroman_language: ISO 639-3 code that uroman is told; None, as published, tells it none.
        vowel_clusters: sequences of phonemes that Piper's front end joins into one.
        model_max_length: limit for `truncation=True` and `padding="max_length"`; the default means none.
        padding_side, truncation_side: "right" or "left".
        model_input_names: which masks a call returns by itself.
        clean_up_tokenization_spaces: default of `decode`.
        split_special_tokens: treat special tokens in a text as ordinary characters.
        extra_special_tokens: tokens that are special without having a name.
        added_tokens_decoder: id and content (or settings) of tokens beyond the vocabulary.
        name_or_path: where it was loaded from.

    Raises:
        OSError: the vocabulary file cannot be read.
        ValueError: it is no vocabulary, or an argument has a value that is not allowed.
        TypeError: an argument has a wrong type, or an unknown name.

    Source: `transformers.VitsTokenizer`; the layout of Piper's ids is that of `piper-tts`.
    """

    vocab_files_names: ClassVar[dict[str, str]] = {"vocab_file": VOCABULARY_FILE}
    pad_token_type_id = 0
    is_fast = False

    def __init__(
        self,
        vocab_file: str | os.PathLike[str],
        pad_token: str | None = "<pad>",
        unk_token: str | None = "<unk>",
        language: str | None = None,
        add_blank: bool = True,
        normalize: bool = True,
        phonemize: bool = True,
        is_uroman: bool = False,
        *,
        espeak_voice: str | None = None,
        frontend: str = "vits",
        bos_token: str | None = None,
        eos_token: str | None = None,
        uroman_language: str | None = None,
        vowel_clusters: Sequence[Sequence[str]] | None = None,
        sep_token: str | None = None,
        cls_token: str | None = None,
        mask_token: str | None = None,
        model_max_length: int | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
        model_input_names: Sequence[str] = ("input_ids", "attention_mask"),
        clean_up_tokenization_spaces: bool = False,
        split_special_tokens: bool = False,
        extra_special_tokens: Sequence[str] = (),
        added_tokens_decoder: Mapping[int | str, Any] | None = None,
        name_or_path: str = "",
    ) -> None:
        for name, flag in (
            ("add_blank", add_blank),
            ("normalize", normalize),
            ("phonemize", phonemize),
            ("is_uroman", is_uroman),
            ("clean_up_tokenization_spaces", clean_up_tokenization_spaces),
            ("split_special_tokens", split_special_tokens),
        ):
            check_bool(name, flag)
        for name, code in (
            ("language", language),
            ("espeak_voice", espeak_voice),
            ("uroman_language", uroman_language),
        ):
            if code is not None and not isinstance(code, str):
                raise TypeError(f"{name} must be a str or None, not {type(code).__name__}.")
        self.language = language
        self.add_blank = add_blank
        self.normalize = normalize
        self.phonemize = phonemize
        self.is_uroman = is_uroman
        self.espeak_voice = espeak_voice
        self.frontend = choice("frontend", frontend, FRONTENDS)
        self.uroman_language = uroman_language
        self.vowel_clusters = None if vowel_clusters is None else [list(cluster) for cluster in vowel_clusters]
        limit = optional_length("model_max_length", model_max_length)
        self.model_max_length = VERY_LARGE_LENGTH if limit is None else limit
        self.padding_side = choice("padding_side", padding_side, SIDES)
        self.truncation_side = choice("truncation_side", truncation_side, SIDES)
        self.model_input_names = list(model_input_names)
        self.clean_up_tokenization_spaces = clean_up_tokenization_spaces
        self.split_special_tokens = split_special_tokens
        self.name_or_path = name_or_path
        # Settings of a loaded file that mean nothing here, kept for `save_pretrained`.
        self._foreign_settings: dict[str, Any] = {}
        self._warned_of_length = False

        self.encoder = _read_vocabulary(vocab_file)
        self.decoder = {index: token for token, index in self.encoder.items()}
        if add_blank and 0 not in self.decoder:
            raise ValueError(f"The vocabulary {os.fspath(vocab_file)!r} has no token of id 0, which is the blank.")

        self.bos_token = _token_text("bos_token", bos_token)
        self.eos_token = _token_text("eos_token", eos_token)
        self.unk_token = _token_text("unk_token", unk_token)
        self.sep_token = _token_text("sep_token", sep_token)
        self.pad_token = _token_text("pad_token", pad_token)
        self.cls_token = _token_text("cls_token", cls_token)
        self.mask_token = _token_text("mask_token", mask_token)
        self.extra_special_tokens = [str(_token_text("extra_special_tokens", token)) for token in extra_special_tokens]
        if self.frontend == "piper":
            for name, token in (("pad_token", self.pad_token), ("bos_token", bos_token), ("eos_token", eos_token)):
                if token is None:
                    raise ValueError(f"frontend='piper' needs a {name}, for it lays out its ids with one.")

        self._added: dict[int, _AddedToken] = {}
        for index, token in (added_tokens_decoder or {}).items():
            self._added[int(index)] = _added_token(token)
        for special in self.all_special_tokens:
            if special not in self._added_ids():
                self._added[self._free_id(special)] = _AddedToken(special)
        self._index_tokens()

    # -----------------------------------------------------------------------------------------------------------------
    # Vocabulary and special tokens

    def _added_ids(self) -> dict[str, int]:
        return {token.content: index for index, token in self._added.items()}

    def _free_id(self, token: str) -> int:
        """The id of `token` in the vocabulary, or the next one that nothing has."""
        if token in self.encoder:
            return self.encoder[token]
        index = len(self.encoder) + sum(added.content not in self.encoder for added in self._added.values())
        while index in self.decoder or index in self._added:
            index += 1
        return index

    def _index_tokens(self) -> None:
        """Prepare the look-ups that make every step linear in the length of the text."""
        self._added_to_id = self._added_ids()
        contents = sorted((token.content for token in self._added.values() if token.content), key=len, reverse=True)
        self._added_pattern = re.compile("|".join(map(re.escape, contents))) if contents else None
        self._added_by_content = {token.content: token for token in self._added.values()}
        # Casing is left alone where the text has a token of the vocabulary; the first one that fits counts.
        self._words_by_first_character: dict[str, list[str]] = {}
        for word in (*self.encoder, *self._added_to_id):
            if word:
                words = self._words_by_first_character.setdefault(word[0], [])
                if word not in words:
                    words.append(word)

    @property
    def vocab_size(self) -> int:
        """Number of tokens in the vocabulary file, without the ones added to it."""
        return len(self.encoder)

    def __len__(self) -> int:
        """Number of tokens, the added ones included."""
        return len(self.encoder.keys() | self._added_to_id.keys())

    def get_vocab(self) -> dict[str, int]:
        """Every token and its id, the added ones included, in the order of the ids."""
        vocabulary = {**self.encoder, **self._added_to_id}
        return dict(sorted(vocabulary.items(), key=lambda item: item[1]))

    def get_added_vocab(self) -> dict[str, int]:
        """The added and the special tokens and their ids, in the order of the ids."""
        return dict(sorted(self._added_to_id.items(), key=lambda item: item[1]))

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """The special tokens there are, by name: `{"unk_token": "<unk>", "pad_token": "k"}`."""
        return {name: getattr(self, name) for name in SPECIAL_TOKEN_NAMES if getattr(self, name) is not None}

    @property
    def all_special_tokens(self) -> list[str]:
        """The special tokens, each once."""
        return list(dict.fromkeys((*self.special_tokens_map.values(), *self.extra_special_tokens)))

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of `all_special_tokens`."""
        return [self._token_id(token) for token in self.all_special_tokens]

    def _special_id(self, name: str) -> int | None:
        token = getattr(self, name)
        return None if token is None else self._token_id(token)

    @property
    def pad_token_id(self) -> int | None:
        """Id of the pad token; None without one."""
        return self._special_id("pad_token")

    @property
    def unk_token_id(self) -> int | None:
        """Id of the unknown token; None without one."""
        return self._special_id("unk_token")

    @property
    def bos_token_id(self) -> int | None:
        """Id of the token that begins a sentence; None without one."""
        return self._special_id("bos_token")

    @property
    def eos_token_id(self) -> int | None:
        """Id of the token that ends a sentence; None without one."""
        return self._special_id("eos_token")

    @property
    def sep_token_id(self) -> int | None:
        """Id of the separator; None without one, and VITS has none."""
        return self._special_id("sep_token")

    @property
    def cls_token_id(self) -> int | None:
        """Id of the classification token; None without one, and VITS has none."""
        return self._special_id("cls_token")

    @property
    def mask_token_id(self) -> int | None:
        """Id of the mask token; None without one, and VITS has none."""
        return self._special_id("mask_token")

    def __repr__(self) -> str:
        return (
            f"VitsTokenizer(name_or_path={self.name_or_path!r}, vocab_size={self.vocab_size}, "
            f"language={self.language!r}, add_blank={self.add_blank}, normalize={self.normalize}, "
            f"phonemize={self.phonemize}, is_uroman={self.is_uroman}, frontend={self.frontend!r}, "
            f"special_tokens={self.special_tokens_map})"
        )

    def _token_id(self, token: str) -> int:
        index = self._added_to_id.get(token)
        if index is None:
            index = self.encoder.get(token)
        if index is not None:
            return index
        # Not `unk_token_id`: an unknown token that is itself unknown must not call itself for ever.
        unknown = None if self.unk_token is None else self._added_to_id.get(self.unk_token)
        if unknown is None and self.unk_token is not None:
            unknown = self.encoder.get(self.unk_token)
        if unknown is None:
            raise ValueError(f"The vocabulary has no token {token!r}, and this tokenizer no unk_token to stand for it.")
        return unknown

    def _id_token(self, index: int) -> str | None:
        added = self._added.get(index)
        return self.decoder.get(index) if added is None else added.content

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> Any:
        """The id of one token, or the list of ids of several; an unknown token has that of `unk_token`."""
        if isinstance(tokens, str):
            return self._token_id(tokens)
        if not isinstance(tokens, (list, tuple)) or not all(isinstance(token, str) for token in tokens):
            raise TypeError(f"tokens must be a str or a list of str, not {describe(tokens)}.")
        return [self._token_id(token) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of one id, or the list of tokens of several; None stands for an id that nothing has.

        Args:
            ids: an int, or a list, array or tensor of them.
            skip_special_tokens: leave out special tokens of a list, even one that is a letter, as transformers does.
                `decode` is the one that loses no letters.
        """
        if is_whole(ids):
            return self._id_token(int(ids))
        indices = _flat_ids(ids)
        special = set(self.all_special_ids) if skip_special_tokens else ()
        return [self._id_token(index) for index in indices if index not in special]

    # -----------------------------------------------------------------------------------------------------------------
    # Text to tokens

    def normalize_text(self, input_string: str) -> str:
        """Lower-case a text, but for what the vocabulary has as it stands, such as `<unk>` or a capital of its own."""
        return "".join(piece for piece, _ in self._cased_pieces(input_string))

    def _cased_pieces(self, text: str) -> Iterator[tuple[str, int]]:
        """The pieces of `normalize_text`, and of how many characters each was made."""
        position = 0
        while position < len(text):
            character = text[position]
            piece, width = character.lower(), 1
            for word in self._words_by_first_character.get(character, ()):
                if text.startswith(word, position):
                    piece, width = word, len(word)
                    break
            yield piece, width
            position += width

    def _prepare(self, text: str, normalize: bool, missing: dict[str, None]) -> str:
        """The characters or phonemes to look up; adds to `missing` the characters that are left out."""
        if normalize:
            text = self.normalize_text(text)
        if self.language == "ron":
            text = text.replace("ț", "ţ")
        if self.is_uroman and _BEYOND_ASCII.search(text):
            with _UROMAN_LOCK:
                romanizer = _uroman()
                # Without a language of its own the call is the published one, to the argument.
                options = {} if self.uroman_language is None else {"lcode": self.uroman_language}
                text = romanizer.romanize_string(text, **options)
        if self.phonemize:
            from .phonemization import espeak_phonemes

            return re.sub(r"\s+", " ", espeak_phonemes(text, self._espeak_voice()))
        if normalize:
            missing.update(dict.fromkeys(character for character in text.strip() if character not in self.encoder))
            text = "".join(character for character in text if character in self.encoder).strip()
        return text

    def _espeak_voice(self) -> str:
        """The espeak-ng voice of this tokenizer: its own, that of its language, or the published "en-us"."""
        if self.espeak_voice is not None:
            return self.espeak_voice
        if self.language is not None:
            from .phonemization import espeak_voice_for

            return espeak_voice_for(self.language) or "en-us"
        return "en-us"

    def _segments(self, text: str) -> Iterator[tuple[int, int, bool]]:
        """Cut `text` at added tokens: `(start, end, is an added token)`. Segments are not empty."""

        def stripped(start: int, end: int, left: bool, right: bool) -> Iterator[tuple[int, int, bool]]:
            piece = text[start:end]
            start += len(piece) - len(piece.lstrip()) if left else 0
            end -= len(piece) - len(piece.rstrip()) if right else 0
            if start < end:
                yield start, end, False

        position, strip_left = 0, False
        for match in self._added_pattern.finditer(text) if self._added_pattern is not None else ():
            token = self._added_by_content[match.group()]
            yield from stripped(position, match.start(), strip_left, token.lstrip)
            yield match.start(), match.end(), True
            position, strip_left = match.end(), token.rstrip
        yield from stripped(position, len(text), strip_left, False)

    def _with_blanks(self, characters: str) -> list[str]:
        if not self.add_blank:
            return list(characters)
        tokens = [self.decoder[0]] * (2 * len(characters) + 1)
        tokens[1::2] = characters
        return tokens

    def _text_tokens(
        self, text: str, normalize: bool, split_special_tokens: bool, missing: dict[str, None], unknown: dict[str, None]
    ) -> list[str]:
        """Tokens of one text. Adds characters that are left out to `missing`, ones without an id to `unknown`."""
        if self.frontend == "piper":
            return self._piper_tokens(text, missing)
        prepared = self._prepare(text, normalize, missing)
        # Uncut, an empty text is one blank: the published tokenizer's, and so ours.
        segments = [(0, len(prepared), False)] if split_special_tokens else self._segments(prepared)
        tokens: list[str] = []
        for start, end, is_added in segments:
            piece = prepared[start:end]
            if is_added:
                tokens.append(piece)
                continue
            tokens.extend(self._with_blanks(piece))
            unknown.update(dict.fromkeys(c for c in piece if c not in self.encoder and c not in self._added_to_id))
        return tokens

    def _piper_sentences(self, text: str) -> list[list[str]]:
        """Phonemes sentence by sentence; a voice of letters (`phonemize=False`) reads code points, as one sentence."""
        if not self.phonemize:
            return [list(unicodedata.normalize("NFD", text))] if text else []
        from .phonemization import piper_phonemes

        clusters = {} if self.vowel_clusters is None else {"vowel_clusters": self.vowel_clusters}
        return piper_phonemes(text, self._espeak_voice(), **clusters)

    def _piper_tokens(self, text: str, missing: dict[str, None]) -> list[str]:
        """`bos blank p blank ... p blank eos` for every sentence; phonemes without an id are left out."""
        bos, eos, blank = str(self.bos_token), str(self.eos_token), str(self.pad_token)
        tokens: list[str] = []
        for sentence in self._piper_sentences(text):
            tokens.append(bos)
            for phoneme in sentence:
                if phoneme not in self.encoder:
                    missing[phoneme] = None
                    continue
                if self.add_blank:
                    tokens.append(blank)
                tokens.append(phoneme)
            if self.add_blank:
                tokens.append(blank)
            tokens.append(eos)
        return tokens

    def _tokens_of(self, texts: Iterable[str], normalize: bool, split_special_tokens: bool) -> list[str]:
        """Tokens of one text, given whole or in words, and one warning about all it has that the vocabulary lacks."""
        missing: dict[str, None] = {}
        unknown: dict[str, None] = {}
        tokens: list[str] = []
        texts = list(texts)
        for text in texts:
            tokens.extend(self._text_tokens(text, normalize, split_special_tokens, missing, unknown))
        reports = []
        if missing:
            reports.append(f"{_name_characters(missing)} (left out)")
        if unknown:
            reports.append(f"{_name_characters(unknown)} (read as {self.unk_token})")
        if reports:
            logger.warning("The vocabulary lacks %s of the text %s.", " and ".join(reports), _shorten(" ".join(texts)))
        return tokens

    def tokenize(
        self,
        text: str,
        pair: str | None = None,
        add_special_tokens: bool = False,
        *,
        normalize: bool | None = None,
        split_special_tokens: bool | None = None,
    ) -> list[str]:
        """The tokens of a text, blanks included.

        Args:
            text: the text.
            pair, add_special_tokens: accepted and not used, as in transformers.
            normalize: override the tokenizer's own setting.
            split_special_tokens: override the tokenizer's own setting.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, not {describe(text)}.")
        return self._tokens_of([text], *self._text_settings(normalize, split_special_tokens))

    def _text_settings(self, normalize: bool | None, split_special_tokens: bool | None) -> tuple[bool, bool]:
        for name, value in (("normalize", normalize), ("split_special_tokens", split_special_tokens)):
            if value is not None:
                check_bool(name, value)
        return (
            self.normalize if normalize is None else normalize,
            self.split_special_tokens if split_special_tokens is None else split_special_tokens,
        )

    # -----------------------------------------------------------------------------------------------------------------
    # The call

    def __call__(
        self,
        text: Any = None,
        text_pair: Any = None,
        text_target: Any = None,
        text_pair_target: Any = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        verbose: bool = True,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        *,
        normalize: bool | None = None,
        split_special_tokens: bool | None = None,
    ) -> BatchEncoding:
        """Token ids of one text or of a batch of texts.

        Args:
            text: a str, or a list of str for a batch. With `is_split_into_words`, a list of str is one text in words
                and a list of such lists a batch; without, an item of two str is a text and its pair. A list of int
                is taken for ids.
            text_pair: a second text (one an item), whose ids follow those of the first.
            text_target, text_pair_target: likewise; beside `text`, their ids are returned as `labels`.
            add_special_tokens: VITS adds none; False only makes all `token_type_ids` 0, as in transformers.
            padding: True or "longest" pads to the longest item, "max_length" to `max_length`, False or "do_not_pad"
                not at all.
            truncation: True or "longest_first" cuts to `max_length`, taking from the longer of a pair first;
                "only_first" and "only_second" cut that text of a pair only; False or "do_not_truncate" cuts nothing.
                None means True where `max_length` is given and no padding asked for, False elsewhere.
            max_length: None means `model_max_length`. 0 cuts nothing, as in transformers.
            stride: how many ids `overflowing_tokens` repeat.
            is_split_into_words: the texts are lists of words. Words are tokenised one by one and joined without space.
            pad_to_multiple_of: pad to a multiple of it.
            padding_side: "right" or "left"; None means the tokenizer's own.
            return_tensors: "pt", "np", or None for lists.
            return_token_type_ids: 0 for the first text, 1 for the second.
            return_attention_mask: 1 for ids, 0 for padding; None means yes, as `model_input_names` says.
            return_overflowing_tokens: also `overflowing_tokens`, what was cut, and `num_truncated_tokens` (lists only).
            return_special_tokens_mask: 1 for padding, 0 for ids.
            return_offsets_mapping: refused.
            return_length: number of ids as `length`.
            verbose: warn once about a text longer than `model_max_length`.
            tokenizer_kwargs: further arguments by name; they win over the ones given directly, as in transformers.
            normalize, split_special_tokens: override the tokenizer's own settings.

        Returns:
            `input_ids` and what else was asked for: a list (one text) or a list of lists, int64 tensors of shape
            `[B, T_text]` with `return_tensors`.

        Raises:
            TypeError: a wrong type or an unknown keyword.
            ValueError: a value that is not allowed, or texts and pairs that do not match.
            NotImplementedError: `return_offsets_mapping`.
        """
        named = {
            "add_special_tokens": add_special_tokens,
            "padding": padding,
            "truncation": truncation,
            "max_length": max_length,
            "stride": stride,
            "is_split_into_words": is_split_into_words,
            "pad_to_multiple_of": pad_to_multiple_of,
            "padding_side": padding_side,
            "return_tensors": return_tensors,
            "return_token_type_ids": return_token_type_ids,
            "return_attention_mask": return_attention_mask,
            "return_overflowing_tokens": return_overflowing_tokens,
            "return_special_tokens_mask": return_special_tokens_mask,
            "return_offsets_mapping": return_offsets_mapping,
            "return_length": return_length,
            "verbose": verbose,
            "normalize": normalize,
            "split_special_tokens": split_special_tokens,
        }
        if tokenizer_kwargs is not None:
            if not isinstance(tokenizer_kwargs, Mapping):
                raise TypeError(f"tokenizer_kwargs must be a dict or None, not {describe(tokenizer_kwargs)}.")
            strangers = [key for key in tokenizer_kwargs if key not in named]
            if strangers:
                raise TypeError(f"tokenizer_kwargs may not hold {strangers!r}; allowed are {', '.join(named)}.")
            named.update(tokenizer_kwargs)
        options = self._options(named)
        if text is None and text_target is None:
            raise ValueError("A text is needed: give text or text_target.")
        # Everything is checked before anything is tokenised.
        work = None if text is None else arrange(text, text_pair, options.is_split_into_words, "text")
        target_work = (
            None
            if text_target is None
            else arrange(text_target, text_pair_target, options.is_split_into_words, "text_target")
        )
        for each in (work, target_work):
            self._check_pairs(each, options)
        if work is None:
            assert target_work is not None
            return self._encode_work(target_work, options)
        encoding = self._encode_work(work, options)
        if target_work is not None:
            encoding["labels"] = self._encode_work(target_work, options)["input_ids"]
        return encoding

    def encode(
        self,
        text: Any,
        text_pair: Any = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """The `input_ids` of a call with these arguments and any other that a call takes."""
        return self(
            text,
            text_pair,
            add_special_tokens=add_special_tokens,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            stride=stride,
            padding_side=padding_side,
            return_tensors=return_tensors,
            **kwargs,
        )["input_ids"]

    def _options(self, named: dict[str, Any]) -> Options:
        """Check the arguments of a call and put defaults in."""
        for name in ("return_token_type_ids", "return_attention_mask"):
            if named[name] is not None:
                check_bool(name, named[name])
        for name in (
            "add_special_tokens",
            "is_split_into_words",
            "return_overflowing_tokens",
            "return_special_tokens_mask",
            "return_offsets_mapping",
            "return_length",
            "verbose",
        ):
            if named[name] is not None:
                check_bool(name, named[name])
        if named["return_offsets_mapping"]:
            raise NotImplementedError(
                "return_offsets_mapping is not available; fastvits.timestamps tells where tokens stand in the text."
            )
        stride = named["stride"]
        if not is_whole(stride) or stride < 0:
            raise wrong_value("stride", stride, "a whole number of 0 or more")
        padding = self._padding(named["padding"])
        max_length = optional_length("max_length", named["max_length"])
        truncation = named["truncation"]
        if truncation is None:
            implied = max_length is not None and padding == "do_not_pad" and named["padding"] is False
            truncation = "longest_first" if implied else "do_not_truncate"
        elif isinstance(truncation, bool):
            truncation = "longest_first" if truncation else "do_not_truncate"
        else:
            truncation = choice("truncation", truncation, TRUNCATION_STRATEGIES, "True, False, None")
        if max_length is None and (padding == "max_length" or truncation != "do_not_truncate"):
            if self.model_max_length <= LARGE_LENGTH:
                max_length = self.model_max_length
            else:
                # Without any limit there is nothing to pad or cut to.
                padding = "do_not_pad" if padding == "max_length" else padding
                truncation = "do_not_truncate"
        multiple = optional_multiple(named["pad_to_multiple_of"])
        if (
            multiple is not None
            and max_length is not None
            and padding != "do_not_pad"
            and truncation != "do_not_truncate"
            and max_length % multiple != 0
        ):
            raise ValueError(
                f"max_length ({max_length}) must be a multiple of pad_to_multiple_of ({multiple}) where both "
                "truncation and padding are asked for."
            )
        normalize, split_special_tokens = self._text_settings(named["normalize"], named["split_special_tokens"])
        wants_types, wants_mask = named["return_token_type_ids"], named["return_attention_mask"]
        return Options(
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            stride=int(stride),
            is_split_into_words=bool(named["is_split_into_words"]),
            pad_to_multiple_of=multiple,
            padding_side=self._side(named["padding_side"]),
            return_tensors=tensor_type_name(named["return_tensors"]),
            return_token_type_ids="token_type_ids" in self.model_input_names if wants_types is None else wants_types,
            return_attention_mask="attention_mask" in self.model_input_names if wants_mask is None else wants_mask,
            return_overflowing_tokens=bool(named["return_overflowing_tokens"]),
            return_special_tokens_mask=bool(named["return_special_tokens_mask"]),
            return_length=bool(named["return_length"]),
            verbose=bool(named["verbose"]),
            add_special_tokens=bool(named["add_special_tokens"]),
            normalize=normalize,
            split_special_tokens=split_special_tokens,
        )

    def _padding(self, padding: Any) -> str:
        """The name of a padding strategy; ValueError when padding is asked for and there is nothing to pad with."""
        if isinstance(padding, bool):
            name = "longest" if padding else "do_not_pad"
        else:
            name = choice("padding", padding, PADDING_STRATEGIES, "True, False")
        if name != "do_not_pad" and self.pad_token is None:
            raise ValueError("This tokenizer has no pad_token to pad with; set tokenizer.pad_token.")
        return name

    def _side(self, side: Any) -> str:
        return self.padding_side if side is None else choice("padding_side", side, SIDES, "None")

    @staticmethod
    def _check_pairs(work: Work | None, options: Options) -> None:
        if (
            work is not None
            and options.return_overflowing_tokens
            and options.truncation == "longest_first"
            and any(second is not None for _, second in work.items)
        ):
            raise ValueError(
                "return_overflowing_tokens has no single text to return for pairs cut by 'longest_first': use "
                "truncation='only_first' or 'only_second'."
            )

    def _ids_of(self, item: Any, options: Options) -> list[int]:
        """Ids of one text: as a str, in words, as tokens (a list of str that is not in words), or as ids."""
        if isinstance(item, str):
            texts = [item]
        elif item and is_whole(item[0]):
            return [int(index) for index in item]
        elif options.is_split_into_words:
            texts = [str(word) for word in item]
        else:
            return [self._token_id(str(token)) for token in item]
        tokens = self._tokens_of(texts, options.normalize, options.split_special_tokens)
        return [self._token_id(token) for token in tokens]

    def _encode_work(self, work: Work, options: Options) -> BatchEncoding:
        encoded = [self._encode_item(first, second, options) for first, second in work.items]
        items = [item for item, _ in encoded]
        if not work.batched:
            data = items[0]
            lengths: Any = len(data["input_ids"])
        else:
            names = dict.fromkeys(name for item in items for name in item)
            # A text that was not cut overflows by nothing.
            fill: dict[str, Callable[[], Any]] = {"overflowing_tokens": list, "num_truncated_tokens": int}
            data = {name: [item[name] if name in item else fill[name]() for item in items] for name in names}
            lengths = [len(item["input_ids"]) for item in items]
        data = self._pad_columns(data, work.batched, options.padding, options.max_length, options.pad_to_multiple_of,
                                 options.padding_side, options.return_attention_mask)  # fmt: skip
        if options.return_length:
            data["length"] = lengths if work.batched else len(data["input_ids"])
        if options.return_tensors is not None:
            # Overflowing tokens differ in length: they are lists or nothing, as in transformers.
            for name in ("overflowing_tokens", "num_truncated_tokens"):
                data.pop(name, None)
        encoding = BatchEncoding(data, tensor_type=options.return_tensors, prepend_batch_axis=not work.batched)
        encoding.sources = tuple(sources for _, sources in encoded)
        return encoding

    def _encode_item(
        self, first: Any, second: Any, options: Options
    ) -> tuple[dict[str, Any], tuple[TokenSource, ...] | None]:
        """Ids of one text and its pair, cut but not padded, with what was asked for beside them; and their sources."""
        ids = self._ids_of(first, options)
        pair_ids = None if second is None else self._ids_of(second, options)
        counts = [len(ids), len(pair_ids or ())]
        total = len(ids) + len(pair_ids or ())
        item: dict[str, Any] = {"input_ids": []}
        limit = options.max_length
        if options.truncation != "do_not_truncate" and limit and total > limit:
            only_second_of_none = options.truncation == "only_second" and not pair_ids
            ids, pair_ids, overflow = truncate(
                ids, pair_ids, total - limit, options.truncation, options.stride, self.truncation_side
            )
            if options.return_overflowing_tokens and not only_second_of_none:
                item["overflowing_tokens"] = overflow
                item["num_truncated_tokens"] = total - limit
        item["input_ids"] = ids + (pair_ids or [])
        if options.return_token_type_ids:
            pair_type = 1 if options.add_special_tokens else 0  # without them transformers tells no pair apart
            item["token_type_ids"] = [0] * len(ids) + [pair_type] * len(pair_ids or ())
        if options.return_special_tokens_mask:
            item["special_tokens_mask"] = [0] * len(item["input_ids"])
        length = len(item["input_ids"])
        if options.max_length is None and length > self.model_max_length and options.verbose:
            if not self._warned_of_length:
                logger.warning(
                    "A text has %d ids, more than the model's limit of %d (model_max_length).",
                    length, self.model_max_length,
                )  # fmt: skip
            self._warned_of_length = True
        kept = [len(ids), len(pair_ids or ())]
        return item, self._sources([first] if second is None else [first, second], counts, kept, options)

    def _sources(
        self, texts: Sequence[Any], counts: Sequence[int], kept: Sequence[int], options: Options
    ) -> tuple[TokenSource, ...] | None:
        """Where the ids of an item came from: of each text, `kept` of `counts` ids. None unless all are texts."""
        sources = []
        for text, count, length in zip(texts, counts, kept, strict=False):
            if isinstance(text, str):
                parts: tuple[str, ...] = (text,)
            elif options.is_split_into_words and not (text and is_whole(text[0])):
                parts = tuple(str(word) for word in text)
            else:
                return None
            first = 0 if self.truncation_side == "right" else count - length
            sources.append(TokenSource(parts, options.normalize, options.split_special_tokens, first, first + length))
        return tuple(sources)

    # -----------------------------------------------------------------------------------------------------------------
    # Padding

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pad ids that were encoded before, one text's or a batch's. The input is left as it is.

        Args:
            encoded_inputs: a mapping with `input_ids` (of one text or of several), or a list of mappings, one a text;
                values are lists, arrays or tensors. `attention_mask`, `token_type_ids` and `special_tokens_mask` are
                padded along, all else is kept.
            padding, max_length, pad_to_multiple_of, padding_side, return_attention_mask, return_tensors: as in a call.
                Tensors and arrays come back as what they were where `return_tensors` is None.
            verbose: accepted and not used.

        Raises:
            TypeError, ValueError: the input is none of these, or has no `input_ids`.
        """
        strategy = self._padding(padding)
        limit = optional_length("max_length", max_length)
        if limit is None and strategy == "max_length":
            if self.model_max_length <= LARGE_LENGTH:
                limit = self.model_max_length
            else:
                strategy = "do_not_pad"
        multiple = optional_multiple(pad_to_multiple_of)
        side = self._side(padding_side)
        if return_attention_mask is None:
            return_attention_mask = "attention_mask" in self.model_input_names
        else:
            check_bool("return_attention_mask", return_attention_mask)
        tensor_type = tensor_type_name(return_tensors)
        columns = _columns(encoded_inputs)
        tensor_type = tensor_type or _tensor_type_of(columns["input_ids"])
        data = {name: _as_list(value) for name, value in columns.items()}
        ids = data["input_ids"]
        if not isinstance(ids, (list, tuple)):
            raise TypeError(f"input_ids must be a list, an array or a tensor of ids, not {describe(ids)}.")
        batched = len(ids) > 0 and isinstance(ids[0], (list, tuple))
        _check_ids(ids, batched)
        if batched:
            for name, value in data.items():
                if not isinstance(value, (list, tuple)) or len(value) != len(ids):
                    raise ValueError(f"{name!r} must have one entry for each of the {len(ids)} texts.")
        if len(ids) > 0:
            data = self._pad_columns(data, batched, strategy, limit, multiple, side, return_attention_mask)
        encoding = BatchEncoding(data, tensor_type=tensor_type)
        given = [encoded_inputs] if isinstance(encoded_inputs, Mapping) else encoded_inputs
        known = [item.sources if isinstance(item, BatchEncoding) else None for item in given]
        if all(sources is not None for sources in known):
            encoding.sources = tuple(item for sources in known for item in sources or ())
        return encoding

    def _pad_columns(
        self,
        data: dict[str, Any],
        batched: bool,
        padding: str,
        max_length: int | None,
        multiple: int | None,
        side: str,
        return_attention_mask: bool,
    ) -> dict[str, Any]:
        """Pad the columns of one text or of a batch to their common length."""
        rows = data["input_ids"] if batched else [data["input_ids"]]
        target = 0
        if padding == "longest":
            target = max((len(row) for row in rows), default=0)
        elif padding == "max_length":
            target = max_length or 0
        if padding != "do_not_pad" and multiple:
            target = -(-target // multiple) * multiple
        padded = dict(data)
        if return_attention_mask and "attention_mask" not in padded:
            masks = [[1] * len(row) for row in rows]
            padded["attention_mask"] = masks if batched else masks[0]
        if padding == "do_not_pad" or (not batched and len(rows[0]) == 0):
            return padded  # a single empty text stays empty, as in transformers
        for name, filler in (
            ("input_ids", self.pad_token_id),
            ("attention_mask", 0),
            ("token_type_ids", self.pad_token_type_id),
            ("special_tokens_mask", 1),
        ):
            if name not in padded:
                continue
            column = padded[name] if batched else [padded[name]]
            filled = []
            # What is short is short by the ids: a column beside them grows by as much as they do.
            for row, ids in zip(column, rows, strict=True):
                padding_ids = [filler] * max(target - len(ids), 0)
                filled.append(list(row) + padding_ids if side == "right" else padding_ids + list(row))
            padded[name] = filled if batched else filled[0]
        return padded

    # -----------------------------------------------------------------------------------------------------------------
    # Ids to text

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Join tokens, without the blanks between them."""
        if self.frontend == "piper":
            return "".join(token for token in tokens if token != self.pad_token)
        if self.add_blank and len(tokens) > 1:
            tokens = tokens[1::2]
        return "".join(tokens)

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> Any:
        """The text that ids stand for, after normalisation (or its phonemes).

        With `skip_special_tokens` the blanks are told from letters by where they stand, and no letter is lost even
        where pad token, blank and letter are one (transformers drops them all, and then every other letter). Such an
        id at the ends of a padded item could still be either, and is kept: give the encoding itself, whose
        `attention_mask` says what is padding, instead of its ids.

        Args:
            token_ids: ids as an int, a list, an array or a tensor, or a list of such lists, or what a call returned.
            skip_special_tokens: leave special tokens out.
            clean_up_tokenization_spaces: close up spaces before English punctuation; None means the tokenizer's own.

        Returns:
            A str, or a list of str for a batch.

        Raises:
            TypeError: the ids are no whole numbers.
            ValueError: an id that nothing has.
        """
        masks: Any = None
        if isinstance(token_ids, Mapping):
            if "input_ids" not in token_ids:
                raise ValueError(f"There are no input_ids among {list(token_ids)}.")
            masks = _as_list(token_ids.get("attention_mask"))
            token_ids = token_ids["input_ids"]
        ids = _as_list(token_ids)
        if is_whole(ids):
            ids = [ids]
        if not isinstance(ids, (list, tuple)):
            raise TypeError(f"token_ids must be whole numbers, not {describe(token_ids)}.")
        if len(ids) == 0 or not isinstance(ids[0], (list, tuple)):
            return self._decode_item(ids, masks, skip_special_tokens, clean_up_tokenization_spaces)
        return [
            self._decode_item(row, None if masks is None else masks[number], skip_special_tokens,
                              clean_up_tokenization_spaces)
            for number, row in enumerate(ids)
        ]  # fmt: skip

    def batch_decode(
        self, sequences: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> list[str]:
        """The texts that several lists of ids stand for, as a list; see `decode`."""
        decoded = self.decode(sequences, skip_special_tokens, clean_up_tokenization_spaces)
        return decoded if isinstance(decoded, list) else [decoded]

    def _decode_item(self, ids: Any, mask: Any, skip_special_tokens: bool, clean_up: bool | None) -> str:
        indices = _flat_ids(ids)
        if mask is not None:
            indices = [index for index, kept in zip(indices, mask, strict=True) if kept]
        tokens = [self._id_token(index) for index in indices]
        if None in tokens:
            stranger = indices[tokens.index(None)]
            raise ValueError(f"No token has the id {stranger}; the ids of this vocabulary end at {self._last_id()}.")
        known = [token for token in tokens if token is not None]
        text = self._spoken_text(indices) if skip_special_tokens else self.convert_tokens_to_string(known)
        if self.clean_up_tokenization_spaces if clean_up is None else clean_up:
            return self.clean_up_tokenization(text)
        return text

    def _last_id(self) -> int:
        return max((*self.decoder, *self._added), default=-1)

    def _spoken_text(self, ids: list[int]) -> str:
        """The characters that `ids` were made of, blanks and special tokens removed.

        A run of `r` blanks holds, where the blank is an added token and so cut out of the text with no blanks around
        it, `r - 2` of it as letters between two other letters, `r - 1` at an end of the text, `r` as a whole text;
        where it is no added token, and so has a blank on either side, `(r - 1) // 2`.
        """
        special_ids = set(self.all_special_ids)

        def is_letter(index: int) -> bool:
            token = self.decoder.get(index, "")
            return len(token) == 1 and unicodedata.category(token)[0] in "LMN"

        dropped = {index for index in special_ids if not is_letter(index)}
        if self.frontend == "piper":
            return "".join(self._id_token(index) or "" for index in ids if index not in special_ids)
        if not self.add_blank:
            return "".join(self._id_token(index) or "" for index in ids if index not in dropped)
        blank = self.decoder[0]
        cut_out = blank in self._added_to_id
        pieces: list[str] = []
        position = 0
        while position < len(ids):
            if ids[position] != 0:
                if ids[position] not in dropped:
                    pieces.append(self._id_token(ids[position]) or "")
                position += 1
                continue
            start = position
            while position < len(ids) and ids[position] == 0:
                position += 1
            run = position - start
            ends = (start == 0) + (position == len(ids))
            if not cut_out:
                letters = (run - 1) // 2
            elif len(blank) > 1 or (ends and 0 in dropped):
                letters = 0  # a marker such as <pad>, or padding by a mark that no text ends with
            elif ends:
                letters = run if ends == 2 else run - 1
            elif run == 2 and (ids[start - 1] in dropped or ids[position] in dropped):
                letters = 1  # beside another token that was cut out there is one blank only
            else:
                letters = max(run - 2, 0)
            pieces.append(blank * letters)
        return "".join(pieces)

    @staticmethod
    def clean_up_tokenization(text: str) -> str:
        """Close up spaces before English punctuation and contractions."""
        for spaced, closed in _SPACES_TO_CLOSE:
            text = text.replace(spaced, closed)
        return text

    # -----------------------------------------------------------------------------------------------------------------
    # Files

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        subfolder: str = "",
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        force_download: bool = False,
        **settings: Any,
    ) -> VitsTokenizer:
        """Load a tokenizer from a folder or from the hub.

        Args:
            pretrained_model_name_or_path: a folder with `vocab.json` and, if there is one, `tokenizer_config.json`
                (files of transformers' tokenizer are read as they are), or a hub id.
            revision, subfolder, cache_dir, local_files_only, token, force_download: where the hub's files come from.
            **settings: arguments of the constructor that win over the file's.

        Raises:
            OSError: there is no such folder or repository, or no vocabulary in it.
            ValueError: a file is no JSON, or holds what is not allowed.
            TypeError: a setting that the constructor does not know.
        """
        allowed = _constructor_settings(cls)
        strangers = [name for name in settings if name not in allowed]
        if strangers:
            raise TypeError(f"from_pretrained takes no {strangers!r}; settings are {', '.join(sorted(allowed))}.")
        from ..hub import snapshot

        folder = snapshot(
            pretrained_model_name_or_path,
            allow_patterns=[VOCABULARY_FILE, SETTINGS_FILE, SPECIAL_TOKENS_FILE, ADDED_TOKENS_FILE],
            revision=revision,
            subfolder=subfolder,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            token=token,
            force_download=force_download,
        )
        if not (folder / VOCABULARY_FILE).is_file():
            raise FileNotFoundError(f"There is no {VOCABULARY_FILE} in {os.fspath(pretrained_model_name_or_path)!r}.")
        stored = _read_if_there(folder / SETTINGS_FILE)
        special = _read_if_there(folder / SPECIAL_TOKENS_FILE)
        added = _read_if_there(folder / ADDED_TOKENS_FILE)
        for name in SPECIAL_TOKEN_NAMES:
            if name in special and name not in stored:
                stored[name] = special[name]
        if "added_tokens_decoder" not in stored and added:
            specials = {_token_text(name, stored.get(name)) for name in SPECIAL_TOKEN_NAMES}
            stored["added_tokens_decoder"] = {
                index: {"content": content, "special": content in specials} for content, index in added.items()
            }
        extra = stored.pop("additional_special_tokens", None) or special.get("additional_special_tokens")
        if extra and not stored.get("extra_special_tokens"):
            stored["extra_special_tokens"] = extra
        if not isinstance(stored.get("extra_special_tokens", []), list):
            stored.pop("extra_special_tokens")  # named ones, which no VITS tokenizer has
        foreign = {name: value for name, value in stored.items() if name not in allowed}
        known = {name: value for name, value in stored.items() if name in allowed and value is not None}
        # A null special token means that there is none, not that it has its default.
        known.update({name: None for name in SPECIAL_TOKEN_NAMES if name in stored and stored[name] is None})
        known["name_or_path"] = os.fspath(pretrained_model_name_or_path)
        tokenizer = cls(folder / VOCABULARY_FILE, **{**known, **settings})
        for name in ("tokenizer_class", "auto_map", "vocab_file", "tokenizer_file", "special_tokens_map_file"):
            foreign.pop(name, None)
        tokenizer._foreign_settings = foreign
        return tokenizer

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *, filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write the tokenizer's files into a folder, which is made if need be; transformers reads them as well.

        Args:
            save_directory: the folder.
            filename_prefix: put before every file name, with a dash.

        Returns:
            The files written.

        Raises:
            OSError: the folder cannot be written.
        """
        folder = Path(save_directory)
        if folder.is_file():
            raise NotADirectoryError(f"{os.fspath(folder)!r} is a file; a folder is needed.")
        folder.mkdir(parents=True, exist_ok=True)
        settings: dict[str, Any] = {
            **self._foreign_settings,
            "tokenizer_class": "VitsTokenizer",
            "language": self.language,
            "add_blank": self.add_blank,
            "normalize": self.normalize,
            "phonemize": self.phonemize,
            "is_uroman": self.is_uroman,
            "model_max_length": self.model_max_length,
            "pad_token": self.pad_token,
            "unk_token": self.unk_token,
            "added_tokens_decoder": {str(index): self._added[index].settings() for index in sorted(self._added)},
        }
        # Written only where they differ: most tokenizers have no such thing, and their files stay as published.
        defaults: dict[str, Any] = {
            "espeak_voice": None,
            "frontend": "vits",
            "uroman_language": None,
            "vowel_clusters": None,
            "bos_token": None,
            "eos_token": None,
            "sep_token": None,
            "cls_token": None,
            "mask_token": None,
            "padding_side": "right",
            "truncation_side": "right",
            "model_input_names": ["input_ids", "attention_mask"],
            "clean_up_tokenization_spaces": False,
            "split_special_tokens": False,
            "extra_special_tokens": [],
        }
        for name, default in defaults.items():
            if getattr(self, name) != default:
                settings[name] = getattr(self, name)
        prefix = filename_prefix + "-" if filename_prefix else ""
        written = []
        for name, content in (
            (SETTINGS_FILE, settings),
            (SPECIAL_TOKENS_FILE, self.special_tokens_map),
            (ADDED_TOKENS_FILE, {token: i for token, i in self.get_added_vocab().items() if token not in self.encoder}),
        ):
            path = folder / (prefix + name)
            write_json(path, content, ensure_ascii=False)
            written.append(str(path))
        return (*written, *self.save_vocabulary(save_directory, filename_prefix))

    def save_vocabulary(
        self, save_directory: str | os.PathLike[str], filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write `vocab.json` alone into an existing folder and return its path.

        Raises:
            OSError: the folder does not exist.
        """
        if not os.path.isdir(save_directory):
            raise NotADirectoryError(f"{os.fspath(save_directory)!r} is no folder; save_vocabulary needs one.")
        path = Path(save_directory) / ((filename_prefix + "-" if filename_prefix else "") + VOCABULARY_FILE)
        write_json(path, self.encoder, ensure_ascii=False)
        return (str(path),)


# ---------------------------------------------------------------------------------------------------------------------
# Values


def _as_list(value: Any) -> Any:
    """Tensors and arrays, inside lists as well, as lists."""
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (list, tuple)) and any(isinstance(row, (torch.Tensor, np.ndarray)) for row in value):
        return [_as_list(row) for row in value]
    return value


def _flat_ids(ids: Any) -> list[int]:
    values = _as_list(ids)
    if not isinstance(values, (list, tuple)) or not all_ids(values):
        raise TypeError(f"ids must be whole numbers, not {describe(values)}.")
    return [int(index) for index in values]


def _check_ids(ids: Sequence[Any], batched: bool) -> None:
    for row in ids if batched else [ids]:
        if not isinstance(row, (list, tuple)) or not all_ids(row):
            raise TypeError(f"input_ids must be whole numbers, not {describe(row)}.")


def _columns(encoded_inputs: Any) -> dict[str, Any]:
    """A mapping, or a list of mappings, as a dict of columns that has `input_ids`."""
    wanted = "an encoding, a dict with input_ids, or a list of such dicts"
    if isinstance(encoded_inputs, Mapping):
        columns = dict(encoded_inputs)
    elif is_sequence(encoded_inputs) and all(isinstance(item, Mapping) for item in encoded_inputs):
        if len(encoded_inputs) == 0:
            raise ValueError(f"There is nothing to pad: give {wanted}.")
        names = list(encoded_inputs[0])
        if any(set(item) != set(names) for item in encoded_inputs):
            raise ValueError("All encodings to pad together must have the same names.")
        columns = {name: [item[name] for item in encoded_inputs] for name in names}
    else:
        raise TypeError(f"pad takes {wanted}, not {describe(encoded_inputs)}.")
    if "input_ids" not in columns:
        raise ValueError(f"pad needs input_ids, but was given {list(columns)}.")
    return columns


def _tensor_type_of(value: Any) -> str | None:
    if is_sequence(value) and len(value) > 0:
        value = value[0]
    if isinstance(value, torch.Tensor):
        return "pt"
    return "np" if isinstance(value, np.ndarray) else None


def _name_characters(characters: Iterable[str]) -> str:
    """`'é' (U+00E9), '☃' (U+2603)`: readable even where a font lacks the character."""
    return ", ".join(f"{c!r} ({' '.join(f'U+{ord(point):04X}' for point in c)})" for c in characters)


def _shorten(text: str, limit: int = 60) -> str:
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


# ---------------------------------------------------------------------------------------------------------------------
# Files


def _constructor_settings(cls: type[VitsTokenizer]) -> frozenset[str]:
    import inspect

    return frozenset(inspect.signature(cls.__init__).parameters) - {"self", "vocab_file"}


def _read_if_there(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one where there is no file."""
    return read_json(path) if path.is_file() else {}


def _read_vocabulary(vocab_file: str | os.PathLike[str]) -> dict[str, int]:
    if not isinstance(vocab_file, (str, os.PathLike)):
        raise TypeError(f"vocab_file must be the path of a JSON file, not {describe(vocab_file)}.")
    path = Path(vocab_file)
    if not path.is_file():
        raise FileNotFoundError(f"There is no vocabulary file {os.fspath(path)!r}.")
    vocabulary = read_json(path)
    if not vocabulary:
        raise ValueError(f"The vocabulary {os.fspath(path)!r} is empty.")
    for token, index in vocabulary.items():
        if isinstance(index, bool) or not isinstance(index, int) or index < 0:
            raise ValueError(f"The vocabulary {os.fspath(path)!r} gives {token!r} no id of 0 or more but {index!r}.")
    return vocabulary


def _token_text(name: str, token: Any) -> str | None:
    """The text of a special token: a str, None, or settings with `content`, as files and tokenizers spell it."""
    if token is None or isinstance(token, str):
        return token
    content = token.get("content") if isinstance(token, Mapping) else getattr(token, "content", None)
    if isinstance(content, str):
        return content
    raise TypeError(f"{name} must be a str or None, not {describe(token)}.")


def _added_token(token: Any) -> _AddedToken:
    content = _token_text("added_tokens_decoder", token)
    if content is None:
        raise TypeError("added_tokens_decoder must give every id a token.")
    flags = token if isinstance(token, Mapping) else vars(token) if hasattr(token, "__dict__") else {}
    names = ("lstrip", "normalized", "rstrip", "single_word", "special")
    return _AddedToken(content, **{name: bool(flags[name]) for name in names if name in flags})
