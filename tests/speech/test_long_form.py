"""Long texts: each sentence as the plain call on it, pauses between, in bounded memory, and streams that add up."""

import itertools
import random
import string
import weakref
from dataclasses import dataclass

import numpy
import pytest
import torch

import fastvits
from fastvits.speech.long_form import place_timestamps, sentence_seed
from fastvits.text.preparation import AS_PUBLISHED, Preparation
from fastvits.text.sentences import split_sentences
from fastvits.voices.folders import DEFAULT_VOICE, voice_folder
from tests.support.small_voices import save_small_voice
from tests.support.tolerances import LONGEST_PIECE_SECONDS, MODEL_FLOAT32

TEXT = "Hello my dog. Is it cute? Yes it is\n\nA new paragraph, with a clause that goes on and on and on."
STILL = {"noise_scale": 0.0, "noise_scale_duration": 0.0}


@pytest.fixture(scope="module")
def say(tmp_path_factory):
    return fastvits.pipeline(model=save_small_voice(tmp_path_factory.mktemp("voice")), device="cpu")


@pytest.fixture(scope="module")
def say_with_speakers(tmp_path_factory):
    folder = save_small_voice(tmp_path_factory.mktemp("speakers"), num_speakers=3, speaker_embedding_size=8)
    return fastvits.pipeline(model=folder, device="cpu")


def test_a_sentence_is_the_plain_call_on_it(say):
    spoken = list(say.sentences(TEXT, seed=5, max_length=30))
    texts = [sentence.text for sentence in split_sentences(TEXT, 30)]
    assert [one.sentence.text for one in spoken] == texts
    assert len(texts) > 4
    assert [one.seed for one in spoken] == [5 + index for index in range(len(texts))]
    start = 0
    for one in spoken:
        numpy.testing.assert_array_equal(one.audio, say(one.sentence.text, seed=one.seed)["audio"])
        assert (one.start, one.sampling_rate) == (start, say.sampling_rate)
        start += len(one.audio_with_pause)
    own = list(say.sentences(TEXT, seed=[9] * len(texts), max_length=30))
    numpy.testing.assert_array_equal(own[2].audio, say(texts[2], seed=9)["audio"])


def test_the_real_voice_says_long_texts_and_streams_as_the_plain_call():
    say = fastvits.pipeline(model=voice_folder(DEFAULT_VOICE), device="cpu")
    text = "Mr. Smith is here. Is he?"
    for one in say.sentences(text, seed=11, preparation=AS_PUBLISHED):
        numpy.testing.assert_array_equal(one.audio, say(one.sentence.text, seed=one.seed)["audio"])
    spoken = list(say.sentences(text, seed=11))
    assert [one.sentence.text for one in spoken] == ["Mr. Smith is here.", "Is he?"]
    prepared = {"preparation": Preparation()}
    for one in spoken:
        numpy.testing.assert_array_equal(
            one.audio, say(one.sentence.text, seed=one.seed, preprocess_params=prepared)["audio"]
        )
    expected = numpy.concatenate([one.audio_with_pause for one in spoken])
    actual = numpy.concatenate(list(say.stream(text, seed=11, chunk_frames=40, first_chunk_frames=10)))
    assert actual.shape == expected.shape
    assert numpy.linalg.norm(actual - expected) <= MODEL_FLOAT32 * numpy.linalg.norm(expected)


def test_controls_reach_every_sentence(say_with_speakers):
    embedding = say_with_speakers.model.embed_speaker.weight[:2].mean(0, keepdim=True).detach()
    controls = {"speaker_embedding": embedding, "speaking_rate": 0.7, "noise_scale": 0.2, "noise_scale_duration": 0.1}
    for one in say_with_speakers.sentences("One two. Three.", seed=1, **controls):
        expected = say_with_speakers(one.sentence.text, seed=one.seed, **controls)["audio"]
        numpy.testing.assert_array_equal(one.audio, expected)


