"""Attributes and methods of transformers' `PreTrainedTokenizer` that mean something for a VITS, as its users expect
them: tokens are added, ids put together, and files uploaded.

docs/coming-from-transformers.md lists all of them: what is here, and why the others are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..hub import upload
from .batch_encoding import BatchEncoding
from .encoding import Encoding
from .special_tokens import SPECIAL_TOKEN_NAMES
from .tokenizer_arguments import TRUNCATION_STRATEGIES, choice, describe, truncate
from .tokenizer_files import TokenizerFiles
from .vocabulary import AddedToken, Vocabulary, added_token

__all__ = ["PublishedTokenizer"]


class PublishedTokenizer(Encoding, TokenizerFiles):
    """The part of a tokenizer that transformers' users know and that is needed for nothing else.

    Attributes:
        init_kwargs: the arguments that the tokenizer was made with, by name.
        add_blank: whether there is a blank between all tokens.
        frontend: which way texts are read.
    """

    SPECIAL_TOKENS_ATTRIBUTES: ClassVar[list[str]] = list(SPECIAL_TOKEN_NAMES)
    backend: ClassVar[str] = "custom"
    """Which library cuts texts: none of those that transformers knows."""
    init_inputs: tuple[Any, ...] = ()
    """The arguments that the tokenizer was made with by position: none, see `init_kwargs`."""
    init_kwargs: dict[str, Any]
    add_blank: bool
    frontend: str

    # -----------------------------------------------------------------------------------------------------------------
    # Tokens that are added

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Add tokens, each of which a text is cut at before it is read character by character.

        A token that the vocabulary has keeps its id; others get the next free ones, for which a model needs
        embeddings: `model.resize_token_embeddings(len(tokenizer))`.

        Args:
            new_tokens: a token or a list of them: each a str, or an object with `content` and flags, as
                `transformers.AddedToken`.
            special_tokens: whether they are special, so that `decode(..., skip_special_tokens=True)` leaves them out.

        Returns:
            How many tokens the vocabulary lacked.

        Raises:
            TypeError: something that is no token.
        """
        tokens = list(new_tokens) if isinstance(new_tokens, (list, tuple)) else [new_tokens] if new_tokens else []
        added, before = dict(self.vocabulary.added), len(self)
        special = set(self.all_special_tokens)
        known = {token.content for token in added.values()}
        found: list[AddedToken] = []
        for token in tokens:
            if not isinstance(token, str) and not isinstance(getattr(token, "content", None), str):
                raise TypeError(f"new_tokens must hold str or added tokens, got {describe(token)}")
            if isinstance(token, str):
                is_special = special_tokens or token in special
                one = AddedToken(token, normalized=not is_special, special=is_special)
            else:
                one = added_token(token)
                one = AddedToken(**{**one.settings(), "special": one.special or special_tokens})
            if one.content and one.content not in known:
                known.add(one.content)
                found.append(one)
        vocabulary = Vocabulary(self.vocabulary.encoder, added)
        for one in found:
            added[vocabulary.free_id(one.content)] = one
            vocabulary = Vocabulary(self.vocabulary.encoder, added)
        self.vocabulary = vocabulary
        further = [one.content for one in found if one.special and one.content not in special]
        self.extra_special_tokens = [*self.extra_special_tokens, *further]
        return len(self) - before

    def add_special_tokens(
        self, special_tokens_dict: Mapping[str, Any], replace_extra_special_tokens: bool = True
    ) -> int:
        """Set special tokens by name, and add those that the vocabulary lacks.

        Args:
            special_tokens_dict: names (`pad_token` and the others of `SPECIAL_TOKENS_ATTRIBUTES`) and tokens;
                `extra_special_tokens` and a list of tokens.
            replace_extra_special_tokens: whether that list takes the place of the one before, or joins it.

        Returns:
            How many tokens the vocabulary lacked.

        Raises:
            ValueError: an unknown name.
            TypeError: something that is no token.
        """
        given = dict(special_tokens_dict)
        if "additional_special_tokens" in given:
            given.setdefault("extra_special_tokens", given.pop("additional_special_tokens"))
        allowed = (*SPECIAL_TOKEN_NAMES, "extra_special_tokens")
        for name in given:
            choice("the name of a special token", name, allowed)
        extra = given.pop("extra_special_tokens", None)
        if extra is not None and not isinstance(extra, (list, tuple)):
            raise TypeError(f"extra_special_tokens must be a list of tokens, got {describe(extra)}")
        tokens = [*given.values(), *(extra or ())]
        contents = {id(token): token if isinstance(token, str) else getattr(token, "content", None) for token in tokens}
        if not all(isinstance(content, str) for content in contents.values()):
            raise TypeError("special_tokens_dict must hold str or added tokens")
        for name, token in given.items():
            setattr(self, name, contents[id(token)])
        if extra:
            kept = [] if replace_extra_special_tokens else self.extra_special_tokens
            self.extra_special_tokens = list(dict.fromkeys([*kept, *(str(contents[id(token)]) for token in extra)]))
        return self.add_tokens(tokens, special_tokens=True)

    @property
    def extra_special_tokens_ids(self) -> list[int]:
        """The ids of `extra_special_tokens`; setting them sets the tokens."""
        return [self.token_id(token) for token in self.extra_special_tokens]

    @extra_special_tokens_ids.setter
    def extra_special_tokens_ids(self, ids: Sequence[int]) -> None:
        tokens = self.convert_ids_to_tokens(list(ids))
        if None in tokens:
            raise ValueError(f"no token has the id {list(ids)[tokens.index(None)]}")
        self.extra_special_tokens = tokens

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The added tokens by their ids, in the order of the ids."""
        return dict(sorted(self.vocabulary.added.items()))

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """The ids of the added tokens, in the order of the ids."""
        return self.get_added_vocab()

    @property
    def total_vocab_size(self) -> int:
        """Number of tokens, the added ones included."""
        return len(self.vocabulary)

    def __len__(self) -> int:
        """Number of tokens, the added ones included."""
        return len(self.vocabulary)

    # -----------------------------------------------------------------------------------------------------------------
    # From a text to ids, step by step

    def prepare_for_tokenization(
        self, text: str, is_split_into_words: bool = False, normalize: bool | None = None, **kwargs: Any
    ) -> tuple[str, dict[str, Any]]:
        """A text as its characters are looked up (cased, romanised, in phonemes), and the further keywords.

        Raises ValueError for voices from Piper and of symbols, of which there is no such text.
        """
        if self.frontend != "vits":
            raise ValueError("this tokenizer reads texts in pieces of its own: tokenizer.tokenize(text) gives them")
        normalize, _ = self.text_settings(normalize, None)
        (reading,) = self.read([text], normalize, True)
        tokens = list(reading.characters)
        return "".join(tokens[1::2] if self.add_blank else tokens), kwargs

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        """The characters of a text that is prepared already, blanks included."""
        if not self.add_blank:
            return list(text)
        blank = str(self.vocabulary.token(0))
        return [blank, *(token for character in text for token in (character, blank))]

    def _convert_token_to_id(self, token: str) -> int:
        return self.token_id(token)

    def _convert_id_to_token(self, index: int) -> str | None:
        return self.vocabulary.token(index)

    # -----------------------------------------------------------------------------------------------------------------
    # Ids put together

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many tokens a call adds to a text: none."""
        return 0

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """The ids of a text, and of its pair behind them."""
        return token_ids_0 if token_ids_1 is None else token_ids_0 + token_ids_1

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """0 for each id of a text, 1 for each of its pair."""
        return [0] * len(token_ids_0) + [1] * len(token_ids_1 or ())

    def get_special_tokens_mask(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 for each id of a special token in ids that have some already; else 0 for each, for a call adds none.

        Raises ValueError for a pair of ids that have special tokens already.
        """
        if not already_has_special_tokens:
            return [0] * (len(token_ids_0) + len(token_ids_1 or ()))
        if token_ids_1 is not None:
            raise ValueError("ids that have special tokens already are one list: token_ids_1 must be None")
        special = set(self.all_special_ids)
        return [int(index in special) for index in token_ids_0]

    def prepare_for_model(
        self,
        ids: list[int],
        pair_ids: list[int] | None = None,
        *,
        return_tensors: str | None = None,
        prepend_batch_axis: bool = False,
        **options: Any,
    ) -> BatchEncoding:
        """What a call makes of ids: cut and padded as its `options` say, with the masks that they ask for."""
        encoding = self(list(ids), None if pair_ids is None else list(pair_ids), **options)
        return encoding.convert_to_tensors(return_tensors, prepend_batch_axis)

    def truncate_sequences(
        self,
        ids: list[int],
        pair_ids: list[int] | None = None,
        num_tokens_to_remove: int = 0,
        truncation_strategy: str = "longest_first",
        stride: int = 0,
    ) -> tuple[list[int], list[int] | None, list[int]]:
        """Both lists without so many ids, and the ids cut off with `stride` ids beside them."""
        strategy = choice("truncation_strategy", truncation_strategy, TRUNCATION_STRATEGIES)
        if num_tokens_to_remove <= 0 or strategy == "do_not_truncate":
            return ids, pair_ids, []
        return truncate(ids, pair_ids, num_tokens_to_remove, strategy, stride, self.truncation_side)

    @property
    def max_len_single_sentence(self) -> int:
        """Most ids of one text: `model_max_length`."""
        return self.model_max_length

    @property
    def max_len_sentences_pair(self) -> int:
        """Most ids of a text and its pair: `model_max_length`."""
        return self.model_max_length

    # -----------------------------------------------------------------------------------------------------------------
    # The hub

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the tokenizer's files to a hub repository, which is made if need be, and return the commit's address.

        `options` are those of `fastvits.hub.upload`.
        """
        return upload(repo_id, self.save_pretrained, **{"commit_message": "Upload tokenizer", **options})
