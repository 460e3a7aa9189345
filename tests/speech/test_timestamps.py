"""Timestamps: times that tile the audio, places that are true, and words that are heard when they are said to be."""

import copy
import itertools
import logging
import pickle

import numpy
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastvits
from fastvits import TimeSpan, VitsModelOutput, VitsTokenizer
from fastvits.text.words import word_spans
from fastvits.voices.folders import DEFAULT_VOICE, voice_folder
from tests.support.multilingual_texts import TEXTS
from tests.support.small_voices import save_small_voice
from tests.support.tokenizers import SETTINGS, write_vocabulary
from tests.support.tolerances import BREATHY_ONSET_FRAMES, ONSET_AFTER_PAUSE_FRAMES, ONSET_LEVEL, ONSETS_WITHIN_SHARE

RATE = 1000
"""Samples a second of outputs that are made up; a frame has ten."""


@pytest.fixture(scope="module")
def voice():
    """The voice that is bundled, converted from Piper."""
    return fastvits.pipeline(model=voice_folder(DEFAULT_VOICE), device="cpu")


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory, voice):
    folder = tmp_path_factory.mktemp("vocabularies")
    found = {
        name: VitsTokenizer(write_vocabulary(folder, vocabulary), **arguments)
        for name, (vocabulary, arguments) in SETTINGS.items()
    }
    found["piper"] = voice.tokenizer
    return found


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.ERROR, logger="fastvits")


def spans_of(tokenizer, text, level=None, **arguments):
    """Timestamps of one text where token `i` has `i % 3 + 1` frames of ten samples, a millisecond each."""
    encoding = tokenizer([text], return_tensors="pt", **arguments)
    count = encoding["input_ids"].shape[1]
    durations = torch.arange(count)[None] % 3 + 1
    output = VitsModelOutput(sequence_lengths=durations.sum(1) * 10, durations=durations)
    return fastvits.timestamps(tokenizer, encoding, output, level=level, sampling_rate=RATE)[0]


def places(spans):
    return [(span.text, span.text_start, span.text_end) for span in spans if span.text_end > span.text_start]


def check(text, spans):
    """What holds for the spans of any text."""
    tokens, characters, words = ([span for span in spans if span.kind == kind] for kind in
                                 ("token", "character", "word"))  # fmt: skip
    assert spans == tokens + characters + words
    end = 0.0
    for token in tokens:
        assert token.start == end
        assert token.end >= token.start
        end = token.end
    for span in spans:
        assert 0 <= span.text_start <= span.text_end <= len(text)
        assert 0 <= span.start <= span.end <= end
    for group in (tokens, characters, words):
        assert all(a.text_start <= b.text_start for a, b in itertools.pairwise(group))
    for group in ([token for token in tokens if token.text_start < token.text_end], characters, words):
        assert all(a.text_end <= b.text_end for a, b in itertools.pairwise(group))
        assert all(a.start <= b.start and a.end <= b.end for a, b in itertools.pairwise(group))
    spoken = {place for token in tokens for place in range(token.text_start, token.text_end)}
    assert [span.text_start for span in characters] == sorted(spoken)
    assert all(span.text == text[span.text_start] and span.text_end == span.text_start + 1 for span in characters)
    runs = word_spans(text)
    assert [(span.text_start, span.text_end) for span in words] == [
        run for run in runs if spoken.intersection(range(*run))
    ]
    assert all(span.text == text[span.text_start : span.text_end] for span in words)
    time_of = {span.text_start: span for span in characters}
    for word in words:
        heard = [time_of[place] for place in range(word.text_start, word.text_end) if place in time_of]
        assert min(span.start for span in heard) <= word.start <= word.end <= max(span.end for span in heard)
    return tokens, characters, words


# ---------------------------------------------------------------------------------------------------------------------
# Places

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=25)
TRICKY_TEXT = st.lists(
    st.sampled_from(
        [*"abkK é'^_AİßțÉ?", "ab", "Ng", "<unk>", "<e>", "hello", "of the", "12", "1,5", "🙂", "\n", "  ", "नमस्ते",
         "你好", "a\u0323\u0301", "[[hə]]", ", ", ". ", '"', "(", "...", "don't", "Dr."]
    ),
    max_size=10,
).map("".join)  # fmt: skip
LETTER_SETTINGS = [name for name, (_, arguments) in SETTINGS.items() if not arguments.get("phonemize", True)]
SPEAKERS = ["ipa-phonemes", "ipa-phonemes-english", "piper"]
EXAMPLES = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@EXAMPLES
@given(setting=st.sampled_from(LETTER_SETTINGS), text=st.one_of(TRICKY_TEXT, ANY_TEXT))
def test_places_of_letters_are_true(tokenizers, setting, text):
    check(text, spans_of(tokenizers[setting], text))


