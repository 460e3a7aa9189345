"""What a tokenizer refuses, before any work."""

import pytest
import torch

from fastvits import VitsTokenizer
from tests.support.tokenizers import write_vocabulary


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
