"""Ids to text."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from .id_lists import as_list, flat_ids
from .special_tokens import SpecialTokens
from .tokenizer_arguments import describe, is_whole

__all__ = ["Decoding"]

# Spaces that tokenisers put before English punctuation, and what they were (`clean_up_tokenization_spaces`).
_SPACES_TO_CLOSE = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"),
    (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


class Decoding(SpecialTokens):
    """The part of a tokenizer that turns ids back into text.

    Attributes:
        frontend: "vits", "piper", "symbols" or "lexicon".
        add_blank: whether there is a blank between all tokens.
        clean_up_tokenization_spaces: default of `decode`.
    """

    frontend: str
    add_blank: bool
    clean_up_tokenization_spaces: bool

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
                raise ValueError(f"there are no input_ids among {list(token_ids)}")
            masks = as_list(token_ids.get("attention_mask"))
            token_ids = token_ids["input_ids"]
        ids = as_list(token_ids)
        if is_whole(ids):
            ids = [ids]
        if not isinstance(ids, (list, tuple)):
            raise TypeError(f"token_ids must be whole numbers, got {describe(token_ids)}")
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
        indices = flat_ids(ids)
        if mask is not None:
            indices = [index for index, kept in zip(indices, mask, strict=True) if kept]
        tokens = [self.vocabulary.token(index) for index in indices]
        if None in tokens:
            stranger = indices[tokens.index(None)]
            raise ValueError(
                f"no token has the id {stranger}; the ids of this vocabulary end at {self.vocabulary.last_id()}"
            )
        known = [token for token in tokens if token is not None]
        text = self._spoken_text(indices) if skip_special_tokens else self.convert_tokens_to_string(known)
        if self.clean_up_tokenization_spaces if clean_up is None else clean_up:
            return self.clean_up_tokenization(text)
        return text

    def _spoken_text(self, ids: list[int]) -> str:
        """The characters that `ids` were made of, blanks and special tokens removed.

        A run of `r` blanks holds, where the blank is an added token and so cut out of the text with no blanks around
        it, `r - 2` of it as letters between two other letters, `r - 1` at an end of the text, `r` as a whole text;
        where it is no added token, and so has a blank on either side, `(r - 1) // 2`.
        """
        special_ids = set(self.all_special_ids)

        def is_letter(index: int) -> bool:
            token = self.vocabulary.decoder.get(index, "")
            return len(token) == 1 and unicodedata.category(token)[0] in "LMN"

        dropped = {index for index in special_ids if not is_letter(index)}
        if self.frontend == "piper":
            return "".join(self.vocabulary.token(index) or "" for index in ids if index not in special_ids)
        if not self.add_blank:
            return "".join(self.vocabulary.token(index) or "" for index in ids if index not in dropped)
        blank = self.vocabulary.decoder[0]
        cut_out = blank in self.vocabulary.added_to_id
        pieces: list[str] = []
        position = 0
        while position < len(ids):
            if ids[position] != 0:
                if ids[position] not in dropped:
                    pieces.append(self.vocabulary.token(ids[position]) or "")
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
