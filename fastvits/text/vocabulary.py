"""The tokens of a voice: the vocabulary's own and those added to it, ids of tokens and tokens of ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .tokenizer_arguments import describe

__all__ = ["AddedToken", "Vocabulary", "added_token", "token_text"]


@dataclass(frozen=True)
class AddedToken:
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
        """The token as files hold it."""
        return asdict(self)


class Vocabulary:
    """Tokens and their ids.

    Args:
        encoder: the id of each token of the vocabulary's file.
        added: tokens beyond it, or of it, that are cut out of a text as a whole, by id.
        special: special tokens; those that are not among `added` join it, by their id in `encoder` or the next free
            one.

    Attributes:
        encoder, decoder: the ids of the file's tokens, and back.
        added: the added tokens by id.
        added_to_id: their ids.
    """

    def __init__(
        self, encoder: dict[str, int], added: Mapping[int, AddedToken] | None = None, special: Iterable[str] = ()
    ) -> None:
        self.encoder = encoder
        self.decoder = {index: token for token, index in encoder.items()}
        self.added: dict[int, AddedToken] = dict(added or {})
        for token in special:
            if token not in self._added_ids():
                self.added[self.free_id(token)] = AddedToken(token)
        # Look-ups that make every step linear in the length of the text.
        self.added_to_id = self._added_ids()
        contents = sorted((token.content for token in self.added.values() if token.content), key=len, reverse=True)
        self._added_pattern = re.compile("|".join(map(re.escape, contents))) if contents else None
        self._added_by_content = {token.content: token for token in self.added.values()}
        # Casing is left alone where the text has a token of the vocabulary; the first one that fits counts.
        self._words_by_first_character: dict[str, list[str]] = {}
        for word in (*self.encoder, *self.added_to_id):
            if word:
                words = self._words_by_first_character.setdefault(word[0], [])
                if word not in words:
                    words.append(word)

    def _added_ids(self) -> dict[str, int]:
        return {token.content: index for index, token in self.added.items()}

    def free_id(self, token: str) -> int:
        """The id of `token` in the vocabulary, or the next one that nothing has."""
        if token in self.encoder:
            return self.encoder[token]
        index = len(self.encoder) + sum(added.content not in self.encoder for added in self.added.values())
        while index in self.decoder or index in self.added:
            index += 1
        return index

    def __len__(self) -> int:
        """Number of tokens, the added ones included."""
        return len(self.encoder.keys() | self.added_to_id.keys())

    def __contains__(self, token: object) -> bool:
        return token in self.encoder or token in self.added_to_id

    def ids(self) -> dict[str, int]:
        """Every token and its id, the added ones included, in the order of the ids."""
        return dict(sorted({**self.encoder, **self.added_to_id}.items(), key=lambda item: item[1]))

    def last_id(self) -> int:
        """The highest id there is; -1 without any."""
        return max((*self.decoder, *self.added), default=-1)

    def token_id(self, token: str, unknown: str | None) -> int:
        """The id of `token`, or that of the token `unknown` where there is none.

        Raises:
            ValueError: there is neither.
        """
        index = self.added_to_id.get(token)
        if index is None:
            index = self.encoder.get(token)
        if index is not None:
            return index
        # Not by a call of this: an unknown token that is itself unknown must not call itself for ever.
        index = None if unknown is None else self.added_to_id.get(unknown)
        if index is None and unknown is not None:
            index = self.encoder.get(unknown)
        if index is None:
            raise ValueError(f"the vocabulary has no token {token!r}, and this tokenizer no unk_token to stand for it")
        return index

    def token(self, index: int) -> str | None:
        """The token of an id; None for an id that nothing has."""
        added = self.added.get(index)
        return self.decoder.get(index) if added is None else added.content

    def cased_pieces(self, text: str) -> Iterator[tuple[str, int]]:
        """A text in lower case, but for what the vocabulary has as it stands: pieces, and of how many characters each.

        What it has may be `<unk>`, or a capital of its own.
        """
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

    def segments(self, text: str) -> Iterator[tuple[int, int, bool]]:
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


def token_text(name: str, token: Any) -> str | None:
    """The text of a special token: a str, None, or settings with `content`, as files and tokenizers spell it."""
    if token is None or isinstance(token, str):
        return token
    content = token.get("content") if isinstance(token, Mapping) else getattr(token, "content", None)
    if isinstance(content, str):
        return content
    raise TypeError(f"{name} must be a str or None, got {describe(token)}")


def added_token(token: Any) -> AddedToken:
    """A token beyond the vocabulary, from its text or its settings as files and tokenizers spell them."""
    content = token_text("added_tokens_decoder", token)
    if content is None:
        raise TypeError("added_tokens_decoder must give every id a token")
    flags = token if isinstance(token, Mapping) else vars(token) if hasattr(token, "__dict__") else {}
    names = ("lstrip", "normalized", "rstrip", "single_word", "special")
    return AddedToken(content, **{name: bool(flags[name]) for name in names if name in flags})
