"""Text to token ids and back, equal token for token to the published `VitsTokenizer`.

The way of a text: casing is normalised, characters beyond ASCII are romanised (`is_uroman`), words become phonemes
(`phonemize`), and what is left is looked up character by character, a blank (id 0) between all of them and at both ends
(`add_blank`). Voices from Piper keep Piper's own way (`frontend="piper"`). Each of these ways is a front end, in
`fastvits.text.front_ends`; the tokenizer chooses one by its settings, turns what it reads into ids, and cuts and pads
them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .decoding import Decoding
from .espeak_voices import espeak_voice_for, short_code
from .front_ends.base import FrontEnd
from .front_ends.characters import CharacterFrontEnd
from .front_ends.lexicon import LexiconFrontEnd
from .front_ends.phonemized import PhonemizedFrontEnd
from .front_ends.piper import PiperLetterFrontEnd, PiperPhonemeFrontEnd
from .front_ends.piper_languages import PiperLanguageFrontEnd
from .front_ends.romanized import RomanizedFrontEnd
from .front_ends.symbols import SymbolFrontEnd
from .preparation import AS_PUBLISHED, Preparation, PreparedFrontEnd, check_preparation
from .published_tokenizer import PublishedTokenizer
from .tokenizer_arguments import (
    CLEANING_STEPS,
    FRONTENDS,
    PHONEMIZERS,
    SIDES,
    VERY_LARGE_LENGTH,
    check_bool,
    choice,
    describe,
    optional_length,
)
from .tokenizer_files import check_strangers, read_vocabulary
from .vocabulary import Vocabulary, added_token, token_text

__all__ = ["VitsTokenizer"]


class VitsTokenizer(PublishedTokenizer, Decoding):
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
        frontend: "vits"; "piper" for text in sentences of phonemes, each `bos blank p blank ... p blank eos`;
            "symbols" for text that is cleaned step by step and read symbol by symbol; or "lexicon" for text whose words
            are looked up.
        bos_token, eos_token, sep_token, cls_token, mask_token: further special tokens.
        uroman_language: ISO 639-3 code that uroman is told; None, as published, tells it none.
        vowel_clusters: sequences of phonemes that Piper's front end joins into one.
        phonemizer: with `phonemize`, what makes the phonemes: None for espeak-ng; with frontend="piper", "pinyin",
            "hebrew", "japanese" or "thai" for piper-tts itself.
        spellings: with frontend="piper", the tokens of each phoneme that stands for several.
        cleaners: with frontend="symbols", the steps that clean a text (`fastvits.text.front_ends.symbols`), in order.
        blank_token: with frontend="symbols", the blank; None means the token of id 0.
        lexicon: with frontend="lexicon", `words` (tokens of each word, parted by spaces), `punctuation` (the marks that
            are tokens) and `chinese` (whether sentences stand between silences, and no spaces between words).
        model_max_length: limit for `truncation=True` and `padding="max_length"`; the default means none.
        padding_side, truncation_side: "right" or "left".
        model_input_names: which masks a call returns by itself.
        clean_up_tokenization_spaces: default of `decode`.
        split_special_tokens: treat special tokens in a text as ordinary characters.
        extra_special_tokens: tokens that are special without having a name.
        added_tokens_decoder: id and content (or settings) of tokens beyond the vocabulary.
        name_or_path: where it was loaded from.
        preparation: how texts are mended before they are read; None, as published, does nothing to them.
        further: refused, or with `fastvits.strict(False)` kept in `init_kwargs` and in what is saved.

    Raises:
        OSError: the vocabulary file cannot be read.
        ValueError: it is no vocabulary, or an argument has a value that is not allowed.
        TypeError: an argument has a wrong type, or an unknown name.

    Source: `transformers.VitsTokenizer`; the layout of Piper's ids is that of `piper-tts`.
    """

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
        phonemizer: str | None = None,
        spellings: Mapping[str, Sequence[str]] | None = None,
        cleaners: Sequence[str] | None = None,
        blank_token: str | None = None,
        lexicon: Mapping[str, Any] | None = None,
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
        preparation: Preparation | Mapping[str, Any] | None = None,
        **further: Any,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "vocab_file", "further")}
        check_strangers(type(self), "VitsTokenizer", further)
        self.init_kwargs = {**given, **further}
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
                raise TypeError(f"{name} must be a str or None, got {type(code).__name__}")
        if uroman_language is not None and re.fullmatch(r"[a-z]{3}(?:-\w+)*", uroman_language) is None:
            raise ValueError(f"uroman_language must be an ISO 639-3 code such as 'rus', got {uroman_language!r}")
        self.language = language
        self.add_blank = add_blank
        self.normalize = normalize
        self.phonemize = phonemize
        self.is_uroman = is_uroman
        self.espeak_voice = espeak_voice
        self.frontend = choice("frontend", frontend, FRONTENDS)
        self.uroman_language = uroman_language
        self.vowel_clusters = None if vowel_clusters is None else [list(cluster) for cluster in vowel_clusters]
        self.phonemizer = None if phonemizer is None else choice("phonemizer", phonemizer, PHONEMIZERS)
        self.spellings = None if spellings is None else {phoneme: list(tokens) for phoneme, tokens in spellings.items()}
        self.cleaners = None if cleaners is None else [choice("cleaners", step, CLEANING_STEPS) for step in cleaners]
        self.blank_token = token_text("blank_token", blank_token)
        self.lexicon = None if lexicon is None else dict(lexicon)
        if (self.frontend == "lexicon") != (self.lexicon is not None):
            raise ValueError("frontend='lexicon' and lexicon= go together")
        limit = optional_length("model_max_length", model_max_length)
        self.model_max_length = VERY_LARGE_LENGTH if limit is None else limit
        self.padding_side = choice("padding_side", padding_side, SIDES)
        self.truncation_side = choice("truncation_side", truncation_side, SIDES)
        self.model_input_names = list(model_input_names)
        self.clean_up_tokenization_spaces = clean_up_tokenization_spaces
        self.split_special_tokens = split_special_tokens
        self.name_or_path = name_or_path
        self.preparation = check_preparation(preparation) or AS_PUBLISHED
        self._foreign_settings = dict(further)
        self._warned_of_length = False

        self.bos_token = token_text("bos_token", bos_token)
        self.eos_token = token_text("eos_token", eos_token)
        self.unk_token = token_text("unk_token", unk_token)
        self.sep_token = token_text("sep_token", sep_token)
        self.pad_token = token_text("pad_token", pad_token)
        self.cls_token = token_text("cls_token", cls_token)
        self.mask_token = token_text("mask_token", mask_token)
        self.extra_special_tokens = [str(token_text("extra_special_tokens", token)) for token in extra_special_tokens]
        if self.frontend == "piper":
            for name, token in (("pad_token", self.pad_token), ("bos_token", bos_token), ("eos_token", eos_token)):
                if token is None:
                    raise ValueError(f"frontend='piper' needs a {name}, for it lays out its ids with one")

        self.vocabulary = Vocabulary(
            read_vocabulary(vocab_file),
            {int(index): added_token(token) for index, token in (added_tokens_decoder or {}).items()},
            self.all_special_tokens,
        )
        if self.blank_token is not None and self.blank_token not in self.encoder:
            raise ValueError(f"the vocabulary {os.fspath(vocab_file)!r} has no token {self.blank_token!r}, the blank")
        for phoneme, tokens in (self.spellings or {}).items():
            lacking = [token for token in tokens if token not in self.encoder]
            if lacking or not tokens:
                raise ValueError(f"spellings gives {phoneme!r} the tokens {tokens}; all must be in the vocabulary")
        if add_blank and 0 not in self.decoder:
            raise ValueError(f"the vocabulary {os.fspath(vocab_file)!r} has no token of id 0, which is the blank")

    @property
    def encoder(self) -> dict[str, int]:
        """The id of each token of the vocabulary file."""
        return self.vocabulary.encoder

    @property
    def decoder(self) -> dict[int, str]:
        """The token of each id of the vocabulary file."""
        return self.vocabulary.decoder

    @property
    def vocab_size(self) -> int:
        """Number of tokens in the vocabulary file, without the ones added to it."""
        return len(self.encoder)

    def __repr__(self) -> str:
        return (
            f"VitsTokenizer(name_or_path={self.name_or_path!r}, vocab_size={self.vocab_size}, "
            f"language={self.language!r}, add_blank={self.add_blank}, normalize={self.normalize}, "
            f"phonemize={self.phonemize}, is_uroman={self.is_uroman}, frontend={self.frontend!r}, "
            f"special_tokens={self.special_tokens_map})"
        )

    # -----------------------------------------------------------------------------------------------------------------
    # Text to tokens

    @property
    def front_end(self) -> FrontEnd:
        """What reads texts, as the tokenizer is set now: `tokenizer.front_end.pieces(text)` gives tokens and spans."""
        return self.prepared_front_end(None)

    def prepared_front_end(self, preparation: Preparation | None) -> FrontEnd:
        """The front end for texts that are prepared as `preparation` says; None means the tokenizer's own."""
        preparation = self.preparation if preparation is None else preparation
        front_end = self._published_front_end()
        if preparation.changes_nothing:
            return front_end
        return PreparedFrontEnd(front_end, preparation, self.language_code)

    @property
    def language_code(self) -> str | None:
        """Two-letter code of the texts' language, as espeak-ng spells it; None where it is not known."""
        return short_code(self.language, self._espeak_voice() if self.phonemize else self.espeak_voice)

    def _published_front_end(self) -> FrontEnd:
        if self.frontend == "piper":
            marks: dict[str, Any] = {
                "bos": str(self.bos_token),
                "eos": str(self.eos_token),
                "pad": str(self.pad_token),
                "silent": frozenset(token for token in (self.unk_token,) if token is not None),
                "add_blank": self.add_blank,
                "spellings": self.spellings,
            }
            if not self.phonemize:
                return PiperLetterFrontEnd(self.vocabulary, **marks)
            if self.phonemizer is not None:
                return PiperLanguageFrontEnd(self.vocabulary, kind=self.phonemizer, **marks)
            return PiperPhonemeFrontEnd(
                self.vocabulary, voice=self._espeak_voice(), vowel_clusters=self.vowel_clusters, **marks
            )
        if self.frontend == "symbols":
            blank = self.decoder[0] if self.blank_token is None else self.blank_token
            return SymbolFrontEnd(
                self.vocabulary,
                steps=self.cleaners or (),
                blank=blank if self.add_blank else None,
                silent=frozenset(token for token in (self.pad_token,) if token is not None),
                voice=self._espeak_voice(),
            )
        if self.lexicon is not None:
            return LexiconFrontEnd(self.vocabulary, blank=self.decoder[0] if self.add_blank else None, **self.lexicon)
        settings: dict[str, Any] = {
            "silent": frozenset(token for token in (self.pad_token, self.unk_token) if token is not None),
            "add_blank": self.add_blank,
            "normalize": self.normalize,
            "split_special_tokens": self.split_special_tokens,
            "language": self.language,
        }
        if self.phonemize:
            return PhonemizedFrontEnd(
                self.vocabulary,
                voice=self._espeak_voice(),
                romanize=self.is_uroman,
                uroman_language=self.uroman_language,
                **settings,
            )
        if self.is_uroman:
            return RomanizedFrontEnd(self.vocabulary, uroman_language=self.uroman_language, **settings)
        return CharacterFrontEnd(self.vocabulary, **settings)

    def _espeak_voice(self) -> str:
        """The espeak-ng voice of this tokenizer: its own, that of its language, or the published "en-us"."""
        if self.espeak_voice is not None:
            return self.espeak_voice
        return (None if self.language is None else espeak_voice_for(self.language)) or "en-us"

    @property
    def blank_id(self) -> int | None:
        """Id of the token that stands between all others; None without one."""
        blank = self.front_end.blank
        return None if blank is None else self.token_id(blank)

    @property
    def silent_ids(self) -> frozenset[int]:
        """Ids that nothing is heard of: blanks, padding, marks of beginning and end, and what is unknown."""
        return frozenset(map(self.token_id, self.front_end.silent))

    def normalize_text(self, input_string: str) -> str:
        """Lower-case a text, but for what the vocabulary has as it stands, such as `<unk>` or a capital of its own."""
        return "".join(piece for piece, _ in self.vocabulary.cased_pieces(input_string))

    def tokenize(
        self,
        text: str,
        pair: str | None = None,
        add_special_tokens: bool = False,
        *,
        normalize: bool | None = None,
        split_special_tokens: bool | None = None,
        preparation: Preparation | None = None,
    ) -> list[str]:
        """The tokens of a text, blanks included.

        Args:
            text: the text.
            pair, add_special_tokens: accepted and not used, as in transformers.
            normalize: override the tokenizer's own setting.
            split_special_tokens: override the tokenizer's own setting.
            preparation: override the tokenizer's own setting.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, got {describe(text)}")
        settings = self.text_settings(normalize, split_special_tokens)
        (reading,) = self.read([text], *settings, check_preparation(preparation))
        return list(reading.characters)
