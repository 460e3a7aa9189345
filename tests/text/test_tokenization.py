"""The tokenizer against transformers' own, token for token, and what it does better."""

import copy
import functools
import inspect
import json
import logging
import pickle
import sys

import numpy as np
import pytest
import torch
import uroman
from transformers import AutoTokenizer
from transformers import BatchEncoding as PublishedEncoding
from transformers import VitsTokenizer as PublishedTokenizer

import fastvits.text.front_ends.phonemized
import fastvits.text.front_ends.romanized
from fastvits import BatchEncoding, VitsTokenizer
from tests.support.multilingual_texts import ALL_TEXTS, TEXTS
from tests.support.tokenizers import (
    MMS_ENGLISH,
    SETTINGS,
    outcome,
    plain,
    published_backends,
    tokenizer_pair,
    write_vocabulary,
)


@pytest.fixture(scope="module")
def backends():
    with published_backends():
        yield


@pytest.fixture
def mms(tmp_path):
    """MMS English, where the pad token, the blank and the letter k are one."""
    return VitsTokenizer(write_vocabulary(tmp_path, "mms"), pad_token="k", language="eng", phonemize=False)


@pytest.fixture
def mms_pair(tmp_path):
    return tokenizer_pair(tmp_path, "mms")


# ---------------------------------------------------------------------------------------------------------------------
# Parity


@pytest.mark.parametrize("setting", SETTINGS)
def test_tokens_equal_transformers_in_every_language(setting, tmp_path, backends):
    ours, published = tokenizer_pair(tmp_path, setting)
    for text in ALL_TEXTS:
        assert ours.tokenize(text) == published.tokenize(text), text
    batch = ours(ALL_TEXTS, padding=True, return_tensors="pt")
    expected = published(ALL_TEXTS, padding=True, return_tensors="pt")
    for name in expected:
        assert torch.equal(batch[name], expected[name]), name


def test_texts_are_a_few_hundred_in_ten_languages():
    assert len(ALL_TEXTS) >= 200
    assert len(TEXTS) >= 10


@pytest.mark.parametrize("setting", ["mms", "mms-no-blank", "mms-as-written", "ipa-letters", "odd"])
def test_conversions_and_decoding_equal_transformers(setting, tmp_path, backends):
    ours, published = tokenizer_pair(tmp_path, setting)
    assert ours.get_vocab() == published.get_vocab()
    assert ours.get_added_vocab() == published.get_added_vocab()
    assert len(ours) == len(published)
    for text in ALL_TEXTS:
        ids = published.encode(text)
        tokens = published.tokenize(text)
        assert ours.convert_tokens_to_ids(tokens) == published.convert_tokens_to_ids(tokens)
        assert ours.convert_ids_to_tokens(ids) == published.convert_ids_to_tokens(ids)
        assert ours.convert_ids_to_tokens(ids, skip_special_tokens=True) == published.convert_ids_to_tokens(
            ids, skip_special_tokens=True
        )
        assert ours.convert_tokens_to_string(tokens) == published.convert_tokens_to_string(tokens)
        assert ours.decode(ids) == published.decode(ids)
        assert ours.decode(ids, clean_up_tokenization_spaces=True) == published.decode(
            ids, clean_up_tokenization_spaces=True
        )
    batch = [published.encode(text) for text in ALL_TEXTS[:20]]
    assert ours.batch_decode(batch) == published.batch_decode(batch)
    for ids in ([], [[]], 5, torch.tensor([0, 5, 0]), np.array([[0, 5, 0], [0, 6, 0]]), [torch.tensor([0, 5])]):
        assert ours.decode(ids) == published.decode(ids)
        assert ours.batch_decode(ids) == published.batch_decode(ids)