@EXAMPLES
@given(setting=st.sampled_from(SPEAKERS), text=st.one_of(TRICKY_TEXT, ANY_TEXT))
def test_places_of_phonemes_are_true(tokenizers, setting, text):
    check(text, spans_of(tokenizers[setting], text))


@pytest.mark.parametrize("setting", ["mms", "uroman", "ipa-phonemes", "piper"])
def test_sentences_of_many_languages(tokenizers, setting):
    for text in [lines[0] for lines in TEXTS.values()] + TEXTS["english"]:
        check(text, spans_of(tokenizers[setting], text))


def test_letters_are_where_they_stand(tokenizers):
    text = "Hello, WORLD! İ akb ☃ d'été"
    tokens, characters, words = check(text, spans_of(tokenizers["mms"], text))
    assert [(text[first:last].lower(), name) for name, first, last in places(tokens) if name != "i"] == [
        (name, name) for name in [*"hello world", *"  akb ", *" d't"] if name != "i"
    ]
    assert ("i", 14, 15) in places(tokens)  # of "i̇", the vocabulary has the letter and lacks the dot
    assert "".join(span.text for span in characters) == "Hello WORLD İ akb  d't"
    assert [span.text for span in words] == ["Hello,", "WORLD!", "İ", "akb", "d'été"]
    # The blanks: one before the first letter, and one after each, which counts with it.
    assert [(span.text_start, span.text_end) for span in tokens[:4]] == [(0, 0), (0, 1), (1, 1), (1, 2)]
    assert characters[0].start == tokens[1].start
    assert characters[0].end == tokens[2].end
    assert (words[0].start, words[0].end) == (tokens[1].start, tokens[10].end)


def test_romanian_letters_are_exchanged_in_place(tokenizers):
    found = places(spans_of(tokenizers["romanian"], "Aț b", "token"))
    assert found == [("a", 0, 1), ("ţ", 1, 2), (" ", 2, 3), ("b", 3, 4)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("नमस्ते", [("n", 0), ("a", 0), ("m", 1), ("a", 1), ("s", 2), ("t", 4), ("e", 5)]),
        ("Щука, мир", [*(("s", 0), ("h", 0), ("c", 0), ("h", 0)), ("u", 1), ("k", 2), ("a", 3), (" ", 5), ("m", 6),
                       ("i", 7), ("r", 8)]),
        ("你好 ab", [("n", 0), ("i", 0), ("h", 1), ("a", 1), ("o", 1), (" ", 2), ("a", 3), ("b", 4)]),
    ],
)  # fmt: skip
def test_romanised_letters_are_where_their_characters_stand(tokenizers, text, expected):
    found = places(spans_of(tokenizers["uroman"], text, "token"))
    assert [(name, first) for name, first, _ in found] == expected
    if text == "नमस्ते":
        assert ("s", 2, 4) in found  # with the sign that takes its vowel away


def test_a_number_is_one_place(tokenizers):
    found = places(spans_of(tokenizers["uroman"], "五 一万二千", "token"))
    assert {(first, last) for _, first, last in found} <= {(0, 1), (1, 2), (2, 6)}


@pytest.mark.parametrize("setting", SPEAKERS)
def test_phonemes_have_the_place_of_their_word(tokenizers, setting):
    text = 'She saw 1,000,000 "dogs" of the big house, and a cat.'
    tokens, _, words = check(text, spans_of(tokenizers[setting], text))
    found = {text[first:last] for name, first, last in places(tokens) if name not in ' ,."'}
    # "of the" is one word of phonemes, ʌvðə.
    assert found == {"She", "saw", "1,000,000", "dogs", "of the", "big", "house", "and", "a", "cat"}
    assert [span.text for span in words] == text.split()
    time = {span.text: (span.start, span.end) for span in words}
    assert time["of"] == time["the"]
    distinct = [span for span in words if span.text != "the"]
    assert all(a.end <= b.start for a, b in itertools.pairwise(distinct))


