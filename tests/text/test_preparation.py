"""Texts that are mended before they are read: letters, apostrophes, dashes, numbers, sums, ellipses."""

import dataclasses
import itertools
import logging
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastvits import VitsTokenizer
from fastvits.text.folding import readable_by_espeak
from fastvits.text.number_words import knows_numbers
from fastvits.text.preparation import AS_PUBLISHED, Preparation
from fastvits.text.spans import Original
from fastvits.voices.folders import DEFAULT_VOICE, voice_folder
from tests.support.multilingual_texts import TEXTS
from tests.support.tokenizers import write_vocabulary

MENDED = Preparation()
RUSSIAN = [*"_'абвгдежзийклмнопрстуфхцчшщъыьэюя-", " "]


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    """Tokenizers of each family, their texts mended."""
    folder = tmp_path_factory.mktemp("vocabularies")
    mms = {"vocab_file": write_vocabulary(folder, "mms"), "pad_token": "k", "phonemize": False}
    return {
        "mms": VitsTokenizer(**mms, language="eng", preparation=MENDED),
        "uroman": VitsTokenizer(**mms, is_uroman=True, language="rus", preparation=MENDED),
        "phonemes": VitsTokenizer(write_vocabulary(folder, "ipa"), pad_token="_", preparation=MENDED),
        "piper": VitsTokenizer.from_pretrained(voice_folder(DEFAULT_VOICE), preparation=MENDED),
        "piper-letters": VitsTokenizer.from_pretrained(
            voice_folder(DEFAULT_VOICE), phonemize=False, preparation=MENDED
        ),
    }


def said(tokenizer, text):
    """What a voice of letters says."""
    return tokenizer.decode(tokenizer(text), skip_special_tokens=True)


def heard(tokenizer, text):
    """The phonemes of a voice."""
    return "".join(token for token in tokenizer.tokenize(text) if token != tokenizer.pad_token)


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.ERROR, logger="fastvits")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("cafe\u0301 nai\u0308ve", "café naïve"),
        ("\ufb01ne \ufb02ow o\ufb03ce", "fine flow office"),
        ("𝐛𝐨𝐥𝐝 𝒾𝓉𝒶𝓁𝒾𝒸 𝟏𝟐", "bold italic 12"),
        ("Ｆｕｌｌ ｗｉｄｔｈ １２", "Full width 12"),
        ("don\u02bct donʻt don`t don´t", "don't don't don't don't"),
    ],
)
def test_letters_are_read_as_what_they_mean(voices, typed, meant):
    for name in ("piper", "phonemes"):
        assert voices[name].tokenize(typed) == voices[name].tokenize(meant)
    assert said(voices["mms"], typed) == said(voices["mms"], meant)


@pytest.mark.parametrize("lines", TEXTS.values(), ids=TEXTS.keys())
def test_composed_and_decomposed_texts_have_equal_ids(voices, lines):
    for tokenizer in voices.values():
        for text in lines[:4]:
            decomposed, composed = unicodedata.normalize("NFD", text), unicodedata.normalize("NFC", text)
            assert tokenizer.encode(decomposed) == tokenizer.encode(composed), text


