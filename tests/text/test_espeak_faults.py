"""What espeak-ng does wrong: flags, its own names of phonemes, voices that say nothing, digits that it leaves out."""

import json
import logging

import pytest

from fastvits import VitsTokenizer
from fastvits.text.espeak_clauses import _clause_reader, phonemes_of_clauses
from fastvits.text.espeak_faults import unread_digits
from fastvits.text.espeak_voices import VOICE_OF_LANGUAGE, short_code
from fastvits.text.front_ends.phonemized import espeak_phonemes
from fastvits.text.front_ends.piper import piper_phonemes
from fastvits.text.preparation import Preparation
from tests.support.tokenizers import write_vocabulary

# Words of other languages and scripts, which espeak-ng reads in other voices.
FOREIGN = "Hello Москва München Αθήνα भारत 한국 العربية ეი Հայ ไทย ᏣᎳᎩ"


def voices():
    """Every voice that the library lists, but for those of MBROLA."""
    listed = _clause_reader()._wrapper.available_voices()
    return sorted({voice.language for voice in listed if not voice.identifier.startswith("mb")})


def test_every_voice_speaks_without_flags_or_says_that_it_cannot(capfd):
    silent = []
    for voice in voices():
        try:
            spoken = "".join("".join(sentence) for sentence in piper_phonemes(FOREIGN, voice))
        except ValueError as error:
            silent.append((voice, str(error)))
        else:
            assert spoken.strip()
            assert "(" not in spoken
            assert ")" not in spoken
    assert all("has no dictionary" in reason for _, reason in silent)
    assert not {voice for voice, _ in silent} & set(VOICE_OF_LANGUAGE.values())
    capfd.readouterr()  # espeak-ng names the dictionaries that it misses


@pytest.mark.parametrize("read", [espeak_phonemes, piper_phonemes])
def test_a_voice_without_a_dictionary_is_an_error(read, capfd):
    with pytest.raises(ValueError, match="has no dictionary"):
        read("Hello", "fo")
    capfd.readouterr()


def tokenizer(folder, **settings):
    return VitsTokenizer(write_vocabulary(folder, "ipa"), pad_token="_", **settings)


def said(voice, text, **arguments):
    return "".join(token for token in voice.tokenize(text, **arguments) if token != "_")


def test_flags_are_letters_as_published_and_left_out_of_prepared_texts(tmp_path):
    voice = tokenizer(tmp_path, language="eng", preparation=Preparation())
    assert "hi" not in said(voice, "भारत")
    assert "enus" not in said(voice, "भारत").replace("-", "")
    published = tokenizer(tmp_path, language="eng")
    assert "(hi)" in espeak_phonemes("भारत", "en-us")
    assert "hi" in said(published, "भारत")


@pytest.mark.parametrize(
    ("voice", "text", "own", "ipa"),
    [
        ("ky", "Бишкек шаары", "S", "ʃ"),
        ("ky", "Ата", "[", "\u032a"),
        ("uz", "choy", "S", "ʃ"),
        ("ga", "mac", "A", "ɑ"),
        ("am", "ጤና", "`", "ʼ"),
        ("is", "hrafn", "#", "\u0325"),
    ],
)
def test_names_of_phonemes_are_ipa_where_a_voice_lacks_them(tmp_path, voice, text, own, ipa):
    published = "".join("".join(sentence) for sentence in piper_phonemes(text, voice))
    assert own in published
    known = sorted({*published, *"ʃ\u032aɑʼ\u0325ʒŋː"} - {own})
    path = tmp_path / "map.json"
    path.write_text(json.dumps({token: index for index, token in enumerate(["_", "^", "$", *known])}))
    front = {"frontend": "piper", "bos_token": "^", "eos_token": "$", "espeak_voice": voice}
    mended = said(VitsTokenizer(path, pad_token="_", preparation=Preparation(), **front), text)
    assert ipa in mended
    assert own not in mended.strip("^$")
    # A voice that has them was trained on them.
    path.write_text(json.dumps({token: index for index, token in enumerate(["_", "<", ">", *known, own])}))
    front.update(bos_token="<", eos_token=">")
    assert own in said(VitsTokenizer(path, pad_token="_", preparation=Preparation(), **front), text)


def test_digits_that_a_voice_does_not_read_are_reported(tmp_path, caplog):
    assert unread_digits("kĕneke 15", "cv") == {"1": (7, 8), "5": (8, 9)}
    assert unread_digits("15", "en-us") == {}
    assert set(unread_digits("٣ and ①", "en-us")) == {"٣", "①"}
    for settings in ({"espeak_voice": "cv"}, {"frontend": "piper", "bos_token": "!", "eos_token": "?"}):
        voice = tokenizer(tmp_path, **{"espeak_voice": "cv", **settings})
        with caplog.at_level(logging.WARNING, logger="fastvits"):
            voice.encode("ача 5")
        assert "The espeak-ng voice 'cv' does not read '5' (U+0035)" in caplog.text
        caplog.clear()
    # In a prepared text they are those that the voice reads.
    voice = tokenizer(tmp_path, language="eng", preparation=Preparation())
    assert said(voice, "٣ cats") == said(voice, "3 cats")


@pytest.mark.parametrize("line", ["...", "!?", "—", "( )", '"'])
def test_lines_of_punctuation_alone_do_not_shift_others(tmp_path, line):
    text = f"Hello.\n{line}\nGood day."
    alone = ["".join(sentence) for sentence in piper_phonemes("Hello.\nGood day.", "en-us")]
    spoken = ["".join(sentence) for sentence in piper_phonemes(text, "en-us")]
    assert [sentence.strip(" ;") for sentence in spoken if any(map(str.isalpha, sentence))] == alone
    voice = tokenizer(tmp_path, language="eng")
    for part in ("Hello", "Good day"):
        tokens, spans = zip(*voice.front_end.pieces(text), strict=True)
        first = text.index(part)
        own = "".join(
            token
            for token, span in zip(tokens, spans, strict=True)
            if span is not None and first <= span[0] and span[1] <= first + len(part) and token != "_"
        )
        assert own.strip() == espeak_phonemes(part, "en-us")


def test_a_lost_character_is_reported_with_its_word(tmp_path, caplog):
    voice = VitsTokenizer(write_vocabulary(tmp_path, "mms"), pad_token="k", phonemize=False, is_uroman=True)
    with caplog.at_level(logging.WARNING, logger="fastvits"):
        voice.encode("one tw°o three")
    assert "'°' (U+00B0) in 'tw°o'" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="fastvits"):
        voice.encode("ka\u07ebka", preparation=Preparation())
    assert "(U+07EB)" in caplog.text
    published = voice.decode(voice("ka\u07ebka"), skip_special_tokens=True)
    assert "tone" in published
    assert voice.decode(voice("ka\u07ebka", preparation=Preparation()), skip_special_tokens=True) == "kaka"


@pytest.mark.parametrize("read", [espeak_phonemes, piper_phonemes])
@pytest.mark.parametrize("voice", ["en-us", "fr-fr", "de"])
def test_a_variant_of_a_voice_has_its_phonemes(read, voice):
    text = "Dr. 3 etc."
    assert read(text, f"{voice}+f3") == read(text, voice)
    assert short_code(None, f"{voice}+f3") == voice[:2]


def test_phonemes_of_a_word_are_those_of_its_voice():
    assert phonemes_of_clauses("Hello", "en-us")[0][0] == "həlˈoʊ"
