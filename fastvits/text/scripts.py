"""Letters of a few scripts as uroman reads them right: what its tables lack or turn around.

uroman 1.3.1 makes a superscript two of a repetition mark, a middle dot of the Chinese zero, an l of every vowel of Ol
Chiki, leaves Lao vowels that are written before their consonant there, newer Ethiopic letters as they are, and takes
Cherokee's vowels away where a text was lower-cased.
"""

from __future__ import annotations

import re
import unicodedata

from .spans import Spanned, substituted

__all__ = ["readable_by_uroman"]

_REPEATED = re.compile(r"(?P<before>[\u3400-\u9fff\u3041-\u3096\u30a1-\u30fa])(?P<mark>[\u3005\u309d\u30fd])")
_VOICED = re.compile(r"(?P<before>[\u3041-\u3096\u30a1-\u30fa])(?P<mark>[\u309e\u30fe])")
# A Thai, Lao or Khmer word is repeated; words are told by the spaces around them.
_REPEATED_WORD = re.compile(
    r"(?P<word>[\u0e01-\u0e45\u0e47-\u0e4e]+|[\u0e81-\u0ec5\u0ec8-\u0ecd]+|[\u1780-\u17d3]+)\s?(?P<mark>[\u0e46\u0ec6\u17d7])"
)
_LONGEST_REPEATED_WORD = 12
_LAO_VOWEL_FIRST = re.compile(r"(?P<vowel>[\u0ec0-\u0ec4])(?P<consonant>[\u0e81-\u0eae\u0edc\u0edd]\u0ebc?)")
_OL_CHIKI_VOWELS = {"\u1c5a": "o", "\u1c5f": "a", "\u1c64": "i", "\u1c69": "u", "\u1c6e": "e", "\u1c73": "o"}
_OL_CHIKI = re.compile(f"[{''.join(_OL_CHIKI_VOWELS)}]")
# Cherokee in both cases, and the Ethiopic letters of Unicode 14.
_BY_NAME = re.compile("[\u13a0-\u13f5\u13f8-\u13fd\uab70-\uabbf\U0001e7e0-\U0001e7fe]")


# Chinese numerals, which uroman makes digits of, also within words: "一些" becomes "1xie".
_NUMERALS = "零〇一二三四五六七八九十百千万萬亿億两兩"
_PINYIN = "ling ling yi er san si wu liu qi ba jiu shi bai qian wan wan yi yi liang liang".split()  # noqa: SIM905
_JAPANESE = "rei rei ichi ni san yon go roku nana hachi kyuu juu hyaku sen man man oku oku ryou ryou".split()  # noqa: SIM905
_NUMERAL = re.compile(f"[{_NUMERALS}]")


def readable_by_uroman(text: Spanned, language: str | None = None) -> Spanned:
    """A text in which repetitions are written out, and letters that uroman misreads stand as it reads them.

    Args:
        text: the text.
        language: its two-letter code; Chinese numerals are said in Japanese in a Japanese text, in Mandarin elsewhere.
    """
    if str(text).isascii():
        return text
    text = substituted(text, _REPEATED, lambda match: match["before"] * 2)
    text = substituted(text, _VOICED, lambda match: match["before"] + _voiced(match["before"]))
    text = substituted(text, _REPEATED_WORD, _repeated)
    readings = dict(zip(_NUMERALS, _JAPANESE if language == "ja" else _PINYIN, strict=True))
    text = substituted(text, _NUMERAL, lambda match: readings[match.group()])
    text = substituted(text, _LAO_VOWEL_FIRST, lambda match: match["consonant"] + match["vowel"])
    text = substituted(text, _OL_CHIKI, lambda match: _OL_CHIKI_VOWELS[match.group()])
    return substituted(text, _BY_NAME, lambda match: unicodedata.name(match.group()).split()[-1].lower())


def _repeated(match: re.Match[str]) -> str | None:
    """The word before the mark twice; a run that is longer than words are stays as it is, and its mark is reported."""
    word = match["word"]
    return f"{word} {word}" if len(word) <= _LONGEST_REPEATED_WORD else None


def _voiced(kana: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", kana)[0] + "\u3099")
