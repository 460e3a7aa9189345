"""A tokenizer's special tokens, and ids of tokens and tokens of ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .id_lists import flat_ids
from .tokenizer_arguments import describe, is_whole
from .vocabulary import Vocabulary

__all__ = ["SPECIAL_TOKEN_NAMES", "SpecialTokens"]

# The order decides which ids tokens get that the vocabulary lacks.
SPECIAL_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class _SpecialId:
    """The id of a special token; None without one. Set to an id, it has the token of that id be the special one."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.token = name.removesuffix("_id")

    def __get__(self, tokenizer: Any, owner: type | None = None) -> Any:
        if tokenizer is None:
            return self
        token = getattr(tokenizer, self.token)
        return None if token is None else tokenizer.token_id(token)

    def __set__(self, tokenizer: Any, value: int | None) -> None:
        token = None
        if value is not None:
            if not is_whole(value):
                raise TypeError(f"{self.token}_id must be a whole number or None, got {describe(value)}")
            token = tokenizer.vocabulary.token(int(value))
            if token is None:
                raise ValueError(f"no token has the id {value}, which {self.token}_id was set to")
        setattr(tokenizer, self.token, token)


class SpecialTokens:
    """The part of a tokenizer that knows its tokens.

    Attributes:
        vocabulary: all tokens.
        bos_token, eos_token, unk_token, sep_token, pad_token, cls_token, mask_token: the special ones, or None.
        extra_special_tokens: tokens that are special without having a name.
        bos_token_id, eos_token_id, unk_token_id, sep_token_id, pad_token_id, cls_token_id, mask_token_id: their ids, or
            None; setting one sets the token.
    """

    vocabulary: Vocabulary
    bos_token: str | None
    eos_token: str | None
    unk_token: str | None
    sep_token: str | None
    pad_token: str | None
    cls_token: str | None
    mask_token: str | None
    extra_special_tokens: list[str]
    bos_token_id: Any = _SpecialId()
    eos_token_id: Any = _SpecialId()
    unk_token_id: Any = _SpecialId()
    sep_token_id: Any = _SpecialId()
    pad_token_id: Any = _SpecialId()
    cls_token_id: Any = _SpecialId()
    mask_token_id: Any = _SpecialId()

    def token_id(self, token: str) -> int:
        """The id of a token, or that of `unk_token` where the vocabulary lacks it; ValueError where there is none."""
        return self.vocabulary.token_id(token, self.unk_token)

    def get_vocab(self) -> dict[str, int]:
        """Every token and its id, the added ones included, in the order of the ids."""
        return self.vocabulary.ids()

    def get_added_vocab(self) -> dict[str, int]:
        """The added and the special tokens and their ids, in the order of the ids."""
        return dict(sorted(self.vocabulary.added_to_id.items(), key=lambda item: item[1]))

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
        return [self.token_id(token) for token in self.all_special_tokens]

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> Any:
        """The id of one token, or the list of ids of several; an unknown token has that of `unk_token`."""
        if isinstance(tokens, str):
            return self.token_id(tokens)
        if not isinstance(tokens, (list, tuple)) or not all(isinstance(token, str) for token in tokens):
            raise TypeError(f"tokens must be a str or a list of str, got {describe(tokens)}")
        return [self.token_id(token) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of one id, or the list of tokens of several; None stands for an id that nothing has.

        Args:
            ids: an int, or a list, array or tensor of them.
            skip_special_tokens: leave out special tokens of a list, even one that is a letter, as transformers does.
                `decode` is the one that loses no letters.
        """
        if is_whole(ids):
            return self.vocabulary.token(int(ids))
        indices = flat_ids(ids)
        special = set(self.all_special_ids) if skip_special_tokens else ()
        return [self.vocabulary.token(index) for index in indices if index not in special]
