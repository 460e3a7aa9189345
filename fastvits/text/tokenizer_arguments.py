"""The arguments of a tokenizer's call: which forms texts may have, what is allowed, and how texts are cut.

Everything wrong with a call is found here, before anything is tokenised, and named with what would be allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..strictness import tolerated

# transformers writes this number for "no limit", and takes every limit above LARGE_LENGTH for none.
VERY_LARGE_LENGTH = int(1e30)
LARGE_LENGTH = int(1e20)

PADDING_STRATEGIES = ("longest", "max_length", "do_not_pad")
TRUNCATION_STRATEGIES = ("longest_first", "only_first", "only_second", "do_not_truncate")
SIDES = ("right", "left")
FRONTENDS = ("vits", "piper", "symbols", "lexicon")
PHONEMIZERS = ("pinyin", "hebrew", "japanese", "thai")
CLEANING_STEPS = (
    "compose",
    "remove_line_breaks",
    "to_ascii",
    "lowercase",
    "lowercase_turkish",
    "romanize",
    "expand_abbreviations",
    "replace_punctuation",
    "remove_brackets",
    "phonemize",
    "phonemize_chunks",
    "collapse_whitespace",
    "strip",
)


LOADER_WORDS = frozenset(
    {
        "_commit_hash",
        "_from_auto",
        "_from_pipeline",
        "_is_local",
        "from_slow",
        "gguf_file",
        "legacy",
        "mirror",
        "proxies",
        "resume_download",
        "trust_remote_code",
        "use_fast",
    }
)
"""Arguments of transformers' tokenizer loaders that ask for what holds anyway: there is one tokenizer, neither slow nor
fast, and no code of a repository is run."""

_NOT_HONOURED = {
    "gguf_file": "a tokenizer is read from vocab.json and tokenizer_config.json: leave it out",
    "proxies": "set the environment variables HTTP_PROXY and HTTPS_PROXY",
}


def without_loader_words(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a tokenizer's loader that say something here.

    Raises ValueError for one that cannot be honoured, with what to do instead.
    """
    for name, instead in _NOT_HONOURED.items():
        if settings.get(name):
            raise ValueError(f"{name} cannot be honoured: {instead}")
    return {name: value for name, value in settings.items() if name not in LOADER_WORDS}


