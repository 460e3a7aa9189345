"""The signs of numbers: minus in words where one is meant, never for a hyphen, and no point that goes unsaid."""

import re

import pytest

from fastvits import VitsTokenizer
from fastvits.text.espeak_clauses import phonemes_of_clauses
from fastvits.text.espeak_numbers import numbers_for_espeak
from fastvits.text.espeak_voices import VOICE_OF_LANGUAGE
from fastvits.text.front_ends.piper import PiperPhonemeFrontEnd
from fastvits.text.number_data import LESS, MINUS
from fastvits.text.number_signs import decimal_mark
from fastvits.text.preparation import AS_PUBLISHED, Preparation, PreparedFrontEnd
from fastvits.text.shorthand import LANGUAGES, spelt_out
from fastvits.text.spans import Original
from fastvits.text.vocabulary import Vocabulary
from fastvits.voices.folders import DEFAULT_VOICE, voice_folder
from tests.support.tokenizers import write_vocabulary

# Languages of espeak-ng of which no word is known, and voices that are silent at points and commas alike.
WITHOUT_MINUS = frozenset(
    "as bpy chr gn grc hak haw kl kok ku mi mt mto nci nog om pap piqd qdb qu quc qya shn sjn smj tn".split()  # noqa: SIM905
)
WITHOUT_POINT = frozenset("bpy chr cv hak haw la mi my nci nog piqd qu quc qya shn sjn".split())  # noqa: SIM905
VOICES = sorted({*VOICE_OF_LANGUAGE.values(), "en-gb", "es-419", "pt-br"})


def language_of(voice):
    return voice.partition("-")[0]


def minus(voice):
    language = language_of(voice)
    return LANGUAGES[language].minus if language in LANGUAGES else MINUS[language]


def plain(text, voice):
    """The phonemes of a text as it stands, without flags, stress and what parts clauses."""
    phonemes = " ".join(clause[0] for clause in phonemes_of_clauses(text, voice))
    return "".join(re.sub(r"\([^)]*\)|[ˈˌ]", "", phonemes).split())


def prepared(text, voice):
    """A text as it reaches a voice of espeak-ng."""
    front_end = PiperPhonemeFrontEnd(Vocabulary({}), bos="^", eos="$", pad="_", voice=voice)
    return str(PreparedFrontEnd(front_end, Preparation(), language_of(voice)).prepared(text))


@pytest.mark.parametrize(
    ("language", "typed", "words"),
    [
        ("en", "-5, \u22125 and \u20135", "minus 5, minus 5 and minus 5"),
        ("sv", "-5, \u22125 och \u20115", "minus 5, minus 5 och minus 5"),
        ("pl", "(-5) x=-5 3,-5 \"-5\"", "(minus 5) x= minus 5 3, minus 5 \"minus 5\""),
        ("fi", "5\u22123 ja 5 \u2212 3", "5 miinus 3 ja 5 miinus 3"),
        ("uk", "x \u2212 y", "x мінус y"), ("en", "x \u2212 y", "x minus y"),
        ("tr", "UTC-5", "UTC eksi 5"),
        ("nl", "-\u20ac5 en \u20ac-5", "min \u20ac5 en min \u20ac5"),
        ("cmn", "\u6c14\u6e29-5\u5ea6\uff0c5\u22123", "\u6c14\u6e29\u8d1f5\u5ea6\uff0c5\u51cf3"),
        ("cmn", "\u957f\u5f81-5\u53f7", "\u957f\u5f81-5\u53f7"),
        ("ja", "-5\u5ea6", "マイナス5\u5ea6"), ("ko", "5 \u2212 3", "5 빼기 3"),
        ("de", "-1 \u20ac, -1 °C, -½ Tasse", "minus ein Euro, minus ein Grad Celsius, minus ein halb Tasse"),
        ("ru", "-1 °C", "минус один градус Цельсия"),
        ("en", "-$1.2M", "minus 1.2 million dollars"),
        ("en", "5 -3 and -5 -3", "5 minus 3 and minus 5 minus 3"),
        ("es", "Son \u20135 en total\u2013 y \u20135 °C", "Son \u20135 en total\u2013 y menos 5 grados Celsius"),
        ("en", "-3 to -5, pages 12-15, 1990\u22121995", "minus 3 to minus 5, pages 12 to 15, 1990 to 1995"),
        ("en", ".5 or -.5, $.50", "0.5 or minus 0.5, 0 dollars and 50 cents"),
        ("de", ".5 und -,5", "0,5 und minus 0,5"), ("sv", "(.5)", "(0,5)"), ("hi", ".5", "0.5"),
        ("en", "a.7z .7z v.5 1.2.3 ...5", "a.7z .7z v.5 1.2.3 ...5"),
    ],
)  # fmt: skip
def test_signs_are_words(language, typed, words):
    assert str(spelt_out(Original(typed), language)) == words


