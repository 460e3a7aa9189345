"""A BatchEncoding behaves as transformers' own."""

import copy
import logging
import pickle

import pytest
import torch
from transformers import BatchEncoding as PublishedEncoding

from fastvits import BatchEncoding
from tests.support.tokenizers import MMS_ENGLISH, plain


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