@pytest.mark.parametrize("setting", SETTINGS)
def test_attributes_equal_transformers(setting, tmp_path):
    ours, published = tokenizer_pair(tmp_path, setting)
    specials = [f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")]
    names = [*specials, *(f"{name}_id" for name in specials)]
    names += ["all_special_tokens", "all_special_ids", "special_tokens_map", "vocab_size", "model_max_length"]
    names += ["padding_side", "truncation_side", "model_input_names", "pad_token_type_id", "is_fast"]
    names += ["language", "add_blank", "normalize", "phonemize", "is_uroman", "split_special_tokens"]
    names += ["clean_up_tokenization_spaces", "vocab_files_names"]
    for name in names:
        assert getattr(ours, name) == getattr(published, name), name


# Forms of input, as the arguments of a call.
FORMS = {
    "text": ("Hello, quick world",),
    "empty": ("",),
    "unknown only": ("?!",),
    "batch": (["Hello", "a longer, quicker one", "k", ""],),
    "pair": ("Hello there", "knock"),
    "short and long": ("a", "a long second text"),
    "batch of pairs": (["Hello there", "k"], ["ab", "a long second text"]),
    "batch of tuples": ([("Hello", "quick world"), ("k", "")],),
    "ids": ([1, 2, 3, 4, 5, 6, 7],),
    "batch of ids": ([[1, 2, 3, 4, 5, 6], [7]],),
}
WORDS = {
    "words": (["Hello", "quick", "world"],),
    "batch of words": ([["Hello", "quick"], ["k"], ["knock", "", "knock"]],),
    "pair of words": (["Hello", "quick"], ["knock", "knock"]),
    "batch of pairs of words": ([["Hello", "you"], ["k"]], [["quick"], ["one", "two"]]),
    "one text": ("Hello quick",),
}
ARGUMENTS = [
    {},
    *({"padding": value} for value in (True, False, "longest", "do_not_pad", "max_length")),
    *({"padding": "max_length", "max_length": value} for value in (0, 3, 30)),
    *({"padding": True, "max_length": value} for value in (3, 30)),
    *({"truncation": value} for value in (True, False, None, "longest_first", "only_first", "only_second")),
    *(
        {"truncation": strategy, "max_length": limit, "return_token_type_ids": True}
        for strategy in (True, False, None, "longest_first", "only_first", "only_second", "do_not_truncate")
        for limit in (0, 1, 4, 7, 8, 40)
    ),
    *(
        {"truncation": strategy, "max_length": 6, "stride": stride, "return_overflowing_tokens": True}
        for strategy in (True, "only_first", "only_second")
        for stride in (0, 2, 100)
    ),
    {"max_length": 5},
    {"max_length": 5, "padding": "do_not_pad"},
    {"max_length": 5, "padding": "max_length", "truncation": True},
    *({"padding": True, "pad_to_multiple_of": value} for value in (None, 1, 4, 8)),
    {"pad_to_multiple_of": 4},
    {"padding": "max_length", "max_length": 21, "pad_to_multiple_of": 8},
    {"padding": True, "truncation": True, "max_length": 8, "pad_to_multiple_of": 4},
    {"padding": True, "truncation": True, "max_length": 7, "pad_to_multiple_of": 4},
    *(
        {"padding": True, "padding_side": side, "return_special_tokens_mask": True, "return_token_type_ids": True}
        for side in ("left", "right", None)
    ),
    *({"return_tensors": kind, "padding": padding} for kind in ("pt", "np") for padding in (True, False)),
    {"return_tensors": "np", "return_length": True, "return_special_tokens_mask": True, "padding": True},
    {"return_tensors": "pt", "return_overflowing_tokens": True, "truncation": "only_first", "max_length": 4},
    *(
        {name: value}
        for name in (
            "return_token_type_ids",
            "return_attention_mask",
            "return_overflowing_tokens",
            "return_special_tokens_mask",
            "return_length",
            "verbose",
            "add_special_tokens",
        )
        for value in (True, False)
    ),
    {"add_special_tokens": False, "return_token_type_ids": True},
    {"return_offsets_mapping": False},
    {"return_length": True, "padding": "max_length", "max_length": 50},
    {"normalize": False},
    {"split_special_tokens": True},
    {"tokenizer_kwargs": {"padding": "max_length", "max_length": 40, "return_length": True}, "max_length": 9},
    {"tokenizer_kwargs": {"normalize": False, "return_tensors": "np", "padding": True}},
    {"tokenizer_kwargs": {}},
]


@pytest.mark.parametrize("setting", ["mms", "ipa-letters", "odd-left"])
@pytest.mark.filterwarnings("ignore:.*max_length.*is ignored:UserWarning")
def test_every_argument_equals_transformers(setting, tmp_path, backends):
    ours, published = tokenizer_pair(tmp_path, setting)
    compared = 0
    for in_words, forms in ((False, FORMS), (True, WORDS)):
        for form, texts in forms.items():
            for arguments in ARGUMENTS:
                arguments = {"is_split_into_words": True, **arguments} if in_words else arguments
                expected = outcome(published, *texts, **arguments)
                if expected == "ragged overflow":
                    continue
                assert outcome(ours, *texts, **arguments) == expected, (form, arguments)
                compared += expected != "error"
    assert compared > 1000


def test_arguments_are_named_and_ordered_as_in_transformers():
    expected = list(inspect.signature(PublishedTokenizer.__call__).parameters.values())[:-1]
    actual = list(inspect.signature(VitsTokenizer.__call__).parameters.values())
    assert [(p.name, p.default) for p in actual[: len(expected)]] == [(p.name, p.default) for p in expected]
    for method in ("encode", "pad", "__init__"):
        published = list(inspect.signature(getattr(PublishedTokenizer, method)).parameters.values())
        ours = inspect.signature(getattr(VitsTokenizer, method)).parameters
        named = [p for p in published if p.kind is not p.VAR_KEYWORD]
        assert [(p.name, p.default) for p in named] == [(p.name, ours[p.name].default) for p in named]
        assert list(ours)[: len(named)] == [p.name for p in named]


@pytest.mark.parametrize(
    "arguments",
    [
        {"text_target": "Hello"},
        {"text": "a", "text_target": "Hello"},
        {"text": "a", "text_target": "Hello", "text_pair_target": "knock"},
        {"text": ["a", "b"], "text_target": ["Hello", "k"], "padding": True, "return_tensors": "pt"},
        {"text": ["a", "b"], "text_pair": ["c", "d"], "text_target": ["Hello", "k"], "text_pair_target": ["x", "y"]},
        {"text_target": ["Hello", "you"], "is_split_into_words": True},
    ],
)
def test_targets_equal_transformers(arguments, mms_pair):
    ours, published = mms_pair
    assert outcome(ours, **arguments) == outcome(published, **arguments)


def test_encode_takes_what_a_call_takes(mms_pair):
    ours, published = mms_pair
    for arguments in (
        {},
        {"padding": "max_length", "max_length": 50, "padding_side": "left"},
        {"truncation": True, "max_length": 5, "stride": 1},
        {"return_tensors": "pt"},
        {"normalize": False},
        {"pad_to_multiple_of": 7, "padding": True},
        {"return_length": True},
    ):
        assert plain(ours.encode("Hello quick", **arguments)) == plain(published.encode("Hello quick", **arguments))
    assert ours.encode("a", "b") == published.encode("a", "b")
    assert ours.encode(["a", "bc"]) == published.encode(["a", "bc"])
    assert ours.encode([1, 2]) == [1, 2]


@pytest.mark.parametrize(
    "encoded",
    [
        {"input_ids": [1, 2]},
        {"input_ids": [[1, 2], [3]]},
        [{"input_ids": [1, 2]}, {"input_ids": [3]}],
        {"input_ids": torch.tensor([1, 2])},
        [{"input_ids": torch.tensor([1, 2])}, {"input_ids": torch.tensor([3])}],
        {"input_ids": np.array([[1, 2]])},
        {"input_ids": [[1, 2], [3]], "labels": [[1], [2, 3]]},
        {"input_ids": [[1, 2], [3]], "attention_mask": [[1, 0], [1]], "token_type_ids": [[0, 1], [0]], "x": ["p", "q"]},
        {"input_ids": [[1, 2], [3]], "special_tokens_mask": [[0, 0], [0]], "length": [2, 1]},
        {"input_ids": []},
        {"input_ids": [[]]},
        {"input_ids": [[], [1]]},
    ],
)
def test_pad_equals_transformers(encoded, mms_pair):
    ours, published = mms_pair
    # Values that are no rectangle of numbers, and no ids at all, which transformers leaves a list.
    no_tensors = isinstance(encoded, dict) and ("labels" in encoded or "x" in encoded or len(encoded["input_ids"]) == 0)
    for arguments in (
        {},
        {"padding": False},
        {"padding": "max_length"},
        {"padding": "max_length", "max_length": 5, "padding_side": "left"},
        {"pad_to_multiple_of": 4},
        # A mask that is there and not wanted stays unpadded in transformers, which is of no use.
        {} if "attention_mask" in encoded else {"return_attention_mask": False},
        {} if no_tensors else {"return_tensors": "pt"},
    ):
        before = copy.deepcopy(encoded)
        assert outcome(ours.pad, encoded, **arguments) == outcome(published.pad, copy.deepcopy(encoded), **arguments)
        assert str(before) == str(encoded)
    assert isinstance(ours.pad(encoded), BatchEncoding)


def test_setting_sides_and_tokens_afterwards(mms_pair):
    ours, published = mms_pair
    for tokenizer in mms_pair:
        tokenizer.padding_side = tokenizer.truncation_side = "left"
    texts = ["Hello", "a quick one"]
    for arguments in ({"padding": True}, {"truncation": True, "max_length": 5, "return_overflowing_tokens": True}):
        assert dict(ours(texts, **arguments)) == dict(published(texts, **arguments))
    for tokenizer in mms_pair:
        tokenizer.pad_token = "<unk>"
    assert ours.pad_token_id == published.pad_token_id == 38
    assert dict(ours(texts, padding=True)) == dict(published(texts, padding=True))


# ---------------------------------------------------------------------------------------------------------------------
# Files


@pytest.mark.parametrize("setting", SETTINGS)
def test_files_go_both_ways(setting, tmp_path, backends):
    ours, published = tokenizer_pair(tmp_path, setting)
    written = ours.save_pretrained(tmp_path / "ours")
    names = {"vocab.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}
    assert {path.rsplit("/")[-1] for path in written} == names
    published.save_pretrained(tmp_path / "published")
    assert (tmp_path / "ours/vocab.json").read_bytes() == (tmp_path / "published/vocab.json").read_bytes()
    text = "Knock, <unk> <pad> țé Hello"
    expected = dict(published(text))
    for folder in ("ours", "published"):
        read_by_us = VitsTokenizer.from_pretrained(tmp_path / folder)
        read_by_them = PublishedTokenizer.from_pretrained(tmp_path / folder)
        for tokenizer in (read_by_us, read_by_them, AutoTokenizer.from_pretrained(tmp_path / folder)):
            assert dict(tokenizer(text)) == expected
            assert tokenizer.get_vocab() == published.get_vocab()
            for name in ("special_tokens_map", "model_max_length", "padding_side", "truncation_side", "language"):
                assert getattr(tokenizer, name) == getattr(published, name), name


def test_files_of_older_checkpoints_are_read(tmp_path):
    """MMS repositories have no `added_tokens_decoder`, and spell special tokens in a file of their own."""
    folder = tmp_path / "old"
    folder.mkdir()
    write_vocabulary(tmp_path, "mms").rename(folder / "vocab.json")
    settings = {"add_blank": True, "is_uroman": False, "language": "eng", "normalize": True, "phonemize": False}
    settings |= {"tokenizer_class": "VitsTokenizer", "model_max_length": 1e30, "verbose": False, "custom": [1]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    special = {"pad_token": {"content": "k", "lstrip": False, "normalized": True}, "unk_token": "<unk>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "added_tokens.json").write_text(json.dumps({"<unk>": 38}))
    tokenizer = VitsTokenizer.from_pretrained(folder)
    assert (tokenizer.pad_token, tokenizer.pad_token_id, tokenizer.unk_token_id) == ("k", 0, 38)
    assert tokenizer.encode("quick") == [0, 34, 0, 4, 0, 18, 0, 12, 0, 0]
    tokenizer.save_pretrained(tmp_path / "new")
    kept = json.loads((tmp_path / "new/tokenizer_config.json").read_text())
    assert kept["custom"] == [1]
    assert VitsTokenizer.from_pretrained(tmp_path / "new").get_vocab() == tokenizer.get_vocab()


def test_added_tokens_of_a_file_are_kept_whole(tmp_path):
    _, published = tokenizer_pair(tmp_path, "mms")
    published.save_pretrained(tmp_path / "folder")
    path = tmp_path / "folder/tokenizer_config.json"
    settings = json.loads(path.read_text())
    flags = {"lstrip": True, "rstrip": True, "normalized": True, "single_word": False, "special": False}
    settings["added_tokens_decoder"]["40"] = {"content": "foo", **flags}
    path.write_text(json.dumps(settings))
    ours = VitsTokenizer.from_pretrained(tmp_path / "folder")
    published = PublishedTokenizer.from_pretrained(tmp_path / "folder")
    for text in ("a foo b", "foo", "a  foo  foo b", "food"):
        assert ours.tokenize(text) == published.tokenize(text)
        assert ours.tokenize(text, normalize=False) == published.tokenize(text, normalize=False)
    ours.save_pretrained(tmp_path / "again")
    assert PublishedTokenizer.from_pretrained(tmp_path / "again").tokenize("a foo b") == ours.tokenize("a foo b")


def test_from_pretrained_takes_settings_and_subfolders(mms, tmp_path):
    mms.save_pretrained(tmp_path / "model/tokenizer")
    loaded = VitsTokenizer.from_pretrained(tmp_path / "model", subfolder="tokenizer", add_blank=False)
    assert loaded.encode("ab") == [26, 24]
    assert loaded.name_or_path == str(tmp_path / "model")


def test_our_own_settings_survive_files_and_only_then_are_written(mms, tmp_path):
    mms.save_pretrained(tmp_path / "plain")
    assert "frontend" not in json.loads((tmp_path / "plain/tokenizer_config.json").read_text())
    own = {"espeak_voice": "de", "uroman_language": "deu", "padding_side": "left", "extra_special_tokens": ["<e>"]}
    tokenizer = VitsTokenizer(write_vocabulary(tmp_path, "mms"), bos_token="^", **own)
    tokenizer.save_pretrained(tmp_path / "own")
    loaded = VitsTokenizer.from_pretrained(tmp_path / "own")
    for name, value in {**own, "bos_token": "^", "unk_token": "<unk>"}.items():
        assert getattr(loaded, name) == value
    no_unknown = VitsTokenizer(write_vocabulary(tmp_path, "mms"), unk_token=None)
    no_unknown.save_pretrained(tmp_path / "no-unknown")
    assert VitsTokenizer.from_pretrained(tmp_path / "no-unknown").unk_token is None


def test_save_vocabulary_and_prefixes(mms, tmp_path):
    (path,) = mms.save_vocabulary(tmp_path, "some")
    assert path.endswith("some-vocab.json")
    assert json.loads((tmp_path / "some-vocab.json").read_text(encoding="utf-8")) == mms.encoder
    assert all("x-" in name for name in mms.save_pretrained(tmp_path / "prefixed", filename_prefix="x"))
    with pytest.raises(OSError, match="no folder"):
        mms.save_vocabulary(tmp_path / "nowhere")


# ---------------------------------------------------------------------------------------------------------------------
# What is better than published


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


# ---------------------------------------------------------------------------------------------------------------------
# Bad input


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({}, ValueError, "text or text_target"),
        ({"text_pair": "a"}, ValueError, "text or text_target"),
        ({"text": 3}, TypeError, "str"),
        ({"text": b"a"}, TypeError, "str"),
        ({"text": torch.tensor([1])}, TypeError, "str"),
        ({"text": {"a": 1}}, TypeError, "str"),
        ({"text": []}, ValueError, "empty list"),
        ({"text": [[]]}, ValueError, "empty list"),
        ({"text": ["a", None]}, TypeError, r"text\[1\]"),
        ({"text": ["a", 3]}, TypeError, r"text\[1\]"),
        ({"text": [3, "a"]}, TypeError, "list of ids"),
        ({"text": [1.5]}, TypeError, "list of ids"),
        ({"text": [["a", "b", "c"]]}, ValueError, "is_split_into_words"),
        ({"text": [[["a", 3]]]}, TypeError, "text"),
        ({"text": [["a", 3]]}, TypeError, "text"),
        ({"text": ["a"], "text_pair": "b"}, ValueError, "list of 1"),
        ({"text": ["a"], "text_pair": ["b", "c"]}, ValueError, "list of 1"),
        ({"text": "a", "text_pair": 3}, TypeError, "pair"),
        ({"text": "a", "padding": "x"}, ValueError, "'longest', 'max_length', 'do_not_pad', True, False"),
        ({"text": "a", "padding": None}, ValueError, "'longest'"),
        ({"text": "a", "truncation": "x"}, ValueError, "'longest_first', 'only_first', 'only_second'"),
        ({"text": "a", "max_length": -1}, ValueError, "0 or more"),
        ({"text": "a", "max_length": "3"}, TypeError, "whole number"),
        ({"text": "a", "max_length": 2.5}, TypeError, "whole number"),
        ({"text": "a", "stride": -1}, ValueError, "0 or more"),
        ({"text": "a", "stride": "x"}, TypeError, "stride"),
        ({"text": "a", "pad_to_multiple_of": 0}, ValueError, "1 or more"),
        ({"text": "a", "padding_side": "up"}, ValueError, "'right', 'left'"),
        ({"text": "a", "return_tensors": "tf"}, ValueError, "'pt', 'np'"),
        ({"text": "a", "return_length": "yes"}, TypeError, "True or False"),
        ({"text": "a", "is_split_into_words": 1}, TypeError, "True or False"),
        ({"text": "a", "normalize": "no"}, TypeError, "True or False"),
        ({"text": "a", "tokenizer_kwargs": 3}, TypeError, "dict"),
        ({"text": "a", "tokenizer_kwargs": {"foo": 3}}, TypeError, "foo"),
        ({"text": "a", "tokenizer_kwargs": {"text": "b"}}, TypeError, "text"),
        ({"text": "a", "foo": 3}, TypeError, "foo"),
        ({"text": "a", "return_offsets_mapping": True}, NotImplementedError, "return_offsets_mapping"),
        ({"text": ["a", "bcd"], "return_tensors": "pt"}, ValueError, "padding=True"),
        ({"text": ["abc", "a"], "padding": True, "truncation": True, "max_length": 5, "pad_to_multiple_of": 4},
         ValueError, "multiple"),
        ({"text": "a", "text_pair": "b", "truncation": True, "return_overflowing_tokens": True, "max_length": 2},
         ValueError, "only_first"),
    ],
)  # fmt: skip
def test_bad_calls_are_refused_before_any_work(arguments, error, match, mms, monkeypatch):
    if "return_tensors" not in arguments or arguments["return_tensors"] == "tf":
        monkeypatch.setattr(mms, "read", lambda *_: pytest.fail("it began to work"))
    with pytest.raises(error, match=match):
        mms(**arguments)


def test_other_methods_refuse_bad_input(mms):
    for call, error in (
        (lambda: mms.tokenize(["a"]), TypeError),
        (lambda: mms.tokenize("a", foo=1), TypeError),
        (lambda: mms.encode("a", foo=1), TypeError),
        (lambda: mms.encode(None), ValueError),
        (lambda: mms.convert_tokens_to_ids(3), TypeError),
        (lambda: mms.convert_tokens_to_ids([3]), TypeError),
        (lambda: mms.convert_ids_to_tokens("a"), TypeError),
        (lambda: mms.convert_ids_to_tokens([1.5]), TypeError),
        (lambda: mms.decode("a"), TypeError),
        (lambda: mms.decode(None), TypeError),
        (lambda: mms.decode([1.5]), TypeError),
        (lambda: mms.decode(torch.tensor([0.5])), TypeError),
        (lambda: mms.decode([99]), ValueError),
        (lambda: mms.decode([-1]), ValueError),
        (lambda: mms.decode([1], foo=1), TypeError),
        (lambda: mms.decode({"ids": [1]}), ValueError),
        (lambda: mms.pad("a"), TypeError),
        (lambda: mms.pad([]), ValueError),
        (lambda: mms.pad({"x": [1]}), ValueError),
        (lambda: mms.pad({"input_ids": "ab"}), TypeError),
        (lambda: mms.pad({"input_ids": [["a"]]}), TypeError),
        (lambda: mms.pad({"input_ids": [[1], [2]], "attention_mask": [[1]]}), ValueError),
        (lambda: mms.pad([{"input_ids": [1]}, {"x": [1]}]), ValueError),
        (lambda: mms.pad({"input_ids": [1]}, foo=1), TypeError),
    ):
        with pytest.raises(error):
            call()


def test_bad_vocabularies_and_settings_are_refused(tmp_path):
    good = write_vocabulary(tmp_path, "mms")
    bad = tmp_path / "bad.json"
    with pytest.raises(OSError, match="no vocabulary file"):
        VitsTokenizer(tmp_path / "none.json")
    for content, match in (
        ("{", "JSON"),
        ("[]", "object"),
        ("{}", "empty"),
        ('{"a": "0"}', "'a'"),
        ('{"a": 1}', "id 0"),
    ):
        bad.write_text(content)
        with pytest.raises(ValueError, match=match):
            VitsTokenizer(bad)
    for settings, error in (
        ({"foo": 1}, TypeError),
        ({"add_blank": "yes"}, TypeError),
        ({"language": 3}, TypeError),
        ({"pad_token": 3}, TypeError),
        ({"frontend": "festival"}, ValueError),
        ({"frontend": "piper"}, ValueError),
        ({"padding_side": "up"}, ValueError),
        ({"model_max_length": -1}, ValueError),
    ):
        with pytest.raises(error):
            VitsTokenizer(good, **settings)
    with pytest.raises(ValueError, match="pad_token"):
        VitsTokenizer(good, pad_token=None, phonemize=False)("a", padding=True)
    with pytest.raises(ValueError, match="unk_token"):
        VitsTokenizer(good, unk_token=None, phonemize=False, normalize=False)("é")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"vocab\.json"):
        VitsTokenizer.from_pretrained(tmp_path / "folder")
    with pytest.raises(TypeError, match="foo"):
        VitsTokenizer.from_pretrained(tmp_path / "folder", foo=1)
    good.rename(tmp_path / "folder/vocab.json")
    (tmp_path / "folder/tokenizer_config.json").write_text("{,")
    with pytest.raises(ValueError, match="JSON"):
        VitsTokenizer.from_pretrained(tmp_path / "folder")


# ---------------------------------------------------------------------------------------------------------------------
# BatchEncoding


def test_batch_encoding_behaves_as_transformers(mms_pair):
    ours, published = (tokenizer(["ab", "c"], padding=True, return_tensors="pt") for tokenizer in mms_pair)
    assert list(ours) == list(published)
    assert len(ours) == len(published) == 2
    assert list(ours.keys()) == list(published.keys())
    for name in published:
        assert torch.equal(ours[name], published[name])
        assert torch.equal(getattr(ours, name), published[name])
    assert "input_ids" in ours
    assert "labels" not in ours
    assert ours.get("labels") is None
    for encoding in (ours, published):
        with pytest.raises(AttributeError):
            _ = encoding.labels
        with pytest.raises(KeyError):
            _ = encoding["labels"]
        with pytest.raises(KeyError):
            _ = encoding[0]
    assert torch.equal(ours[0:1]["input_ids"], published[0:1]["input_ids"])
    assert list({**ours}) == list({**published})
    assert ours.is_fast == published.is_fast
    assert ours.to("cpu") is ours
    assert str(dict(ours)) == str(dict(published))


def test_batch_encoding_moves_converts_and_copies(mms, caplog):
    encoding = mms("ab")
    encoding["note"] = "kept"
    assert encoding.to("cpu") is encoding
    assert encoding["note"] == "kept"
    del encoding["note"]
    for twin in (pickle.loads(pickle.dumps(encoding)), copy.deepcopy(encoding), encoding.copy()):
        assert isinstance(twin, BatchEncoding)
        assert twin == encoding
    assert encoding == {"input_ids": [0, 26, 0, 24, 0], "attention_mask": [1] * 5}
    encoding.update({"labels": [1]})
    assert encoding.pop("labels") == [1]
    tensors = encoding.convert_to_tensors("pt", prepend_batch_axis=True)
    assert tensors.input_ids.shape == (1, 5)
    assert tensors.to("meta").input_ids.device.type == "meta"
    with caplog.at_level(logging.WARNING, logger="fastvits"):
        assert tensors.to(torch.float16) is tensors
    assert tensors.input_ids.dtype == torch.int64
    assert "dtype" in caplog.text


def test_batch_encoding_converts_as_transformers():
    for data, prepend in (({"a": [1, 2]}, False), ({"a": [[1], [2]]}, True), ({"a": [True]}, False), ({"a": 3}, True)):
        for kind in ("pt", "np"):
            ours = BatchEncoding(data, tensor_type=kind, prepend_batch_axis=prepend)
            assert plain(ours["a"]) == plain(PublishedEncoding(data, tensor_type=kind, prepend_batch_axis=prepend)["a"])
    assert dict(BatchEncoding()) == {}
    for data in ({"a": [[1], [1, 2]]}, {"a": ["x"]}):
        with pytest.raises(ValueError, match="'a'"):
            BatchEncoding(data, tensor_type="pt")
    with pytest.raises(TypeError, match="mapping"):
        BatchEncoding([1])
    with pytest.raises(ValueError, match="'pt', 'np'"):
        BatchEncoding({"a": 1}, tensor_type="tf")


def test_a_model_gets_an_encoding_unpacked(mms):
    def model(input_ids, attention_mask):
        return input_ids.shape, attention_mask.shape

    assert model(**mms(["ab", "c"], padding=True, return_tensors="pt")) == ((2, 5), (2, 5))


def test_the_known_ids_of_mms_english(mms):
    """Independent of any peer: the published example, and the k that stands without blanks."""
    assert MMS_ENGLISH[:3] == ["k", "'", "z"]
    assert mms.encode("Hello") == [0, 6, 0, 7, 0, 21, 0, 21, 0, 22, 0]
    assert mms.tokenize("akb") == ["k", "a", "k", "k", "k", "b", "k"]
