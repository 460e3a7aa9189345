"""What texts abbreviate with signs, in words: money, units, times, dates, addresses, ranges; one file a language."""

from __future__ import annotations

from ..number_signs import minus_in_words, with_leading_zeros
from ..spans import Spanned
from . import czech_slovak, english, german, romance, russian
from .addresses import addresses_in_words
from .forms import Words
from .reading import signs_in_words

__all__ = ["LANGUAGES", "spelt_out"]

LANGUAGES: dict[str, Words] = {
    "en": english.WORDS,
    "de": german.WORDS,
    "fr": romance.FRENCH,
    "es": romance.SPANISH,
    "it": romance.ITALIAN,
    "pt": romance.PORTUGUESE,
    "pt-br": romance.BRAZILIAN,
    "ru": russian.WORDS,
    "cs": czech_slovak.CZECH,
    "sk": czech_slovak.SLOVAK,
}
"""What is known of each language, by its two-letter code, and of a country where it differs."""


def spelt_out(text: Spanned, language: str) -> Spanned:
    """A text with its shorthand in words; in a language that is not among `LANGUAGES` the signs of numbers alone.

    Numbers stay digits: espeak-ng reads them, and voices of letters have theirs said by `number_words`. What has to be
    an ordinal word (Roman numerals behind names, Russian dates) needs the package `num2words`, and stays without it.

    Args:
        text: the text.
        language: a two-letter code, or the name of a voice of espeak-ng that has a country in it.
    """
    words = LANGUAGES.get(language)
    text = with_leading_zeros(text, language)
    if words is None:
        return minus_in_words(text, language)
    text = addresses_in_words(text, words)
    return signs_in_words(text, words)