def test_a_voice_of_letters_gets_the_form_that_it_has(tmp_path):
    import json

    for letters in (["é", "e"], ["e", "\u0301"]):
        path = tmp_path / "letters.json"
        path.write_text(json.dumps({token: index for index, token in enumerate(["_", "c", "a", "f", *letters])}))
        tokenizer = VitsTokenizer(path, pad_token="_", phonemize=False, preparation=MENDED)
        for text in ("café", "cafe\u0301", "CAFÉ"):
            assert unicodedata.normalize("NFC", said(tokenizer, text)) == "café"
    # A map without capitals reads small letters, also where nothing is normalised.
    piper = VitsTokenizer(path, pad_token="_", bos_token="c", eos_token="c", frontend="piper", phonemize=False)
    assert piper.tokenize("FA") == ["c", "_", "c"]
    piper.preparation = MENDED
    assert piper.tokenize("FA") == ["c", "_", "f", "_", "a", "_", "c"]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("It\u2019s", "it's"), ("It\u02bcs", "it's"), ("It`s", "it's"),
        ("word\u2014word and/or", "word word and or"), ("yes\u2026no", "yes no"),
        ("one\ntwo\u00a0three", "one two three"),
        ("27 or 1,234.5", "twenty-seven or one thousand two hundred and thirty-four point five"),
        ("the 3rd of May 1999", "the third of may nineteen ninety-nine"), ("at 10:30", "at ten thirty"),
        ("50% off", "fifty percent off"), ("$3.50", "three dollars and fifty cents"), ("½ cup", "one half cup"),
        ("$1.2M", "one point two million dollars"), ("€1bn", "one billion euros"), ("24/7", "twenty-four seven"),
        ("50-50", "fifty fifty"), ("10km/h", "ten kilometres per hour"),
        ("1kg and 2kg", "one kilogram and two kilograms"),
        ("Louis XIV", "louis the fourteenth"), ("007", "zero zero seven"),
        ("-5 or 3\u20135", "minus five or three to five"),
        ("+1 555 123 4567", "plus one five five five one two three four five six seven"),
        ("\u0663 cats", "three cats"), ("2024-05-12", "may twelfth twenty twenty-four"), ("B2B", "b two b"),
        ("1000000000000000000000", "one" + " zero" * 21),
        ("192.168.1.1", "one hundred and ninety-two dot one hundred and sixty-eight dot one dot one"),
    ],
)  # fmt: skip
def test_what_an_english_voice_of_letters_says(voices, typed, words):
    assert said(voices["mms"], typed) == words


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("$1.2M", "1.2 million dollars"), ("€1bn", "1 billion euros"), ("24/7", "24 7"), ("50-50", "50 50"),
        ("10km/h", "10 kilometres per hour"), ("$5", "5 dollars"), ("£1.01", "1 pound and 1 penny"),
        ("Well . . . yes.", "Well, yes."), ("Wait... what?", "Wait, what?"), ("No… He left…", "No. He left."),
        ("12\u00a0000 cats, 1\u202f234\u202f567 mice", "12000 cats, 1234567 mice"),
    ],
)  # fmt: skip
def test_what_an_english_voice_of_phonemes_reads(voices, typed, words):
    published = VitsTokenizer.from_pretrained(voice_folder(DEFAULT_VOICE))
    assert voices["piper"].tokenize(typed) == published.tokenize(words)


@pytest.mark.parametrize(
    ("language", "typed", "joined"),
    [
        ("fr", "12\u202f000,50\u00a0€", "12000,50\u00a0€"), ("sv", "-1\u00a0234\u00a0567", "-1234567"),
        ("ru", "12 000 человек", "12000 человек"), ("en", "12 000", "12 000"),
        ("cs", "+420 123 456 789", "+420 123 456 789"), ("cs", "0800\u00a0123\u00a0456", "0800\u00a0123\u00a0456"),
        ("ru", "123 456 78", "123 456 78"), ("fr", "06\u00a012\u00a034\u00a056", "06\u00a012\u00a034\u00a056"),
        ("ne", "12\u00a0000", "१२०००"),
    ],
)  # fmt: skip
def test_thousands_apart_by_spaces_are_one_number(language, typed, joined):
    assert str(readable_by_espeak(Original(typed), language)) == joined


@pytest.mark.parametrize(
    ("language", "typed", "words"),
    [
        ("deu", "Am 3. Mai kostet es 3,50 €", "Am dritten Mai kostet es drei Euro und fünfzig Cent"),
        ("deu", "1.234 Leute, 50 %", "eintausendzweihundertvierunddreißig Leute, fünfzig Prozent"),
        ("fra", "Le 1er mai, 3 €", "Le premier mai, trois euros"),
        ("spa", "El 2.º piso, 1.000 €", "El segundo piso, mil euros"),
        ("ita", "3,5 o 20%", "tre virgola cinque o venti per cento"),
        ("rus", "25% и 3-й", "двадцать пять процентов и третий"),
        ("tur", "3,5 ve %20", "üç virgül beş ve yüzde yirmi"),
        ("kor", "5개 10%", "오 개 십 퍼센트"),
        ("hin", "५ बजे", "५ बजे"),  # num2words does not know the language
    ],
)
def test_numbers_in_other_languages(tmp_path, language, typed, words):
    tokenizer = VitsTokenizer(
        write_vocabulary(tmp_path, "mms"), phonemize=False, is_uroman=True, language=language, preparation=MENDED
    )
    assert str(tokenizer.front_end.prepared(typed)) == words


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("人々", "人人"), ("いすゞ", "いすず"), ("เด็กๆ", "เด็ก เด็ก"), ("二〇", "二零"), ("ເກ", "ກເ"),
        ("ᱥᱟᱱᱛᱟᱲᱤ", "santarri"), ("ᏣᎳᎩ", "tsalagi"), ("ꮳꮃꭹ", "tsalagi"), ("\U0001e7e0", "hhya"),
        ("한국어", "hangugeo"), (unicodedata.normalize("NFD", "한국어"), "hangugeo"),
    ],
)  # fmt: skip
def test_what_uroman_misreads(voices, typed, meant):
    assert said(voices["uroman"], typed) == said(voices["uroman"], meant)


