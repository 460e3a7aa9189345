"""Files of tokenizers go both ways between transformers and fastvits."""

import json

import pytest
from transformers import AutoTokenizer
from transformers import VitsTokenizer as PublishedTokenizer

from fastvits import VitsTokenizer
from tests.support.tokenizers import SETTINGS, tokenizer_pair, write_vocabulary


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
