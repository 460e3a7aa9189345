"""espeak-ng clause by clause: phonemes, the mark that ended the clause, and where the clause stands in the text.

This is how Piper reads: espeak-ng splits a text into clauses, and the mark that ended each is kept as a phoneme.
"""

from __future__ import annotations

import ctypes
import re
from functools import lru_cache

from .espeak import INSTALL_HINT, LOCK, bundled_library, import_phonemizer
from .espeak_process import is_apart, read_apart

__all__ = ["CLAUSE_END_MARKS", "phonemes_of_clauses"]

# Stands between the names of phonemes, where espeak-ng is asked to separate them.
_SEPARATOR = "\x1f"
# A phoneme without a name after an i.
_UNNAMED_AFTER_I = re.compile(rf"[iɪ]ː?{_SEPARATOR}(?:{_SEPARATOR}| |$)")

_HAS_BEEN = re.compile(r"\bh[ˈˌ]?[aæ]zbiːn\b")

# What espeak-ng 1.52 takes for the end of a clause (its character property tables). A mark that needs no space after
# it (the second string of each pair) ends a clause too, but Piper does not recognise it: it stays without a phoneme.
_CLAUSE_MARKS: dict[str, tuple[str, str]] = {
    ".": (
        ".\u06d4\u0701\u0704\u1362\u166e\u1803\u1809\u2cf9\u2cfe\u2e33\u2e3c\ua4ff\ua60e\ua6f3\ufe12\ufe52\uff61"
        "\U00016af5\U0001bc9f\U0001da88\U0001f100" + "".join(map(chr, range(0x2488, 0x249C))),
        "\u0589\u0964\u0df4\u0f0d\u3002\uff0e",
    ),
    "?": (
        "?\u037e\u061f\u0709\u1367\u1945\u2047\u2753\u2754\u2cfa\u2cfb\ua60f\ua6f7\ufe16\ufe56\U00011143\U0001e95f",
        "\uff1f",
    ),
    "!": (
        "!\u0703\u07f9\u1944\u203c\u2755\u2757\u2762\u2763\ufe15\ufe57\U0001e95e",
        "\uff01",
    ),
    ",": (
        ",\u055d\u060c\u0702\u07f8\u1363\u1802\u1808\u2e32\u2e34\u2e41\ua4fe\ua60d\ua6f5\u0f14"
        "\ufe10\ufe11\ufe50\ufe51\uff64\U0001144d\U0001da87" + "".join(map(chr, range(0x1F101, 0x1F10B))),
        "\u3001\uff0c",
    ),
    ":": (":\u0706\u0707\u1365\u1366\u1804\u2982\ua6f4\ufe13\ufe55\U00012471\U00012472\U0001da8a", "\uff1a"),
    ";": (
        ";\u0387\u061b\u0708\u1364\u204f\u2013\u2014\u2e35\u2e3a\u2e3b\ufe31\ufe32\ufe14\ufe54\ua6f6\U0001da89",
        "\uff1b\u00a1\u00bf",
    ),
}
_ELLIPSIS = "\u2026"
_ELLIPSES = "\u2026\u0eaf\u1801\ufe19\u22ee\u22ef\u22f0\u22f1"
_PARAGRAPHS = "\u2029\u0700\u0965\u0f0e\u10fb\u1368"

# character -> (the phoneme that Piper adds, ends a sentence, may stand before any character)
_CLAUSE_END: dict[str, tuple[str, bool, bool]] = {
    **{c: (mark, mark in ".?!", False) for mark, (spaced, _) in _CLAUSE_MARKS.items() for c in spaced},
    **{c: ("", mark in ".?!", True) for mark, (_, unspaced) in _CLAUSE_MARKS.items() for c in unspaced},
    **{c: ("", False, True) for c in _ELLIPSES},
    **{c: ("", True, False) for c in _PARAGRAPHS},
}
CLAUSE_END_MARKS = frozenset(_CLAUSE_END)
"""Characters that end a clause."""
_BRACKETS = frozenset("()[]{}<>\"'`«»\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2039\u203a")

# Voices in which a full stop after a Roman number makes an ordinal, and so ends no clause.
_ORDINAL_DOT_LANGUAGES = frozenset(
    ["da", "de", "et", "fi", "fo", "hu", "kl", "lt", "lv", "ltg", "nl", "nb", "no", "nn", "sl", "smj"]
)