def test_pauses_depend_on_what_a_piece_ends_with(say):
    rate = say.sampling_rate
    text = "One two.\n\nThree. Four five six seven, eight nine ten."
    found = [(one.sentence.boundary, one.pause) for one in say.sentences(text, seed=0, max_length=20)]
    assert found == [
        ("paragraph", round(0.4 * rate)),
        ("sentence", round(0.2 * rate)),
        ("space", 0),
        ("clause", round(0.1 * rate)),
        ("end", 0),
    ] or found == [
        ("paragraph", round(0.4 * rate)),
        ("sentence", round(0.2 * rate)),
        ("clause", round(0.1 * rate)),
        ("end", 0),
    ]
    found = [one.pause for one in say.sentences(text, seed=0, sentence_silence=1, paragraph_silence=0)]
    assert found == [0, rate, 0]
    first, _ = list(say.sentences("One. Two.", seed=0, sentence_silence=0.5))
    assert not first.audio_with_pause[len(first.audio) :].any()
    assert len(first.audio_with_pause) == len(first.audio) + rate // 2


@pytest.mark.parametrize(("chunk_frames", "first_chunk_frames"), [(1000, None), (37, 3)])
def test_a_stream_adds_up_to_the_sentences(say, chunk_frames, first_chunk_frames):
    text = "One two. Three\n\nFour"
    expected = numpy.concatenate([one.audio_with_pause for one in say.sentences(text, seed=3)])
    pieces = list(say.stream(text, seed=3, chunk_frames=chunk_frames, first_chunk_frames=first_chunk_frames))
    actual = numpy.concatenate(pieces)
    assert actual.dtype == numpy.float32
    assert actual.shape == expected.shape
    difference, loudness = numpy.linalg.norm(actual - expected), numpy.linalg.norm(expected)
    assert difference <= MODEL_FLOAT32 * loudness
    if first_chunk_frames is not None:
        hop = numpy.prod(say.model.config.upsample_rates)
        assert len(pieces[0]) == first_chunk_frames * hop
        assert len(pieces[1]) == chunk_frames * hop


def test_without_a_seed_the_global_generators_decide(say):
    torch.manual_seed(4)
    expected = [one.audio for one in say.sentences("One two. Three four.")]
    torch.manual_seed(4)
    for sentence, audio in zip(split_sentences("One two. Three four."), expected, strict=True):
        numpy.testing.assert_array_equal(say(sentence.text)["audio"], audio)


def test_what_the_voice_cannot_say_is_passed_over(say):
    spoken = list(say.sentences("One. \u6f22\u5b57\u3002 Two.", seed=1))
    assert [len(one.audio) > 0 for one in spoken] == [True, False, True]
    assert spoken[1].pause == 0
    numpy.testing.assert_array_equal(spoken[2].audio, say("Two.", seed=3)["audio"])
    with pytest.raises(ValueError, match="no character that this voice can say"):
        list(say.sentences("\u6f22\u5b57\u3002\u6f22\u3002"))


def test_memory_is_bounded_whatever_the_length(say):
    text = "One two. " * 10
    alive: list[weakref.ref] = []
    for one in say.sentences(text, seed=0):
        alive.append(weakref.ref(one.audio))
        del one
        assert sum(reference() is not None for reference in alive) <= 1
    assert len(alive) == 10
    alive = []
    for piece in say.stream(text[:27], seed=0, chunk_frames=300):
        alive.append(weakref.ref(piece))
        del piece
        assert sum(reference() is not None for reference in alive) <= 1


@dataclass(frozen=True)
class Span:
    text_start: int
    text_end: int
    start: float
    end: float


def test_timestamps_run_through():
    text = "One\n  two.   Three."
    first, second = split_sentences(text)
    assert place_timestamps([Span(0, 3, 0.0, 0.5), Span(4, 7, 0.5, 1.0)], first, 0.0) == [
        Span(0, 3, 0.0, 0.5),
        Span(6, 9, 0.5, 1.0),
    ]
    assert place_timestamps([Span(0, 5, 0.25, 0.75)], second, 2.0) == [Span(13, 18, 2.25, 2.75)]


def test_timestamps_of_a_long_text_fit_the_text_and_the_audio(say):
    text = "One  two three.\n\nFour\nfive. Six"
    words, end = [], 0.0
    for one in say.sentences(text, seed=2, return_timestamps=True):
        first, last = one.start / one.sampling_rate, (one.start + len(one.audio)) / one.sampling_rate
        tokens = [span for span in one.timestamps if span.kind == "token"]
        assert tokens[0].start == pytest.approx(first)
        assert tokens[-1].end == pytest.approx(last)
        for span in one.timestamps:
            assert first - 1e-9 <= span.start <= span.end <= last + 1e-9
            assert one.sentence.start <= span.text_start <= span.text_end <= one.sentence.end
        words += [span for span in one.timestamps if span.kind == "word"]
    assert [text[span.text_start : span.text_end] for span in words] == ["One", "two", "three.", "Four", "five.", "Six"]
    for span in words:
        assert span.start >= end
        end = span.end
    # A stream knows them too, before its first piece.
    streamed = list(say.speaker.sentence_streams(text, seed=2, return_timestamps=True, chunk_frames=200))
    assert [span for one in streamed for span in one.timestamps if span.kind == "word"] == words