def test_punctuation_of_phonemes_is_where_it_stands(tokenizers):
    text = "Yes; no, maybe. Why?"
    for setting in SPEAKERS:
        found = places(spans_of(tokenizers[setting], text, "token"))
        assert {(name, first, last) for name, first, last in found if name in ";,.?"} == {
            (";", 3, 4),
            (",", 7, 8),
            (".", 14, 15),
            ("?", 19, 20),
        }


def test_raw_phonemes_are_places_of_their_own(tokenizers):
    found = places(spans_of(tokenizers["piper"], "Say [[ hˈaɪ]] now", "token"))
    assert [span for span in found if 5 < span[1] < 12] == [("h", 7, 8), ("ˈ", 8, 9), ("a", 9, 10), ("ɪ", 10, 11)]


def test_pipers_letters_and_clusters(tokenizers, tmp_path):
    vocabulary = write_vocabulary(tmp_path, "ipa")
    settings = {"frontend": "piper", "pad_token": "_", "bos_token": "^", "eos_token": "$"}
    letters = VitsTokenizer(vocabulary, phonemize=False, **settings)
    tokens, characters, _ = check("Aé b", spans_of(letters, "Aé b"))
    assert places(tokens) == [("A", 0, 1), ("e", 1, 2), (" ", 2, 3), ("b", 3, 4)]
    assert (tokens[0].text, tokens[-1].text) == ("^", "$")
    # The mark of the end is no blank: it is after the last character.
    assert characters[-1].end == tokens[-1].start
    joined = VitsTokenizer(vocabulary, vowel_clusters=[["e", "ɪ"]], added_tokens_decoder={300: "eɪ"}, **settings)
    joined.encoder["eɪ"] = 300
    text = "They say so."
    tokens, _, _ = check(text, spans_of(joined, text))
    assert [span for span in places(tokens) if span[0] == "eɪ"] == [("eɪ", 0, 4), ("eɪ", 5, 8)]


def test_a_voice_that_only_phonemizer_knows_is_told_of_chunk_by_chunk(tokenizers, monkeypatch):
    def refuse(text, voice):
        raise ValueError("espeak-ng has no voice")

    monkeypatch.setattr("fastvits.text.word_alignment._sound", refuse)
    text = "one two, three"
    tokens, _, words = check(text, spans_of(tokenizers["ipa-phonemes"], text))
    assert {span[1:] for span in places(tokens)} == {(0, 7), (7, 8), (8, 9), (9, 14)}
    assert [span.text for span in words] == ["one", "two,", "three"]


def test_lines_and_sentences(tokenizers):
    text = "  One two.\n\nThree, four!\nFive\n"
    for setting in SPEAKERS:
        _, _, words = check(text, spans_of(tokenizers[setting], text))
        assert [(span.text, span.text_start) for span in words] == [
            ("One", 2),
            ("two.", 6),
            ("Three,", 12),
            ("four!", 19),
            ("Five", 25),
        ]
        assert all(a.end <= b.start for a, b in itertools.pairwise(words))


def test_a_mark_among_words_takes_no_sound(tokenizers):
    _, _, words = check("man - yes", spans_of(tokenizers["piper"], "man - yes"))
    assert [span.text for span in words] == ["man", "-", "yes"]
    assert words[0].end <= words[1].start
    assert words[1].end <= words[2].start


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, my  dog", ["Hello,", "my", "dog"]),
        ("你好，世界。abc 一", ["你", "好，", "世", "界。", "abc", "一"]),
        ("「猫」とキャット", ["「猫」", "と", "キャッ", "ト"]),
        ("ไทยเก่ง", ["ไท", "ย", "เก่", "ง"]),
        ("བོད་སྐད།", ["བོད་", "སྐད།"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("", []),
    ],
)
def test_words(text, words):
    spans = word_spans(text)
    assert [text[first:last] for first, last in spans] == words


# ---------------------------------------------------------------------------------------------------------------------
# Batches, padding, truncation


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return fastvits.pipeline(model=save_small_voice(tmp_path_factory.mktemp("voice")), device="cpu")


