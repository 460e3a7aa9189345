"""Scripts: pauses, SSML and lexicons; what is spoken, and where each of its characters was written."""

import itertools
import time

import pytest

import fastvits
from fastvits.speech.lexicon import Lexicon, read_lexicon
from fastvits.speech.script import Script, parse_breaks
from fastvits.speech.ssml import parse_ssml
from fastvits.text.preparation import Preparation


def told(script):
    """What is spoken, at which rate, what ends with it, and the pause behind it."""
    return [(passage.text, passage.rate, passage.ends, passage.pause) for passage in script.passages]


def places_fit(script):
    """Every character that is spoken as it was written stands at its place."""
    for passage in script.passages:
        for character, (start, end) in zip(passage.text, passage.places, strict=True):
            assert 0 <= start < end <= len(script.written)
            if end - start == 1 and script.written[start].isalpha() and character.isalpha():
                assert script.written[start].casefold() == character.casefold()


def test_breaks_in_a_plain_text():
    script = parse_breaks(
        '<break time="0.3s"/>One <b> two<break/> three.<BREAK strength=\'none\'></break><break time=".5s"/>Four'
    )
    assert script.lead == 0.3
    assert told(script) == [("One <b> two", 1, None, 0.4), (" three.", 1, None, 0.5), ("Four", 1, None, None)]
    places_fit(script)
    for wrong, message in {
        'a <break time="5"/>': "time of <break> must be like 500ms or 1.5s and at most 60s, got '5'",
        'a <break time="61s"/>': "at most 60s",
        'a <break length="1s"/>': "<break> has no attribute 'length'",
        'a <break strength="huge"/>': "strength of <break> must be one of none, x-weak",
        "a <break time=1s/>": "<break> must be like",
        '<break time="1s"/> .': "nothing to say",
    }.items():
        with pytest.raises(ValueError, match=message):
            parse_breaks(wrong)


def test_every_element_of_ssml():
    script = parse_ssml(
        '<?xml version="1.0"?>\n<!-- a note --><speak version="1.1" xmlns="http://www.w3.org/2001/10/synthesis" '
        'xml:lang="en-US"><p>One &amp; two.<s>Three</s></p><prosody rate="150%">Fast <prosody rate="slow">not so'
        '</prosody></prosody> end <sub alias="World Wide Web">W3C</sub> '
        '<phoneme ph="təˈmeɪtoʊ">tomato</phoneme>\r\n<say-as interpret-as="characters">a1-b</say-as>'
        "<![CDATA[ <x> & y]]></speak>"
    )
    assert told(script) == [
        ("One & two.", 1.0, "sentence", None),
        ("Three", 1.0, "paragraph", None),
        ("Fast ", 1.5, None, None),
        ("not so", 1.125, None, None),
        (" end World Wide Web [[təˈmeɪtoʊ]]\nA 1 B <x> & y", 1.0, None, None),
    ]
    assert (script.language, script.has_phonemes) == ("en-US", True)
    places_fit(script)
    last = script.passages[-1]
    for spoken, written in {"World": "W3C", "[[tə": "tomato", "A": "a", "& two": "&amp; two", "<x> &": "<x> &"}.items():
        passage = last if spoken in last.text else script.passages[0]
        start, end = (
            passage.places[passage.text.index(spoken)][0],
            passage.places[passage.text.index(spoken) + len(spoken) - 1][1],
        )
        assert script.written[start:end] == written


@pytest.mark.parametrize(
    ("rate", "factor"), [("120%", 1.2), ("+20%", 1.2), ("-20%", 0.8), ("0.5", 0.5), ("x-fast", 1.5)]
)
def test_rates(rate, factor):
    assert parse_ssml(f'a <prosody rate="{rate}">b</prosody>').passages[1].rate == pytest.approx(factor)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<emphasis>a</emphasis>", "<emphasis> is not supported; there are speak, p, s"),
        ('<prosody pitch="high">a</prosody>', "attribute 'pitch' of <prosody> is not supported; supported is rate"),
        ("<prosody>a</prosody>", "<prosody> needs a rate"),
        ('<prosody rate="9">a</prosody>', "a factor from 0.2 to 5, got '9'"),
        ('<prosody rate="quick">a</prosody>', "got 'quick'"),
        ('<phoneme alphabet="x-sampa" ph="a">b</phoneme>', "alphabet of <phoneme> must be 'ipa', got 'x-sampa'"),
        ("<phoneme>b</phoneme>", "ph of <phoneme> must be phonemes"),
        ("<sub>b</sub>", "<sub> needs an alias"),
        ('<sub alias="x"/>', "<sub> has no text"),
        ('<say-as interpret-as="date">1</say-as>', "interpret-as of <say-as> must be 'characters', got 'date'"),
        ('<sub alias="x">a <s>b</s></sub>', "<s> has no place inside <sub>"),
        ("a <b", "the text is no SSML: .* in line 1"),
        ("a & b", "the text is no SSML"),
        ("<speak>a", "the text is no SSML"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><speak>&a;</speak>', "the text is no SSML"),
        ("<speak> </speak>", "nothing to say"),
    ],
)
def test_what_ssml_cannot_ask_is_refused_by_name(text, message):
    with pytest.raises(ValueError, match=message):
        parse_ssml(text)