def _clause_end(read: str, at_end: bool, voice: str) -> tuple[str, bool]:
    """How a clause ended, told from the text that espeak-ng read for it.

    espeak-ng 1.52 as released says how far it read but not why it stopped there. It stops behind a mark, the spaces
    after it, and one character more, which it keeps for the next clause.

    Args:
        read: the characters that the clause took, its first one possibly kept from the clause before.
        at_end: whether the text, which ends with a space, is used up.
        voice: the espeak-ng voice.

    Returns:
        the mark (one of `. ? ! , : ;` or nothing) and whether a sentence ends here.
    """
    kept = "" if at_end else read[-1:]
    before = read if at_end else read[:-1]
    body = before.rstrip()
    spaces = before[len(body) :]
    if spaces.count("\n") >= 2:
        return "", True  # an empty line ends a sentence, whatever stands before it
    # Of several marks in a row the first one counts, three or more dots being one mark.
    first = len(body)
    while first > 0 and body[first - 1] in _CLAUSE_END:
        first -= 1
    if first == len(body):
        return "", False  # the text is used up, or the clause was too long
    mark = _ELLIPSIS if body.startswith("...", first) else body[first]
    phoneme, ends_sentence, needs_no_space = _CLAUSE_END[mark]
    if not (spaces or needs_no_space or kept in _BRACKETS):
        return "", False  # inside a word or number where a clause was cut for its length
    if "\n" not in spaces and not any(character.isalnum() for character in body[:first]):
        return "", False  # a mark without a word before it ends nothing
    ordinals = at_end and mark == "." and re.split("[-+]", voice)[0] in _ORDINAL_DOT_LANGUAGES
    if ordinals and re.search(r"(?:^|\s|[IVXL])[IVXL]$", body[:first]):
        return "", False
    return phoneme, ends_sentence


class _ClauseReader:
    """A private espeak-ng that reads texts clause by clause. Not thread-safe: the caller holds the lock."""

    def __init__(self) -> None:
        wrapper = import_phonemizer()
        try:
            with bundled_library():
                self._wrapper = wrapper()
        except RuntimeError as error:
            raise OSError(f"espeak-ng cannot be used ({error}): {INSTALL_HINT}") from error
        self._api = self._wrapper._espeak
        self._speaking: set[str] = set()
        # Newer releases tell what ended a clause; those in the field do not.
        self._with_terminator = getattr(self._api._library, "espeak_TextToPhonemesWithTerminator", None)
        if self._with_terminator is not None:
            self._with_terminator.restype = ctypes.c_char_p
            self._with_terminator.argtypes = [
                ctypes.POINTER(ctypes.c_char_p),
                ctypes.c_int,
                ctypes.c_int,
                ctypes.POINTER(ctypes.c_int),
            ]

    def _set_voice(self, voice: str) -> None:
        """Chooses a voice by its name, as Piper does, or else by its language ("fr-fr", whose name is "fr").

        A variant behind a plus ("en-us+f3") changes no phonemes.
        """
        plain = voice.partition("+")[0]
        if self._api.set_voice_by_name(voice.encode()) != 0 and not any(
            known.language == plain and self._api.set_voice_by_name(known.identifier.encode()) == 0
            for known in self._wrapper.available_voices()
        ):
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        if voice not in self._speaking:
            # A voice that is listed but has no dictionary says nothing at all.
            if not any(clause[0].strip() for clause in self._read("a e i o u ", voice, 2)):
                raise ValueError(f"espeak-ng lists the voice {voice!r} but has no dictionary for it: it says nothing")
            self._speaking.add(voice)

    def clauses(self, text: str, voice: str) -> list[tuple[str, str, bool, int, int]]:
        """(phonemes, mark, whether a sentence ends, first and last character) of each clause of `text`."""
        self._set_voice(voice)
        length = len(text)
        # A text whose last sentence is a single character would lose it, and the next text would start with it:
        # espeak-ng has read it ahead when the text ends. With a space behind it, it is a sentence like any other.
        text = text.replace("\0", " ") + " "
        ipa = 2
        if self._with_terminator is not None:
            return [
                (phonemes, mark, ends, min(start, length), min(end, length))
                for phonemes, mark, ends, start, end in self._read(text, voice, ipa)
            ]
        clauses = self._read(text, voice, ipa | ord(_SEPARATOR) << 8)
        if any(_UNNAMED_AFTER_I.search(clause[0]) for clause in clauses):
            names = self._read(text, voice, ord(_SEPARATOR) << 8)
            clauses = [
                (_with_linking_glides(phonemes, own_names), mark, ends, start, end)
                for (phonemes, mark, ends, start, end), (own_names, *_) in zip(clauses, names, strict=True)
            ]
        return [
            (self._corrected(phonemes.replace(_SEPARATOR, ""), voice), mark, ends, min(start, length), min(end, length))
            for phonemes, mark, ends, start, end in clauses
        ]

    @staticmethod
    def _corrected(phonemes: str, voice: str) -> str:
        """Repairs the entry of the 1.52.0 dictionary that stresses every "has been" like the noun "a has-been"."""
        return _HAS_BEEN.sub("hɐzbɪn", phonemes) if voice.startswith("en") else phonemes

    def _read(self, text: str, voice: str, phoneme_mode: int) -> list[tuple[str, str, bool, int, int]]:
        """`clauses` with the phonemes as `phoneme_mode` of espeak-ng's C interface says."""
        encoded = text.encode("utf-8", errors="replace")
        buffer = ctypes.create_string_buffer(encoded)
        start = ctypes.addressof(buffer)
        pointer = ctypes.c_char_p(start)
        address = ctypes.cast(ctypes.pointer(pointer), ctypes.POINTER(ctypes.c_void_p)).contents
        utf8 = 1
        read_to = 0
        kept = ""
        clause_start = 0  # the character that was read ahead belongs to the next clause
        clauses: list[tuple[str, str, bool, int, int]] = []
        while address.value is not None:
            if self._with_terminator is not None:
                terminator = ctypes.c_int(0)
                phonemes = self._with_terminator(ctypes.byref(pointer), utf8, phoneme_mode, ctypes.byref(terminator))
            else:
                phonemes = self._api.text_to_phonemes(ctypes.byref(pointer), utf8, phoneme_mode)
            at_end = address.value is None
            end = len(encoded) if address.value is None else address.value - start
            read = kept + encoded[read_to:end].decode()
            if self._with_terminator is not None:
                mark = _TERMINATORS.get(terminator.value & 0xFFFFF, "")
                ends_sentence = bool(terminator.value & 0x80000)
            else:
                mark, ends_sentence = _clause_end(read, at_end, voice)
            read_to = end
            kept = read[-1:]
            next_start = clause_start + (len(read) if at_end else max(len(read) - 1, 0))
            clauses.append(((phonemes or b"").decode(), mark, ends_sentence, clause_start, next_start))
            clause_start = next_start
        return clauses


