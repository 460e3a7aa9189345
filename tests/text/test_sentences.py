"""Texts in sentences: every script, what is no end of a sentence, and nothing lost."""

import time
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastvits.text.sentences import split_sentences
from tests.support.multilingual_texts import TEXTS as MULTILINGUAL_TEXTS


def pieces(text, **options):
    return [sentence.text for sentence in split_sentences(text, **options)]


@pytest.mark.parametrize(
    "expected",
    [
        [
            "Dr. Smith paid $3.14 for it.",
            '"Really?" she asked.',
            "Yes!",
            "See example.org.",
            "No. 5 is alive.",
            "He said no.",
            "Ok.",
        ],
        ["J. K. Rowling lives in the U.S. and writes, e.g. books.", "It is 5 p.m.", "He left..."],
        [
            "Am 3. Oktober war z. B. Feiertag.",
            "Er sagte: „Komm!“",
            "Dann ging er.",
            "»Hallo«, sagte er.",
            "Im 19. Jahrhundert auch.",
        ],
        ["« Bonjour ! » dit-il.", "« Ça va ? »", "Oui.", "M. Dupont arrive…", "Enfin."],
        ["¿Qué tal?", "¡Bien!", "El Sr. López también."],
        ["Он пришёл, т. е. вернулся.", "Да?", "А. С. Пушкин."],
        ["यह एक वाक्य है।", "यह दूसरा है॥", "तीसरा?", "हाँ।"],
        ["كيف حالك؟", "أنا بخير.", "شكرا۔", "نعم"],
        ["ሰላም።", "እንዴት ነህ፧", "ደህና ነኝ።"],
        ["Τι κάνεις;", "Καλά.", "Ωραία· ναι."],
        ["Բարեւ։", "Ինչպե՞ս ես։", "Լավ։"],
        ["សួស្តី។", "អរគុណ៕", "បាទ។"],
        ["မင်္ဂလာပါ။", "နေကောင်းလား။"],
        ["བཀྲ་ཤིས།", "བདེ་ལེགས།"],
        ["hello there.", "how are you?", "fine."],
        ["Wait... what? yes: 1,000.5 is a number; so is 7. Right"],  # small letters go on, and so may a number
    ],
)
def test_sentences_with_spaces_between(expected):
    assert pieces(" ".join(expected)) == expected


@pytest.mark.parametrize(
    "expected",
    [
        ["今天天气很好。", "我们去公园吧！", "“好啊！”", "他说。", "价格是３．１４元。", "真的吗?", "我不信!"],
        ["「行くよ！」と彼は言った。", "そうですか？", "はい。"],
        ["यह एक है।", "यह दो है।"],
    ],
)
def test_sentences_without_spaces_between(expected):
    assert pieces("".join(expected)) == expected


def test_empty_lines_lists_and_line_breaks():
    text = "\nA title\n \n* * *\n\nText that is\r\nwrapped. "
    text += "More\n- one\n- two\n10. ten\n\u4eca\u5929\n\u5929\u6c14\u2029\u3002End"
    found = list(split_sentences(text))
    assert [(one.text, one.boundary) for one in found] == [
        ("A title", "paragraph"),
        ("Text that is wrapped.", "sentence"),
        ("More", "sentence"),
        ("- one", "sentence"),
        ("- two", "sentence"),
        ("10. ten \u4eca\u5929\u5929\u6c14", "paragraph"),
        ("End", "end"),
    ]


def test_what_is_too_long_is_cut_at_clauses_then_spaces_then_anywhere():
    text = "one two three four, five six seven eight nine ten, eleven twelve thirteen fourteen fifteen"
    found = list(split_sentences(text, max_length=50))
    assert [one.text for one in found] == [
        "one two three four,",
        "five six seven eight nine ten,",
        "eleven twelve thirteen fourteen fifteen",
    ]
    assert [one.boundary for one in found] == ["clause", "clause", "end"]
    thai = "บทความนี้เป็นตัวอย่าง ที่ไม่มีเครื่องหมายวรรคตอน และต้องถูกแบ่ง"
    assert pieces(thai, max_length=40) == thai.split()
    unbroken = "สวัสดีครับผมชื่อสมชายทำงานที่กรุงเทพมหานคร"
    found = list(split_sentences(unbroken, max_length=20))
    assert {one.boundary for one in found} == {"cut", "end"}
    assert all(unicodedata.category(one.text[0])[0] != "M" for one in found)
    assert all(len(one.text) >= 10 for one in found)  # balanced: no syllable is left over
    # An ideograph counts for three.
    assert [len(piece) for piece in pieces("\u5929" * 40, max_length=60)] == [20, 20]