@pytest.mark.parametrize("side", ["right", "left"])
def test_an_item_of_a_batch_is_timed_as_alone(small, side):
    texts = ["hello my dog", "yes", "a longer sentence, in the middle"]
    batch = small.tokenizer(texts, padding=True, padding_side=side, return_tensors="pt")
    with torch.no_grad():
        output = small.model(**batch, seed=3)
    together = fastvits.timestamps(small.tokenizer, batch.to("cpu"), output)
    assert output.sampling_rate == small.sampling_rate
    assert "sampling_rate" not in output.keys() | set(output)
    for text, spans, samples in zip(texts, together, output.sequence_lengths.tolist(), strict=True):
        encoding = small.tokenizer([text], return_tensors="pt")
        with torch.no_grad():
            alone = small.model(**encoding, seed=3)
        assert fastvits.timestamps(small.tokenizer, encoding, alone) == [spans]
        tokens, _, _ = check(text, spans)
        assert tokens[-1].end == samples / small.sampling_rate
    for level in ("token", "character", "word"):
        assert fastvits.timestamps(small.tokenizer, batch, output, level=level) == [
            [span for span in spans if span.kind == level] for spans in together
        ]


def test_the_pipeline_tells_the_same(small):
    text = "hello my dog"
    result = small(text, seed=1, return_timestamps=True)
    last = result["timestamps"][-1]
    assert last == TimeSpan("word", "dog", last.start, last.end, 9, 12)
    assert last.end == len(result["audio"]) / result["sampling_rate"]
    check(text, result["timestamps"])


@pytest.mark.parametrize("side", ["right", "left"])
def test_what_was_cut_has_no_time(tokenizers, side):
    tokenizer = copy.copy(tokenizers["mms"])
    tokenizer.truncation_side = side
    text = "hello world"
    found = places(spans_of(tokenizer, text, "token", truncation=True, max_length=8))
    if side == "right":
        assert found == [("h", 0, 1), ("e", 1, 2), ("l", 2, 3), ("l", 3, 4)]
    else:
        assert found == [("o", 7, 8), ("r", 8, 9), ("l", 9, 10), ("d", 10, 11)]


def test_padding_without_a_mask_is_no_text(tokenizers):
    for side in ("right", "left"):
        arguments = {"padding": "max_length", "max_length": 12, "padding_side": side, "return_attention_mask": False}
        spans = spans_of(tokenizers["mms-own-pad"], "abc", **arguments)
        tokens, characters, _ = check("abc", spans)
        assert len(tokens) == 12
        assert characters[-1].end == tokens[7 if side == "right" else 12 - 1].start + (side == "left") * (
            tokens[-1].end - tokens[-1].start
        )


def test_words_and_pairs_are_joined_by_a_space(tokenizers):
    tokenizer = tokenizers["mms"]

    def tell(encoding):
        count = encoding["input_ids"].shape[1]
        output = VitsModelOutput(sequence_lengths=torch.tensor([count]), durations=torch.ones(1, count).long())
        return fastvits.timestamps(tokenizer, encoding, output, sampling_rate=RATE)[0]

    for encoding in (
        tokenizer([["two", "words"]], is_split_into_words=True, return_tensors="pt"),
        tokenizer([("two", "words")], return_tensors="pt"),
    ):
        spans = tell(encoding)
        check("two words", spans)
        assert [span.text for span in spans if span.kind == "word"] == ["two", "words"]


def test_an_encoding_keeps_its_texts(tokenizers):
    tokenizer = tokenizers["mms"]
    encoding = tokenizer(["ab", "cd e"], padding=True, return_tensors="pt")
    sources = encoding.sources
    assert sources is not None
    assert [source[0].parts for source in sources] == [("ab",), ("cd e",)]
    assert "sources" not in set(encoding)
    assert "sources" not in dict(**encoding)
    for kept in (encoding.to("cpu"), encoding.copy(), copy.deepcopy(encoding), pickle.loads(pickle.dumps(encoding))):
        assert kept.sources == sources
    singles = [tokenizer("ab"), tokenizer("cd e")]
    assert tokenizer.pad(singles).sources == sources
    assert tokenizer.pad(tokenizer(["ab", "cd e"])).sources == sources
    assert tokenizer.pad({"input_ids": [[1], [1, 2]]}).sources is None