@pytest.mark.parametrize("language", ["pl", "sv", "uk", "tr", "cmn", "pt"])
@pytest.mark.parametrize(
    "text",
    [
        "1990-1995",
        "A-5",
        "5%-7%",
        "10 -15",
        "555-1234",
        "2024-05-12",
        "(2)-5",
        "5,- 6",
        "--5",
        "- 5",
        "word-5",
        "5°-7°",
        "am 5.-7.",
        ":-3",
        "5 \u20ac-10 \u20ac",
        "5\u20ac-10\u20ac",
        "$5 -$10",
        "$5-$10",
    ],
)
def test_hyphens_and_ranges_are_no_minus(language, text):
    word = LANGUAGES[language].minus if language in LANGUAGES else MINUS[language]
    assert word not in str(spelt_out(Original(text), language))


@pytest.mark.parametrize("voice", [voice for voice in VOICES if language_of(voice) not in WITHOUT_MINUS])
def test_a_voice_says_every_minus_in_its_language_and_no_hyphen(voice):
    said = plain(minus(voice), voice)
    assert said
    for typed in ("-5", "\u22125", "-5°C", "-.5", "\u22120.5"):
        # Its last consonant bends to the next word in some languages.
        assert plain(prepared(typed, voice), voice).startswith(said[:-1]), typed
    less = LESS.get(language_of(voice), minus(voice))
    assert plain(less, voice) in plain(prepared("7\u22125", voice), voice)
    for typed in ("7-5", "1990-1995", "ab-19", "5%-7%", "7\u20135"):
        assert said not in plain(prepared(typed, voice), voice), typed


@pytest.mark.parametrize("voice", VOICES)
def test_a_voice_says_no_english_minus_sign(voice):
    known = language_of(voice) not in WITHOUT_MINUS
    if "maɪnəs" not in (plain(minus(voice), voice) if known else ""):
        assert "maɪnəs" not in plain(prepared("7 \u2212 5 a \u22125", voice), voice)


@pytest.mark.parametrize("voice", [voice for voice in VOICES if language_of(voice) not in WITHOUT_POINT])
def test_a_voice_says_the_point_of_a_number(voice):
    mark = decimal_mark(voice)
    whole, decimals = plain("0", voice), plain("5", voice)
    for typed in (".5", f"0{mark}5", "0.5", "-.5"):
        read = plain(prepared(typed, voice), voice)
        assert len(read) > len(whole + decimals), typed
        assert typed != ".5" or read == plain(prepared(f"0{mark}5", voice), voice)


def test_the_tables_are_about_languages_that_exist():
    languages = {language_of(voice) for voice in VOICES}
    assert not MINUS.keys() & LANGUAGES.keys()
    assert set(LESS) <= set(MINUS)
    assert languages - MINUS.keys() - LANGUAGES.keys() == WITHOUT_MINUS


def test_a_minus_without_a_word_is_a_hyphen():
    assert str(numbers_for_espeak(Original("\u22125"), "haw")) == "-5"
    assert str(spelt_out(Original("\u22125"), "haw")) == "\u22125"


@pytest.mark.parametrize(
    ("language", "typed", "words"),
    [
        ("swe", "\u22125, .5", "minus fem, noll komma fem"), ("swe", "+5", "+fem"),
        ("tur", "-5", "eksi beş"), ("pol", "\u20135", "minus pięć"), ("ukr", "-2,5", "мінус два кома п'ять"),
        ("swe", "5-3", "fem-tre"), ("hin", "-5", "माइनस 5"),
    ],
)  # fmt: skip
def test_what_voices_of_letters_say(tmp_path, language, typed, words):
    tokenizer = VitsTokenizer(
        write_vocabulary(tmp_path, "mms"), phonemize=False, is_uroman=True, language=language, preparation=Preparation()
    )
    assert str(tokenizer.front_end.prepared(typed)) == words


def test_spans_are_those_of_the_text_as_it_was_typed():
    tokenizer = VitsTokenizer.from_pretrained(voice_folder(DEFAULT_VOICE), preparation=Preparation())
    text = "At \u22125 and .5 and $-7 now."
    pieces = [(token, text[slice(*span)]) for token, span in tokenizer.front_end.pieces(text) if span]
    shown = {shown for token, shown in pieces if token.isalpha()}
    assert {"At", "now"} <= shown
    assert any("\u2212" in each for each in shown)
    assert any(each.startswith(".") for each in shown)
    assert tokenizer.tokenize(text) == tokenizer.tokenize("At minus 5 and 0.5 and minus 7 dollars now.")
    published = VitsTokenizer.from_pretrained(voice_folder(DEFAULT_VOICE))
    assert published.tokenize(text) == tokenizer.tokenize(text, preparation=AS_PUBLISHED)


def test_a_long_text_takes_no_longer_than_its_parts():
    """A search to the beginning from every sign would take minutes here."""
    for part in ("1 -", "\u20135 ", "\u22125", "\u20135 a", "-.5", "1\u2212"):
        words = str(spelt_out(Original(part * 30_000), "sv"))
        assert len(words) >= 30_000