def test_raw_phonemes_stay_together():
    assert pieces("Say [[h\u0259. Lo?]] now. Then go.") == ["Say [[h\u0259. Lo?]] now.", "Then go."]


def test_places_in_the_original_text():
    text = "  One\n two.  Three   four!  "
    first, second = split_sentences(text)
    assert (first.text, second.text) == ("One two.", "Three four!")
    assert text[slice(*first.original_span(4, 7))] == "two"
    assert text[slice(*first.original_span(0, 7))] == "One\n two"
    assert text[slice(*second.original_span(6, 11))] == "four!"
    assert first.original_span(0, 0) == (2, 2)
    assert second.original_span(11, 11) == (len(text), len(text))
    with pytest.raises(ValueError, match="not within the 8 characters"):
        first.original_span(3, 9)


TEXTS = st.lists(
    st.sampled_from(
        [
            *" \n\r.!?,;:-()[]\"'«»„“”…。！？、「」।؟۔ክ።aAbzI19ğ天気かกา้ำ\u0f0b\u0f0d\u200d\u0301\U0001f642€",
            ". ",
            "\r\n\r\n",
            "Mr. ",
            "[[",
        ]
    )
    | st.text(max_size=3),
    max_size=80,
).map("".join)


@settings(max_examples=300)
@given(TEXTS, st.integers(20, 60))
@example("Hi" + "!" * 100 + " you.", 20)
@example("..." * 30 + "a" + "-" * 90, 20)
@example(". " * 40 + "\n\n" + "a b " * 40, 20)
def test_nothing_is_lost_said_twice_or_too_long(text, max_length):
    found = list(split_sentences(text, max_length))
    speakable = any(unicodedata.category(character)[0] in "LNS" for character in text)
    assert "".join(text[one.start : one.end] for one in found) == (text if speakable else "")
    assert [one.start for one in found[1:]] == [one.end for one in found[:-1]]
    for one in found:
        assert any(unicodedata.category(character)[0] in "LNS" for character in one.text)
        assert sum(3 if unicodedata.east_asian_width(c) in "WF" else 1 for c in one.text) <= max_length
        assert len(one.positions) == len(one.text)
        assert all(one.start <= place < one.end for place in one.positions)
        assert all(
            text[place] == c or (c == " " and text[place].isspace())
            for place, c in zip(one.positions, one.text, strict=True)
        )
        assert (one.boundary == "end") == (one.end == len(text))
    # Every letter is spoken exactly once.
    places = [place for one in found for place in one.positions]
    assert places == sorted(set(places))
    assert {index for index, c in enumerate(text) if unicodedata.category(c)[0] in "LNS"} <= set(places)


@pytest.mark.parametrize("language", MULTILINGUAL_TEXTS)
def test_real_texts_keep_their_words(language):
    text = "\n".join(MULTILINGUAL_TEXTS[language])
    assert "".join(pieces(text)).replace(" ", "") == "".join(text.split())


def test_a_long_text_takes_time_in_proportion():
    def seconds(text):
        start = time.process_time()
        assert sum(1 for _ in split_sentences(text))
        return time.process_time() - start

    for text in ("A sentence of words, and more. " * 500, "a" * 15000, "Mr. " * 4000, "(" * 15000 + "a"):
        assert seconds(text * 4) < 12 * max(seconds(text), 0.01)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((b"bytes",), TypeError, "text must be a str, got bytes"),
        (("a", 2.5), TypeError, "max_length must be a whole number"),
        (("a", 19), ValueError, "at least 20 characters, got 19"),
    ],
)
def test_what_cannot_be_split_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        split_sentences(*arguments)
