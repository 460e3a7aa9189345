"""Full stops that end no sentence: in twelve languages, beside pysbd's lists, and as espeak-ng then reads them."""

import pysbd
import pytest
from pysbd.languages import LANGUAGE_CODES

from fastvits import VitsTokenizer
from fastvits.text.abbreviations import _ALWAYS, _NUMBERED
from fastvits.text.front_ends.piper import PiperPhonemeFrontEnd, piper_phonemes
from fastvits.text.preparation import Preparation, PreparedFrontEnd
from fastvits.text.sentences import split_sentences
from fastvits.text.spans import Original
from fastvits.text.vocabulary import Vocabulary
from fastvits.voices.folders import DEFAULT_VOICE, voice_folder

PIPER = PiperPhonemeFrontEnd(Vocabulary({"_": 0}), bos="^", eos="$", pad="_")


def sentences(text, language=None):
    return [sentence.text for sentence in split_sentences(text, language=language)]


ONE_SENTENCE = [
    ("en", "Dr. Smith has come."), ("en", "The U.S. Senate met."), ("en", "J. K. Rowling wrote it."),
    ("en", "Prof. Lee and Gen. Grant met."), ("en", "Sept. 11"), ("en", "See Fig. 2 and No. 5."),
    ("en", "we meet at 5 p.m. tomorrow"), ("en", "Come at 5 p.m. tomorrow."), ("en", "Well . . . yes."),
    ("de", "Das ist z. B. Frau Dr. Meier."), ("de", "Die Müller & Co. KG ist groß."),
    ("de", "Am 3. Mai kommt Prof. Klein."),
    ("fr", "Voici M. Dupont et Mme. Durand."), ("fr", "C'est le Dr. Petit, cf. Paris."),
    ("es", "El Sr. López y la Dra. Ruiz vinieron."), ("es", "Véase la pág. 5 y el art. 3."),
    ("it", "Il sig. Rossi e la dott.ssa Bianchi."), ("it", "L'ing. Verdi abita in p.za Dante."),
    ("pt", "O Sr. Silva e a Dra. Costa."), ("nl", "Dhr. Jansen en mevr. De Vries, o.a. Piet."),
    ("pl", "To jest prof. Nowak z ul. Długiej."), ("pl", "Na ul. Polnej mieszka np. Jan."),
    ("cs", "To je např. Ing. Novák."), ("ru", "Это проф. Иванов с ул. Ленина."),
    ("ru", "В 1999 г. Москва была другой."),
    ("uk", "Це вул. Шевченка і проф. Коваль."), ("sv", "Det är t.ex. Anna och dr. Berg."),
    ("tr", "Bu Prof. Demir ve Dr. Kaya."), ("el", "Δηλ. Παπαδόπουλος, π.χ. Αθήνα."),
]  # fmt: skip


@pytest.mark.parametrize(("language", "text"), ONE_SENTENCE)
def test_a_stop_of_an_abbreviation_ends_no_sentence(language, text):
    assert sentences(text, language) == [text]
    assert sentences(text.lower(), language) == [text.lower()]


@pytest.mark.parametrize(("language", "text"), ONE_SENTENCE)
def test_espeak_goes_on_behind_it(language, text):
    prepared = str(Preparation().prepared(Original(text), PIPER, language))
    assert len(piper_phonemes(prepared, {"en": "en-us", "fr": "fr-fr"}.get(language, language))) == 1, prepared


@pytest.mark.parametrize(
    ("language", "text", "first"),
    [
        ("en", "He came at 5 p.m. He left.", "He came at 5 p.m."),
        ("en", "She lives in the U.S. The house is big.", "She lives in the U.S."),
        ("en", "Apples, pears, etc. We ate them.", "Apples, pears, etc."),
        ("en", "I said no. Then I left.", "I said no."),
        ("en", "He works for Smith Inc. It is far.", "He works for Smith Inc."),
        ("en", "Give it to me. Now go.", "Give it to me."),
        ("de", "Äpfel, Birnen usw. Wir aßen sie.", "Äpfel, Birnen usw."),
        ("it", "Mele, pere ecc. Le mangiammo.", "Mele, pere ecc."),
        ("ru", "Яблоки и т.д. Мы их съели.", "Яблоки и т.д."),
        (None, "Tell me. Now go.", "Tell me."),
    ],
)
def test_the_last_of_a_sentence_ends_it(language, text, first):
    assert sentences(text, language)[0] == first


def test_ordinals_with_a_stop_are_ordinals():
    text = str(Preparation().prepared(Original("Am 3. Mai kommt er."), PIPER, "de"))
    assert "".join(*piper_phonemes(text, "de")) == "".join(*piper_phonemes("Am dritte Mai kommt er.", "de"))


def test_the_real_voice_makes_no_pause_there():
    tokenizer = VitsTokenizer.from_pretrained(voice_folder(DEFAULT_VOICE), preparation=Preparation())
    assert isinstance(tokenizer.front_end, PreparedFrontEnd)
    for text in (
        "Dr. Smith has come.",
        "The U.S. Senate met.",
        "J. K. Rowling wrote it.",
        "Prof. Lee and Gen. Grant met.",
    ):
        without = text[:-1].replace(". ", " ") + "."
        assert tokenizer.tokenize(text) == tokenizer.tokenize(without)
    # The published way stays the default.
    assert VitsTokenizer.from_pretrained(voice_folder(DEFAULT_VOICE)).tokenize("Dr. No").count("^") == 2


def test_pysbd_agrees_on_english():
    """Its list of what stands before a name or a number is known, and it cuts the English texts as we do."""
    lists = LANGUAGE_CODES["en"].Abbreviation
    known = _ALWAYS["en"] | _NUMBERED["en"]
    words = {word.lower() for word in (*lists.PREPOSITIVE_ABBREVIATIONS, *lists.NUMBER_ABBREVIATIONS)}
    assert words - known <= {"ing", "ph", "v"}  # words and letters that end sentences as well
    segmenter = pysbd.Segmenter(language="en", clean=False)
    texts = [text for language, text in ONE_SENTENCE if language == "en" and ". ." not in text]
    assert [segmenter.segment(text) for text in texts] == [[text] for text in texts]
