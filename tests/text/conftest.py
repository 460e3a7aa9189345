"""Tokenizers that the tests of the room share."""

import pytest

from fastvits import VitsTokenizer
from tests.support.tokenizers import published_backends, tokenizer_pair, write_vocabulary


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
