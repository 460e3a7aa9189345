"""The words of a text in any script."""

from __future__ import annotations

import re
import unicodedata

from .spans import Span

__all__ = ["word_spans"]

# Scripts that put no spaces between words: every character is a word there, with the marks that belong to it.
_UNSPACED = re.compile(
    "[\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff]"
)
_TIBETAN_SYLLABLE_MARK = "\u0f0b"
# Written before the consonant that is heard first.
_LEADING_VOWELS = frozenset("เแโใไເແໂໃໄ")
# Small kana and the mark of a long vowel belong to the kana before them.
_TRAILING_KANA = frozenset("ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮー゛゜ｧｨｩｪｫｬｭｮｯｰﾞﾟ")


def word_spans(text: str) -> list[Span]:
    """The words of a text: runs between white space, punctuation included.

    In scripts without spaces between words (Chinese, Japanese, Thai, Lao, Burmese, Khmer) every character is a word of
    its own, with combining marks and punctuation beside it; in Tibetan every syllable is.
    """
    words: list[Span] = []
    for run in re.finditer(r"\S+", text):
        start, closed = run.start(), False
        for position in range(run.start(), run.end()):
            character = text[position]
            begins = position > start and _begins_word(character, text[position - 1], closed)
            if begins:
                words.append((start, position))
                start, closed = position, False
            category = unicodedata.category(character)
            if _UNSPACED.match(character) or character == _TIBETAN_SYLLABLE_MARK:
                closed = True
            elif category in ("Ps", "Pi") and closed:
                words.append((start, position))
                start, closed = position, False
        words.append((start, run.end()))
    return words


def _begins_word(character: str, before: str, closed: bool) -> bool:
    """Whether a word begins between two characters without a space.

    Args:
        character, before: the characters after and before the gap.
        closed: whether the word so far ends with a character of a script without spaces, or punctuation after one.
    """
    category = unicodedata.category(character)
    if category[0] in "MPZS" or character in _TRAILING_KANA or before in _LEADING_VOWELS:
        return False
    if _UNSPACED.match(character):
        # Brackets before a character belong to it.
        return closed or unicodedata.category(before) not in ("Ps", "Pi")
    return closed
