"""What the tokenizer does better than the published one."""

import functools
import json
import logging
import sys

import pytest
import uroman

import fastvits.text.front_ends.phonemized
import fastvits.text.front_ends.romanized
from fastvits import VitsTokenizer
from tests.support.multilingual_texts import ALL_TEXTS
from tests.support.tokenizers import tokenizer_pair, write_vocabulary


@pytest.mark.parametrize("setting", ["mms", "mms-no-blank", "mms-own-pad", "uroman", "romanian"])
def test_skipping_special_tokens_loses_no_letters(setting, tmp_path, backends):
    ours, published = tokenizer_pair(tmp_path, setting)
    lost = 0
    for text in ALL_TEXTS:
        ids = ours.encode(text)
        kept = "".join(c for c in str(ours.front_end.read(text).pieces.before) if c in ours.encoder)
        if setting == "romanian":
            kept = kept.strip("|")  # a mark as pad token is taken for padding at the ends
        assert ours.decode(ids, skip_special_tokens=True) == kept, text
        lost += published.decode(ids, skip_special_tokens=True) != kept
    words = ["knock knock", "kk"]
    assert ours.batch_decode([ours.encode(word) for word in words], skip_special_tokens=True) == words
    if setting != "mms-own-pad":
        assert lost > 0


def test_padding_is_told_from_letters_by_the_attention_mask(mms):
    texts = ["kick", "a trekk", "k", ""]
    for side in ("left", "right"):
        batch = mms(texts, padding=True, padding_side=side, return_tensors="pt")
        assert mms.batch_decode(batch, skip_special_tokens=True) == texts
    assert mms.decode(mms("kick", padding="max_length", max_length=40), skip_special_tokens=True) == "kick"


def test_a_mark_as_pad_token_is_dropped_at_the_ends(tmp_path):
    tokenizer = VitsTokenizer(write_vocabulary(tmp_path, "ipa"), pad_token="_", phonemize=False)
    batch = tokenizer(["hello", "a longer text", "snake_case"], padding=True)
    expected = ["hello", "a longer text", "snake_case"]
    assert tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True) == expected


def test_what_the_vocabulary_lacks_is_reported_once_a_text(mms, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="fastvits"):
        ids = mms(["Ça, ça và", "nothing lacks", "é"]).input_ids
    messages = [record.getMessage() for record in caplog.records if record.name == "fastvits"]
    assert len(messages) == 2
    for character in ("'ç' (U+00E7)", "',' (U+002C)", "'à' (U+00E0)"):
        assert messages[0].count(character) == 1
    assert "left out" in messages[0]
    assert ids[2] == []
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="fastvits"):
        mms(["two", "wörds", "wörds"], is_split_into_words=True)
        mms("AB", normalize=False)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert messages[0].count("'ö'") == 1
    assert "read as <unk>" in messages[1]


def test_unknown_phonemes_are_reported(tmp_path, caplog):
    letters = tmp_path / "letters.json"
    letters.write_text(json.dumps({token: index for index, token in enumerate("_hello ")}))
    tokenizer = VitsTokenizer(letters, pad_token="_")
    with caplog.at_level(logging.WARNING, logger="fastvits"):
        ids = tokenizer.encode("hello")
    assert tokenizer.unk_token_id in ids
    assert "'ˈ' (U+02C8)" in caplog.text


def test_one_romanizer_a_process_called_as_published(tmp_path, monkeypatch):
    ready = fastvits.text.front_ends.romanized._uroman()
    built, calls = [], []

    class Counting(uroman.Uroman):
        def __init__(self):
            built.append(1)
            self.__dict__.update(ready.__dict__)  # its tables take seconds to read

        def romanize_string(self, s, lcode=None, *arguments, **keywords):
            calls.append(lcode)
            return super().romanize_string(s, lcode, *arguments, **keywords)

    monkeypatch.setattr(uroman, "Uroman", Counting)
    unused = functools.lru_cache(maxsize=1)(fastvits.text.front_ends.romanized._uroman.__wrapped__)
    monkeypatch.setattr(fastvits.text.front_ends.romanized, "_uroman", unused)
    path = write_vocabulary(tmp_path, "mms")
    first = VitsTokenizer(path, pad_token="k", phonemize=False, is_uroman=True, language="rus")
    second = VitsTokenizer(path, pad_token="k", phonemize=False, is_uroman=True, uroman_language="ukr")
    assert built == []
    first("only ascii")
    assert built == []
    assert first.decode(first.encode("привет")) == "privet"
    first("привет"), second("гарно")
    assert built == [1]
    assert calls == [None, None, "ukr"]


