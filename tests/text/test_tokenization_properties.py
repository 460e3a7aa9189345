"""Properties of the tokenizer that hold for every text, vocabulary and argument; some name transformers as the peer."""

import json
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import VitsTokenizer as PublishedTokenizer

from fastvits import VitsTokenizer
from tests.support.tokenizers import MMS_ENGLISH, outcome, published_backends, tokenizer_pair

# Derandomised: a run of the suite is the same everywhere, and a found example is added as a plain test.
EXAMPLES = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
# Texts full of what is special: the pad letter, blanks, special tokens, tokens of two characters, casing that grows.
TRICKY_TEXT = st.lists(
    st.sampled_from([*"abkK é'^_AİßțÉ?", "kk", "ab", "Ng", "NG", "<unk>", "<pad>", "<e>", "hello", "🙂", "\n", "  "]),
    max_size=12,
).map("".join)
TEXT = st.one_of(TRICKY_TEXT, ANY_TEXT)
LETTERS = st.text(st.sampled_from(MMS_ENGLISH), max_size=30)

SETTINGS_TO_TRY = ["mms", "mms-no-blank", "mms-as-written", "mms-own-pad", "ipa-letters", "odd", "odd-left", "romanian"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    with published_backends():
        yield {name: tokenizer_pair(tmp_path_factory.mktemp(name), name) for name in SETTINGS_TO_TRY}


@EXAMPLES
@given(setting=st.sampled_from(SETTINGS_TO_TRY), text=TEXT)
def test_any_text_equals_transformers(pairs, setting, text):
    ours, published = pairs[setting]
    ids = published.encode(text)
    assert ours.tokenize(text) == published.tokenize(text)
    assert ours.encode(text) == ids
    assert ours.decode(ids) == published.decode(ids)
    assert ours.normalize_text(text) == published.normalize_text(text)


SIZES = st.sampled_from([None, 0, 1, 2, 3, 5, 8, 30])
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "padding": st.sampled_from([True, False, "longest", "max_length", "do_not_pad"]),
        "truncation": st.sampled_from(
            [True, False, None, "longest_first", "only_first", "only_second", "do_not_truncate"]
        ),
        "max_length": SIZES,
        "stride": st.integers(0, 6),
        "pad_to_multiple_of": st.sampled_from([None, 1, 2, 4, 8]),
        "padding_side": st.sampled_from(["left", "right", None]),
        "return_tensors": st.sampled_from([None, "pt", "np"]),
        "return_token_type_ids": st.sampled_from([True, False, None]),
        "return_attention_mask": st.sampled_from([True, False, None]),
        "return_overflowing_tokens": st.booleans(),
        "return_special_tokens_mask": st.booleans(),
        "return_length": st.booleans(),
        "add_special_tokens": st.booleans(),
        "verbose": st.booleans(),
        "normalize": st.sampled_from([True, False, None]),
    },
)
WORDS = st.lists(TRICKY_TEXT, min_size=1, max_size=3)


@st.composite
def inputs(draw):
    """Texts in any form, and arguments: `(texts, arguments)`."""
    arguments = draw(ARGUMENTS)
    text = TRICKY_TEXT
    if draw(st.booleans()):
        arguments["is_split_into_words"] = True
        text = WORDS
    form = draw(st.sampled_from(["text", "batch", "pair", "batch of pairs", "ids"]))
    if form == "text":
        texts = (draw(text),)
    elif form == "pair":
        texts = (draw(text), draw(text))
    elif form == "ids":
        texts = (draw(st.lists(st.integers(0, 6), min_size=1, max_size=9)),)
    else:
        size = draw(st.integers(1, 3))
        batch = st.lists(text, min_size=size, max_size=size)
        texts = (draw(batch),) if form == "batch" else (draw(batch), draw(batch))
    return texts, arguments