def test_a_lexicon_reads_whole_words(tmp_path):
    path = tmp_path / "words.tsv"
    path.write_text("\ufeff# names\nNguyen\twin\nnew york\t[[nuːjˈɔːɹk]]\nUS\tthe States\n\n", "utf-8")
    lexicon = read_lexicon(path)
    script = lexicon.apply(Script.plain("nguyen's New\n York, US or us, NoUS [[us]]"))
    assert script.passages[0].text == "win's [[nuːjˈɔːɹk]], the States or the States, NoUS [[us]]"
    assert script.has_phonemes
    places_fit(script)
    for content, message in {
        "word spelling\n": "line 1 of lexicon .* must be a word, a tab and what is spoken",
        "a\tb\na\tc\n": "line 2 of lexicon .* has 'a' once more",
        "a\t\n": "line 1",
    }.items():
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            read_lexicon(path)
    path.write_bytes(b"caf\xe9\tx")
    with pytest.raises(ValueError, match="is not UTF-8: byte 3"):
        read_lexicon(path)
    assert Lexicon({}).apply(Script.plain("a")) == Script.plain("a")


def test_times_are_those_of_what_was_written():
    speaker = fastvits.Speaker(device="cpu")
    text = (
        'My <sub alias="world wide web">W3C</sub>, a <phoneme ph="təˈmeɪtoʊ">tomato</phoneme>.<break time="1s"/> End.'
    )
    script = parse_ssml(text)
    spoken = list(speaker.sentences(script, seed=1, return_timestamps=True))
    words = [span for one in spoken for span in one.timestamps if span.kind == "word"]
    assert [word.text for word in words] == ["My", "W3C,", "a", "tomato.", "End."]
    assert [text[word.text_start : word.text_end] for word in words] == [
        "My", "W3C</sub>,", "a", "tomato</phoneme>.", "End."
    ]  # fmt: skip
    assert all(first.end <= second.start + 1e-9 for first, second in itertools.pairwise(words))
    assert words[-1].start - words[-2].end >= 1
    characters = [span for one in spoken for span in one.timestamps if span.kind == "character"]
    assert [span.text for span in characters if 25 < span.text_start < 34] == ["W", "3", "C"] or all(
        text[span.text_start] == span.text for span in characters
    )
    assert spoken[0].pause == speaker.sampling_rate
    assert (spoken[1].sentence.start, spoken[1].sentence.end) == (text.index(" End."), len(text))


def test_a_rate_is_a_factor_of_the_rate_asked_for():
    speaker = fastvits.Speaker(device="cpu")
    script = parse_ssml('<prosody rate="50%">Hello there.</prosody>')
    still = {"noise_scale": 0.0, "noise_scale_duration": 0.0}
    (slow,) = speaker.sentences(script, speaking_rate=1.4, **still)
    (plain,) = speaker.synthesize(["Hello there."], speaking_rate=0.7, **still)
    assert len(slow.audio) == len(plain.audio)


def test_long_markup_is_read_in_linear_time():
    text = "<p>One &amp; two <break/>three.</p>" * 3000
    start = time.process_time()
    assert len(parse_ssml(text).passages) == 6000
    assert time.process_time() - start < 5


def test_silence_is_rounded_to_whole_samples():
    speaker = fastvits.Speaker(device="cpu")
    first, last = speaker.sentences("One. Two.", seed=1, sentence_silence=0.25, tail=0.1)
    assert (first.pause, last.pause) == (5512, 2205)


def test_phonemes_and_brackets_as_text_exclude_each_other():
    script = parse_ssml('<phoneme ph="a">b</phoneme>')
    with pytest.raises(ValueError, match="its preparation says brackets as text"):
        fastvits.Speaker(device="cpu").sentences(script, preparation=Preparation(inline_phonemes=False))