def test_espeak_voice_is_english_unless_something_says_otherwise(tmp_path, monkeypatch):
    voices = []

    def record(lines, voice):
        voices.append(voice)
        return lines, [[line] for line in lines], [[] for _ in lines], lines

    monkeypatch.setattr(fastvits.text.front_ends.phonemized, "spoken_lines", record)
    path = write_vocabulary(tmp_path, "ipa")
    for settings in ({}, {"language": "deu"}, {"language": "eng"}, {"language": "xyz"}, {"espeak_voice": "fr-fr"}):
        VitsTokenizer(path, **settings)("a")
    VitsTokenizer(path, language="deu", espeak_voice="fr-fr")("a")
    assert voices == ["en-us", "de", "en-us", "en-us", "fr-fr", "fr-fr"]


PIPER_VOCABULARY = [*"_^$ !',-.:;?", *"abcdefhijklmnoprstuvwxyz", *"æðŋɑɐɔəɚɛɜɡɪɹʃʊʌʒˈˌːθɾᵻ"]


@pytest.fixture
def piper(tmp_path):
    path = tmp_path / "piper.json"
    path.write_text(json.dumps({token: index for index, token in enumerate(PIPER_VOCABULARY)}))
    return VitsTokenizer(
        path, pad_token="_", bos_token="^", eos_token="$", unk_token=None, frontend="piper", espeak_voice="en-us"
    )


def test_piper_layout(piper, tmp_path):
    tokens = piper.tokenize("Hi. No!")
    assert "".join(tokens).count("^") == 2
    sentences = "".join(tokens).split("$")[:-1]
    assert sentences == ["^_h_ˈ_a_ɪ_._", "^_n_ˈ_o_ʊ_!_"]
    ids = piper.encode("Hi. No!")
    assert ids == [PIPER_VOCABULARY.index(token) for token in tokens]
    assert piper.decode(ids, skip_special_tokens=True) == "hˈaɪ.nˈoʊ!"
    assert piper.encode("") == []
    piper.save_pretrained(tmp_path / "saved")
    assert VitsTokenizer.from_pretrained(tmp_path / "saved").encode("Hi. No!") == ids


def test_piper_ids_equal_piper(piper):
    from piper.config import PhonemeType, PiperConfig
    from piper.voice import PiperVoice

    mapping = {token: [index] for index, token in enumerate(PIPER_VOCABULARY)}
    config = PiperConfig(
        num_symbols=len(mapping),
        num_speakers=1,
        sample_rate=22050,
        espeak_voice="en-us",
        phoneme_id_map=mapping,
        phoneme_type=PhonemeType.ESPEAK,
    )
    voice = PiperVoice(session=None, config=config)
    for text in (
        "Hello, my dog is cute.",
        "“Stop!” she said — and (then) left. Is it 3 o'clock?",
        "One.\nTwo; three: four... five",
        "A “quoted” [bracket], a dash - and the year 1999!",
        "naïve café",
        "$ ^ _ a b",
    ):
        expected = [index for sentence in voice.phonemize(text) for index in voice.phonemes_to_ids(sentence)]
        assert piper.encode(text) == expected, text


def test_piper_voices_of_letters_equal_piper(tmp_path):
    from piper.config import PhonemeType, PiperConfig
    from piper.voice import PiperVoice

    symbols = [*"_^$ .!", *"abcde", "\u0301"]
    path = tmp_path / "letters.json"
    path.write_text(json.dumps({token: index for index, token in enumerate(symbols)}))
    settings = {"pad_token": "_", "bos_token": "^", "eos_token": "$", "frontend": "piper", "phonemize": False}
    tokenizer = VitsTokenizer(path, **settings)
    config = PiperConfig(
        num_symbols=len(symbols),
        num_speakers=1,
        sample_rate=22050,
        espeak_voice="",
        phoneme_id_map={token: [index] for index, token in enumerate(symbols)},
        phoneme_type=PhonemeType.TEXT,
    )
    voice = PiperVoice(session=None, config=config)
    for text in ("abc dé. Bad!", "é", "a ✓ b"):
        assert tokenizer.encode(text) == voice.phonemes_to_ids(voice.phonemize(text)[0])
    assert tokenizer.encode("") == []


def _work(tokenizer, text):
    """Number of calls, Python's and C's, that encoding takes: its operations, without a clock."""
    counter = [0]

    def count(frame, event, argument):
        counter[0] += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        ids = tokenizer.encode(text)
    finally:
        sys.setprofile(None)
    return counter[0], len(ids)


@pytest.mark.parametrize("setting", ["mms", "mms-as-written", "odd", "ipa-letters"])
def test_work_grows_linearly(setting, tmp_path):
    tokenizer, _ = tokenizer_pair(tmp_path, setting)
    text = "Knock, who is there? <unk> Ng ab é. "
    small, few = _work(tokenizer, text * 25)
    large, many = _work(tokenizer, text * 400)
    assert 15 < many / few < 17
    assert large < 17 * small


def test_a_book_is_one_text(mms):
    """Half a million characters: a quadratic step would take hours."""
    assert len(mms.encode("a b c " * 85_000)) > 1_000_000