def test_seeds_of_sentences():
    assert sentence_seed(None, 3) is None
    assert sentence_seed(7, 3) == 10
    assert sentence_seed(2**63 - 1, 1) == 0
    assert sentence_seed([4, 5], 1) == 5
    with pytest.raises(ValueError, match="the text has more sentences"):
        sentence_seed([4], 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"text": ""}, ValueError, "text is empty"),
        ({"text": " ... "}, ValueError, "text has no letter, number or symbol"),
        ({"text": 3}, TypeError, "text must be a str"),
        ({"speed": 2}, TypeError, "unknown keyword 'speed'"),
        ({"seed": -1}, ValueError, r"seed must lie in \[0, 2\*\*63\)"),
        ({"seed": "x"}, TypeError, "seed must be a whole number"),
        ({"sentence_silence": -1.0}, ValueError, "sentence_silence must be from 0 to 3600 seconds, got -1.0"),
        ({"sentence_silence": 1e12}, ValueError, "sentence_silence must be from 0 to 3600 seconds"),
        ({"paragraph_silence": float("nan")}, ValueError, "paragraph_silence must be from 0 to 3600 seconds, got nan"),
        ({"paragraph_silence": "long"}, TypeError, "paragraph_silence must be a number of seconds"),
        ({"max_length": 5}, ValueError, "max_length must be at least 20"),
    ],
)
def test_what_cannot_be_spoken_is_refused_at_once(say, arguments, error, message):
    for speak in (say.sentences, say.stream):
        with pytest.raises(error, match=message):
            speak(**{"text": TEXT, **arguments})


def test_a_control_that_does_not_fit_is_refused(say):
    with pytest.raises(ValueError, match="speaking_rate"):
        next(say.sentences(TEXT, speaking_rate=[1.0, 2.0]))
    with pytest.raises(ValueError, match="chunk_frames must be at least 1"):
        next(say.stream(TEXT, chunk_frames=0))
    with pytest.raises(TypeError, match="timestamps"):
        say.stream(TEXT, return_timestamps=True)


def test_what_a_voice_lacks_is_told_once_a_text(say, caplog):
    with caplog.at_level("WARNING", logger="fastvits"):
        list(say.sentences("Hello ☃ one. Then ☃ two. And ☃ ♥ three.", seed=1))
    messages = [record.getMessage() for record in caplog.records if "lacks" in record.getMessage()]
    assert sum("U+2603" in message for message in messages) == 1
    assert sum("U+2665" in message for message in messages) == 1


def test_what_is_spelled_out_is_cut_by_what_it_becomes():
    """A web address of 220 characters becomes far more than a sentence of as many."""
    speaker = fastvits.Speaker(device="cpu")
    chance = random.Random(1)
    letters = string.ascii_lowercase + string.digits + "/-_"
    address = "https://example.org/" + "".join(chance.choice(letters) for _ in range(200))
    text = f"See {address} today. And that is all."
    found = list(speaker.sentence_streams(text, seed=1, chunk_frames=128, sentence_silence=0.25))
    assert len(found) >= 4
    assert all(one.samples <= LONGEST_PIECE_SECONDS * speaker.sampling_rate for one in found)
    assert [one.index for one in found] == list(range(len(found)))
    assert [one.seed for one in found] == [1 + index for index in range(len(found))]
    for before, after in itertools.pairwise(found):
        assert before.sentence.end == after.sentence.start
        assert after.start == before.start + before.samples + before.pause
    assert (found[0].sentence.start, found[-1].sentence.end) == (0, len(text))
    for one in found:
        assert "".join(text[place] for place in one.sentence.positions) == one.sentence.text
    assert [one.pause for one in found[-2:]] == [round(0.25 * speaker.sampling_rate), 0]
    assert not any(one.pause for one in found[:-2])