@settings(EXAMPLES, max_examples=400)
@given(setting=st.sampled_from(SETTINGS_TO_TRY), given_inputs=inputs())
@pytest.mark.filterwarnings("ignore:.*max_length.*is ignored:UserWarning")
def test_any_arguments_equal_transformers(pairs, setting, given_inputs):
    ours, published = pairs[setting]
    texts, arguments = given_inputs
    expected = outcome(published, *texts, **arguments)
    if expected != "ragged overflow":
        assert outcome(ours, *texts, **arguments) == expected


@EXAMPLES
@given(text=LETTERS, add_blank=st.booleans())
def test_decoding_without_special_tokens_gives_the_text_back(pairs, text, add_blank):
    tokenizer, _ = pairs["mms" if add_blank else "mms-no-blank"]
    spoken = text.strip()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids, skip_special_tokens=True) == spoken
    if add_blank and "k" not in spoken and spoken:
        assert ids[0::2] == [0] * (len(spoken) + 1)


@EXAMPLES
@given(
    texts=st.lists(LETTERS, min_size=1, max_size=4), side=st.sampled_from(["left", "right"]), multiple=st.integers(1, 9)
)
def test_padding_makes_rows_equal_and_the_mask_tells_it_apart(pairs, texts, side, multiple):
    tokenizer, _ = pairs["mms"]
    batch = tokenizer(texts, padding=True, padding_side=side, pad_to_multiple_of=multiple)
    width = len(batch.input_ids[0])
    assert width % multiple == 0
    for text, ids, mask in zip(texts, batch.input_ids, batch.attention_mask, strict=True):
        own = tokenizer.encode(text)
        assert len(ids) == len(mask) == width
        assert sum(mask) == len(own)
        assert [index for index, kept in zip(ids, mask, strict=True) if kept] == own
        assert mask == sorted(mask, reverse=side == "right")
    assert tokenizer.batch_decode(batch, skip_special_tokens=True) == [text.strip() for text in texts]


@EXAMPLES
@given(text=ANY_TEXT)
def test_every_character_is_in_the_ids_or_in_the_report(pairs, text):
    tokenizer, _ = pairs["mms"]
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("fastvits")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    try:
        ids = tokenizer.encode(text)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    normal = tokenizer.normalize_text(text)
    lacking = {character for character in normal.strip() if character not in tokenizer.encoder}
    assert len(records) == bool(lacking)
    for character in lacking:
        assert f"(U+{ord(character):04X})" in records[0].getMessage()
    kept = "".join(character for character in normal if character not in lacking and character in tokenizer.encoder)
    assert tokenizer.decode(ids, skip_special_tokens=True) == kept.strip()


VOCABULARY_TOKENS = st.lists(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(["ab", "<unk>", "<pad>", "Ng"])),
    min_size=1,
    max_size=12,
    unique=True,
)


@settings(EXAMPLES, max_examples=60)
@given(
    tokens=VOCABULARY_TOKENS,
    text=TEXT,
    add_blank=st.booleans(),
    normalize=st.booleans(),
    pad=st.sampled_from(["<pad>", None, "first"]),
    language=st.sampled_from([None, "eng", "ron"]),
    side=st.sampled_from(["left", "right"]),
)
def test_files_give_any_tokenizer_back(tmp_path_factory, tokens, text, add_blank, normalize, pad, language, side):
    folder = tmp_path_factory.mktemp("any")
    vocabulary = folder / "first.json"
    vocabulary.write_text(json.dumps({token: index for index, token in enumerate(tokens)}), encoding="utf-8")
    arguments = {
        "pad_token": tokens[0] if pad == "first" else pad,
        "add_blank": add_blank,
        "normalize": normalize,
        "language": language,
        "padding_side": side,
        "phonemize": False,
    }
    tokenizer = VitsTokenizer(vocabulary, **arguments)
    expected = tokenizer.encode(text)
    assert PublishedTokenizer(str(vocabulary), **arguments).encode(text) == expected
    tokenizer.save_pretrained(folder)
    loaded = VitsTokenizer.from_pretrained(folder)
    assert loaded.encode(text) == expected
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.special_tokens_map == tokenizer.special_tokens_map
    again = folder / "again"
    loaded.save_pretrained(again)
    for name in ("vocab.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