def _with_linking_glides(phonemes: str, names: str) -> str:
    """Writes the glide between an i and a vowel, "ðɪʲ ˈɛnd".

    The 1.52.0 release of espeak-ng leaves its symbol out of the IPA text, the later one inside piper-tts 1.8 writes it.

    Args:
        phonemes: IPA of a clause, phonemes separated.
        names: the same phonemes by espeak-ng's own names, in which the glide is ";".
    """
    words, words_by_name = phonemes.split(" "), names.split(" ")
    if len(words) != len(words_by_name):
        return phonemes
    written = []
    for word, by_name in zip(words, words_by_name, strict=True):
        symbols = word.split(_SEPARATOR)
        position = 0
        for name in by_name.split(_SEPARATOR):
            unnamed = position < len(symbols) and not symbols[position]
            if name == ";":
                if not unnamed:
                    continue  # written already, as a part of the symbol before it
                symbols[position] = "ʲ"
            position += 1
        written.append(_SEPARATOR.join(symbols) if position == len(symbols) else word)
    return " ".join(written)


# espeak-ng's clause types without their flags: pause | intonation << 12 | clause or sentence << 18.
_TERMINATORS = {
    40 | 0x80000: ".",
    40 | 0x2000 | 0x80000: "?",
    45 | 0x3000 | 0x80000: "!",
    20 | 0x1000 | 0x40000: ",",
    30 | 0x40000: ":",
    30 | 0x1000 | 0x40000: ";",
}


@lru_cache(maxsize=1)
def _clause_reader() -> _ClauseReader:
    return _ClauseReader()


def phonemes_of_clauses(text: str, voice: str) -> list[tuple[str, str, bool, int, int]]:
    """The clauses that espeak-ng reads `text` in.

    Returns:
        of each its phonemes, the mark that ended it (one of `. ? ! , : ;` or nothing), whether a sentence ends there,
        and its first and last character (exclusive) in `text`, the space after it included.

    Raises:
        ValueError: espeak-ng knows no such voice; `EspeakDied` where it reads in a process of its own and ends.
        ImportError, OSError: `phonemizer` or espeak-ng is missing.
    """
    if is_apart():
        return [tuple(clause) for clause in read_apart("clauses", [text], voice)]
    with LOCK:
        return _clause_reader().clauses(text, voice)
