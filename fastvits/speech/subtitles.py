"""Timestamps as files: JSON, and the subtitle formats SubRip (`.srt`) and WebVTT (`.vtt`).

Subtitles show the text as it was written, spaces as one, line by line, each for as long as its words are heard.

Source: the WebVTT specification (W3C Candidate Recommendation) for its times and escapes. SubRip has no specification;
what is written here is what players agree on.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..storage import write_text
from ..text.abbreviations import stop_goes_on
from .timestamps import TimeSpan

__all__ = ["Cue", "cues", "to_json", "to_srt", "to_webvtt", "write_timestamps"]

LONGEST_LINE = 42
"""Characters that a line of subtitles holds, as broadcasters have it; a longer word has a line of its own."""
LONGEST_CUE = 6.0
"""Seconds that a line stands at most, but for a single word that takes longer."""
LONGEST_PAUSE = 0.75
"""Seconds of pause after which a new line begins."""
SENTENCE_PAUSE = 0.1
"""Seconds of pause after which a new line begins where a sentence seems to end; "Dr." has a shorter one, mostly."""

_SENTENCE_END = re.compile(r"[.!?\u2026\u0964\u3002\uff01\uff1f\u061f\u06d4][\"'”’»)\]」』]*$")


@dataclass(frozen=True)
class Cue:
    """A line of subtitles: what it says, and from when to when, in seconds."""

    text: str
    start: float
    end: float


def to_json(spans: Iterable[TimeSpan], text: str | None = None) -> str:
    """Timestamps as a JSON object: `text` (or null), and `tokens`, `characters` and `words` as lists of objects.

    Each object has `text`, `start` and `end` in seconds, `text_start` and `text_end` in code points of the text.

    Args:
        spans: what `fastvits.timestamps` tells of one item.
        text: the text, to be told along.
    """
    content: dict[str, object] = {"text": text, "tokens": [], "characters": [], "words": []}
    lists: dict[str, list[dict[str, object]]] = {"token": [], "character": [], "word": []}
    for span in spans:
        row = dataclasses.asdict(span)
        row["start"], row["end"] = round(span.start, 6), round(span.end, 6)
        lists[row.pop("kind")].append(row)
    content.update({f"{kind}s": rows for kind, rows in lists.items()})
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def cues(spans: Iterable[TimeSpan], text: str | None = None) -> list[Cue]:
    """The words among `spans` put together into lines of subtitles.

    A line ends with a sentence, at a pause of 0.75 s, and before the word that would make it longer than 42
    characters or 6 seconds. Lines follow one another in time: none begins before the one before it ends, and none is
    without a duration. Times are whole milliseconds.

    Args:
        spans: what `fastvits.timestamps` tells of one item, words among it.
        text: the text that the places of `spans` refer to. With it, words stand together as they do there (Chinese
            without spaces), and what is not heard stands along; without, words are put together by spaces where their
            places leave a gap.
    """
    words = sorted((span for span in spans if span.kind == "word"), key=lambda span: (span.start, span.text_start))
    lines: list[list[TimeSpan]] = []
    for word in words:
        line = lines[-1] if lines else []
        if not line or _begins_line(line, word, text):
            lines.append([word])
        else:
            line.append(word)
    found: list[Cue] = []
    for line in lines:
        # Words that became sounds together share their time: a line then begins where the one before it ends.
        start = round(max(line[0].start, found[-1].end if found else 0.0), 3)
        end = round(max(word.end for word in line), 3)
        if end <= start:
            # Too short to be shown, a line is put to the one before it.
            if found:
                found[-1] = Cue(f"{found[-1].text} {_line_text(line, text)}", found[-1].start, found[-1].end)
            else:
                found.append(Cue(_line_text(line, text), start, start + 0.001))
        else:
            found.append(Cue(_line_text(line, text), start, end))
    return found


def _begins_line(line: Sequence[TimeSpan], word: TimeSpan, text: str | None) -> bool:
    """Whether `word` does not fit behind the words of `line`."""
    before = line[-1]
    return (
        len(_line_text([*line, word], text)) > LONGEST_LINE
        or word.end - line[0].start > LONGEST_CUE
        or word.start - before.end >= LONGEST_PAUSE
        or (_ends_sentence(before, word, text) and word.start - before.end >= SENTENCE_PAUSE)
    )


def _ends_sentence(before: TimeSpan, word: TimeSpan, text: str | None) -> bool:
    """Whether a sentence ends behind a word; behind the stop of an abbreviation, none does."""
    if _SENTENCE_END.search(before.text) is None:
        return False
    stop = before.text.rstrip("\"'”’»)]」』")
    if not stop.endswith(".") or stop.endswith(".."):
        return True
    if text is None:
        text, dot, following = f"{before.text} {word.text}", len(stop) - 1, len(before.text) + 1
    else:
        dot, following = before.text_start + len(stop) - 1, word.text_start
    while following < len(text) and text[following] in "\"'“‘„«‹([¿¡":
        following += 1
    return not stop_goes_on(text, dot, dot + 1 - len(stop), following, capitals=any(map(str.isupper, text)))


def _line_text(line: Sequence[TimeSpan], text: str | None) -> str:
    if text is not None:
        return " ".join(text[line[0].text_start : line[-1].text_end].split())
    joined = line[0].text
    for before, word in itertools.pairwise(line):
        joined += (" " if word.text_start > before.text_end else "") + word.text
    return " ".join(joined.split())


def _clock(seconds: float, comma: str) -> str:
    """`01:02:03.456`, the milliseconds behind `comma`."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{comma}{rest % 1000:03d}"


def to_srt(spans: Iterable[TimeSpan], text: str | None = None) -> str:
    """The words among `spans` as a SubRip file; see `cues` for the lines.

    Players read tags such as `<i>` in it, and have no way to escape them: `<` and `>` become `‹` and `›`.
    """
    blocks = []
    for number, cue in enumerate(cues(spans, text), 1):
        shown = cue.text.replace("<", "‹").replace(">", "›")
        blocks.append(f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{shown}\n")
    return "\n".join(blocks)


def to_webvtt(spans: Iterable[TimeSpan], text: str | None = None) -> str:
    """The words among `spans` as a WebVTT file; see `cues` for the lines. `&`, `<` and `>` are escaped."""
    blocks = ["WEBVTT\n"]
    for cue in cues(spans, text):
        shown = cue.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        blocks.append(f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{shown}\n")
    return "\n".join(blocks)


_WRITERS = {".json": to_json, ".srt": to_srt, ".vtt": to_webvtt}


def write_timestamps(path: str | os.PathLike[str], spans: Iterable[TimeSpan], text: str | None = None) -> None:
    """Write timestamps into a file, in the format that its name ends with: `.json`, `.srt` or `.vtt`, in UTF-8.

    Args:
        path: the file; one that is there is replaced.
        spans: what `fastvits.timestamps` tells of one item.
        text: the text that was said.

    Raises:
        ValueError: another ending.
        OSError: the file cannot be written.
    """
    ending = Path(path).suffix.lower()
    if ending not in _WRITERS:
        raise ValueError(f"a file of timestamps must end with {', '.join(_WRITERS)}, got {os.fspath(path)!r}")
    write_text(Path(path), _WRITERS[ending](spans, text))