def check_keywords(further: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError for keywords of a call that it does not know, unless they are tolerated (`fastvits.strict`)."""
    for name in further:
        if not tolerated(f"the keyword {name} of a tokenizer's call is ignored"):
            raise TypeError(f"a tokenizer's call takes no {name!r}; its keywords are {', '.join(known)}")


@dataclass(frozen=True)
class Options:
    """The arguments of one call, checked."""

    padding: str
    truncation: str
    max_length: int | None
    stride: int
    is_split_into_words: bool
    pad_to_multiple_of: int | None
    padding_side: str
    return_tensors: str | None
    return_token_type_ids: bool
    return_attention_mask: bool
    return_overflowing_tokens: bool
    return_special_tokens_mask: bool
    return_length: bool
    verbose: bool
    add_special_tokens: bool
    normalize: bool
    split_special_tokens: bool
    preparation: Any = None
    reported: set[str] | None = None


def describe(value: Any) -> str:
    """What kind of thing `value` is, for an error message."""
    if isinstance(value, (list, tuple)) and value:
        kinds = sorted({type(element).__name__ for element in value})
        return f"{type(value).__name__} of {', '.join(kinds)}"
    return type(value).__name__


def is_whole(value: Any) -> bool:
    """Whether `value` is a whole number of Python or numpy; True and False are none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def wrong_value(name: str, value: Any, allowed: str) -> Exception:
    """TypeError for a value of a wrong type, ValueError for a wrong number."""
    kind = ValueError if is_whole(value) else TypeError
    return kind(f"{name} must be {allowed}, got {value!r}")


def check_bool(name: str, value: Any) -> None:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def choice(name: str, value: Any, choices: Sequence[str], further: str = "") -> str:
    """The one of `choices` that equals `value`, which may be a member of an enum of strings."""
    if isinstance(value, str):
        for allowed_value in choices:
            if value == allowed_value:
                return allowed_value
    allowed = ", ".join(map(repr, choices))
    raise ValueError(f"{name} must be one of {allowed}{', ' + further if further else ''}, got {value!r}")


def optional_length(name: str, value: Any) -> int | None:
    if value is None:
        return None
    # Old files spell the very large number as a float.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not is_whole(value) or value < 0:
        raise wrong_value(name, value, "None or a whole number of 0 or more")
    return int(value)


def optional_multiple(value: Any) -> int | None:
    if value is None:
        return None
    if not is_whole(value) or value < 1:
        raise wrong_value("pad_to_multiple_of", value, "None or a whole number of 1 or more")
    return int(value)


@dataclass(frozen=True)
class Work:
    """Texts to encode, each with its pair or None, and whether the caller gave a batch."""

    items: list[tuple[Any, Any]]
    batched: bool


def is_sequence(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def all_ids(value: Sequence[Any]) -> bool:
    return all(is_whole(element) for element in value)


def check_text(value: Any, name: str) -> None:
    """One text: a str, a list of str, or a list of ids."""
    if isinstance(value, str):
        return
    if is_sequence(value) and len(value) == 0:
        raise ValueError(f"{name} is an empty list; an empty text is ''")
    if is_sequence(value) and (all(isinstance(element, str) for element in value) or all_ids(value)):
        return
    raise TypeError(f"{name} must hold texts (a str, a list of str or a list of ids each), got {describe(value)}")


def arrange(text: Any, text_pair: Any, in_words: bool, name: str) -> Work:
    """Sort the forms that texts may have into pairs of one text each; everything wrong with them is found here."""
    if not isinstance(text, str) and not is_sequence(text):
        raise TypeError(
            f"{name} must be a str, a list of str (a batch, or words with is_split_into_words=True), a list of lists "
            f"of str, or ids, got {describe(text)}"
        )
    if is_sequence(text) and len(text) == 0:
        raise ValueError(f"{name} is an empty list; give at least one text")
    if text_pair is not None and not isinstance(text_pair, str) and not is_sequence(text_pair):
        raise TypeError(f"the pair of {name} must be of the same form as it, got {describe(text_pair)}")
    batched = is_sequence(text) and (is_sequence(text[0]) or (isinstance(text[0], str) and not in_words))
    if not batched:
        check_text(text, name)
        if text_pair is not None:
            check_text(text_pair, f"the pair of {name}")
        return Work([(text, text_pair)], False)
    if text_pair is not None and (not is_sequence(text_pair) or len(text_pair) != len(text)):
        raise ValueError(f"{name} is a batch of {len(text)}: its pair must be a list of {len(text)} as well")
    items: list[tuple[Any, Any]] = []
    for number, first in enumerate(text):
        second = None if text_pair is None else text_pair[number]
        # A list of str is words only where that was said; a tuple of two is always a text and its pair.
        in_pieces = is_sequence(first) and len(first) > 0 and not all_ids(first) and not in_words
        if second is None and isinstance(first, tuple) and len(first) == 2 and not all_ids(first):
            first, second = first
        elif in_pieces and second is not None:
            raise ValueError(
                f"{name}[{number}] is a list of str and has a pair: for texts in words, say is_split_into_words=True"
            )
        elif in_pieces and len(first) > 2:
            raise ValueError(
                f"{name}[{number}] has {len(first)} parts where a text and its pair are two: for texts in words, say "
                "is_split_into_words=True"
            )
        elif in_pieces:
            first, second = first[0], first[1] if len(first) == 2 else None
        check_text(first, f"{name}[{number}]")
        if second is not None:
            check_text(second, f"the pair of {name}[{number}]")
        items.append((first, second))
    return Work(items, True)


def truncate(
    ids: list[int], pair_ids: list[int] | None, excess: int, strategy: str, stride: int, side: str
) -> tuple[list[int], list[int] | None, list[int]]:
    """Cut `excess` ids away; returns both lists and what was cut with `stride` ids beside it.

    "longest_first" first makes a pair equally long, then takes half of the rest from each, the odd one from the second.
    A text that is shorter than what should be cut from it vanishes.
    """

    def cut(row: list[int], count: int) -> list[int]:
        count = min(count, len(row))
        return row[: len(row) - count] if side == "right" else row[count:]

    def overflow(row: list[int]) -> list[int]:
        window = min(len(row), stride + excess)
        return row[len(row) - window :] if side == "right" else row[:window]

    if strategy == "only_first" or (strategy == "longest_first" and pair_ids is None):
        return cut(ids, excess), pair_ids, overflow(ids)
    if pair_ids is None:
        return ids, None, []
    if strategy == "only_second":
        return ids, cut(pair_ids, excess), overflow(pair_ids)
    difference = len(ids) - len(pair_ids)
    from_longer = min(abs(difference), excess)
    rest = excess - from_longer
    from_first = rest // 2 + (from_longer if difference > 0 else 0)
    from_second = rest - rest // 2 + (0 if difference > 0 else from_longer)
    return cut(ids, from_first), cut(pair_ids, from_second), []