@pytest.mark.parametrize("text", ["二分之", "百分之a", "百分之 五 привет"])
def test_what_uroman_fails_on_is_read_in_parts(voices, text):
    for preparation in (MENDED, AS_PUBLISHED):
        assert "fen" in voices["uroman"].decode(
            voices["uroman"](text, preparation=preparation), skip_special_tokens=True
        )


def test_a_language_that_is_no_code_is_refused(tmp_path):
    with pytest.raises(ValueError, match="uroman_language must be an ISO 639-3 code"):
        VitsTokenizer(write_vocabulary(tmp_path, "mms"), is_uroman=True, uroman_language="Russian")


def test_digits_of_an_unknown_language_are_reported(tmp_path, caplog):
    import json

    path = tmp_path / "hindi.json"
    path.write_text(json.dumps({token: index for index, token in enumerate(["_", *"बजे", " "])}))
    tokenizer = VitsTokenizer(path, pad_token="_", phonemize=False, language="hin", preparation=MENDED)
    assert not knows_numbers("hi")
    with caplog.at_level(logging.WARNING, logger="fastvits"):
        tokenizer.encode("५ बजे")
    assert "U+096B" in caplog.text


def test_every_kind_can_be_left_out(voices):
    text = "Dr. Cafe\u0301 24/7 . . . yes"
    piper = voices["piper"]
    published = VitsTokenizer.from_pretrained(voice_folder(DEFAULT_VOICE))
    assert published(text)["input_ids"] == piper(text, preparation=AS_PUBLISHED)["input_ids"]
    assert published(text, preparation=MENDED)["input_ids"] == piper(text)["input_ids"]
    found = {str(piper.prepared_front_end(MENDED).prepared(text))}
    for name in ("fold_characters", "abbreviations", "ellipses", "spell_out"):
        front_end = piper.prepared_front_end(dataclasses.replace(MENDED, **{name: False}))
        found.add(str(front_end.prepared(text)))
    assert len(found) == 5
    numbers = voices["mms"].prepared_front_end(dataclasses.replace(MENDED, normalize_numbers="off"))
    assert str(numbers.prepared("7 days")) == "7 days"
    for arguments, error in (({"normalize_numbers": "on"}, ValueError), ({"ellipses": 1}, TypeError)):
        with pytest.raises(error, match=next(iter(arguments))):
            Preparation(**arguments)
    with pytest.raises(TypeError, match="preparation must be"):
        piper(text, preparation=True)


def test_a_saved_tokenizer_keeps_its_preparation(voices, tmp_path):
    voices["mms"].save_pretrained(tmp_path)
    assert VitsTokenizer.from_pretrained(tmp_path).preparation == MENDED


PIECES = st.lists(
    st.sampled_from(
        ["Dr. ", "e\u0301", "\ufb01", "24/7", "$1.2M", "10km/h", " . . . ", "…", "1,234.5", "3rd", "½", "U.S. ", "’",
         "—", "\n", " ", "XIV", "٣", "007", "+1 555 123 4567", "word", "Ａ", "한", "[[hə]]", "50%", "2024-05-12",
         "no. 5", "-5", " \u2212", ".5", "$-7", "\u20133"]
    ),
    max_size=10,
).map("".join)  # fmt: skip
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=25)


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow,
          HealthCheck.function_scoped_fixture])  # fmt: skip
@given(name=st.sampled_from(["mms", "uroman", "phonemes", "piper", "piper-letters"]), text=st.one_of(PIECES, ANY_TEXT))
def test_spans_of_mended_texts_are_inside_the_text_and_in_order(voices, name, text):
    spans = [span for _, span in voices[name].front_end.pieces(text) if span is not None]
    assert all(0 <= first < last <= len(text) for first, last in spans)
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in itertools.pairwise(spans))


def test_timestamps_are_those_of_the_text_as_it_was_typed(voices):
    text = "Dr. Cafe\u0301 has $5."
    spans = {text[slice(*span)] for token, span in voices["piper"].front_end.pieces(text) if span and token.isalpha()}
    assert {"Dr", "Cafe\u0301", "has"} <= spans
    assert any("$" in span or "5" in span for span in spans)
