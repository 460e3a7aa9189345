"""Whether a noun of a Romance language is feminine, told by its ending: good for the common ones, and never asked for
more than "one", "two" and "half" before them."""

from __future__ import annotations

import re

__all__ = ["agreed", "is_feminine"]

_MASCULINE = re.compile(
    r"(?:d[ií]as?|mapas?|planetas?|sof[aá]s?|\w+(?:em|am|om|gram|oem)as?|temas?|clima|papas?)$", re.IGNORECASE
)
_FRENCH = frozenset(
    ("heure", "heures", "tasse", "tasses", "bouteille", "bouteilles", "journée", "livre", "page", "douzaine", "finale",
     "cuillère", "cuillerée", "année", "pomme")
)  # fmt: skip
_NO_NOUNS = frozenset(
    ("a", "al", "da", "das", "para", "contra", "hasta", "la", "las", "una", "uma", "cada", "o", "y", "e", "de", "do",
     "dos", "por", "en", "em", "con", "com", "que", "del", "más", "mais", "menos", "entre", "sobre", "es", "são", "é",
     "al", "mil", "ou", "punto", "ponto", "coma", "vírgula", "grados")
)  # fmt: skip
_WORD = re.compile(r"\s?(?P<word>[^\W\d_]+)")


def is_feminine(language: str, following: str) -> bool:
    """Whether the word that a text goes on with is a feminine noun.

    Args:
        language: "es", "pt", "it" or "fr".
        following: the text.
    """
    match = _WORD.match(following)
    if match is None:
        return False
    word = match["word"].lower()
    if language == "fr":
        return word in _FRENCH
    return word not in _NO_NOUNS and re.search("as?$", word) is not None and _MASCULINE.match(word) is None


def agreed(words: str, language: str, following: str) -> str:
    """A number whose last word is "one" or "two" as it stands before a noun: "veintiún perros", "duas casas".

    Args:
        words: the number, said alone.
        language: a two-letter code.
        following: the text behind it.
    """
    match = _WORD.match(following)
    if language not in ("es", "pt") or match is None or match["word"].lower() in _NO_NOUNS:
        return words
    feminine = is_feminine(language, following)
    if language == "es" and words.endswith("uno"):
        if feminine:
            return words.removesuffix("o") + "a"
        return words.removesuffix("veintiuno") + "veintiún" if words.endswith("veintiuno") else words.removesuffix("o")
    if language == "pt" and feminine:
        return re.sub(r"\bdois$", "duas", re.sub(r"\bum$", "uma", words))
    return words