def test_what_does_not_fit_is_refused(tokenizers):
    tokenizer = tokenizers["mms"]
    encoding = tokenizer(["ab"], return_tensors="pt")
    good = VitsModelOutput(sequence_lengths=torch.tensor([50]), durations=torch.ones(1, 5).long())
    tell = fastvits.timestamps
    assert len(tell(tokenizer, encoding, good, sampling_rate=RATE)[0]) == 8
    for other, output, options, message in [
        (dict(encoding), good, {}, "does not know its texts"),
        (encoding[0:1], good, {}, "does not know its texts"),
        (tokenizer([[1, 2]], return_tensors="pt"), VitsModelOutput(None, torch.tensor([1]), durations=torch.ones(1, 2)),
         {}, "was given as ids"),
        (encoding, good, {"sampling_rate": None}, "sampling rate"),
        (encoding, good, {"level": "sentence"}, "level must be one of 'token', 'character', 'word'"),
        (encoding, VitsModelOutput(), {}, "durations and sequence_lengths"),
        (encoding, VitsModelOutput(None, torch.tensor([4]), durations=torch.ones(1, 4).long()), {}, "not that of this"),
        (encoding, VitsModelOutput(None, torch.tensor([51]), durations=torch.ones(1, 5).long()), {}, "do not fit"),
        (tokenizers["ipa-letters"](["ab"], return_tensors="pt"), good, {}, "not what this tokenizer makes"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            tell(tokenizer, other, output, **{"sampling_rate": RATE, **options})
    with pytest.raises(TypeError, match="tokenizer must be a VitsTokenizer"):
        tell(None, encoding, good)
    silent = VitsModelOutput(sequence_lengths=torch.tensor([10]), durations=torch.zeros(1, 5).long())
    assert {span.end for span in tell(tokenizer, encoding, silent, sampling_rate=RATE)[0]} == {0.0}


# ---------------------------------------------------------------------------------------------------------------------
# Against the audio

WITH_PAUSES = [
    "First we go home; then we eat; later, everyone sleeps.",
    "On Monday, we rest, which is lovely, as you know.",
    "Listen, I will say it once: write your name, sign here, and leave.",
    "The sun was warm, the wind was low, the sea was still, and all was well.",
    "Yes, of course, she said, wonderful. Marvellous, nobody failed.",
    "Look, he is sleeping, very well. Really, she answered, the house is small.",
]


def test_words_after_a_pause_begin_when_they_are_heard(voice):
    hop = int(numpy.prod(voice.model.config.upsample_rates))
    deviations: dict[tuple[str, int], int] = {}
    for text in WITH_PAUSES:
        encoding = voice.encode(text)
        with torch.no_grad():
            output = voice.model(**encoding, noise_scale=0.0, noise_scale_duration=0.0)
        samples = output.waveform[0].double().numpy()
        spans = fastvits.timestamps(voice.tokenizer, encoding, output)[0]
        tokens, _, words = check(text, spans)
        assert tokens[-1].end == len(samples) / voice.sampling_rate
        loudness = numpy.sqrt(numpy.square(samples).reshape(-1, hop).mean(1))
        for before, word in itertools.pairwise(words):
            if word.start - before.end < 0.12:
                continue
            end, start = (round(time * voice.sampling_rate / hop) for time in (before.end, word.start))
            quietest = end + int(loudness[end:start].argmin())
            assert loudness[quietest] < ONSET_LEVEL * loudness.max()
            onset = quietest + int((loudness[quietest:] >= ONSET_LEVEL * loudness.max()).argmax())
            deviations[word.text, len(deviations)] = onset - start
    assert len(deviations) >= 20
    late = {word: frames for (word, _), frames in deviations.items() if abs(frames) > ONSET_AFTER_PAUSE_FRAMES}
    # What begins with a breath (h, wh) is hardly heard at first; all else is in time.
    assert all(word[0] == "h" or word[:2] == "wh" for word in late), late
    assert all(0 < frames <= BREATHY_ONSET_FRAMES for frames in late.values()), late
    assert len(late) <= (1 - ONSETS_WITHIN_SHARE) * len(deviations)


def test_timestamps_of_a_long_text_run_through(voice):
    text = "Hello, my dog. \n Is it cute?"
    spans = [
        span
        for one in voice.sentences(text, return_timestamps=True, noise_scale=0.0, noise_scale_duration=0.0)
        for span in one.timestamps
    ]
    words = [span for span in spans if span.kind == "word"]
    assert [(text[span.text_start : span.text_end], span.text) for span in words] == [
        (word, word) for word in text.split()
    ]
    assert all(a.end <= b.start for a, b in itertools.pairwise(words))
