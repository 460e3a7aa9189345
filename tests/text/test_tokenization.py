"""The tokenizer against transformers' own, token for token, and what it does better."""

import copy
import inspect

import numpy as np
import pytest
import torch
from transformers import VitsTokenizer as PublishedTokenizer

from fastvits import BatchEncoding, VitsTokenizer
from tests.support.multilingual_texts import ALL_TEXTS, TEXTS
from tests.support.tokenizers import SETTINGS, outcome, plain, tokenizer_pair


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
