"""Piper's languages beside espeak-ng's: the ids are piper-tts's own, and what is missing is named."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from fastvits import VitsTokenizer
from fastvits.text import piper_languages as ways
from tests.support import piper_languages as piper

NEEDS = {"pinyin": ["sentence_stream", "unicode_rbnf"], "japanese": ["pyopenjtalk"], "thai": ["tltk", "unicode_rbnf"]}


@pytest.fixture(autouse=True)
def _nothing_kept() -> Any:
    yield
    ways._phonemizer.cache_clear()


@pytest.mark.parametrize("kind", piper.TEXTS)
def test_ids_are_pipers_own(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in NEEDS.get(kind, ()):
        pytest.importorskip(module)
    model = None
    if kind == "pinyin":
        model = piper.write_g2pw(tmp_path / "g2pw")
        monkeypatch.setenv("FASTVITS_G2PW", str(model))
    settings = piper.voice_settings(kind)
    tokenizer = piper.tokenizer(tmp_path / kind, settings)
    texts = piper.TEXTS[kind]
    assert len(texts) == 30
    assert [tokenizer(text)["input_ids"] for text in texts] == piper.piper_ids(settings, texts, model)
    for text in texts:
        spans = [piece.span for piece in tokenizer.front_end.pieces(text) if piece.span is not None]
        assert all(0 <= first < last <= len(text) for first, last in spans)
        assert spans == sorted(spans)


def words_of(tokenizer: VitsTokenizer, text: str) -> list[str]:
    spans = [piece.span for piece in tokenizer.front_end.pieces(text) if piece.span is not None]
    return [word for span in dict.fromkeys(spans) if (word := text[slice(*span)]) != " "]


def test_words_keep_their_places(tmp_path: Path) -> None:
    hebrew = piper.tokenizer(tmp_path / "hebrew", piper.voice_settings("hebrew"))
    assert words_of(hebrew, "שלום עולם! מה נשמע?") == ["שלום", "עולם!", "מה", "נשמע?"]
    arabic = piper.tokenizer(tmp_path / "arabic", piper.voice_settings("arabic"))
    assert words_of(arabic, "عندي ٣ كتب") == ["عندي", "٣", "كتب"]


@pytest.mark.parametrize("kind", [*ways.PIPER_LANGUAGES, "arabic"])
def test_what_is_missing_is_named(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = piper.tokenizer(tmp_path, piper.voice_settings(kind, {"_": [0], "^": [1], "$": [2], "a": [3]}))
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "piper" else found(name))
    ways._diacritizer.cache_clear()
    extra = "chinese" if kind == "pinyin" else kind
    with pytest.raises(ImportError, match=rf"without the module piper\): install `fastvits\[{extra}\]`"):
        tokenizer("سلام")
    # What was converted says so, and is saved with it.
    tokenizer.save_pretrained(tmp_path / "again")
    written = json.loads((tmp_path / "again" / "tokenizer_config.json").read_text("utf-8"))
    assert written.get("phonemizer") == (None if kind == "arabic" else kind)


def test_a_model_of_chinese_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in NEEDS["pinyin"]:
        pytest.importorskip(module)
    tokenizer = piper.tokenizer(tmp_path / "voice", piper.voice_settings("pinyin"))
    monkeypatch.setenv("FASTVITS_G2PW", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"holds no g2pw\.onnx: unpack https://.* or name its folder by"):
        tokenizer("你好")
    (tmp_path / "g2pw.onnx").write_bytes(b"no model")
    with pytest.raises(OSError, match="cannot be used"):
        tokenizer("你好")


def test_arabic_of_any_length_is_read_or_refused(tmp_path: Path) -> None:
    tokenizer = piper.tokenizer(tmp_path, piper.voice_settings("arabic"))
    assert tokenizer("")["input_ids"] == tokenizer("  ")["input_ids"] == []
    with pytest.raises(
        ValueError, match="vowel signs of this text cannot be restored: Text length cannot exceed 12000"
    ):
        tokenizer("سلام " * 3000)


def test_a_phoneme_may_have_several_ids(tmp_path: Path) -> None:
    phonemes = {"_": [0], "^": [1], "$": [2], "a": [3], "b": [4, 5], "c": [3, 6], "d": [6, 6, 3], " ": [7]}
    settings = {**piper.voice_settings("hebrew", phonemes), "phoneme_type": "text"}
    tokenizer = piper.tokenizer(tmp_path, settings)
    texts = ["abcd", "dd a", "b", "xyz"]
    ids = [tokenizer(text)["input_ids"] for text in texts]
    assert ids == piper.piper_ids(settings, texts)
    assert ids[0] == [1, 0, 3, 0, 4, 5, 0, 3, 6, 0, 6, 6, 3, 0, 2]
    tokenizer.save_pretrained(tmp_path / "again")
    again = VitsTokenizer.from_pretrained(tmp_path / "again")
    assert [again(text)["input_ids"] for text in texts] == ids
    assert words_of(again, "ab c") == ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"spellings gives 'b' the tokens \['no'\]; all must be in the vocabulary"):
        VitsTokenizer.from_pretrained(tmp_path, spellings={"b": ["no"]})
