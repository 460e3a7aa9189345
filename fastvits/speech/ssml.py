"""A small part of SSML 1.1: what a VITS voice can do as asked; everything else is refused by its name.

`speak`, `p`, `s`, `break` (time, strength), `prosody` (rate), `phoneme` (alphabet ipa), `sub` (alias) and `say-as`
(interpret-as characters). Source: the W3C's Speech Synthesis Markup Language, version 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.parsers import expat

from .script import Place, Script, ScriptBuilder, pause_seconds

__all__ = ["parse_ssml"]

ELEMENTS = ("speak", "p", "s", "break", "prosody", "phoneme", "sub", "say-as")
RATES = {"x-slow": 0.5, "slow": 0.75, "medium": 1.0, "default": 1.0, "fast": 1.25, "x-fast": 1.5}
"""Factors of the speaking rate that are told by a name."""
_RATE_RANGE = (0.2, 5.0)
_ALLOWED = {
    "speak": ("version", "xml:lang", "xmlns", "xmlns:xsi", "xsi:schemaLocation", "xml:base"),
    "p": (),
    "s": (),
    "break": ("time", "strength"),
    "prosody": ("rate",),
    "phoneme": ("alphabet", "ph"),
    "sub": ("alias",),
    "say-as": ("interpret-as",),
}
# What is spoken for these holds no other elements.
_LEAVES = ("phoneme", "sub", "say-as", "break")


def parse_ssml(text: str) -> Script:
    """A script of a text with SSML, with or without a `<speak>` around it; places are those in `text`.

    Raises:
        ValueError: it is no XML (naming the line), an element, an attribute or a value is not among those above, or
            there is nothing to say.
    """
    return _Parser(text).script()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.builder = ScriptBuilder(text)
        is_whole = re.match(r"\s*(?:<\?xml.*?\?>\s*)?(?:<!--.*?-->\s*)*<speak\b", text, re.DOTALL) is not None
        before = "" if is_whole else "<speak>"
        self.document = text.lstrip() if is_whole else f"{before}{text}</speak>"
        self.shift = len(text) - len(text.lstrip()) if is_whole else -len(before)
        self.encoded = self.document.encode("utf-8", errors="surrogatepass")
        self.stack: list[tuple[str, dict[str, str]]] = []
        self.rates = [1.0]
        self.in_cdata = False
        self.leaf: list[tuple[str, list[Place]]] = []

    def script(self) -> Script:
        parser = expat.ParserCreate("utf-8")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartCdataSectionHandler = lambda: self._cdata(True)
        parser.EndCdataSectionHandler = lambda: self._cdata(False)
        parser.buffer_text = False
        self.parser = parser
        # Bytes before each character are asked for in order, so one walk through the text is enough.
        self._known = (0, 0)
        try:
            parser.Parse(self.encoded, True)
        except expat.ExpatError as error:
            reason = expat.errors.messages[error.code]
            raise ValueError(f"the text is no SSML: {reason} in line {error.lineno}") from None
        return self.builder.script()

    def _cdata(self, inside: bool) -> None:
        self.in_cdata = inside

    def _refuse_doctype(self, *declaration: object) -> None:
        raise ValueError("the text is no SSML: a DOCTYPE is refused")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name not in ELEMENTS:
            raise ValueError(f"<{name}> is not supported; there are {', '.join(ELEMENTS)}")
        if self.stack and self.stack[-1][0] in _LEAVES:
            raise ValueError(f"<{name}> has no place inside <{self.stack[-1][0]}>")
        if name == "speak" and self.stack:
            raise ValueError("<speak> has no place inside <speak>")
        for attribute in attributes:
            if attribute not in _ALLOWED[name]:
                allowed = ", ".join(_ALLOWED[name]) or "none"
                raise ValueError(f"attribute {attribute!r} of <{name}> is not supported; supported is {allowed}")
        self.stack.append((name, attributes))
        actions: dict[str, Callable[[dict[str, str]], None]] = {
            "speak": self._speak,
            "p": lambda _: self.builder.end("paragraph"),
            "s": lambda _: self.builder.end("sentence"),
            "break": lambda given: self.builder.pause(pause_seconds(given)),
            "prosody": self._prosody,
        }
        if name in actions:
            actions[name](attributes)
        else:
            self.leaf = []

    def _end(self, name: str) -> None:
        _, attributes = self.stack.pop()
        if name == "p":
            self.builder.end("paragraph")
        elif name == "s":
            self.builder.end("sentence")
        elif name == "prosody":
            self.rates.pop()
            self.builder.set_rate(self.rates[-1])
        elif name == "phoneme":
            if attributes.get("alphabet", "ipa") != "ipa":
                raise ValueError(f"alphabet of <phoneme> must be 'ipa', got {attributes['alphabet']!r}")
            phonemes = attributes.get("ph", "").strip()
            if not phonemes or "[[" in phonemes or "]]" in phonemes:
                raise ValueError(f"ph of <phoneme> must be phonemes, got {attributes.get('ph', '')!r}")
            self.builder.has_phonemes = True
            self._instead(name, f"[[{phonemes}]]")
        elif name == "sub":
            alias = attributes.get("alias", "").strip()
            if not alias:
                raise ValueError("<sub> needs an alias, what is spoken for its text")
            self._instead(name, alias)
        elif name == "say-as":
            self._spell(attributes)

    def _speak(self, attributes: dict[str, str]) -> None:
        self.builder.language = attributes.get("xml:lang")

    def _prosody(self, attributes: dict[str, str]) -> None:
        if "rate" not in attributes:
            raise ValueError("<prosody> needs a rate")
        self.rates.append(self.rates[-1] * _rate(attributes["rate"]))
        self.builder.set_rate(self.rates[-1])

    def _instead(self, name: str, spoken: str) -> None:
        """What is spoken for the text of an element."""
        places = [place for text, run in self.leaf for letter, place in zip(text, run, strict=True) if letter.strip()]
        if not places:
            raise ValueError(f"<{name}> has no text that {spoken!r} would be spoken for")
        self.builder.put_instead(spoken, (places[0][0], places[-1][1]))

    def _spell(self, attributes: dict[str, str]) -> None:
        """A text letter by letter; capitals, since a small one may be read as a word."""
        kind = attributes.get("interpret-as")
        if kind not in ("characters", "spell-out"):
            raise ValueError(f"interpret-as of <say-as> must be 'characters', got {kind!r}")
        letters = [
            (letter, place)
            for text, run in self.leaf
            for letter, place in zip(text, run, strict=True)
            if letter.isalnum()
        ]
        for number, (letter, place) in enumerate(letters):
            if number:
                self.builder.put_instead(" ", place)
            self.builder.put_instead(letter.upper() if len(letter.upper()) == 1 else letter, place)

    def _characters(self, data: str) -> None:
        start = self._place(self.parser.CurrentByteIndex)
        shifted = start + self.shift
        if self.document[start] == "&" and not self.in_cdata:
            end = self.document.index(";", start) + 1
            places = [(shifted, end + self.shift)] * len(data)
        elif self.document.startswith("\r\n", start):
            places = [(shifted, shifted + 2)]
        else:
            places = [(place, place + 1) for place in range(shifted, shifted + len(data))]
        if self.stack and self.stack[-1][0] in ("phoneme", "sub", "say-as"):
            self.leaf.append((data, places))
        elif self.stack and self.stack[-1][0] == "break" and data.strip():
            raise ValueError("<break> holds no text")
        else:
            self.builder.put(data, places)

    def _place(self, byte: int) -> int:
        """The character at a byte of the document; bytes are asked for in order."""
        known_byte, known = self._known
        known += len(self.encoded[known_byte:byte].decode("utf-8", errors="surrogatepass"))
        self._known = byte, known
        return known


def _rate(text: str) -> float:
    """The factor that a `rate` means: a name, a number, a percentage of the rate, or a change of it by one."""
    if text in RATES:
        return RATES[text]
    match = re.fullmatch(r"\s*([+-]?)(\d+(?:\.\d+)?|\.\d+)(%?)\s*", text)
    factor = 0.0
    if match is not None and (match[3] or not match[1]):
        number = float(match[2]) / (100 if match[3] else 1)
        factor = 1 + number if match[1] == "+" else 1 - number if match[1] == "-" else number
    if not _RATE_RANGE[0] <= factor <= _RATE_RANGE[1]:
        raise ValueError(
            f"rate of <prosody> must be one of {', '.join(RATES)}, a number or a percentage that make a factor from "
            f"{_RATE_RANGE[0]:g} to {_RATE_RANGE[1]:g}, got {text!r}"
        )
    return factor
